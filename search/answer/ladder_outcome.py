"""A ladder's predictions as records of its ledger, and the runs that they are compared with."""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from dataclasses import dataclass

from minigpt_search.model.records import COMPLETE
from minigpt_search.search.ladder.prediction import Prediction
from minigpt_search.search.ladder.rounds import points_of, verify_tokens
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.ledger_records import PredictionRecord, TrialRecord
from minigpt_search.search.results.results import Results
from minigpt_search.search.space.ladder_spec import (
    LATTICE,
    SPACING,
    lattice_place,
    lattice_rate,
)

CANT_BE_TOLD = "which can't be told: the lowest lies at an end of these rates"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A prediction and what runs of that length came to."""

    prediction: PredictionRecord
    losses: dict[float, float]
    """Mean final validation loss in nats by learning rate, of those all of whose seeds came to a
    result; ascending."""
    diverged: tuple[float, ...]
    """The rates of which a seed came to none."""

    @property
    def best(self) -> float | None:
        """The rate with the lowest loss; None if none came to a result."""
        return min(self.losses, key=lambda rate: self.losses[rate]) if self.losses else None

    @property
    def loss_held(self) -> bool:
        """Whether the lowest loss lies within the interval."""
        record = self.prediction
        return self.best is not None and (
            record.loss_low <= self.losses[self.best] <= record.loss_high
        )

    @property
    def rate_held(self) -> bool | None:
        """Whether the interval reaches where the best rate is: between the neighbours of the one
        that was lowest. None where that is at an end of those trained, so that the best may be far
        beyond."""
        record, best = self.prediction, self.best
        if best is None:
            return False
        rates = [*self.losses, *self.diverged]
        below = max((rate for rate in rates if rate < best), default=0.0)
        above = min((rate for rate in rates if rate > best), default=math.inf)
        if record.rate_high < below or record.rate_low > above:
            return False
        return None if below == 0 or above == math.inf else True


def keep_predictions(experiment: Experiment, ledger: Ledger) -> list[PredictionRecord]:
    """Append to the ledger what a ladder whose rungs have ended says of its target, and of the runs
    of `--verify`: once for each state of the rungs, and never after a run of that length. Returns
    what is new."""
    base = experiment.space.base
    if experiment.ladder is None or base.train.tokens_per_epoch is None:
        return []
    results = Results(experiment, ledger)
    trials = sum(p.loss is not None for p in points_of(experiment, results.trials))
    new = []
    for tokens in dict.fromkeys((base.train.tokens_per_epoch, verify_tokens(experiment))):
        if tokens is None or _runs_of(results, tokens):
            continue
        known = [each for each in ledger.predictions if each.tokens_per_epoch == tokens]
        found = results.ladder_prediction_of(tokens)
        if found is None or (known and known[-1].rung_trials == trials):
            continue
        new.append(_record(found, tokens, trials, base.train.lr_peak))
        ledger.append(new[-1])
    return new


def _record(found: Prediction, tokens: int, trials: int, usual: float) -> PredictionRecord:
    rate, loss = found.rate, found.loss
    return PredictionRecord(
        tokens_per_epoch=tokens,
        tokens=round(rate.tokens),
        width=round(rate.width),
        largest_rung_tokens=found.largest,
        rung_trials=trials,
        rate=rate.rate,
        rate_low=rate.low,
        rate_high=rate.high,
        use_rate=found.lattice_rate,
        rival_rate=_rival(found, usual),
        refused=found.refused,
        loss=loss.loss,
        loss_low=loss.low,
        loss_high=loss.high,
        made_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        loss_caveat=found.loss_caveat,
    )


def _rival(found: Prediction, usual: float) -> float:
    """The rate that the target's recipe has, if that is another within the interval: beyond it, it
    would say nothing of the rate. Else one a factor of 2 off, on the side where the interval
    reaches further."""
    place, own = lattice_place(found.rate.rate), lattice_place(usual)
    within = found.rate.low <= lattice_rate(own) <= found.rate.high
    if within and abs(place - own) >= SPACING:
        return lattice_rate(own)
    rate = found.rate
    up = math.log(rate.high / rate.rate) > math.log(rate.rate / rate.low)
    other = place + SPACING * (1 if up else -1)
    return lattice_rate(min(max(other, LATTICE[0]), LATTICE[-1]))


def outcomes(results: Results) -> list[Outcome]:
    """The last prediction for each length of which there are runs that ended after it."""
    if results.experiment.ladder is None:
        return []
    found = []
    last = {each.tokens_per_epoch: each for each in results.predictions}
    for tokens, prediction in last.items():
        runs = _runs_of(results, tokens)
        by_rate: dict[float, list[TrialRecord]] = {}
        for run in runs:
            by_rate.setdefault(run.config.train.lr_peak, []).append(run)
        losses = {
            rate: sum(run.final.val_loss_nats for run in own) / len(own)
            for rate, own in sorted(by_rate.items())
            if all(run.status == COMPLETE for run in own)
        }
        rates = tuple(sorted(set(by_rate) - set(losses)))
        if runs:
            found.append(Outcome(prediction=prediction, losses=losses, diverged=rates))
    return found


def at_target(results: Results) -> Outcome | None:
    """What the target came to; None before any of its runs has ended."""
    target = results.experiment.space.base.train.tokens_per_epoch
    known = [each for each in outcomes(results) if each.prediction.tokens_per_epoch == target]
    return known[-1] if known else None


def prediction_text(record: PredictionRecord) -> str:
    """The prediction in one line."""
    point = f"lr={record.use_rate:g}" if not record.refused else "no point"
    return (
        f"{record.tokens:,} tokens: {point}, best rate {record.rate_low:.2g} to "
        f"{record.rate_high:.2g}, loss {record.loss_low:.2f} to {record.loss_high:.2f}"
        f"{_caveat(record)}: in the ledger before any run of that length"
    )


def rate_text(record: PredictionRecord) -> str:
    """`0.0025, 95% interval 0.0007 to 0.011`; that no point was given, and why, where none was."""
    interval = f"95% interval {record.rate_low:.2g} to {record.rate_high:.2g}"
    if record.refused:
        return f"no point ({record.refused}), {interval}"
    return f"{record.rate:.2g}, {interval}"


def loss_text(record: PredictionRecord) -> str:
    """`5.46 (5.21 to 5.78), not to be relied on (…)`."""
    return f"{record.loss:.2f} ({record.loss_low:.2f} to {record.loss_high:.2f}){_caveat(record)}"


def _caveat(record: PredictionRecord) -> str:
    return f", not to be relied on ({record.loss_caveat})" if record.loss_caveat else ""


def outcome_text(outcome: Outcome) -> str:
    """The prediction beside the outcome, in one line."""
    record = outcome.prediction
    lost = ", ".join(f"lr={rate:g}" for rate in outcome.diverged)
    lost = f"no result at {lost}" if lost else ""
    came = ", ".join(f"lr={rate:g} {loss:.3f}" for rate, loss in outcome.losses.items())
    came = f"came to {came} nats" + f", {lost}" * bool(lost) if came else f"came to {lost}"
    loss = "held" if outcome.loss_held else "failed"
    rate = {True: "which held", False: "which failed", None: CANT_BE_TOLD}[outcome.rate_held]
    return (
        f"{record.tokens:,} tokens {came}; predicted before: {loss_text(record)}, which {loss}; "
        f"best rate {rate_text(record)}, {rate}"
    )


def _runs_of(results: Results, tokens_per_epoch: int) -> Sequence[TrialRecord]:
    """Trials of this length at the target's width."""
    experiment = results.experiment
    assert experiment.ladder is not None
    width = experiment.space.base.model.embed_dim
    return [
        trial
        for trial in results.trials
        if trial.config.train.tokens_per_epoch == tokens_per_epoch
        and trial.config.model.embed_dim == width
        and trial.trial_id in results.ended_ids
    ]
