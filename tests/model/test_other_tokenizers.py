"""Corpora of other tokenizers: trained on, sampled from and exported, with the corpus gone."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.corpus.corpus import Corpus, open_corpus, verify_corpus
from minigpt_search.data.tokenizers.choose import load_tokenizer
from minigpt_search.model.config import ModelConfig, RunConfig, TrainConfig
from minigpt_search.model.export import export
from minigpt_search.model.generate import sample_text
from minigpt_search.model.training.checkpoint import load_model, save_atomically, tokenizer_of
from minigpt_search.model.training.train import train

WriteCorpus = Callable[..., Corpus]
TEXTS = [f"The river {k} and the stone, na\u00efve \u4e2d\n\tand {k * k}." for k in range(60)]
UNSEEN = "\U0001f41d <|endoftext|> </s>  two\r\n\tspaces <0x41> e\u0301 The river"


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """A tokenizer.json with special tokens of its own, and more entries than 16 bits hold."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=alphabet, special_tokens=["<s>"], show_progress=False
    )
    made.train_from_iterator(TEXTS, trainer)
    made.add_special_tokens(["</s>", *(f"<reserved {k}>" for k in range(66_000))])
    path = tmp_path / "given.json"
    made.save(str(path))
    return path


def trained(corpus: Corpus, folder: Path) -> Path:
    """The final weights of a run of some steps."""
    config = RunConfig(
        model=ModelConfig(
            vocab_size=corpus.vocab_size, seq_len=16, embed_dim=8, n_layers=1, n_heads=1
        ),
        train=TrainConfig(batch_size=8, epochs=1, lr_peak=1e-3, warmup_steps=1),
    )
    result = train(config, corpus, checkpoint_dir=folder)
    assert result.status == "complete" and result.checkpoint is not None
    end = result.epochs[-1]
    assert end.val_loss_nats == pytest.approx(math.log(corpus.vocab_size), rel=0.2)
    bits = end.val_loss_nats / math.log(2) / corpus.bytes_per_token("val")
    assert end.val_bits_per_byte == pytest.approx(bits)
    return folder / result.checkpoint.path


@pytest.mark.slow  # transformers takes ten seconds to import
@pytest.mark.parametrize("choice", ["byte", "char", "bpe:300", "file"])
def test_from_corpus_to_transformers(
    choice: str, given: Path, tmp_path: Path, write_text_corpus: WriteCorpus
) -> None:
    from transformers import AutoTokenizer, GPT2LMHeadModel

    wanted = str(given) if choice == "file" else choice
    folder = tmp_path / "corpus" / "mine"
    corpus = write_text_corpus(folder, wanted, train=TEXTS, val=[UNSEEN] * 3, test=TEXTS[:5])
    assert verify_corpus(folder).tokenizer["kind"] == choice.partition(":")[0]
    ours = load_tokenizer(corpus.manifest.tokenizer, folder, tmp_path)
    checkpoint = trained(corpus, tmp_path / "trial")
    shutil.rmtree(folder)
    given.unlink()

    model, _, content = load_model(checkpoint)
    tokenizer = tokenizer_of(content, checkpoint, tmp_path / "nowhere")
    assert tokenizer.encode(UNSEEN).tolist() == ours.encode(UNSEEN).tolist()
    assert sample_text(model, tokenizer, UNSEEN, tokens=5).startswith(UNSEEN)
    assert sample_text(model, tokenizer, "", tokens=5)

    export(checkpoint, tmp_path / "exported", tmp_path / "nowhere")
    theirs: Any = AutoTokenizer.from_pretrained(tmp_path / "exported")
    for text in [*TEXTS[:3], UNSEEN, "", " ", "\n\n", "<s>"]:
        ids = theirs(text)["input_ids"]
        assert ids == ours.encode(text).tolist(), text
        assert theirs.decode(ids) == text
    assert theirs.eos_token_id == theirs.bos_token_id == ours.separator_token
    assert len(theirs) == ours.vocab_size and theirs.model_max_length == 16
    loader: Any = GPT2LMHeadModel
    network = loader.from_pretrained(tmp_path / "exported").eval()
    assert network.config.eos_token_id == ours.separator_token
    tokens = torch.tensor([ours.encode(UNSEEN).tolist()[:16]])
    with torch.no_grad():
        logits = network(tokens).logits
        torch.testing.assert_close(model.logits(tokens), logits, atol=1e-5, rtol=1e-5)


def test_a_corpus_whose_tokenizer_is_gone_or_changed_is_refused(
    tmp_path: Path, write_text_corpus: WriteCorpus
) -> None:
    folder = tmp_path / "mine"
    corpus = write_text_corpus(folder, "char", train=TEXTS, val=TEXTS, test=TEXTS)
    assert corpus.vocab_size == len(set("".join(TEXTS))) + 257
    kept = folder / "tokenizer.json"
    kept.write_bytes(kept.read_bytes() + b" ")
    with pytest.raises(UserError, match=r"tokenizer.json: damaged"):
        verify_corpus(folder)
    kept.unlink()
    with pytest.raises(UserError, match=r"tokenizer.json: this file of the corpus is missing"):
        open_corpus(folder)


@pytest.mark.parametrize(
    ("kept", "says"),
    [
        (None, "a model of 60 tokens without its tokenizer: it has none in it, and GPT-2's has"),
        (
            {"record": {"kind": "byte", "separator_token": 256, "vocab_size": 257}, "files": {}},
            "60",
        ),
        ({"record": {"kind": "later"}, "files": {}}, "update the program"),
        ({"record": {"kind": "bpe", "name": "x", "separator_token": 1}, "files": {}}, "is damaged"),
        ({"record": {"kind": "char"}, "files": {"tokenizer.json": "{}"}}, "is damaged"),
        ({"record": {}}, "is damaged"),
        (7, "is damaged"),
    ],
)
def test_a_checkpoint_without_its_tokenizer_is_one_line(
    make_checkpoint: Callable[..., Path], tmp_path: Path, kept: Any, says: str
) -> None:
    path = make_checkpoint(embed_dim=8, vocab_size=60)
    _, _, content = load_model(path)
    save_atomically({**content, "tokenizer": kept}, tmp_path / "final.pt")
    with pytest.raises(UserError) as refused:
        export(tmp_path / "final.pt", tmp_path / "exported", tmp_path)
    assert str(refused.value).startswith(f"{tmp_path / 'final.pt'}: ") and says in str(
        refused.value
    )
    assert not (tmp_path / "exported").exists()
