"""What to be alarmed by in a search's result, and which experiment should come next.

Commands are made with `--extend`, which takes over the command of the experiment and all that it
finished: only what is new is trained. No torch, no Ray.
"""

from __future__ import annotations

import dataclasses
import math
import shlex
from dataclasses import dataclass

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.common.formatting import share
from minigpt_search.model.records import FAILED
from minigpt_search.model.run_length import WARMUP_SHARE_LIMIT
from minigpt_search.search.answer.commands import Commands, corpus_words, flag_words
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger import TrialRecord
from minigpt_search.search.results.edges import Edge, edges, warmup_share
from minigpt_search.search.results.results import Results
from minigpt_search.search.results.winner import Winner
from minigpt_search.search.space.axes import AXES, CHOICES
from minigpt_search.search.space.objective import counted_length
from minigpt_search.search.space.presets import PRESETS, recipe_words

MOST_SEEDS = 64
"""To tell two configurations apart by more than this many seeds each is not worth it."""
RISE_NATS = 0.01
"""A rise of validation loss that is more than a ripple."""
CONFIRMED = 3
"""The most configurations that are advised to be confirmed."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """An experiment worth running."""

    why: str
    command: str


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


def alarms(experiment: Experiment, best: Winner) -> list[str]:
    """What is wrong with the winner, a line each."""
    found = []
    kind = "grid" if experiment.plan.sampler is None else "range"
    for edge in edges(experiment, best.configuration.config):
        end, beyond = ("upper", "above") if edge.upper else ("lower", "below")
        found.append(
            f"{edge.axis.name}={edge.axis.show(edge.value)} is at the {end} edge of its {kind}: a "
            f"better one may lie {beyond} it"
        )
    if (share := warmup_share(best.trial)) > WARMUP_SHARE_LIMIT:
        found.append(f"the warm-up is {share:.0%} of the run, more than {WARMUP_SHARE_LIMIT:.0%}")
    if (turned := overfitting(best.trial)) is not None:
        found.append(turned.text)
    if experiment.reuse.mixed:
        found.append(
            "other code or libraries made trials that were taken over: losses may not compare"
        )
    if (diverged := best.configuration.diverged) > 0:
        found.append(f"{diverged} of its {len(best.configuration.trials)} seeds diverged")
    return found


def steps(results: Results, out: str | None = None) -> list[Step]:
    """What to run next, the most pressing first; there always is something.

    Args:
        out: `--out` as it was given, if it was.
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
    found += _beyond_edges(experiment, best, make)
    found += _less_training(experiment, best, make)
    found += _separate(results, best, make)
    found += _whole_corpus(experiment, best, make)
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


def _beyond_edges(experiment: Experiment, best: Winner, make: Commands) -> list[Step]:
    found, named = [], experiment.space.named_grid is not None
    for edge in edges(experiment, best.configuration.config):
        words = _widened(experiment, best, edge)
        if words is not None:
            end = "upper" if edge.upper else "lower"
            why = f"the best {edge.axis.label} is at the {end} edge of what was tried: go beyond it"
            command = make.along(edge.axis, words, best) if named else make.extend(*words)
            found.append(Step(why=why, command=command))
    return found


def _widened(experiment: Experiment, best: Winner, edge: Edge) -> list[str] | None:
    """The flags that add values beyond the edge; None where there are none, as below one epoch."""
    axis, values = edge.axis, experiment.space.axes[edge.axis.name]
    end = max(values) if edge.upper else min(values)
    beyond = end * 2 if edge.upper else end / 2
    beyond = int(beyond) if axis.integer else beyond
    try:
        best.configuration.config.replace(**axis.fields(beyond))
    except UserError:
        return None
    if beyond in values:
        return None
    widened = tuple(sorted((*values, beyond)))
    if experiment.plan.sampler is None:
        return flag_words(axis, widened)
    assert experiment.plan.samples is not None
    more = ["--trials", str(experiment.plan.samples + math.ceil(experiment.plan.samples / 2))]
    kind = experiment.space.kind(axis.name)
    if kind == CHOICES:
        return [*flag_words(axis, widened), *more]
    bounds = ":".join(map(axis.exact, (widened[0], widened[-1])))
    return ["--space", f"{axis.name}={bounds}:{kind}", *more]


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


def _separate(results: Results, best: Winner, make: Commands) -> list[Step]:
    """Fresh seeds, where the winner is not told from the others."""
    if not best.open or results.missing_trials > 0:
        return []
    noise, closest = results.experiment.noise, best.open[0].label
    if noise.confirm is None:
        rank = 2 + best.rivals.index(best.open[0])  # those before it are separated
        k = str(max(rank, min(CONFIRMED, 1 + len(best.open))))
        why = (
            f"not separable from {closest}: give the {k} best fresh seeds"
            if best.test is not None
            else f"one seed each says nothing of the spread: give the {k} best fresh seeds"
        )
        return [Step(why=why, command=make.extend("--confirm", k))]
    needed = _seeds_needed(results, best)
    if needed is None or needed > MOST_SEEDS:
        return []  # whatever is between them is too small to matter: take either
    why = f"not separable from {closest}: about {needed} fresh seeds each would tell them apart"
    words = ("--confirm", str(noise.confirm), "--confirm-seeds", str(needed))
    return [Step(why=why, command=make.extend(*words))]


def _seeds_needed(results: Results, best: Winner) -> int | None:
    """Seeds that tell the closest two apart with 80% power if they differ by what they seem to:
    n = 2 (z₁ + z₂)² (sd / difference)² (Cohen 1988, chapter 2)."""
    state = results.confirmation
    if state is None or best.test is None or best.test.t == 0 or not math.isfinite(best.test.t):
        return None
    from scipy.special import ndtri

    z = float(ndtri(1 - state.alpha / 2) + ndtri(0.8))
    needed = math.ceil(best.estimate.n * (z / best.test.t) ** 2)
    return max(needed, results.experiment.noise.confirm_seeds + 1)


def _whole_corpus(experiment: Experiment, best: Winner, make: Commands) -> list[Step]:
    """A winner on a part of the corpus: on the whole, in larger batches, another rate may be best,
    so it is looked for around the winner's."""
    epoch = counted_length(experiment.space.base, experiment.corpus.manifest)
    if epoch.sequences >= epoch.sequences_available or experiment.preset == "full":
        return []
    config, preset = best.configuration.config, PRESETS[experiment.preset]
    rate, part = config.train.lr_peak, preset.train
    recipe = dataclasses.replace(
        config.train, tokens_per_epoch=part.tokens_per_epoch, val_tokens=part.val_tokens
    )
    around = [float(f"{rate * factor:.3g}") for factor in (0.5, 1, 2)]
    words = flag_words(AXES["lr"], [min(1.0, value) for value in around])
    words += shlex.split(recipe_words(recipe, part))
    for axis in AXES.values():
        if axis.name not in ("lr", "epochs"):  # how often to see a part says nothing of the whole
            value = axis.value(config)
            chosen = axis.name in experiment.space.axes or value != axis.value(preset)
            words += flag_words(axis, (value,)) if chosen and value is not None else []
    words += corpus_words(experiment)
    seen = share(epoch.sequences / epoch.sequences_available)
    why = f"an epoch was {seen} of the corpus: look around the winner on the whole of it"
    return [Step(why=why, command=make("search/run.py", "--preset", "full", *words))]
