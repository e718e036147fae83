"""A real model through transformers: the same sentence embeddings from raw and from archives."""

import json
import shutil

import pytest
import wcodec
import wcodec.transformers

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


def embed(model, tokenizer):
    batch = tokenizer(["weights", "the capital of France is Paris"], padding=True, return_tensors="pt")
    with torch.no_grad():
        states = model(**batch).last_hidden_state
    mask = batch["attention_mask"].unsqueeze(-1)
    return (states * mask).sum(1) / mask.sum(1)


def test_sentence_embeddings_are_the_same(tmp_path, model):
    source = model("minilm")
    tokenizer = transformers.AutoTokenizer.from_pretrained(source)
    expected = embed(transformers.AutoModel.from_pretrained(source), tokenizer)
    here = tmp_path / "minilm"
    shutil.copytree(source, here, ignore=shutil.ignore_patterns("*.safetensors"))
    with pytest.raises(OSError):
        transformers.AutoModel.from_pretrained(here)
    wcodec.compress(source / "model.safetensors", here / "model.wcodec")
    with wcodec.transformers.enabled():
        loaded = transformers.AutoModel.from_pretrained(here)
    assert torch.equal(embed(loaded, tokenizer), expected)
    with pytest.raises(OSError):
        transformers.AutoModel.from_pretrained(here)
    wcodec.install()
    assert torch.equal(embed(transformers.BertModel.from_pretrained(here), tokenizer), expected)
    # A directory of safetensors files is none of ours.
    assert torch.equal(embed(transformers.AutoModel.from_pretrained(source), tokenizer), expected)
    wcodec.transformers.uninstall()


def test_shards(tmp_path, model):
    """What the command makes of a directory, and archives under the names that the index of shards has."""
    source = model("minilm")
    st = pytest.importorskip("safetensors.torch")
    tensors = st.load_file(source / "model.safetensors")
    here, archives = tmp_path / "shards", tmp_path / "archives"
    shutil.copytree(source, here, ignore=shutil.ignore_patterns("*.safetensors"))
    names, weights = sorted(tensors), {}
    for i, part in enumerate([names[::2], names[1::2]], 1):
        file = f"model-{i:05}-of-00002.safetensors"
        st.save_file({name: tensors[name] for name in part}, here / file, metadata={"format": "pt"})
        weights.update((name, file) for name in part)
    (here / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weights}))
    wcodec.compress(here, archives)
    assert len(wcodec.transformers.archives(archives)) == 2
    for archive in archives.glob("*.wcodec"):
        shutil.copy(archive, here)
    assert wcodec.transformers.archives(here) is None  # there are safetensors files
    expected = transformers.AutoModel.from_pretrained(here).state_dict()
    for listed in [True, False]:
        with wcodec.transformers.enabled():
            loaded = transformers.AutoModel.from_pretrained(archives)
        assert loaded.name_or_path == str(archives)
        assert all(torch.equal(tensor, expected[name]) for name, tensor in loaded.state_dict().items())
        (archives / "model.wcodec.index.json").unlink(missing_ok=True)
    (archives / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../model.safetensors"}}))
    with pytest.raises(ValueError, match="no file of this directory"):
        wcodec.transformers.state_dict(archives)


def test_a_model_that_generates(tmp_path, model):
    source = model("smollm2")
    here = tmp_path / "smollm2"
    shutil.copytree(source, here, ignore=shutil.ignore_patterns("*.safetensors"))
    wcodec.compress(source / "model.safetensors", here / "model.wcodec")
    raw = transformers.AutoModelForCausalLM.from_pretrained(source)
    with wcodec.transformers.enabled():
        loaded, info = transformers.AutoModelForCausalLM.from_pretrained(here, output_loading_info=True)
        wide = transformers.AutoModelForCausalLM.from_pretrained(here, dtype=torch.float32)
    assert not info["missing_keys"] and loaded.dtype == raw.dtype and wide.dtype == torch.float32
    assert loaded.generation_config.to_dict() == raw.generation_config.to_dict()
    batch = transformers.AutoTokenizer.from_pretrained(here)("The capital of France is", return_tensors="pt")
    tokens = [m.generate(**batch, max_new_tokens=4, do_sample=False) for m in (raw, loaded)]
    assert torch.equal(*tokens)
