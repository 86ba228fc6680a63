"""The answer in five lines: what to use, how sure, at what cost, what next, and the command for it.

    Use        lr=0.001; a parabola puts the best rate at 0.0011 (0.0008 to 0.0016)
    Loss       7.3412 nats (95% interval 7.3251 to 7.3573, 8 fresh seeds); separated from ...
    Costs      6,837,888 parameters, 110,000 tokens, 4.6e+12 FLOP, 53.7 s, 870 MB
    Next       the best learning rate is at the upper edge of what was tried: go beyond it
    Command    python search/run.py --extend lr-quick --lr 0.0003,0.0005,0.001,0.002,0.004

Every line is computed from the experiment's plan and its ledger. No torch, no Ray.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from minigpt_search.data.common.formatting import counted, duration, perplexity
from minigpt_search.model.model_size import flops_per_token, parameter_count
from minigpt_search.search.answer.advice import alarms, steps
from minigpt_search.search.answer.commands import Step
from minigpt_search.search.results.baselines import standing_text
from minigpt_search.search.results.configurations import Configuration, same_but
from minigpt_search.search.results.confirm import is_fresh
from minigpt_search.search.results.fits import BestRate, PowerLaw, best_rate, power_law
from minigpt_search.search.results.results import Results
from minigpt_search.search.results.statistics import ALPHA
from minigpt_search.search.results.winner import Winner

NOT_SEPARABLE = "not separable from"
NAMED = 2
"""Configurations that are named with their p; of the rest the number is told."""
INDENT = 11
"""Columns of a line's title, as in the plan."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The five lines' texts, and what they are made from."""

    use: str
    loss: str
    cost: str
    steps: tuple[Step, ...]
    """What to run next, the most pressing first; at least one."""
    alarms: tuple[str, ...]
    winner: Winner | None
    best_rate: BestRate | None
    laws: tuple[PowerLaw, ...]
    """Loss against epochs, against parameters: where there are points enough."""

    @property
    def first_lines(self) -> dict[str, str]:
        """The first three lines, under their titles."""
        return {"Use": self.use, "Loss": self.loss, "Costs": self.cost}

    def lines(self) -> list[str]:
        """The five lines, and one for each alarm."""
        first = self.steps[0]
        named = {**self.first_lines, "Next": first.why, "Command": first.command}
        five = [f"{title:<{INDENT}}{text}" for title, text in named.items()]
        return five + [f"{'Caution':<{INDENT}}{alarm}" for alarm in self.alarms]


def answer(results: Results, out: str | None = None) -> Answer:
    """What the ledger says so far. `out` is `--out` as it was given, for the commands."""
    best, planned = results.winner, results.experiment.planned_trials
    if best is None:
        return Answer(
            use=results.why_no_winner,
            loss="none",
            cost=f"{len(results.trials)} of {counted(planned, 'trial')} ended",
            steps=tuple(steps(results, out)),
            alarms=(),
            winner=None,
            best_rate=None,
            laws=(),
        )
    chosen, found = best.configuration, results.configurations
    rate, laws = rate_curve(chosen, found), power_laws(chosen, found)
    use = "; ".join([chosen.label, *([rate.text] if rate else [])])
    return Answer(
        use=use,
        loss=_loss(results, best),
        cost=_cost(best),
        steps=tuple(steps(results, out, None if rate is None else rate.rate)),
        alarms=tuple(alarms(results, best)),
        winner=best,
        best_rate=rate,
        laws=tuple(laws),
    )


def _loss(results: Results, best: Winner) -> str:
    """The winner's number, its interval, and how sure it is that it wins."""
    known, final = best.estimate, best.trial.final
    seeds = f"{known.n} {'fresh ' * best.fresh}seed{'s' * (known.n > 1)}"
    if known.low is None:
        spread = f"one {'fresh ' * best.fresh}seed, so no interval"
    else:
        # Losses that chose it are too good for what it comes to (docs/noise.md).
        chosen = "" if best.fresh or not best.rivals else ", chosen by them"
        spread = f"95% interval {known.low:.4f} to {known.high:.4f}, {seeds}{chosen}"
    parts = [f"{known.mean:.4f} nats ({spread}), perplexity {perplexity(final.val_perplexity)}"]
    if known.n > 1:
        parts = [f"{known.mean:.4f} nats ({spread})"]
    searched = sum(not is_fresh(results.experiment, trial) for trial in results.trials)
    if searched < results.experiment.planned_trials:
        parts.append("so far")
    if (other := results.on_other_text) is not None:
        parts.append(
            f"on other text of this kind {other.low:.2f} to {other.high:.2f} "
            f"({other.documents} documents)"
        )
    if results.baseline is not None:
        parts.append(standing_text(results.baseline, known.mean))
    return "; ".join([*parts, how_sure(best)])


def how_sure(best: Winner) -> str:
    """`separated from lr=0.002 (0.1 nats behind, p = 0.001); p ≤ 0.05 separates`, or what is not
    known."""
    if best.unsteady:
        labels = ", ".join(each.label for each in best.unsteady[:NAMED])
        out = f"{labels}{_more(best.unsteady)} left out: diverged with a seed"
        return f"{_how_sure(best)}; {out}"
    return _how_sure(best)


def _how_sure(best: Winner) -> str:
    if not best.rivals:
        return "nothing else to compare it with"
    if not any(best.tests.values()):
        single = best.estimate.n == 1 and all(len(best.trials(r)) == 1 for r in best.rivals)
        few = "one seed each" if single else "too few finished seeds"
        return f"{few}: whether it is really the best can't be told"
    digits = _digits(best)
    apart = [each for each in best.rivals if each not in best.open]
    parts = [f"{NOT_SEPARABLE} {_named(best, best.open, digits)}"] if best.open else []
    parts += [f"separated from {_named(best, apart, digits)}"] if apart else []
    return f"{', '.join(parts)}; {_rule(best, digits)}"


def _named(best: Winner, rivals: Sequence[Configuration], digits: int) -> str:
    """The closest of them with their distances and p; of the rest the number."""
    named = []
    for each in rivals[:NAMED]:
        test = best.tests.get(each.config)
        p = "too few seeds for a test" if test is None else f"p = {test.p:.{digits}g}"
        named.append(f"{each.label} ({best.behind(each):.4f} nats behind, {p})")
    return ", ".join(named) + _more(rivals)


def _more(found: Sequence[Configuration]) -> str:
    return f" and {len(found) - NAMED} more" if len(found) > NAMED else ""


def _rule(best: Winner, digits: int) -> str:
    """`p ≤ 0.017 separates: 5% shared by 3 pairs (Bonferroni)`."""
    rule = f"p ≤ {best.alpha:.{digits}g} separates"
    pairs = round(ALPHA / (best.alpha * best.looks))
    counts = ((best.looks, "look"), (pairs, "pair"))
    shared = " and ".join(counted(count, noun) for count, noun in counts if count > 1)
    return f"{rule}: {ALPHA:.0%} shared by {shared} (Bonferroni)" if shared else rule


def _digits(best: Winner) -> int:
    """Significant digits, two at least, with which each p stands on its side of the level as it is
    printed too."""
    ps = [test.p for test in best.tests.values() if test is not None]

    def is_told(digits: int) -> bool:
        level = float(f"{best.alpha:.{digits}g}")
        return all((float(f"{p:.{digits}g}") <= level) == (p <= best.alpha) for p in ps)

    return next((digits for digits in range(2, 9) if is_told(digits)), 9)


def _cost(best: Winner) -> str:
    """What one training of it takes, counted and as measured."""
    trial = best.trial
    tokens = trial.final.tokens_seen
    flop = float(tokens) * flops_per_token(trial.config.model)
    memory = max(epoch.peak_memory_mb for epoch in trial.epochs)
    seconds = duration(trial.timing.total())
    pack = f" (in a pack of {trial.pack})" if trial.pack > 1 else ""
    return (
        f"{parameter_count(trial.config.model):,} parameters, {tokens:,} tokens, {flop:.2g} FLOP, "
        f"{seconds}{pack}, {memory:,.0f} MB"
    )


def rate_curve(best: Configuration, found: list[Configuration]) -> BestRate | None:
    """A parabola through the rates tried at the winner's other values, all replicates."""
    if "lr" not in best.values:
        return None
    points = [
        (each.values["lr"], trial.final.val_loss_nats)
        for each in same_but(best, found, "lr")
        for trial in each.complete
    ]
    return best_rate(*zip(*points, strict=True)) if points else None


def power_laws(best: Configuration, found: list[Configuration]) -> list[PowerLaw]:
    """Loss against epochs and against parameters, at the winner's other values."""
    laws = []
    for axis, what in (("epochs", "epochs"), ("embed_dim", "parameters")):
        if axis not in best.values:
            continue
        points = [
            (
                float(parameter_count(each.config.model))
                if axis == "embed_dim"
                else each.values[axis],
                trial.final.val_loss_nats,
            )
            for each in same_but(best, found, axis)
            for trial in each.complete
        ]
        law = power_law(what, *zip(*points, strict=True)) if points else None
        laws += [law] if law is not None else []
    return laws
