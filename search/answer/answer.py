"""The answer in five lines: what to use, how sure, at what cost, what next, and the command for it.

    Use        lr=0.001; within 0.01 nats of the best are 0.00086 to 0.0013 by a curve, ...
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
from minigpt_search.search.answer.ladder_answer import ladder_texts
from minigpt_search.search.answer.ladder_steps import ladder_steps
from minigpt_search.search.answer.level import level_of
from minigpt_search.search.results.baselines import standing_text
from minigpt_search.search.results.best_rate import BestRate, best_rate
from minigpt_search.search.results.configurations import Configuration, same_but
from minigpt_search.search.results.confirm import is_fresh
from minigpt_search.search.results.documents import documents_of, on_other_text
from minigpt_search.search.results.posterior import EXCLUDED
from minigpt_search.search.results.results import Results
from minigpt_search.search.results.statistics import ALPHA, TINY
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
    if results.experiment.ladder is not None:
        return _of_ladder(results, out)
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
        )
    rate = rate_curve(results, best.configuration)
    use = f"{best.configuration.label} ({_holds_for(best)})"
    use = "; ".join([use, *([rate.text] if rate else [])])
    ruled_out = rate is not None and rate.rules_out(float(best.configuration.values["lr"]))
    if rate is not None and ruled_out:
        use += f"; the best tried is not among them, so try {rate.rate:.2g}"
    return Answer(
        use=use,
        loss=_loss(results, best),
        cost=_cost(best),
        steps=tuple(steps(results, out, None if rate is None else rate.rate, ruled_out)),
        alarms=tuple(alarms(results, best)),
        winner=best,
        best_rate=rate,
    )


def _of_ladder(results: Results, out: str | None) -> Answer:
    """What a ladder says of its target; the winner is the best of its own runs."""
    texts = ladder_texts(results)
    return Answer(
        use=texts["Use"],
        loss=texts["Loss"],
        cost=texts["Costs"],
        steps=tuple(ladder_steps(results, out)),
        alarms=(),
        winner=results.winner,
        best_rate=None,
    )


def _loss(results: Results, best: Winner) -> str:
    """The winner's number, its interval, and how sure it is that it wins."""
    known, final = best.estimate, best.trial.final
    seeds = f"{known.n} {'fresh ' * best.fresh}seed{'s' * (known.n > 1)}"
    if known.low is None:
        spread = f"one {'fresh ' * best.fresh}seed, so no interval"
    else:
        spread = _interval(results, best, seeds)
    parts = [f"{known.mean:.4f} nats ({spread}), perplexity {perplexity(final.val_perplexity)}"]
    if known.n > 1:
        parts = [f"{known.mean:.4f} nats ({spread})"]
    searched = sum(not is_fresh(results.experiment, trial) for trial in results.trials)
    if searched < results.experiment.planned_trials:
        parts.append("so far")
    if other := on_other_text(documents_of(best.trials(best.configuration))):
        parts.append(other)
    if results.baseline is not None:
        level = level_of(results, best)
        parts.append(standing_text(results.baseline, level.low, level.high))
    parts += [near] if (near := _near(results, best)) else []
    return "; ".join([*parts, how_sure(best)])


def _holds_for(best: Winner) -> str:
    """`for 109,952 tokens, 4×64 a batch, linear decay`: with others another rate may be best."""
    config, tokens = best.trial.config, best.trial.final.tokens_seen
    batch = f"{config.train.batch_size}×{config.model.seq_len}"
    decay = "schedule" if config.train.schedule == "wsd" else "decay"
    return f"for {tokens:,} tokens, {batch} a batch, {config.train.schedule} {decay}"


def _interval(results: Results, best: Winner, seeds: str) -> str:
    """The 95% interval of the winner's mean."""
    level = level_of(results, best)
    ends = f"95% interval {level.low:.4f} to {level.high:.4f}, {seeds}"
    if level.competing:
        chosen = f"shrunk, since it was chosen of {level.competing} by them"
        return f"{chosen}: {level.mean:.4f}, {ends}"
    return ends if best.fresh or not best.rivals else f"{ends}, chosen by them"


def _near(results: Results, best: Winner) -> str:
    """How likely the winner is as good as the best, and which others may be; nothing where no two
    seeds tell."""
    if not results.shrunk:
        return ""
    delta = results.experiment.noise.delta_nats
    mine = probability(results.shrunk[best.configuration.config].near)
    also = [each for each in best.rivals if results.shrunk[each.config].near >= EXCLUDED]
    named = ", ".join(
        f"{each.label} ({probability(results.shrunk[each.config].near)})" for each in also[:NAMED]
    )
    others = ", all others are excluded"
    if also:
        others = f", not excluded: {named}{_more(also)}"
    elif best.open:  # which the test, that doesn't suppose they spread alike, does not tell apart
        others = f", each other one with less than {EXCLUDED:.0%}"
    text = f"within {delta:g} nats of the best tried with probability {mine}{others}"
    if same := results.as_good:
        labels, verb = ", ".join(each.label for each in same[:NAMED]), "are" if same[1:] else "is"
        either = "any" if same[1:] else "either"
        text += f"; {labels}{_more(same)} {verb} as good within {delta:g} nats: take {either}"
    return text


def probability(value: float) -> str:
    """`37%`, `over 99%`: none is said to be sure."""
    if value > 0.99:
        return "over 99%"
    return "under 1%" if value < 0.01 else f"{value:.0%}"


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
        p = "too few seeds for a test"
        if test is not None:
            p = f"p = {test.p:.{digits}g}" if test.p > TINY else f"p < {TINY:g}"
            p += ", paired" * test.paired
        named.append(f"{each.label} ({best.behind(each):.4f} nats behind, {p})")
    return ", ".join(named) + _more(rivals)


def _more(found: Sequence[Configuration]) -> str:
    return f" and {len(found) - NAMED} more" if len(found) > NAMED else ""


def _rule(best: Winner, digits: int) -> str:
    """`p ≤ 0.017 separates: 5% shared by 3 pairs (Bonferroni)`."""
    rule = f"p ≤ {best.alpha:.{digits}g} separates"
    if best.late and best.looks > 1:
        pairs = f", shared by {best.pairs} pairs" if best.pairs > 1 else ""
        return f"{rule}: {ALPHA:.0%}, spent late over {best.looks} looks{pairs}"
    counts = ((best.looks, "look"), (best.pairs, "pair"))
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


def rate_curve(results: Results, best: Configuration) -> BestRate | None:
    """A valley through the rates tried at the winner's other values, all replicates of those that
    diverged with no seed: the neighbourhood of one that did is none to recommend."""
    if "lr" not in best.values:
        return None
    tried = same_but(best, results.configurations, "lr")
    points = [
        (each.values["lr"], trial.final.val_loss_nats)
        for each in [each for each in tried if not each.diverged] or tried
        for trial in each.complete
    ]
    if not points:
        return None
    rates, losses = zip(*points, strict=True)
    return best_rate(rates, losses, results.experiment.noise.delta_nats)
