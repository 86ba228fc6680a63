"""What counting scores of the trials' text, and how it gets into the ledger."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from minigpt_search.data.corpus.corpus import open_corpus
from minigpt_search.model.batching.order import evenly_spaced
from minigpt_search.model.config import RunConfig
from minigpt_search.model.counting.kneser_ney import KneserNey
from minigpt_search.search import run
from minigpt_search.search.cli.make_experiment import make_experiment
from minigpt_search.search.cli.parser import make_parser
from minigpt_search.search.planning import counting
from minigpt_search.search.planning.counting import count_what_is_missing
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.results.baselines import baseline_of


@pytest.fixture
def corpus_folder(search_root: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "small"
    shutil.copytree(search_root / "corpus" / "small", folder)
    shutil.rmtree(folder / counting.FOLDER, ignore_errors=True)
    return folder


def small(**fields: object) -> RunConfig:
    return RunConfig().replace(
        **{"seq_len": 16, "tokens_per_epoch": 2048, "val_tokens": 256, **fields}
    )


def test_the_windows_that_trials_see_are_counted_and_theirs_are_scored(
    corpus_folder: Path, tmp_path: Path
) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    assert count_what_is_missing(ledger, corpus_folder, [small(), small(lr_peak=1.0)]) is None
    (record,) = Ledger(ledger.path).baselines
    assert (record.counted_tokens, record.scored_tokens) == (2048, 256)

    corpus = open_corpus(corpus_folder)

    def windows(split: str, n: int) -> np.ndarray:
        dataset = corpus.dataset(split, 16)
        x, y = dataset.batch(evenly_spaced(n, len(dataset)))
        return torch.cat((x, y[:, -1:]), dim=1).numpy()

    table = KneserNey(windows("train", 128), corpus.vocab_size, 2)
    scored = windows("val", 16)
    grams = np.stack((scored[:, :-1].ravel(), scored[:, 1:].ravel()), axis=1)
    expected = -np.log(table.probabilities(grams))
    assert record.losses["bigram"] == pytest.approx(expected.mean())
    by_document = record.documents["bigram"]
    assert sum(by_document.nats) == pytest.approx(expected.sum(), abs=0.01)
    assert sum(by_document.tokens) == 256


def test_each_size_once_also_from_the_record_beside_the_corpus(
    corpus_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, again = Ledger(tmp_path / "a.jsonl"), Ledger(tmp_path / "b.jsonl")
    configs = [small(), small(seq_len=32), small(val_tokens=None)]
    count_what_is_missing(first, corpus_folder, configs)
    assert len(first.baselines) == 3
    monkeypatch.setattr(counting, "counting_losses", None)  # would be called
    count_what_is_missing(first, corpus_folder, configs)
    count_what_is_missing(again, corpus_folder, configs)
    assert again.baselines == first.baselines
    assert baseline_of(first.baselines, small(seq_len=32)) == first.baselines[1]
    assert baseline_of(first.baselines, small(seq_len=64)) is None


def test_what_is_left_out_is_said(
    corpus_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    monkeypatch.setattr(counting, "usable_memory", lambda: 1000)
    said = count_what_is_missing(ledger, corpus_folder, [small()])
    assert said is not None and "2,048 tokens takes too much of the memory" in said
    monkeypatch.undo()
    many = [small(val_tokens=16 * n) for n in range(1, 11)]
    said = count_what_is_missing(ledger, corpus_folder, many)
    assert said is not None and "first 8 sizes" in said and len(ledger.baselines) == 8
    said = count_what_is_missing(Ledger(tmp_path / "b"), tmp_path / "none", many)
    assert said is not None and said.startswith("not all was counted: ")


def test_what_is_left_out_is_said_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    args = make_parser().parse_args(["--lr", "1e-3,2e-3", "--preset", "quick"])
    plan = make_experiment(args, "cpu").replace(manifest={"name": "small"})
    monkeypatch.setattr(run, "count_what_is_missing", lambda *_: "too many sizes")
    ledger = Ledger(tmp_path / "ledger.jsonl")
    said = run._count(plan, tmp_path, ledger)
    run._count(plan, tmp_path, ledger, said)
    assert capsys.readouterr().out == "Note       too many sizes\n"
