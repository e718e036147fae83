use super::*;
use std::collections::BTreeMap;

/// A zip archive, nothing compressed.
fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut out, mut list) = (Vec::new(), Vec::new());
    for (name, bytes) in files {
        let at = out.len() as u32;
        let len = (bytes.len() as u32).to_le_bytes();
        let common = [&[0; 10][..], &[0; 4], &len, &len, &(name.len() as u16).to_le_bytes()].concat();
        out.extend([b"PK\x03\x04", &common[..], &[0; 2], name.as_bytes(), bytes].concat());
        list.extend([b"PK\x01\x02\0\0", &common[..], &[0; 12], &at.to_le_bytes(), name.as_bytes()].concat());
    }
    let (count, at) = ((files.len() as u16).to_le_bytes(), out.len() as u32);
    out.extend(&list);
    let (len, at) = ((list.len() as u32).to_le_bytes(), at.to_le_bytes());
    out.extend([b"PK\x05\x06\0\0\0\0", &count[..], &count, &len, &at, &[0; 2]].concat());
    out
}

/// Pickles by hand.
#[derive(Default)]
struct Pickle(Vec<u8>);

impl Pickle {
    fn put(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    fn text(self, text: &str) -> Self {
        self.put(b"X").put(&(text.len() as u32).to_le_bytes()).put(text.as_bytes())
    }

    fn numbers(self, numbers: &[u16]) -> Self {
        let open = self.put(b"(");
        numbers.iter().fold(open, |p, n| p.put(b"M").put(&n.to_le_bytes())).put(b"t")
    }

    fn tensor(self, key: &str, offset: u16, shape: &[u16], strides: &[u16]) -> Self {
        let storage = self.put(b"ctorch._utils\n_rebuild_tensor_v2\n((").text("storage").put(b"ctorch\nFloatStorage\n");
        let place = storage.text(key).text("cpu").put(b"K\x10tQM").put(&offset.to_le_bytes());
        place.numbers(shape).numbers(strides).put(b"\x89ccollections\nOrderedDict\n)RtR")
    }

    /// A state dict of these entries.
    fn dict(entries: impl FnOnce(Self) -> Self) -> Vec<u8> {
        entries(Self::default().put(b"\x80\x02ccollections\nOrderedDict\n)Rq\0(")).put(b"u.").0
    }
}

fn open(pickle: &[u8], storages: &[(&str, &[u8])]) -> Result<TorchFile<Vec<u8>>> {
    let mut files = vec![("m/data.pkl", pickle), ("m/byteorder", &b"little"[..])];
    files.extend(storages);
    TorchFile::new(zip(&files))
}

fn why(pickle: &[u8]) -> String {
    let bytes: Vec<u8> = (0..64).collect();
    let Err(e) = open(pickle, &[("m/data/0", &bytes)]) else { panic!("taken") };
    assert_eq!(e.kind(), ErrorKind::BadSource);
    e.to_string()
}

#[test]
fn a_state_dict_is_a_safetensors_file() {
    let bytes: Vec<u8> = (0..64).collect();
    let pickle = Pickle::dict(|p| {
        p.text("b").tensor("0", 4, &[2, 3], &[3, 1]).text("a").tensor("0", 0, &[1, 2, 1], &[9, 1, 7]).text("s").tensor(
            "0",
            15,
            &[],
            &[],
        )
    });
    let torch = open(&pickle, &[("m/data/0", &bytes)]).unwrap();
    let found: BTreeMap<_, _> = torch.with_safetensors(|source| {
        let header = crate::source::safetensors::read_header(source).unwrap();
        let tensors = header.tensors.into_iter();
        tensors.map(|t| (t.name, (t.dtype, t.shape, source.fetch(t.offset, t.len as usize).unwrap().into_owned()))).collect()
    });
    let expected = [
        ("a".to_owned(), (Dtype::F32, vec![1, 2, 1], bytes[..8].to_vec())),
        ("b".to_owned(), (Dtype::F32, vec![2, 3], bytes[16..40].to_vec())),
        ("s".to_owned(), (Dtype::F32, vec![], bytes[60..].to_vec())),
    ];
    assert_eq!(found, BTreeMap::from(expected));
}

#[test]
fn told_from_safetensors() {
    assert!(
        is_torch(b"PK\x03\x04\0\0\0\0\0") && is_torch(b"\x80\x02\x8a\x0al\xfc\x9cF\xf9") && is_torch(b"\x80\x04\x95\0\0\0\0\0\0")
    );
    for head in [b"PK\x03\x04\0\0\0\0{", b"\x80\x02\x2e\0\0\0\0\0{", b"\x90\x02\0\0\0\0\0\0{", b"WCODEC\0\0\x01"] {
        assert!(!is_torch(head), "{head:?}");
    }
}

#[test]
fn code_is_refused_by_name() {
    for (code, name) in [
        (&b"cos\nsystem\n"[..], "os.system"),
        (b"cposix\nsystem\n", "posix.system"),
        (b"c__builtin__\neval\n", "__builtin__.eval"),
        (b"cbuiltins\nexec\n", "builtins.exec"),
        (b"ctorch\nload\n", "torch.load"),
        (b"ctorch.storage\n_load_from_bytes\n", "torch.storage._load_from_bytes"),
        (b"\x8c\x02os\x8c\x06system\x93", "os.system"),
    ] {
        let said = why(&[b"\x80\x02", code, b"X\x04\0\0\0true\x85R."].concat());
        assert!(said.contains(&format!("'{name}'")) && said.contains("nothing was run") && said.contains("convert it"), "{said}");
    }
    // Operations that find a class in other ways.
    for code in [&b"(S'x'\ni"[..], b"\x82\x01", b"P0\n", b"(o", b")\x81", b"\x92"] {
        assert!(why(&[b"\x80\x02", code].concat()).contains("nothing was run"));
    }
}

#[test]
fn what_is_no_state_dict_is_refused() {
    for (pickle, said) in [
        (Pickle::dict(|p| p.text("epoch").put(b"K\x07")), "'epoch' is no tensor"),
        (Pickle::dict(|p| p.put(b"K\x07").tensor("0", 0, &[1], &[1])), "no name"),
        (Pickle::dict(|p| p.text("t").tensor("0", 0, &[2, 2], &[1, 2])), "not contiguous"),
        (Pickle::dict(|p| p.text("t").tensor("0", 0, &[4, 2], &[0, 1])), "not contiguous"),
        (Pickle::dict(|p| p.text("t").tensor("0", 13, &[4], &[1])), "beyond its storage"),
        (Pickle::dict(|p| p.text("t").tensor("../0", 0, &[1], &[1])), "missing"),
        (Pickle::dict(|p| p.text("t").tensor("0", 0, &[60000; 5], &[1; 5])), "no possible number"),
        (Pickle::dict(|p| p.text("t").tensor("0", 0, &[1], &[1]).text("t").tensor("0", 0, &[1], &[1])), "twice"),
        (b"\x80\x02K\x07.".to_vec(), "no dictionary"),
        (b"\x80\x02".to_vec(), "cut short"),
        (b"\x80\x02u".to_vec(), "mark"),
        (b"\x80\x02.".to_vec(), "not there"),
        (b"\x80\x02h\x07.".to_vec(), "memo"),
    ] {
        let found = why(&pickle);
        assert!(found.contains(said), "{found}");
    }
}

#[test]
fn containers() {
    let refuse = |file: Vec<u8>, why: &str| {
        let said = TorchFile::new(file).err().unwrap().to_string();
        assert!(said.contains(why), "{said}");
    };
    refuse(b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.".to_vec(), "before PyTorch 1.6");
    refuse(zip(&[("a", b"b")]), "not one of torch.save");
    refuse(zip(&[("m/data.pkl", b"."), ("m/byteorder", b"big")]), "little-endian");
    let pickle = Pickle::dict(|p| p.text("t").tensor("0", 0, &[4], &[1]));
    let whole = zip(&[("m/data.pkl", &pickle), ("m/data/0", &[0; 16])]);
    assert!(TorchFile::new(whole.clone()).is_ok());
    // No cut and no flipped byte does anything but succeed or fail.
    for len in 4..whole.len() {
        assert!(TorchFile::new(whole[..len].to_vec()).is_err());
    }
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut file = whole.clone();
            file[at] ^= 1 << bit;
            if let Ok(torch) = TorchFile::new(file) {
                torch.with_safetensors(|s| s.fetch(0, s.size() as usize).map(drop)).unwrap();
            }
        }
    }
}

/// What nests deeply, or holds itself, costs no stack.
#[test]
fn deep_and_circular() {
    let deep = [b"\x80\x02".to_vec(), b"]".repeat(1_000_000), b"a".repeat(999_999), b".".to_vec()].concat();
    assert!(why(&deep).contains("no dictionary"));
    let circle = b"\x80\x02}q\0X\x01\0\0\0xh\0s.";
    assert!(why(circle).contains("'x' is no tensor"));
}

/// A pickle may be long, but not so that what it makes fills the memory.
#[test]
fn endless() {
    let endless = [b"\x80\x02".to_vec(), b"N0".repeat(5 << 20), b".".to_vec()].concat();
    assert!(why(&endless).contains("operations"));
    let nested = [b"\x80\x02".to_vec(), b"(".repeat(10 << 20), b".".to_vec()].concat();
    assert!(why(&nested).contains("operations"));
}
