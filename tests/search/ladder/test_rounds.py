"""What a ladder trains next, from made-up ledgers alone."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from minigpt_search.search.ladder.rounds import ladder_state
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.space.ladder_spec import LATTICE, lattice_place, lattice_rate
from minigpt_search.search.trials.trial import Trial, make_trial

Climb = Callable[..., list[TrialRecord]]
Make = Callable[..., Experiment]
Losses = Callable[..., Callable[[Trial], float | None]]


def _rates(records: list[TrialRecord]) -> dict[int, list[float]]:
    """The rates of each rung, by its tokens an epoch, in the order they were trained."""
    found: dict[int, list[float]] = {}
    for record in records:
        found.setdefault(record.config.train.tokens_per_epoch or 0, []).append(
            record.config.train.lr_peak
        )
    return found


def test_the_lattice_reads_back() -> None:
    assert [lattice_place(lattice_rate(k)) for k in LATTICE] == list(LATTICE)
    assert lattice_rate(0) == 1e-3 and lattice_rate(2) == 2e-3 and lattice_rate(1) == 1.41e-3


@pytest.mark.parametrize("slope", [-0.4, 0.0, 0.4])
def test_rung_by_rung_the_best_lies_inside_of_the_rates(
    make_ladder: Make, loss_of: Losses, climb: Climb, slope: float
) -> None:
    experiment = make_ladder()
    records = climb(experiment, loss_of(slope=slope, best=4e-4))
    rates = _rates(records)
    assert list(rates) == [800, 1600, 3200]  # ascending, none begun before those below ended
    for tokens, own in rates.items():
        best = 4e-4 * (tokens / 800) ** slope
        assert min(own) < best < max(own)
        mine = [r for r in records if r.config.train.tokens_per_epoch == tokens]
        lowest = min(mine, key=lambda r: r.final.val_loss_nats).config.train.lr_peak
        assert min(own) < lowest < max(own)
        assert len(set(own)) == len(own) < 8


def test_the_best_has_a_neighbour_on_both_sides(
    make_ladder: Make, loss_of: Losses, climb: Climb, record_of: Any
) -> None:
    """A rung that an extension made of runs of `--verify` has a rate far below those of its own."""
    experiment, loss = make_ladder(), loss_of(best=4e-3, steep=0.2, slope=-0.4)
    far = {"tokens_per_epoch": 3200, "lr": lattice_rate(-10)}
    records = climb(experiment, loss)
    below = [r for r in records if r.config.train.tokens_per_epoch != 3200]
    own = _rates(records)[3200]
    lowest = min(own, key=lambda rate: loss(_trial(experiment, rate)) or 9.0)
    kept = [_trial(experiment, rate) for rate in own if rate >= lowest]
    known = [*below, record_of(make_trial(experiment, far, 0), 9.0)]
    known += [record_of(trial, loss(trial)) for trial in kept]
    while due := ladder_state(experiment, known).due:
        known += [record_of(t, loss(t)) for t in (make_trial(experiment, *each) for each in due)]
    assert lattice_rate(lattice_place(lowest) - 2) in _rates(known)[3200]


def _trial(experiment: Experiment, rate: float) -> Trial:
    return make_trial(experiment, {"tokens_per_epoch": 3200, "lr": rate}, 0)


def test_what_is_due_is_the_same_after_a_kill_and_in_any_order(
    make_ladder: Make, loss_of: Losses, climb: Climb
) -> None:
    experiment, loss = make_ladder("--seeds", "2"), loss_of(slope=-0.3, sd=0.02)
    whole = climb(experiment, loss)
    assert len(whole) % 2 == 0
    for kept in (0, 3, 9, len(whole) - 1):
        part = whole[:kept]
        random.Random(kept).shuffle(part)
        state = ladder_state(experiment, part)
        known = {record.trial_id for record in whole}
        due = [make_trial(experiment, *each) for each in state.due]
        assert due and {trial.trial_id for trial in due} <= known
        assert not {trial.trial_id for trial in due} & {record.trial_id for record in part}
    assert ladder_state(experiment, whole).due == ()


def test_a_rate_that_diverged_bounds_the_rung(
    make_ladder: Make, loss_of: Losses, climb: Climb
) -> None:
    smooth = loss_of(best=1e-2)

    def loss(trial: Trial) -> float | None:
        return None if trial.config.train.lr_peak > 5e-3 else smooth(trial)

    for own in _rates(climb(make_ladder(), loss)).values():
        assert max(own) > 5e-3 and sum(rate > 5e-3 for rate in own) <= 2
    # Where all diverge it goes down, and ends.
    assert len(climb(make_ladder(), lambda trial: None)) < 3 * 11


def test_a_failed_trial_is_tried_again_on_resume_only(
    make_ladder: Make, loss_of: Losses, climb: Climb
) -> None:
    experiment = make_ladder()
    records: list[Any] = climb(experiment, loss_of())
    finished = {record.trial_id for record in records} - {records[0].trial_id}
    assert ladder_state(experiment, records).due == ()
    due = ladder_state(experiment, records, finished).due
    assert [make_trial(experiment, *each).trial_id for each in due] == [records[0].trial_id]


def test_several_widths_are_climbed_together(
    make_ladder: Make, loss_of: Losses, climb: Climb
) -> None:
    experiment = make_ladder("--embed-dim", "8,16")
    first = ladder_state(experiment, ())
    assert {values["embed_dim"] for values, _ in first.due} == {8, 16}
    assert len(first.due) == 8 and first.later == 16
    records = climb(experiment, loss_of())
    assert {r.config.model.embed_dim for r in records} == {8, 16}
