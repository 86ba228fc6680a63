"""The five lines of a ladder: the rate at the target, the loss to expect, what it takes, what next.

    Use        lr=0.00141 at the target (30,000,000 tokens, width 128): 95% interval 0.0009 to ...
    Loss       5.61 nats expected of one run at its best rate (95% interval 5.2 to 6.0); ...

They are predictions from shorter runs, and say so; a point is refused where it can't be trusted
(`search/ladder/prediction.py`). No torch, no Ray.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from minigpt_search.data.common.formatting import counted, duration
from minigpt_search.model.counting.baselines import BIGRAM, TRIGRAM, UNIGRAM
from minigpt_search.model.model_size import flops_per_token, parameter_count
from minigpt_search.search.answer.ladder_outcome import (
    UNPREDICTED,
    LongRuns,
    Outcome,
    at_target,
    loss_text,
    of_present_rungs,
    present_words,
    rate_text,
)
from minigpt_search.search.ladder.frontier import counting_ahead
from minigpt_search.search.ladder.prediction import Prediction, RungCheck
from minigpt_search.search.ladder.rounds import ladder_state, verify_tokens
from minigpt_search.search.records.ledger_records import PredictionRecord
from minigpt_search.search.results.baselines import NAMES, size_of
from minigpt_search.search.results.results import Results
from minigpt_search.search.space.axes import TOKENS
from minigpt_search.search.space.ladder_spec import (
    ladder_widths,
    rate_range,
    run_tokens,
)

TABLES = (UNIGRAM, BIGRAM, TRIGRAM)
NO_VALLEYS = "no two rungs have three rates with a result yet"
FURTHEST = 10.0
"""How many times beyond the target it is looked for where a table of counts is beaten."""


def ladder_texts(results: Results) -> dict[str, str]:
    """The first three lines, under their titles."""
    found = results.ladder_prediction
    if found is None:
        planned = results.trials_so_far
        ended = f"{len(results.trials)} of {counted(planned, 'trial')} ended"
        return {"Use": NO_VALLEYS, "Loss": "none", "Costs": ended}
    return {"Use": _use(results, found), "Loss": _loss(results, found), "Costs": _cost(results)}


def check_lines(results: Results) -> list[str]:
    """A line for each rung that was predicted from those below it."""
    found = results.ladder_prediction
    several = "embed_dim" in results.experiment.space.axes
    return [] if found is None else [_check_line(each, several) for each in found.checks]


def _check_line(check: RungCheck, several: bool) -> str:
    width = f", width {check.width}" if several else ""
    rate = "held" if check.rate_held else "failed"
    loss = "held" if check.loss_held else "failed"
    return (
        f"Check      {check.tokens:,} tokens{width}, from the rungs below: best rate "
        f"{check.rate:.2g} ({rate_range(check.low, check.high)}), found {check.found_rate:.2g} "
        f"({rate_range(check.found_low, check.found_high)}): {rate}; loss {check.loss:.3f} "
        f"({check.loss_low:.3f} to {check.loss_high:.3f}), found {check.found_loss:.3f}: {loss}"
    )


def _use(results: Results, found: Prediction) -> str:
    rate = found.rate
    where = f"at {rate.tokens:,.0f} tokens and width {rate.width:.0f}, "
    interval = f"95% interval {rate_range(rate.low, rate.high)}"
    drift = f"the best rate goes with tokens to the power {rate.slope:+.2f}"
    if abs(rate.slope) < 1.96 * rate.slope_sd:
        drift += f" ± {1.96 * rate.slope_sd:.2f}, so whether it rises or falls can't be told"
    if (came := at_target(results)) is not None:
        return "; ".join([*_trained(results, found, came, where), drift])
    where += _beyond(rate.tokens, found.largest)
    if found.refused:
        return f"not predictable from these rungs ({found.refused}): {interval} {where}; {drift}"
    delta = results.experiment.noise.delta_nats
    low, high = rate.rate * np.exp(-rate.below), rate.rate * np.exp(rate.above)
    return (
        f"lr={found.lattice_rate:g} {where}; predicted {rate.rate:.2g}, {interval}; within "
        f"{delta:g} nats of the best there are {low:.2g} to {high:.2g}; {drift}"
    )


def _beyond(tokens: float, largest: int) -> str:
    return f"{tokens / largest:.3g} times the tokens of the largest rung"


def _trained(results: Results, found: Prediction, came: LongRuns, where: str) -> list[str]:
    """What the runs at the target say themselves, beside what was predicted of them, as the ledger
    has it: of the same rungs another version of the fit may say something else. Then what rungs say
    that came after these runs, which is no prediction of them."""
    lost, made = ", ".join(f"lr={rate:g}" for rate in came.diverged), _made(came)
    words = f"no rate yet: {lost} came to no result"
    if came.best is not None:
        several = len(came.losses) > 1
        among = f"the lowest of {len(came.losses)} rates" if several else "the only rate"
        words = f"lr={came.best:g}, {among} trained"
        words += f" ({lost} came to no result)" * bool(lost)
    where += _beyond(found.rate.tokens, made.largest_rung_tokens if made else found.largest)
    said = [f"{words} {where}" + (f" it was predicted from: {rate_text(made)}" if made else "")]
    said += [] if made else [UNPREDICTED]
    if (now := of_present_rungs(results, made)) is not None:
        said.append(f"{present_words(now, made)} {rate_text(now)}")
    return said


def _made(came: LongRuns) -> PredictionRecord | None:
    """What was predicted of these runs, if the ledger has it."""
    return came.prediction if isinstance(came, Outcome) else None


def _loss(results: Results, found: Prediction) -> str:
    loss, runs = found.loss, at_target(results)
    if runs is not None and runs.best is not None:
        seeds = results.experiment.noise.seeds
        of_seeds = f"the mean of {seeds} seeds" if seeds > 1 else "one seed"
        said = [f"{runs.losses[runs.best]:.4f} nats at lr={runs.best:g}, {of_seeds}"]
        made = _made(runs)
        said.append(f"predicted before: {loss_text(made)}" if made else UNPREDICTED)
        if (now := of_present_rungs(results, made)) is not None:
            said.append(f"{present_words(now, made)} {loss_text(now)}")
        return "; ".join(said)
    parts = [
        f"{loss.loss:.2f} nats expected of one run at its best rate (95% interval "
        f"{loss.low:.2f} to {loss.high:.2f})"
    ]
    if found.loss_caveat:
        parts.append(f"not to be relied on: {found.loss_caveat}")
        beside = ["tables of counts"] * any(table_scores(results, name) for name in TABLES)
        beside += ["other widths"] * (len(ladder_widths(results.experiment.space)) > 1)
        parts += [f"{' and '.join(beside)} are left out for that"] if beside else []
        return "; ".join(parts)
    return "; ".join([*parts, *_tables(results, found), *_widths(results, found)])


def _widths(results: Results, found: Prediction) -> list[str]:
    """What the other widths of the rungs are expected to come to for the target's operations; of
    one whose run would be shorter than the rungs nothing is."""
    model, train = results.experiment.space.base.model, results.experiment.space.base.train
    text = results.experiment.corpus.manifest["splits"]["train"]["tokens"] * train.epochs
    said = []
    for width in ladder_widths(results.experiment.space):
        if width != model.embed_dim:
            other = dataclasses.replace(model, embed_dim=width)
            tokens = found.rate.tokens * flops_per_token(model) / flops_per_token(other)
            if tokens < np.exp(found.cells[:, 0].min()):
                said.append(f"a run of width {width} is shorter than the rungs")
                continue
            loss, beyond = found.loss_at(tokens, width), tokens / found.largest
            words = f"{loss.loss:.2f} ({loss.low:.2f} to {loss.high:.2f}) by width {width}"
            notes = [f"{beyond:.3g} times the largest rung"] * (beyond > 1)
            notes += ["more than the corpus has"] * (tokens > text)
            where = f" ({', '.join(notes)})" if notes else ""
            said.append(f"{words} on {tokens:,.0f} tokens{where}")
    return [f"for the same FLOP {', '.join(said)}"] if said else []


def _tables(results: Results, found: Prediction) -> list[str]:
    """Which tables of counts the target is expected to beat, and from how many tokens on."""
    said = []
    for name in TABLES:
        known = table_scores(results, name)
        if not known:
            continue
        epochs = results.experiment.space.base.train.epochs
        target = found.rate.tokens
        at = np.geomspace(min(known) * epochs, target * FURTHEST, 600)
        table = counting_ahead(list(known), list(known.values()), at / epochs)
        expected = found.loss.at(at, found.rate.width)
        there = float(np.interp(np.log(target), np.log(at), table))
        words = f"{NAMES[name]} ({there:.2f})"
        before = at[(at <= target) & (expected >= table)]
        after = at[(at > target) & (expected < table)]
        if found.loss.high < there:
            said.append(f"expected to beat {words}{_by_the_fit('from', before[-1:], ' on')}")
        elif found.loss.low > there:
            said.append(f"not expected to beat {words}{_by_the_fit('before', after[:1])}")
        else:
            said.append(f"whether it beats {words} can't be told")
    return said


def _by_the_fit(when: str, tokens: np.ndarray, end: str = "") -> str:
    """From how many tokens on a table is beaten, or before how many it is not, with two digits;
    nothing where that is not within what was looked at."""
    return "".join(f" {when} about {float(f'{at:.2g}'):,.0f} tokens{end}" for at in tokens)


def table_scores(results: Results, name: str) -> dict[int, float]:
    """What the table scores in nats, by the tokens that it counted: of the rungs' texts, and of the
    target's where it was counted."""
    base = results.experiment.space.base
    axes = results.experiment.space.axes
    sizes = {size_of(base.replace(tokens_per_epoch=tokens)) for tokens in axes[TOKENS]}
    found = {
        each.counted_tokens: each.losses[name]
        for each in results.baselines
        if size_of(each) in sizes
    }
    return dict(sorted(found.items()))


def _cost(results: Results) -> str:
    """What the target takes, counted, and as the ladder's own runs took here."""
    base, spec = results.experiment.space.base, results.experiment.ladder
    assert base.train.tokens_per_epoch is not None and spec is not None
    rungs = set(spec.rungs)
    tokens = base.train.tokens_per_epoch * base.train.epochs
    flop = float(tokens) * flops_per_token(base.model)
    parts = [f"{parameter_count(base.model):,} parameters, {tokens:,} tokens, {flop:.2g} FLOP"]
    if (here := _time_here(results, tokens)) is not None:
        seen = sum(
            (trial.timing.total() - trial.trunk_seconds)
            for trial in results.trials
            if trial.config.train.tokens_per_epoch in rungs
        )
        parts += [here, f"the rungs' runs took {duration(seen)} together"]
    return "; ".join(parts)


def _time_here(results: Results, tokens: int) -> str | None:
    """What a run at the target's width takes; None before there is one of that width."""
    width = results.experiment.space.base.model.embed_dim
    known = [t for t in results.complete if t.config.model.embed_dim == width]
    if not known:
        return None
    last = max(known, key=lambda trial: trial.final.tokens_seen)
    seconds = last.timing.training_seconds / last.final.tokens_seen * tokens
    return f"about {duration(seconds)} here, as fast as the longest run so far"


def verify_line(results: Results) -> str | None:
    """What puts the prediction to the test next, and its price; None where nothing is due."""
    experiment, tokens = results.experiment, verify_tokens(results.experiment)
    if tokens is None:
        return None
    state = ladder_state(experiment, results.trials, results.ended_ids, results.predictions)
    rates = [float(values["lr"] or 0) for values, _ in state.due if values[TOKENS] == tokens]
    if not rates:
        return None
    total = run_tokens(experiment.space.base, tokens)
    words = " and ".join(f"lr={rate:g}" for rate in dict.fromkeys(rates))
    here = _time_here(results, total)
    return f"Verify     {words} on {total:,} tokens" + (f", each {here}" if here else "")
