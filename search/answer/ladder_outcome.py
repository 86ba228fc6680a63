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
    rate_range,
    run_tokens,
)

CANT_BE_TOLD = "which can't be told: the lowest lies at an end of these rates"
UNPREDICTED = "no prediction from before such runs is in the ledger, so nothing is tested"


@dataclass(frozen=True, kw_only=True)
class LongRuns:
    """What the runs of a length beyond the rungs came to."""

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
    def neighbours(self) -> tuple[float, float]:
        """The rates trained next below and next above the best; 0 or infinity where there is none,
        so that a better one may be far beyond. There must be a best."""
        assert self.best is not None
        rates = [*self.losses, *self.diverged]
        below = max((rate for rate in rates if rate < self.best), default=0.0)
        return below, min((rate for rate in rates if rate > self.best), default=math.inf)

    @property
    def is_open(self) -> bool:
        """Whether the best is at an end of the rates trained."""
        return self.best is not None and (self.neighbours[0] == 0 or self.neighbours[1] == math.inf)

    @property
    def text(self) -> str:
        """`came to lr=0.001 6.471, lr=0.002 6.5 nats`, and where there was no result."""
        lost = ", ".join(f"lr={rate:g}" for rate in self.diverged)
        lost = f"no result at {lost}" if lost else ""
        came = ", ".join(f"lr={rate:g} {loss:.3f}" for rate, loss in self.losses.items())
        return f"came to {came} nats" + f", {lost}" * bool(lost) if came else f"came to {lost}"


@dataclass(frozen=True, kw_only=True)
class Outcome(LongRuns):
    """A prediction and what runs of that length came to."""

    prediction: PredictionRecord

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
        record = self.prediction
        if self.best is None:
            return False
        below, above = self.neighbours
        if record.rate_high < below or record.rate_low > above:
            return False
        return None if self.is_open else True


def keep_predictions(experiment: Experiment, ledger: Ledger) -> list[PredictionRecord]:
    """Append to the ledger what a ladder whose rungs have ended says of its target, and of the runs
    of `--verify`: once for each state of the rungs, and never after a run of that length. Returns
    what is new."""
    base = experiment.space.base
    if experiment.ladder is None or base.train.tokens_per_epoch is None:
        return []
    results = Results(experiment, ledger)
    trials = _rung_trials(results)
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
    last = {each.tokens_per_epoch: each for each in results.predictions}
    return [
        Outcome(losses=came.losses, diverged=came.diverged, prediction=prediction)
        for tokens, prediction in last.items()
        if (came := _came_to(results, tokens)) is not None
    ]


def _came_to(results: Results, tokens_per_epoch: int) -> LongRuns | None:
    """What the runs of this length came to; None before any has ended."""
    by_rate: dict[float, list[TrialRecord]] = {}
    for run in _runs_of(results, tokens_per_epoch):
        by_rate.setdefault(run.config.train.lr_peak, []).append(run)
    losses = {
        rate: sum(run.final.val_loss_nats for run in own) / len(own)
        for rate, own in sorted(by_rate.items())
        if all(run.status == COMPLETE for run in own)
    }
    diverged = tuple(sorted(set(by_rate) - set(losses)))
    return LongRuns(losses=losses, diverged=diverged) if by_rate else None


def at_target(results: Results) -> LongRuns | None:
    """What the target came to, beside what was predicted of it if the ledger has that; None before
    any of its runs has ended, and for another search."""
    target = results.experiment.space.base.train.tokens_per_epoch
    if results.experiment.ladder is None or target is None:
        return None
    known = [each for each in outcomes(results) if each.prediction.tokens_per_epoch == target]
    return known[-1] if known else _came_to(results, target)


def prediction_text(record: PredictionRecord) -> str:
    """The prediction in one line."""
    point = f"lr={record.use_rate:g}" if not record.refused else "no point"
    return (
        f"{record.tokens:,} tokens: {point}, best rate "
        f"{rate_range(record.rate_low, record.rate_high)}, loss {record.loss_low:.3f} to "
        f"{record.loss_high:.3f}"
        f"{_caveat(record)}: in the ledger before any run of that length"
    )


def rate_text(record: PredictionRecord) -> str:
    """`0.0025, 95% interval 0.0007 to 0.011`; that no point was given, and why, where none was."""
    interval = f"95% interval {rate_range(record.rate_low, record.rate_high)}"
    if record.refused:
        return f"no point ({record.refused}), {interval}"
    return f"{record.rate:.2g}, {interval}"


def loss_text(record: PredictionRecord) -> str:
    """`5.462 (5.214 to 5.781), not to be relied on (…)`."""
    return f"{record.loss:.3f} ({record.loss_low:.3f} to {record.loss_high:.3f}){_caveat(record)}"


def _caveat(record: PredictionRecord) -> str:
    return f", not to be relied on ({record.loss_caveat})" if record.loss_caveat else ""


def outcome_text(outcome: Outcome) -> str:
    """The prediction beside the outcome, in one line."""
    record = outcome.prediction
    loss = "held" if outcome.loss_held else "failed"
    rate = {True: "which held", False: "which failed", None: CANT_BE_TOLD}[outcome.rate_held]
    return (
        f"{record.tokens:,} tokens {outcome.text}; predicted before: {loss_text(record)}, "
        f"which {loss}; best rate {rate_text(record)}, {rate}"
    )


def outcome_texts(results: Results) -> list[str]:
    """A line for each prediction beside its outcome, and one for runs of the target that the ledger
    has no prediction of."""
    said, came = [outcome_text(each) for each in outcomes(results)], at_target(results)
    if came is not None and not isinstance(came, Outcome):
        base = results.experiment.space.base
        tokens = run_tokens(base, base.train.tokens_per_epoch or 0)
        said.append(f"{tokens:,} tokens {came.text}; {UNPREDICTED}")
    return said


def of_present_rungs(results: Results, before: PredictionRecord | None) -> PredictionRecord | None:
    """What the rungs say now of a length of which there are runs: of that of a prediction `before`
    these, or of the target. None where that was made from as many trials, or is a rung by now."""
    base, spec = results.experiment.space.base, results.experiment.ladder
    target = base.train.tokens_per_epoch
    assert spec is not None and target is not None
    tokens, trials = before.tokens_per_epoch if before else target, _rung_trials(results)
    if before is not None and (before.rung_trials == trials or tokens <= spec.rungs[-1]):
        return None
    own = tokens == target
    found = results.ladder_prediction if own else results.ladder_prediction_of(tokens)
    return None if found is None else _record(found, tokens, trials, base.train.lr_peak)


def present_words(now: PredictionRecord, before: PredictionRecord | None) -> str:
    """What `of_present_rungs` is made from, and that it is no prediction of those runs."""
    then = f", {before.rung_trials} then" if before else ""
    trials = f"{now.rung_trials} trials{then}"
    return f"from the present rungs ({trials}), after runs of that length and so no test:"


def present_text(results: Results, outcome: Outcome) -> str:
    """What the present rungs say of an outcome's length, in one line; empty where that is not other
    rungs than those it was predicted from."""
    now = of_present_rungs(results, outcome.prediction)
    if now is None:
        return ""
    words = present_words(now, outcome.prediction)
    return f"{now.tokens:,} tokens, {words} best rate {rate_text(now)}; loss {loss_text(now)}"


def _rung_trials(results: Results) -> int:
    """How many trials of the rungs came to a result."""
    return sum(p.loss is not None for p in points_of(results.experiment, results.trials))


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
