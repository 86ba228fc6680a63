"""`--tokenizer`: what is refused, what a corpus keeps, and that it is the same again."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.tokenizers.choose import (
    check_tokenizer,
    load_tokenizer,
    make_tokenizer,
)
from minigpt_search.data.tokenizers.record import vocab_size_of

TEXT = "The river and the stone and the garden of the river.\n" * 30
MakeFile = Callable[[], Tokenizer]


def no_texts() -> Any:
    raise AssertionError("this kind learns from no text")


def bert() -> Tokenizer:
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    options = {"vocab_size": 300, "special_tokens": ["[UNK]", "[SEP]"], "show_progress": False}
    made.train_from_iterator([TEXT], trainers.WordPieceTrainer(**options))
    return made


def llama() -> Tokenizer:
    """SentencePiece's BPE with byte fallback and a space before the text."""
    made = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    space = normalizers.Replace(" ", "\u2581")
    made.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), space])
    parts = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    made.decoder = decoders.Sequence([*parts, decoders.Strip(" ", 1, 0)])
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    made.train_from_iterator([TEXT], trainer)
    # As in the files of Llama: the bytes are entries, but no added tokens.
    raw = json.loads(made.to_str())
    raw["added_tokens"] = raw["added_tokens"][:3]
    return Tokenizer.from_str(json.dumps(raw))


def unigram() -> Tokenizer:
    made = Tokenizer(models.Unigram())
    made.normalizer = normalizers.NFKC()
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    special = {"special_tokens": ["<unk>", "</s>"], "unk_token": "<unk>"}
    trainer = trainers.UnigramTrainer(vocab_size=60, show_progress=False, **special)
    made.train_from_iterator([TEXT], trainer)
    return made


def few_bytes() -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.train_from_iterator([TEXT], trainers.BpeTrainer(vocab_size=100, show_progress=False))
    return made


def html() -> Tokenizer:
    """Its special token is also what it learnt from text."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator(["</s>"] * 9, trainer)
    made.add_special_tokens(["</s>"])
    return made


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (bert, "changes 'Hello ' into"),
        (llama, "changes '\u2581\u2581a \u2581b' into '  a  b'"),
        (unigram, "changes 'Hello ' into"),
        (few_bytes, "changes"),
        (html, "makes the special token '</s>' from text"),
    ],
)
def test_a_file_that_changes_text_is_refused_and_says_what(
    tmp_path: Path, make: MakeFile, says: str
) -> None:
    path = tmp_path / "tokenizer.json"
    make().save(str(path))
    with pytest.raises(UserError) as refused:
        check_tokenizer(str(path))
    message = str(refused.value)
    assert message.startswith(f"--tokenizer {path}: it ") and says in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: setattr(t, "normalizer", normalizers.NFKC()), "changes"),
        (lambda t: setattr(t, "normalizer", normalizers.Lowercase()), "'Hello ' into 'hello '"),
        (lambda t: setattr(t, "normalizer", normalizers.Replace("zqzq", "")), "normalizer Replace"),
        (lambda t: setattr(t, "pre_tokenizer", pre_tokenizers.ByteLevel()), "into ' Hello"),
        (lambda t: setattr(t, "pre_tokenizer", pre_tokenizers.BertPreTokenizer()), "changes"),
        (lambda t: t.add_tokens([AddedToken("<mask>", lstrip=True)]), "'a  <mas' into 'a<mask>'"),
    ],
)
def test_one_part_that_changes_text_is_enough(
    tmp_path: Path, gpt2_file: MakeFile, change: Callable[[Tokenizer], object], says: str
) -> None:
    made = gpt2_file()
    change(made)
    made.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(UserError, match=says.replace("(", r"\(")):
        check_tokenizer(str(tmp_path / "tokenizer.json"))


def test_what_only_lengthens_or_cuts_a_text_is_left_out(
    tmp_path: Path, gpt2_file: MakeFile
) -> None:
    """And NFC, which is no loss where it isn't applied."""
    made, given = gpt2_file(), tmp_path / "given.json"
    made.add_special_tokens(["<s>"])
    made.enable_truncation(3)
    made.enable_padding(length=10)
    made.normalizer = normalizers.NFC()
    made.post_processor = processors.TemplateProcessing("<s> $A", None, [("<s>", 50_257)])
    made.save(str(given))
    tokenizer = make_tokenizer(str(given), tmp_path, no_texts, tmp_path)
    text = "e\u0301 and many more words than three"
    assert tokenizer.encode(text).tolist() == gpt2_file().encode(text).ids
    assert tokenizer.separator_token == 50_256 and tokenizer.vocab_size == 50_258
    record = tokenizer.record()
    assert (record["name"], record["kind"]) == ("given.json", "file")
    assert record["source_sha256"] == hashlib.sha256(given.read_bytes()).hexdigest()


def test_a_file_without_an_end_of_text_gets_one_more_entry(tmp_path: Path) -> None:
    made = few_bytes()
    made.train_from_iterator(
        [TEXT],
        trainers.BpeTrainer(
            vocab_size=300,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    entries = made.get_vocab_size()
    made.save(str(tmp_path / "plain.json"))
    tokenizer = make_tokenizer(str(tmp_path / "plain.json"), tmp_path, no_texts, tmp_path)
    assert (tokenizer.separator_token, tokenizer.vocab_size) == (entries, entries + 1)


@pytest.mark.parametrize(
    "choice",
    ["bpe", "bpe:", "bpe:256", "bpe:1000001", "bpe:-5", "bpe:1e4", "bpe:\u0664\u0660\u0669\u0666"],
)
def test_a_size_out_of_range_is_refused(choice: str) -> None:
    with pytest.raises(UserError, match=r"^--tokenizer bpe.*: give bpe:SIZE .*257.*1,000,000"):
        check_tokenizer(choice)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "no such file"),
        (b"", "no tokenizer.json"),
        (b"\xff\xfe\x00", "no tokenizer.json"),
        (b"[]", "no tokenizer.json"),
        (b"[" * 100_000, "no tokenizer.json"),
        (b'{"model": 1, "decoder": null, "added_tokens": []}', "no tokenizer.json"),
        (b'{"model": {"type": "x"}, "decoder": null, "added_tokens": []}', "no tokenizer.json"),
    ],
)
def test_a_file_that_is_none_is_one_line(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = tmp_path / "some.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=says) as refused:
        check_tokenizer(str(path))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("choice", "says"), [("gpt", "no such file; give gpt2, byte"), ("a\0b", "null byte")]
)
def test_an_unknown_name_is_one_line(choice: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        check_tokenizer(choice)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a folder; give the tokenizer.json in it"):
        check_tokenizer(str(tmp_path))


@pytest.mark.parametrize("choice", ["gpt2", "byte", "char", "bpe:270"])
def test_a_corpus_keeps_what_it_needs(choice: str, tmp_path: Path, shared_home: Path) -> None:
    learning = choice in ("char", "bpe:270")
    texts = (lambda: iter([TEXT])) if learning else no_texts
    made = make_tokenizer(choice, shared_home, texts, tmp_path)
    files = {path.name for path in tmp_path.iterdir()}
    assert files == ({"tokenizer.json"} if learning else set())
    record = json.loads(json.dumps(made.record()))
    for name in files:
        assert record["files"][name] == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    loaded = load_tokenizer(record, tmp_path, shared_home)
    text = f"{TEXT} \u4e2d <|endoftext|>"
    assert loaded.encode(text).tolist() == made.encode(text).tolist()
    assert loaded.record() == made.record()
    assert vocab_size_of(record) == made.vocab_size


def test_a_file_that_is_gone_changed_or_of_a_newer_program_is_named(tmp_path: Path) -> None:
    record = make_tokenizer("bpe:270", tmp_path, lambda: iter([TEXT]), tmp_path).record()
    kept = tmp_path / "tokenizer.json"
    whole = kept.read_bytes()
    kept.write_bytes(whole.replace(b"river", b"rivet") + b" ")
    with pytest.raises(UserError, match=r"tokenizer.json: damaged"):
        load_tokenizer(record, tmp_path, tmp_path)
    kept.unlink()
    with pytest.raises(UserError, match=r"tokenizer.json: the tokenizer's file is missing"):
        load_tokenizer(record, tmp_path, tmp_path)
    with pytest.raises(UserError, match="kind 'later': update the program"):
        load_tokenizer({"name": "x", "kind": "later"}, tmp_path, tmp_path)
    kept.write_bytes(whole)
    with pytest.raises(UserError, match="another number of entries"):
        load_tokenizer({**record, "vocab_size": 271}, tmp_path, tmp_path)


def test_a_manifest_without_a_kind_is_gpt2_s(tmp_path: Path, shared_home: Path) -> None:
    record = {"name": "gpt2", "vocab_size": 50_257, "separator_token": 50_256, "files": {}}
    assert load_tokenizer(record, tmp_path, shared_home).kind == "gpt2"
    assert vocab_size_of({"name": "gpt2"}) == 50_257


LEARN = """
import sys
from pathlib import Path
from minigpt_search.data.tokenizers.choose import make_tokenizer
texts = [f"{k} the river {k * k} and the stone {k % 7}" for k in range(500)]
make_tokenizer("bpe:600", Path(), lambda: iter(texts), Path(sys.argv[1]))
"""


def test_the_same_text_gives_the_same_file_in_every_process(tmp_path: Path) -> None:
    made = []
    for number, threads in enumerate(("1", "2", "2")):
        folder = tmp_path / str(number)
        folder.mkdir()
        command = [sys.executable, "-c", LEARN, str(folder)]
        environment = {**os.environ, "RAYON_NUM_THREADS": threads}
        subprocess.run(command, check=True, env=environment)
        made.append((folder / "tokenizer.json").read_bytes())
    assert made[0] == made[1] == made[2]


def test_a_text_with_few_merges_gives_a_smaller_vocabulary(tmp_path: Path) -> None:
    made = make_tokenizer("bpe:5000", tmp_path, lambda: iter(["ab ab"]), tmp_path)
    assert (made.vocab_size, made.separator_token) == (258, 257)
    assert made.record()["name"] == "bpe:5000"


def test_pairs_are_merged_as_by_hand(tmp_path: Path) -> None:
    """The most frequent first: of "low low lower" `lo`, `low`; then ` low`."""
    made = make_tokenizer("bpe:260", tmp_path, lambda: iter(["low low lower low"]), tmp_path)
    vocabulary = json.loads((tmp_path / "tokenizer.json").read_text())["model"]["vocab"]
    assert {"lo", "low", "\u0120low"} == {token for token in vocabulary if len(token) > 1}
    assert len(made.encode("low lower")) == 1 + 1 + 2
