//! PyTorch's files: tensors only, and nothing is run.

mod support;

use support::{Place, failure, read, run, success, wcodec};

/// What `torch.save` wrote of `{"a": float32 of shape [2, 3], "b": bfloat16 of shape [4]}`, with its `_metadata`.
const STATE_DICT: &[u8] = include_bytes!("data/state_dict.pt");
/// `torch.save` of an object whose unpickling would run `os.system`.
const MALICIOUS: &[u8] = include_bytes!("data/malicious.pt");

#[test]
fn tensors_come_back_as_safetensors() {
    let place = Place::new();
    let (model, archive, back) = (place.path("pytorch_model.bin"), place.path("model.wcodec"), place.path("model.safetensors"));
    std::fs::write(&model, STATE_DICT).unwrap();
    let (code, said, note) = run(wcodec(["compress"]).args([&model, &archive]));
    assert_eq!(code, 0, "{note}");
    assert!(said.contains(" → ") && note.contains("what the archive restores is a safetensors file"), "{said}{note}");
    let said = success(wcodec(["verify"]).args([&model, &archive]));
    assert!(said.contains("bit-exact with the tensors of"), "{said}");
    success(wcodec(["decompress"]).args([&archive, &back]));
    let file = read(&back);
    let header = 8 + u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let json: serde_json::Value = serde_json::from_slice(&file[8..header]).unwrap();
    assert_eq!(json["a"], serde_json::json!({"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}));
    assert_eq!(json["b"], serde_json::json!({"dtype": "BF16", "shape": [4], "data_offsets": [24, 32]}));
    let numbers: Vec<_> = file[header..header + 24].chunks(4).map(|c| f32::from_le_bytes(c.try_into().unwrap())).collect();
    assert_eq!(numbers, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!(file[header + 24..], [0x80, 0x3f, 0x00, 0x40, 0x40, 0x40, 0x80, 0x40]);
    assert_eq!(success(wcodec(["compress", "-q", "--force"]).args([&model, &archive])), "");
}

#[test]
fn code_is_refused() {
    let place = Place::new();
    let (model, archive) = (place.path("pytorch_model.bin"), place.path("model.wcodec"));
    std::fs::write(&model, MALICIOUS).unwrap();
    let said = failure(4, wcodec(["compress"]).args([&model, &archive]));
    assert!(said.contains("'posix.system'") && said.contains("nothing was run") && said.contains("convert it"), "{said}");
    std::fs::write(&model, b"\x80\x02cposix\nsystem\nX\x04\0\0\0true\x85R.").unwrap();
    let said = failure(4, wcodec(["compress"]).args([&model, &archive]));
    assert!(said.contains("a bare pickle"), "{said}");
    assert_eq!(place.files(), ["pytorch_model.bin"]);
}
