"""A worker's trials, trained in the test's own process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from minigpt_search.data.corpus.corpus import open_corpus
from minigpt_search.search.cli.make_experiment import make_experiment, with_corpus
from minigpt_search.search.cli.parser import make_parser
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.trials.trial import Trial
from minigpt_search.search.worker import trainable

Run = Callable[..., list[dict[str, object]]]


@pytest.fixture
def experiment(search_root: Path, tmp_path: Path) -> Experiment:
    """Two rates on a small corpus, in `tmp_path`/experiments/x."""
    (tmp_path / "corpus").symlink_to(search_root / "corpus")
    words = ("--lr", "1e-3,2e-3", "--embed-dim", "16", "--corpus", "small", "--name", "x")
    made = make_experiment(make_parser().parse_args(words), "cpu")
    made = with_corpus(made, open_corpus(search_root / "corpus" / "small"))
    made.write(tmp_path / "experiments" / "x")
    return made


@pytest.fixture
def run_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run_worker(*trials, session="a", alone=False)`: what a worker does, and what it reports; of
    one that raises, in the list `reports`."""

    def run(
        *trials: Trial,
        session: str = "a",
        alone: bool = False,
        reports: list[dict[str, object]] | None = None,
    ) -> list[dict[str, object]]:
        reports = [] if reports is None else reports
        monkeypatch.setattr(trainable.tune, "report", reports.append)
        cells = [{"values": trial.values, "replicate": trial.replicate} for trial in trials]
        trainable.run_trials({"pack": cells}, tmp_path / "experiments" / "x", session, alone)
        return reports

    return run
