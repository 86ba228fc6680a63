"""The figures of finished trials with their words."""

from __future__ import annotations

import pandas as pd

from reports import drawing, figures
from reports.columns import counted
from reports.frames import is_star
from reports.picture import Picture, png_of
from search.axes import AXES
from search.experiment import Experiment


def around_base(
    trials: pd.DataFrame, experiment: Experiment, name: str
) -> tuple[pd.DataFrame, list[str]]:
    """The trials to plot against axis `name`, and the axes whose settings are told apart: all
    trials of a product, but of a grid that varies one axis at a time those with the base's other
    settings."""
    others = [other for other in experiment.axes if other != name]
    if not is_star(experiment):
        return trials, others
    for other in others:
        trials = trials[trials[other] == AXES[other].value(experiment.base)]
    return trials, []


def axis_picture(
    trials: pd.DataFrame, others: list[str], name: str, optimum: figures.Optimum | None = None
) -> Picture:
    """Loss against axis `name`, with a fitted `optimum` if there is one."""
    axis = AXES[name]
    best = figures.lowest_setting(trials, [name, *others])
    seeds = f" mean of {best['seeds']:.0f} seeds" if best["seeds"] > 1 else ""
    found = f"The lowest{seeds}, {best['val_loss_nats']:.3f} nats, is at {axis.show(best[name])}."
    settings = len(trials.groupby(others)) if others else 1
    replicated = len(trials) > len(trials.groupby([name, *others]))
    words = [f"{found} One at the edge of the plot asks for more values on that side."]
    if settings > drawing.MANY:
        words.append("Points also differ in the other axes.")
    elif replicated:
        words.append("Points above each other are seeds of one setting; lines join their means.")
    return Picture(
        name=f"loss_against_{name}",
        title=f"Validation loss against {axis.label}",
        alt=f"Final validation loss of {len(trials)} trials against {axis.label}. {found}",
        caption=found if axis.categorical else " ".join(words),
        png=png_of(figures.loss_against(trials, axis, others, optimum)),
    )


def heat_map_pictures(trials: pd.DataFrame, experiment: Experiment) -> list[Picture]:
    """Of a grid over epochs and width."""
    across, up = AXES["epochs"], AXES["embed_dim"]
    if experiment.sampler is not None or not {across.name, up.name} <= set(experiment.axes):
        return []
    if trials[across.name].nunique() < 2 or trials[up.name].nunique() < 2:
        return []
    best = figures.lowest_setting(trials, list(experiment.axes))
    found = (
        f"The lowest, {best['val_loss_nats']:.3f} nats, is at {best[across.name]:g} epochs and "
        f"width {best[up.name]:g}."
    )
    return [
        Picture(
            name="loss_heat_map",
            title="Validation loss over epochs and width",
            alt=f"Heat map of the lowest validation loss by epochs and embedding dimension. "
            f"{found}",
            caption=f"{found} Darker is lower; each cell is the lowest of all else that varies, "
            "seeds averaged, and – was not tried. Both axes cost more to the right and to the top.",
            png=png_of(figures.heat_map(trials, across, up)),
        )
    ]


def cost_picture(trials: pd.DataFrame) -> Picture:
    front, tried = figures.pareto_front(trials), len(figures.settings(trials))
    averaged = tried < len(trials)
    of = f"{counted(tried, 'setting')}, seeds averaged," if averaged else counted(tried, "trial")
    cheapest, best = front.iloc[0], front.iloc[-1]
    if len(front) > 1:
        found = (
            f"{len(front)} of {of} are best at their cost, from "
            f"{cheapest['val_loss_nats']:.3f} nats for {cheapest['flop']:.1e} FLOP to "
            f"{best['val_loss_nats']:.3f} for {best['flop']:.1e}."
        )
    else:
        found = (
            f"The best of {of} is also among the cheapest: {best['val_loss_nats']:.3f} nats for "
            f"{best['flop']:.1e} FLOP."
        )
    return Picture(
        name="loss_against_cost",
        title="Validation loss against cost",
        alt=f"Validation loss against floating-point operations with the Pareto front. {found}",
        caption=f"{found} What lies above the stepped line cost as much as a better one or more. "
        "A front that is still steep at its right end says that more training may pay.",
        png=png_of(figures.loss_against_cost(trials)),
    )


def throughput_picture(trials: pd.DataFrame, experiment: Experiment) -> Picture:
    speed = trials["tokens_per_second"] / 1000
    slowest, fastest = f"{speed.min():.1f}", f"{speed.max():.1f}"
    spread = fastest if slowest == fastest else f"from {slowest} to {fastest}"
    spread += " thousand tokens per second"
    packed = (
        " Trials in a pack share their process: together they are faster by the size of the pack."
        if (trials["pack"] > 1).any()
        else ""
    )
    orange = len(trials) <= drawing.MANY_BARS and trials["best"].any()
    colour = "; the best trial is orange" if orange else ""
    return Picture(
        name="throughput",
        title="Training speed",
        alt=f"Training speed of {counted(len(trials), 'trial')}, {spread}.",
        caption=f"Without evaluation and checkpoints, {spread}{colour}. "
        f"{counted(experiment.max_concurrent, 'trial')} ran at a time with "
        f"{counted(experiment.threads_per_trial, 'thread')} each: "
        f"speeds that differ can also mean a busy machine.{packed}",
        png=png_of(figures.throughput(trials)),
    )


def predicted_pictures(trials: pd.DataFrame, experiment: Experiment) -> list[Picture]:
    """Of a search that made a prediction and has ended as planned."""
    seconds = experiment.predicted_seconds
    trials = trials[trials["replicate"] < experiment.seeds]  # fresh seeds are not in the plan
    if not seconds or len(trials) < experiment.planned_trials:
        return []
    trials = trials[trials["taken_from"].isna()]  # nor what another search trained
    if trials.empty:
        return []
    # Trials that run at a time share the clock; the prediction is of the clock.
    predicted = seconds * experiment.max_concurrent
    actual = (trials["total_seconds"] / trials["pack"]).sum()
    found = (
        f"All trials together took {actual / predicted:.0%} of the time that the plan predicted."
    )
    return [
        Picture(
            name="predicted_time",
            title="Predicted against actual time",
            alt=f"Actual seconds of each trial against predicted ones. {found}",
            caption=f"{found} Above the dashed line a trial took longer than its share of the "
            "prediction, which is by floating-point operations.",
            png=png_of(figures.predicted_time(trials, predicted)),
        )
    ]
