"""A corpus of another tokenizer, from the search to the sample."""

from __future__ import annotations

import math
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from minigpt_search.data.corpus.corpus import Corpus, open_corpus
from minigpt_search.model.model_size import parameter_count
from minigpt_search.search.cli.make_experiment import make_experiment, with_corpus
from minigpt_search.search.cli.parser import make_parser
from minigpt_search.search.planning.disk import final_bytes
from minigpt_search.search.records.experiment import read_experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.storage.corpus_copy import fetch_corpus, push_corpus
from minigpt_search.search.storage.folder import FolderStorage

Run = Callable[..., subprocess.CompletedProcess[str]]
WORDS = ("--lr", "1e-3,3e-3", "--embed-dim", "16", "--tokens-per-epoch", "4096")


@pytest.fixture(scope="module")
def corpora(
    search_root: Path, make_prose: Callable[..., str], write_text_corpus: Callable[..., Corpus]
) -> dict[str, Corpus]:
    """Corpora `byte` and `bpe` of the same text, beside `small`."""
    texts = [make_prose(number) for number in range(30)]
    splits = {"train": texts[:20], "val": texts[20:25], "test": texts[25:]}
    choices = {"byte": "byte", "bpe": "bpe:400"}
    home = search_root / "corpus"
    return {name: write_text_corpus(home / name, c, **splits) for name, c in choices.items()}


def test_the_model_has_the_corpus_vocabulary_and_gpt2_s_plans_are_as_before(
    corpora: dict[str, Corpus], search_root: Path
) -> None:
    small = open_corpus(search_root / "corpus" / "small")
    for name, corpus, entries in (
        ("byte", corpora["byte"], 257),
        ("bpe", corpora["bpe"], 400),
        ("small", small, 50_257),
    ):
        planned = make_experiment(make_parser().parse_args([*WORDS, "--corpus", name]), "cpu")
        experiment = with_corpus(planned, corpus)
        base = experiment.space.base
        assert base.model.vocab_size == entries == experiment.corpus.vocab_size
        assert base.replace(vocab_size=50_257) == planned.space.base
        assert final_bytes(base) >= 4 * parameter_count(base.model) >= 4 * entries * 16
        assert experiment.corpus.bytes_per_token("train") == corpus.bytes_per_token("train")


def test_a_storage_has_the_tokenizer_s_file_too(corpora: dict[str, Corpus], tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    storage = FolderStorage(str(tmp_path / "shared"))
    push_corpus(storage, corpora["bpe"])
    (tmp_path / "shared" / "corpus" / "bpe" / "tokenizer.json").unlink()
    push_corpus(storage, corpora["bpe"])  # brings what is missing
    assert fetch_corpus(storage, "bpe", tmp_path / "here")
    assert open_corpus(tmp_path / "here").kept_tokenizer == corpora["bpe"].kept_tokenizer


@pytest.mark.slow
def test_from_search_to_sample_and_export(
    corpora: dict[str, Corpus], run_script: Run, search_root: Path, tmp_path: Path
) -> None:
    done = run_script("search/run.py", *WORDS, "--corpus", "bpe", "--name", "tok")
    assert done.returncode == 0, done.stderr
    per_token = corpora["bpe"].bytes_per_token("train")
    line = f"Tokenizer  bpe:400: 400 entries, {per_token:.2f} bytes a token\n"
    assert 1.5 < per_token < 6 and line in done.stdout
    folder = search_root / "experiments" / "tok"
    trials = Ledger(folder / "ledger.jsonl").complete()
    assert {trial.config.model.vocab_size for trial in trials} == {400} and len(trials) == 2
    assert all(trial.final.val_loss_nats < math.log(400) for trial in trials)
    assert read_experiment(folder).corpus.tokenizer == "bpe:400"

    done = run_script("search/rerun.py", "tok")
    assert done.returncode == 0, done.stderr
    assert "the same bits" in done.stdout and "Sample     The president" in done.stdout
    shutil.move(search_root / "corpus" / "bpe", tmp_path / "gone")
    (model,) = folder.glob("rerun/*/final.pt")
    done = run_script("model/generate.py", str(model), "The river \U0001f41d", "--tokens", "3")
    assert done.returncode == 0 and done.stdout.startswith("The river \U0001f41d"), done.stderr
    done = run_script("model/export.py", str(model), str(tmp_path / "exported"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "exported" / "tokenizer.json").exists()
    shutil.move(tmp_path / "gone", search_root / "corpus" / "bpe")
