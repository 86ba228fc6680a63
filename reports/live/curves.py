"""The curves of the live page: which trials it draws, in which colour, and their points.

However many trials there are, a page gets a bounded number of points: with few trials each has a
colour and both losses; with many the best ones and those that run, and of the newest others the
validation loss in grey.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from minigpt_search.model.config import RunConfig
from minigpt_search.model.records import COMPLETE, TrialCurve
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.records.live import LiveTrial
from minigpt_search.search.results.configurations import Configuration
from minigpt_search.search.results.labels import trial_label
from minigpt_search.search.space.axes import apply_axes

COLOURS = 8
"""That the page's style has."""
BEST = 3
"""Configurations that have a colour where there are more trials than colours."""
GREY = 40
"""Other trials that are drawn: the newest."""

Points = list[list[float]]
"""Training tokens seen, and a loss in nats there."""


class Colours:
    """Which trial has which colour. It keeps its own from poll to poll, until it is not among those
    that have one."""

    def __init__(self) -> None:
        self.of: dict[str, int] = {}

    def give(self, names: Sequence[str]) -> dict[str, int]:
        """A colour of COLOURS for each of the first so many `names`, which are trial ids."""
        wanted = list(dict.fromkeys(names))[:COLOURS]
        self.of = {name: colour for name, colour in self.of.items() if name in wanted}
        free = [colour for colour in range(COLOURS) if colour not in self.of.values()]
        for name in wanted:
            if name not in self.of:
                self.of[name] = free.pop(0)
        return dict(self.of)


def chosen(
    trials: Sequence[TrialRecord], configurations: Sequence[Configuration], most: int
) -> tuple[list[TrialRecord], list[TrialRecord]]:
    """The ended trials that have a colour, which are `most` or BEST at most, and those that are
    grey, in the order they ended."""
    drawn = [trial for trial in trials if points_of(trial)[1]]
    if len(drawn) <= most:
        return drawn, []
    ranked = sorted(
        (each for each in configurations if each.complete),
        key=lambda each: min(trial.final.val_loss_nats for trial in each.complete),
    )
    best = [
        min(each.complete, key=lambda trial: trial.final.val_loss_nats) for each in ranked[:BEST]
    ]
    names = {trial.trial_id for trial in best}
    return best, [trial for trial in drawn if trial.trial_id not in names][-GREY:]


def points_of(trial: TrialRecord) -> tuple[Points, Points]:
    """Training and validation points of an ended trial: its curve's, or where it has none those of
    its epochs."""
    if trial.curve is not None and trial.curve.steps:
        return curve_points(trial.curve, trial.config)
    tokens = [epoch.tokens_seen for epoch in trial.epochs]
    return (
        _points(tokens, [epoch.train_loss_nats for epoch in trial.epochs]),
        _points(tokens, [epoch.val_loss_nats for epoch in trial.epochs]),
    )


def curve_points(curve: TrialCurve, config: RunConfig) -> tuple[Points, Points]:
    """Training and validation points of a curve, against training tokens, repeats counted."""
    each = config.train.batch_size * config.model.seq_len
    return (
        _points((each * step for step in curve.steps), curve.train_loss_nats),
        _points((each * step for step in curve.val_steps), curve.val_loss_nats),
    )


def _points(tokens: Iterable[int], losses: Iterable[float]) -> Points:
    return [[at, round(loss, 4)] for at, loss in zip(tokens, losses, strict=False)]


def ended_series(
    experiment: Experiment, trial: TrialRecord, *, grey: bool, best: bool
) -> dict[str, Any]:
    """An ended trial as the page gets it; its colour is added at each poll."""
    training, validation = points_of(trial)
    return {
        "id": trial.trial_id,
        "label": trial_label(experiment, trial.config, trial.replicate),
        "state": trial.status,
        "best": best,
        "train": [] if grey else training,
        "val": validation,
        # No number of a trial that did not finish stands beside one that did.
        "loss": trial.final.val_loss_nats if trial.status == COMPLETE else None,
    }


def running_series(experiment: Experiment, trial: LiveTrial) -> dict[str, Any]:
    """A trial that trains as the page gets it, but for its state. Raises `UserError` for values
    that make no configuration."""
    config = apply_axes(experiment.space.base, trial.values)
    training, validation = curve_points(trial.curve, config)
    return {
        "id": trial.trial_id,
        "label": trial.trial,
        "best": False,
        "train": training,
        "val": validation,
        "loss": None,
    }
