"""All figures of a report, in the order of the page."""

from __future__ import annotations

import pandas as pd

from minigpt_search.model.records import COMPLETE
from minigpt_search.reports.figures.axis_plots import around_base, axis_figure
from minigpt_search.reports.figures.cost_plots import cost_figure, heat_map_figures
from minigpt_search.reports.figures.learning_curves import (
    gap_figure,
    learning_figures,
    perplexity_figure,
)
from minigpt_search.reports.figures.report_figure import ReportFigure
from minigpt_search.reports.figures.speed_plots import predicted_figures, throughput_figure
from minigpt_search.reports.figures.step_curves import step_figures
from minigpt_search.search.results.best_rate import best_rate
from minigpt_search.search.results.results import Results


def _learning(results: Results, trials: pd.DataFrame, epochs: pd.DataFrame) -> list[ReportFigure]:
    """By step where there are curves, else by epoch."""
    curves = trials[["trial_id"]].merge(results.curves_frame, on="trial_id", how="left")
    stepwise = not curves["by_epoch"].all()
    figures = step_figures(curves) if stepwise else learning_figures(epochs)
    if stepwise and epochs["epoch"].max() == 1:
        return figures  # the others would be a dot for each trial
    return [*figures, perplexity_figure(epochs), gap_figure(epochs)]


def all_figures(results: Results) -> list[ReportFigure]:
    """All figures that the finished trials allow; none without a finished trial."""
    experiment, trials = results.experiment, results.trials_frame
    trials = trials[trials["status"] == COMPLETE].reset_index(drop=True)
    if trials.empty:
        return []
    # In the tables' order, so that a trial has the same place in every legend.
    epochs = trials[["trial_id"]].merge(results.epochs_frame, on="trial_id", how="left")
    figures = _learning(results, trials, epochs)
    # A sampler's other axes have Optuna's slices.
    sampled = experiment.plan.sampler is not None
    for name in [name for name in experiment.space.axes if name == "lr" or not sampled]:
        shown, others = around_base(trials, experiment, name)
        if shown[name].nunique() >= 2:
            optimum = None
            if name == "lr" and not others:
                rates, losses = shown["lr"].tolist(), shown["val_loss_nats"].tolist()
                optimum = best_rate(rates, losses, experiment.noise.delta_nats)
            inside = optimum is not None and optimum.fits and not optimum.extrapolated
            figures.append(axis_figure(shown, others, name, optimum if inside else None))
    figures += heat_map_figures(trials, experiment)
    if trials["flop"].nunique() > 1:  # else there is nothing to weigh
        figures.append(cost_figure(trials))
    if sampled:
        from minigpt_search.reports.figures.sampler_plots import sampler_figures  # imports Optuna

        figures += sampler_figures(results)
    timed = trials.dropna(subset=["tokens_per_second"])
    figures += [throughput_figure(timed, experiment)] if len(timed) else []
    return figures + predicted_figures(trials, experiment)
