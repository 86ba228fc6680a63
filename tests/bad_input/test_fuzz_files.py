"""Cut and altered files: what is read is what was written, or it is refused; never another number.

MINIGPT_FUZZ=20 python -m pytest tests/bad_input/test_fuzz_files.py -s     # 20 times the cases
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.corpus.corpus import verify_corpus
from minigpt_search.data.corpus.manifest import MANIFEST_FILE, read_manifest
from minigpt_search.model.config import RunConfig
from minigpt_search.model.network.gpt import GPT
from minigpt_search.model.training.checkpoint import load, load_model, save_atomically
from minigpt_search.search.records.experiment import read_experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.records.trial_folder import (
    Start,
    note_start,
    read_outcome,
    read_started,
    write_outcome,
)

TIMES = int(os.environ.get("MINIGPT_FUZZ", "1"))


def altered(whole: bytes, seed: int, n: int) -> Iterator[bytes]:
    """`n` damaged copies: cut, bits flipped, bytes lost, added, repeated or zeroed."""
    chance = random.Random(seed)
    kinds = (_cut, _flip_one, _flip_one, _flip_several, _drop, _insert, _repeat, _zero)
    for number in range(n):
        damaged = kinds[number % len(kinds)](bytearray(whole), chance)
        if bytes(damaged) != whole:
            yield bytes(damaged)


def _cut(content: bytearray, chance: random.Random) -> bytearray:
    return content[: chance.randrange(len(content))]


def _flip_one(content: bytearray, chance: random.Random) -> bytearray:
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    return content


def _flip_several(content: bytearray, chance: random.Random) -> bytearray:
    for _ in range(chance.randint(2, 8)):
        _flip_one(content, chance)
    return content


def _drop(content: bytearray, chance: random.Random) -> bytearray:
    place = chance.randrange(len(content))
    del content[place : place + chance.choice((1, 1, 7, 100))]
    return content


def _insert(content: bytearray, chance: random.Random) -> bytearray:
    place = chance.randrange(len(content))
    content[place:place] = chance.choice((b"0", b"9", b"\n", b"\r", b"}", b'"', b"\0", b"-", b"e9"))
    return content


def _repeat(content: bytearray, chance: random.Random) -> bytearray:
    start, place = chance.randrange(len(content)), chance.randrange(len(content))
    content[place:place] = content[start : start + chance.choice((1, 10, 500))]
    return content


def _zero(content: bytearray, chance: random.Random) -> bytearray:
    place = chance.randrange(len(content))
    length = min(chance.choice((1, 16, 512)), len(content) - place)
    content[place : place + length] = bytes(length)
    return content


def fuzz(
    path: Path, read: Callable[[], Any], same: Callable[[Any], bool], n: int, seed: int = 0
) -> Counter[str]:
    """How many damaged copies of the file at `path` were refused, and how many read as they were
    written; any other content is a failure."""
    whole, counts = path.read_bytes(), Counter[str]()
    for damaged in altered(whole, seed, n * TIMES):
        path.write_bytes(damaged)
        try:
            content = read()
        except UserError as error:
            assert str(path) in str(error) or str(path.parent) in str(error)
            counts["refused"] += 1
            continue
        assert same(content), damaged
        counts["the same"] += 1
    path.write_bytes(whole)
    print(f"\n{path.name}: {dict(counts)}")
    return counts


def test_ledger(home: Path) -> None:
    path = home / "experiments" / "done" / "ledger.jsonl"
    written = Ledger(path).trials
    last_start = path.read_bytes().rindex(b"\n", 0, -1) + 1
    counts = Counter[str]()
    whole = path.read_bytes()
    for damaged in altered(whole, 1, 400 * TIMES):
        path.write_bytes(damaged)
        is_prefix = whole.startswith(damaged)
        try:
            read = Ledger(path).trials
        except UserError as error:
            assert f"{path}, line " in str(error) and not is_prefix
            counts["refused"] += 1
        else:
            # A torn end is the one damage that is passed over: at most the last record is lost,
            # or those that were never written.
            assert read == written[: len(read)]
            assert len(read) >= len(written) - 1 or is_prefix or b"\n" not in damaged[last_start:]
            counts["the same" if read == written else "a torn end"] += 1
        skipped_and_appended(path, written)
    print(f"\nledger.jsonl: {dict(counts)}; as many with --skip-damaged and an append")


def skipped_and_appended(path: Path, written: list[TrialRecord]) -> None:
    """With damaged lines passed over: only what was written, and an append loses none of it."""
    ledger = Ledger(path, skip_damaged=True)
    before, lines = ledger.trials, path.read_bytes().split(b"\n")[:-1]
    assert all(record in written for record in before)
    new = written[-1]
    ledger.append(new)
    again = Ledger(path, skip_damaged=True)
    expected = [*(record for record in before if record.trial_id != new.trial_id), new]
    assert again.trials == expected
    assert path.read_bytes().split(b"\n")[: len(lines)] == lines  # damaged ones too


def test_every_bit_of_a_line_is_noticed(home: Path) -> None:
    path = home / "experiments" / "done" / "ledger.jsonl"
    first, second = path.read_bytes().splitlines(keepends=True)[:2]
    written, counts = Ledger(path).trials[:2], Counter[str]()
    places = range(0, 8 * len(first), 1 if TIMES > 1 else 29)
    for place in places:
        damaged = bytearray(first)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(bytes(damaged) + second)
        try:
            assert Ledger(path).trials == written  # 1e-05 and 1E-05 are one number
            counts["the same"] += 1
        except UserError as error:
            assert "line 1 is damaged" in str(error)
            counts["refused"] += 1
    print(f"\nledger.jsonl: {len(places)} single bits of a line, {dict(counts)}")


def test_experiment(home: Path) -> None:
    folder = home / "experiments" / "done"
    written = read_experiment(folder)
    read = lambda: read_experiment(folder)  # noqa: E731
    fuzz(folder / "experiment.json", read, lambda content: content == written, 400)


def test_manifest(home: Path) -> None:
    folder = home / "corpus" / "small"
    written = read_manifest(folder)
    read = lambda: read_manifest(folder)  # noqa: E731
    fuzz(folder / MANIFEST_FILE, read, lambda content: content == written, 400)


def test_segment(home: Path) -> None:
    folder = home / "corpus" / "small"
    counts = fuzz(folder / "val.pt", lambda: verify_corpus(folder), lambda content: False, 160)
    assert counts["the same"] == 0


def test_outcome_and_trial(home: Path, tmp_path: Path) -> None:
    record = Ledger(home / "experiments" / "done" / "ledger.jsonl").trials[0]
    note_start(tmp_path / "trial", {"lr": 3e-4}, 0, Start(session="a"))
    write_outcome(tmp_path / "trial", record)
    started = read_started(tmp_path / "trial")
    folder = tmp_path / "trial"
    for counts in (
        fuzz(
            folder / "outcome.json",
            lambda: read_outcome(folder),
            lambda content: content in (None, record),
            160,
        ),
        fuzz(
            folder / "trial.json",
            lambda: read_started(folder),
            lambda content: content in (None, started),
            160,
        ),
    ):
        assert counts["refused"] == 0  # a damaged one counts as not there


def test_checkpoint(tmp_path: Path) -> None:
    config = RunConfig().replace(vocab_size=20, seq_len=4, embed_dim=4, n_layers=1, n_heads=1)
    torch.manual_seed(0)
    weights = GPT(config.model).state_dict()
    path = tmp_path / "final.pt"
    save_atomically({"config": config.to_dict(), "model": weights}, path)

    def same(content: Any) -> bool:
        model, read, _ = content
        return read == config and all(
            torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items()
        )

    fuzz(path, lambda: load_model(path), same, 400)


def test_every_bit_of_a_checkpoints_structure(tmp_path: Path) -> None:
    """Local headers, `data.pkl`, version and byte order, and the central directory."""
    path = tmp_path / "final.pt"
    weights = torch.arange(4.0)
    save_atomically({"weights": weights, "step": 7}, path)
    whole = path.read_bytes()
    places = range(0, 8 * len(whole), 3 if TIMES > 1 else 101)
    counts = Counter[str]()
    for place in places:
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            content = load(path)
        except UserError:
            counts["refused"] += 1
            continue
        assert torch.equal(content["weights"], weights) and content["step"] == 7
        counts["the same"] += 1
    print(f"\nfinal.pt: {len(places)} single bits, {dict(counts)}")
