"""A ladder's experiment without a command, and one that is climbed with made-up losses."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minigpt_search.data.corpus.corpus import open_corpus
from minigpt_search.model.records import COMPLETE, DIVERGED, EpochRecord
from minigpt_search.search.cli.make_experiment import make_experiment, with_corpus
from minigpt_search.search.cli.parser import check_options, make_parser
from minigpt_search.search.ladder.rounds import ladder_state
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.ledger_records import BaselineRecord, TrialRecord
from minigpt_search.search.results.results import Results
from minigpt_search.search.trials.trial import Trial, make_trial

Loss = Callable[[Trial], float | None]
WORDS = (
    *("--ladder", "--target", "quick", "--tokens-per-epoch", "8000", "--val-tokens", "512"),
    *("--corpus", "small", "--rungs", "800,1600,3200", "--embed-dim", "8", "--seq-len", "8"),
    *("--space", "batch_size=1", "--space", "n_layers=1", "--device", "cpu"),
)


@pytest.fixture(scope="session")
def ladder_words() -> tuple[str, ...]:
    """Of a command that trains three rungs of 100, 200 and 400 steps."""
    return WORDS


@pytest.fixture(scope="session")
def make_ladder(search_root: Path) -> Callable[..., Experiment]:
    """`make_ladder(*words)`: the experiment of `ladder_words` and these."""

    def make(*words: str) -> Experiment:
        args = make_parser().parse_args([*WORDS, *words])
        args.words = (*WORDS, *words)
        check_options(args)
        corpus = open_corpus(search_root / "corpus" / "small")
        return with_corpus(make_experiment(args, "cpu"), corpus)

    return make


@pytest.fixture(scope="session")
def loss_of() -> Callable[..., Loss]:
    """`loss_of(slope=0, best=1e-3, steep=0.1, sd=0.02, up=2)`: losses in valleys whose lowest point
    goes with tokens to this power; at 800 tokens it is at `best`."""

    def make(
        slope: float = 0.0, best: float = 1e-3, steep: float = 0.1, sd: float = 0.0, up: float = 2.0
    ) -> Loss:
        def loss(trial: Trial) -> float:
            train = trial.config.train
            tokens = (train.tokens_per_epoch or 0) * train.epochs
            ridge = math.log(best) + slope * math.log(tokens / 800)
            distance = math.log(train.lr_peak) - ridge
            rise = steep * distance**2 * (up if distance > 0 else 1)
            # Not by the trial's id, in which the machine's precision is.
            cell = (tokens, round(1e9 * train.lr_peak), trial.config.model.embed_dim)
            luck = np.random.default_rng([*cell, trial.replicate]).normal(0, sd)
            return float(5 + 2 * (tokens / 800) ** -0.3 + rise + luck)

        return loss

    return make


@pytest.fixture(scope="session")
def record_of(make_trial_record: Callable[..., TrialRecord]) -> Callable[..., TrialRecord]:
    """`record_of(trial, loss)`: of an ended trial; without a loss, of one that diverged."""

    def make(trial: Trial, loss: float | None) -> TrialRecord:
        fields: dict[str, Any] = {"config": trial.config, "replicate": trial.replicate}
        if loss is None:
            return make_trial_record(trial.trial_id, status=DIVERGED, **fields)
        train = trial.config.train
        epochs = tuple(
            EpochRecord(
                epoch=n,
                train_loss_nats=loss,
                val_loss_nats=loss,
                val_perplexity=math.exp(loss),
                val_bits_per_byte=1.0,
                lr_last=1e-4,
                grad_norm_mean=0.5,
                tokens_seen=(train.tokens_per_epoch or 0) * n,
                wall_seconds=1.0 * n,
                steps_per_second=3.0,
                peak_memory_mb=400.0,
            )
            for n in range(1, train.epochs + 1)
        )
        return make_trial_record(trial.trial_id, loss, COMPLETE, epochs=epochs, **(fields))

    return make


@pytest.fixture(scope="session")
def climb(record_of: Callable[..., TrialRecord]) -> Callable[..., list[TrialRecord]]:
    """`climb(experiment, loss)`: all trials that it came to have, in the order they were due."""

    def run(experiment: Experiment, loss: Loss) -> list[TrialRecord]:
        records: list[TrialRecord] = []
        while due := ladder_state(experiment, records).due:
            trials = [make_trial(experiment, *each) for each in due]
            records += [record_of(trial, loss(trial)) for trial in trials]
        return records

    return run


@pytest.fixture
def results_of(
    make_ladder: Callable[..., Experiment], climb: Callable[..., list[TrialRecord]], tmp_path: Path
) -> Callable[..., Results]:
    """`results_of(loss, *words)`: of a ladder climbed with these losses."""

    def make(loss: Callable[[Trial], float | None], *words: str) -> Results:
        experiment, ledger = make_ladder(*words), Ledger(tmp_path / "ledger.jsonl")
        for record in climb(experiment, loss):
            ledger.append(record)
        for tokens, bigram in ((800, 6.5), (3200, 6.45), (8000, 6.4)):
            scores = {"uniform": 10.8, "unigram": 7.5, "bigram": bigram, "trigram": 3.0}
            ledger.append(
                BaselineRecord(
                    seq_len=8,
                    tokens_per_epoch=tokens,
                    val_tokens=512,
                    counted_tokens=tokens,
                    scored_tokens=512,
                    losses=scores,
                    documents={},
                )
            )
        return Results(experiment, ledger)

    return make


@pytest.fixture
def climbed(
    make_ladder: Callable[..., Experiment],
    climb: Callable[..., list[TrialRecord]],
    loss_of: Callable[..., Loss],
    tmp_path: Path,
) -> Callable[..., tuple[Experiment, Ledger]]:
    """`climbed(*words)`: a ladder whose rungs have ended, the best rate falling with tokens."""

    def make(*words: str) -> tuple[Experiment, Ledger]:
        experiment, ledger = make_ladder(*words), Ledger(tmp_path / "ledger.jsonl")
        for record in climb(experiment, loss_of(slope=-0.3, sd=0.01, steep=0.2, best=4e-3)):
            ledger.append(record)
        return experiment, ledger

    return make
