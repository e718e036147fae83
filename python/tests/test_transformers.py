"""A real model through transformers: the same sentence embeddings from raw and from archives."""

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
