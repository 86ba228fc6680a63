"""What to be alarmed by in a search's result, and which experiment should come next.

Commands are made with `--extend`, which takes over the command of the experiment and all that it
finished: only what is new is trained. No torch, no Ray.
"""

from __future__ import annotations

import dataclasses
import shlex
from dataclasses import dataclass

from minigpt_search.data.common.formatting import share
from minigpt_search.model.config import MOST_RATE
from minigpt_search.model.counting.baselines import BIGRAM
from minigpt_search.model.records import FAILED
from minigpt_search.model.run_length import WARMUP_SHARE_LIMIT
from minigpt_search.search.answer.commands import Commands, Step, corpus_words, flag_words
from minigpt_search.search.answer.fresh_seeds import separate
from minigpt_search.search.answer.level import level_of
from minigpt_search.search.answer.next_values import (
    between_those_tried,
    beyond_edges,
    short_of_barriers,
)
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.results.edges import warmup_share
from minigpt_search.search.results.results import Results
from minigpt_search.search.results.winner import Winner
from minigpt_search.search.space.axes import AXES, OFFERED
from minigpt_search.search.space.objective import counted_length
from minigpt_search.search.space.presets import PRESETS, recipe_words

RISE_NATS = 0.01
"""A rise of validation loss that is more than a ripple."""


@dataclass(frozen=True, kw_only=True)
class Overfitting:
    """The winner's validation loss was lowest before its last epoch."""

    epoch: int
    """Where it was lowest."""
    epochs: int
    rise_nats: float
    """From there to the end."""
    training_fell: bool
    """Whether the training loss went on falling: overfitting, not a run that came apart."""

    @property
    def text(self) -> str:
        where = f"after epoch {self.epoch} of {self.epochs} (by {self.rise_nats:.4f} nats)"
        if self.training_fell:
            what = "overfitting" if self.rise_nats > RISE_NATS else "so little may be noise"
            return f"validation loss turned up {where} while training loss fell: {what}"
        return f"the best epoch isn't the last: validation loss rose {where}, training loss too"


def overfitting(trial: TrialRecord) -> Overfitting | None:
    """None if the last epoch is the best."""
    lowest = min(trial.epochs, key=lambda epoch: epoch.val_loss_nats)
    if lowest.epoch == trial.epochs[-1].epoch:
        return None
    return Overfitting(
        epoch=lowest.epoch,
        epochs=trial.epochs[-1].epoch,
        rise_nats=trial.final.val_loss_nats - lowest.val_loss_nats,
        training_fell=trial.final.train_loss_nats < lowest.train_loss_nats,
    )


def alarms(results: Results, best: Winner) -> list[str]:
    """What is wrong with the winner, a line each."""
    experiment = results.experiment
    found = [
        f"{barrier.text}, next to the best at {barrier.axis.show(barrier.inner)}: a better one may "
        "lie between"
        for barrier in results.barriers
        if barrier.is_next
    ]
    kind = "grid" if experiment.plan.sampler is None else "range"
    for edge in results.edges:
        end, beyond = ("upper", "above") if edge.upper else ("lower", "below")
        at = f"{edge.axis.name}={edge.axis.show(edge.value)} is at the {end} edge of its {kind}"
        ends = edge.axis.name == "lr" and edge.upper and edge.value >= MOST_RATE
        more = ", and no rate above it is taken" if ends else f": a better one may lie {beyond} it"
        found.append(at + more)
    if (share := warmup_share(best.trial)) > WARMUP_SHARE_LIMIT:
        found.append(f"the warm-up is {share:.0%} of the run, more than {WARMUP_SHARE_LIMIT:.0%}")
    if (turned := overfitting(best.trial)) is not None:
        found.append(turned.text)
    level = level_of(results, best)
    if results.baseline and (bigram := results.baseline.losses[BIGRAM]) <= level.high:
        told = "" if bigram <= level.low else ", which its seeds do not tell it from"
        found.append(
            f"counting pairs of tokens in the same text scores {bigram:.2f} nats{told}: what is "
            "best before a model beats that says little of longer runs"
        )
    if experiment.reuse.mixed:
        found.append(
            "other code or libraries made trials that were taken over: losses may not compare"
        )
    if (diverged := best.configuration.diverged) > 0:
        found.append(f"{diverged} of its {len(best.configuration.trials)} seeds diverged")
    return found


def steps(
    results: Results,
    out: str | None = None,
    fitted: float | None = None,
    ruled_out: bool = False,
) -> list[Step]:
    """What to run next, the most pressing first; there always is something.

    Args:
        out: `--out` as it was given, if it was.
        fitted: where a curve through the rates tried is lowest, if there is one.
        ruled_out: whether the winner's rate is surely none of the best by that curve.
    """
    experiment, best = results.experiment, results.winner
    make = Commands(experiment, out)
    found = _unfinished(results, make)
    if best is None:
        return found or [
            Step(
                why=f"{results.why_no_winner}: see why in the report",
                command=make("reports/generate.py", experiment.name),
            )
        ]
    found += between_those_tried(results, best, fitted, ruled_out, make)
    found += short_of_barriers(results, best, make)
    found += beyond_edges(results, best, make)
    found += _less_training(experiment, best, make)
    found += separate(results, best, make)
    found += _whole_corpus(results, best, make)
    rerun = Step(
        why="train the winner again, compare, and score the test split",
        command=make("search/rerun.py", experiment.name),
    )
    return [*found, rerun]


def _unfinished(results: Results, make: Commands) -> list[Step]:
    missing = results.missing_trials
    if missing <= 0:
        return []
    failed = sum(trial.status == FAILED for trial in results.trials)
    searching = results.searched_trials < results.experiment.planned_trials
    what = "the search is unfinished" if searching else "confirming is unfinished"
    again = f"{failed} of them failed and {'is' if failed == 1 else 'are'} tried again"
    tried = f", {again}" if failed else ""
    why = f"{what}: {missing} trial{'s' * (missing > 1)} to go{tried}"
    return [Step(why=why, command=make("search/run.py", "--resume", results.experiment.name))]


def _less_training(experiment: Experiment, best: Winner, make: Commands) -> list[Step]:
    """A step for a winner that overfits: a run that ends where its validation loss was lowest."""
    turned = overfitting(best.trial)
    if turned is None or experiment.plan.sampler is not None:
        return []
    axis = AXES["epochs"]
    if turned.epoch in experiment.space.axes.get("epochs", ()):
        return []
    words = flag_words(axis, (turned.epoch, best.configuration.config.train.epochs))
    why = f"it was best after epoch {turned.epoch} of {turned.epochs}: try a run of that length"
    return [Step(why=why, command=make.along(axis, words, best))]


def _whole_corpus(results: Results, best: Winner, make: Commands) -> list[Step]:
    """A winner on a part of the corpus: on the whole, in larger batches, another rate may be best,
    so it is looked for around the winner's, short of what diverged."""
    experiment = results.experiment
    epoch = counted_length(experiment.space.base, experiment.corpus.manifest)
    if epoch.sequences >= epoch.sequences_available or experiment.preset == "full":
        return []
    config, preset = best.configuration.config, PRESETS[experiment.preset]
    rate, part = config.train.lr_peak, preset.train
    recipe = dataclasses.replace(
        config.train, tokens_per_epoch=part.tokens_per_epoch, val_tokens=part.val_tokens
    )
    around = [float(f"{rate * factor:.3g}") for factor in (0.5, 1, 2)]
    walls = [limit for limit in results.limits if limit.axis.name == "lr"]
    around = [min(MOST_RATE, value) for value in around if not any(w.stops(value) for w in walls)]
    around = sorted(set(around))
    words = flag_words(AXES["lr"], around)
    words += shlex.split(recipe_words(recipe, part))
    for axis in OFFERED.values():
        if axis.name not in ("lr", "epochs"):  # how often to see a part says nothing of the whole
            value = axis.value(config)
            chosen = axis.name in experiment.space.axes or value != axis.value(preset)
            words += flag_words(axis, (value,)) if chosen and value is not None else []
    words += corpus_words(experiment)
    seen = share(epoch.sequences / epoch.sequences_available)
    why = f"an epoch was {seen} of the corpus: look around the winner on the whole of it"
    return [Step(why=why, command=make("search/run.py", "--preset", "full", *words))]
