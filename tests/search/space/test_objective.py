"""What a configuration costs, counted and measured, and what is within a limit or on a front."""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from minigpt_search.data.corpus.corpus import open_corpus
from minigpt_search.model.config import RunConfig
from minigpt_search.model.model_size import flops_per_token
from minigpt_search.model.network.gpt import GPT
from minigpt_search.model.records import COMPLETE, DIVERGED, FAILED, STOPPED
from minigpt_search.model.run_length import run_length
from minigpt_search.search.cli.make_experiment import make_experiment
from minigpt_search.search.cli.parser import make_parser
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.results.cost import cost_of_record, pareto_front
from minigpt_search.search.results.results import Results
from minigpt_search.search.space.objective import (
    counted_cost,
    counted_length,
    parse_max_cost,
    parse_objectives,
)

Make = Callable[..., TrialRecord]


@pytest.mark.parametrize("seq_len", [8, 64, 100])
@pytest.mark.parametrize("limit", [None, 1000, 10**9])
def test_a_length_counted_from_the_manifest_is_that_of_training(
    search_root: Path, seq_len: int, limit: int | None
) -> None:
    corpus = open_corpus(search_root / "corpus" / "small")
    config = RunConfig().replace(
        seq_len=seq_len, epochs=3, tokens_per_epoch=limit, batch_size=4, warmup_steps=0
    )
    length = run_length(config, len(corpus.dataset("train", seq_len)))
    assert counted_length(config, corpus.manifest.to_dict()) == length
    flop = counted_cost(config, "flop", corpus.manifest.to_dict())
    assert flop == 3 * length.sequences * seq_len * flops_per_token(config.model)


def test_counted_parameters_are_the_models() -> None:
    for fields in ({"embed_dim": 16}, {"embed_dim": 16, "tie_head": False, "n_layers": 3}):
        config = RunConfig().replace(**fields)
        count = sum(parameter.numel() for parameter in GPT(config.model).parameters())
        assert counted_cost(config, "params", {}) == count


@pytest.mark.parametrize(
    ("text", "unit", "most"),
    [
        ("5e14flop", "flop", 5e14),
        ("2.5 Tflop", "flop", 2.5e12),
        ("30s", "seconds", 30),
        ("8Mparam", "params", 8e6),
        ("8000000params", "params", 8e6),
        ("1KPARAM", "params", 1e3),
    ],
)
def test_a_limit_is_read(text: str, unit: str, most: float) -> None:
    limit = parse_max_cost(text)
    assert limit is not None and (limit.unit, limit.most) == (unit, most)


def test_objectives_are_read_and_cost_is_flop() -> None:
    assert parse_objectives(None) == parse_objectives("val_loss") == ("val_loss",)
    assert parse_objectives("val_loss,cost") == parse_objectives("val_loss, flop")
    assert parse_objectives("val_loss,seconds") == ("val_loss", "seconds")


def test_seconds_are_the_records_and_a_pack_shares_them(make_trial_record: Make) -> None:
    record = make_trial_record("a", seconds=6.0, pack=3)
    assert cost_of_record(record, "seconds") == 2.0
    tokens = record.epochs[-1].tokens_seen
    assert cost_of_record(record, "flop") == tokens * flops_per_token(record.config.model)


@pytest.fixture(scope="module")
def known(make_trial_record: Make) -> list[TrialRecord]:
    """60 trials of all endings, many with the same loss or time."""
    chance = random.Random(0)
    statuses = [COMPLETE] * 8 + [STOPPED, DIVERGED, FAILED]
    return [
        make_trial_record(
            str(i),
            5 + chance.randint(0, 9) / 4,
            chance.choice(statuses),
            seconds=float(chance.randint(1, 9)),
        )
        for i in range(60)
    ]


def test_the_front_is_what_no_other_beats(known: list[TrialRecord]) -> None:
    front = [r for (r,) in pareto_front([[r] for r in known if r.status == COMPLETE], "seconds")]

    def cost(record: TrialRecord) -> tuple[float, float]:
        return record.final.val_loss_nats, record.timing.training_seconds

    done = {cost(r) for r in known if r.status == COMPLETE}
    expected = {a for a in done if not any(b != a and b[0] <= a[0] and b[1] <= a[1] for b in done)}
    assert {cost(r) for r in front} == expected
    assert len(front) == len(expected)
    assert [cost(r)[1] for r in front] == sorted(cost(r)[1] for r in front)
    for slower, faster in itertools.pairwise(reversed(front)):
        assert slower.final.val_loss_nats < faster.final.val_loss_nats


def test_the_best_is_within_the_limit(known: list[TrialRecord], tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    for number, record in enumerate(known, start=1):  # each of a configuration of its own
        config = record.config.replace(lr_peak=1e-4 * number)
        ledger.append(dataclasses.replace(record, config=config))

    grid = make_experiment(make_parser().parse_args(["--grid", "lr"]), "cpu")

    def best_within(limit: str | None) -> TrialRecord | None:
        return Results(grid.replace(max_cost=limit), ledger).winning_trial

    able = [r for r in ledger.complete() if r.timing.training_seconds <= 3]
    best, unlimited = best_within("3s"), best_within(None)
    assert best is not None and best.timing.training_seconds <= 3 and unlimited is not None
    assert best.final.val_loss_nats == min(r.final.val_loss_nats for r in able)
    assert best.final.val_loss_nats > unlimited.final.val_loss_nats
    front = pareto_front([[r] for r in ledger.complete()], "seconds", parse_max_cost("3s"))
    assert front and all(r.timing.training_seconds <= 3 for (r,) in front)
    assert best_within("0.5s") is None
