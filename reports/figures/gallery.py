"""All figures of a report, in the order of the page."""

from __future__ import annotations

from minigpt_search.model.records import COMPLETE
from minigpt_search.reports.figures.axis_plots import around_base, axis_picture
from minigpt_search.reports.figures.cost_plots import cost_picture, heat_map_pictures
from minigpt_search.reports.figures.figure import Picture
from minigpt_search.reports.figures.learning_curves import (
    gap_picture,
    learning_pictures,
    perplexity_picture,
)
from minigpt_search.reports.figures.speed_plots import predicted_pictures, throughput_picture
from minigpt_search.search.answer.frames import epochs_frame, trials_frame
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.results.fits import best_rate


def gallery(experiment: Experiment, ledger: Ledger) -> list[Picture]:
    """All figures that the finished trials allow; none without a finished trial."""
    trials = trials_frame(experiment, ledger)
    trials = trials[trials["status"] == COMPLETE].reset_index(drop=True)
    if trials.empty:
        return []
    epochs = epochs_frame(experiment, ledger)
    # In the tables' order, so that a trial has the same place in every legend.
    epochs = trials[["trial_id"]].merge(epochs, on="trial_id", how="left")
    pictures = [*learning_pictures(epochs), perplexity_picture(epochs), gap_picture(epochs)]
    # A sampler's other axes have Optuna's slices.
    names = [
        name for name in experiment.space.axes if experiment.plan.sampler is None or name == "lr"
    ]
    for name in names:
        shown, others = around_base(trials, experiment, name)
        if shown[name].nunique() >= 2:
            fits = name == "lr" and not others
            optimum = (
                best_rate(shown["lr"].tolist(), shown["val_loss_nats"].tolist()) if fits else None
            )
            inside = optimum is not None and not optimum.extrapolated
            pictures.append(axis_picture(shown, others, name, optimum if inside else None))
    pictures += heat_map_pictures(trials, experiment)
    if trials["flop"].nunique() > 1:  # else there is nothing to weigh
        pictures.append(cost_picture(trials))
    if experiment.plan.sampler is not None:
        from minigpt_search.reports.figures.sampler_plots import sampler_pictures  # imports Optuna

        pictures += sampler_pictures(experiment, ledger)
    timed = trials.dropna(subset=["tokens_per_second"])
    pictures += [throughput_picture(timed, experiment)] if len(timed) else []
    return pictures + predicted_pictures(trials, experiment)
