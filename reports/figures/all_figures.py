"""All figures of a report, in the order of the page."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from minigpt_search.model.records import COMPLETE, DIVERGED
from minigpt_search.reports.figures.axis_plots import around_base, axis_figure, held_at
from minigpt_search.reports.figures.cost_plots import cost_figure, heat_map_figures
from minigpt_search.reports.figures.counting_lines import common_baseline
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
from minigpt_search.search.space.axes import AXES


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
    diverged = trials[trials["status"] == DIVERGED]
    trials = trials[trials["status"] == COMPLETE].reset_index(drop=True)
    if trials.empty:
        return []
    # In the tables' order, so that a trial has the same place in every legend.
    epochs = trials[["trial_id"]].merge(results.epochs_frame, on="trial_id", how="left")
    figures = _learning(results, trials, epochs)
    configs = {trial.trial_id: trial.config for trial in results.complete}
    # A sampler's other axes have Optuna's slices.
    sampled = experiment.plan.sampler is not None
    for name in [name for name in experiment.space.axes if name == "lr" or not sampled]:
        shown, others = around_base(trials, experiment, name)
        if shown[name].nunique() >= 2:
            out, _ = around_base(diverged, experiment, name)
            optimum = None
            if name == "lr" and not others:
                steady = shown[~shown["lr"].isin(out["lr"])]  # none of its seeds diverged
                fitted = steady if len(steady) else shown
                rates, losses = fitted["lr"].tolist(), fitted["val_loss_nats"].tolist()
                optimum = best_rate(rates, losses, experiment.noise.delta_nats)
            inside = optimum is not None and optimum.fits and not optimum.extrapolated
            of_trials = (configs[trial_id] for trial_id in shown["trial_id"])
            counting = common_baseline(results.baselines, of_trials)
            optimum = optimum if inside else None
            held = held_at(experiment, name)
            figures.append(axis_figure(shown, others, name, optimum, out, counting, held))
    figures += heat_map_figures(trials, experiment, diverged)
    if trials["flop"].nunique() > 1:  # else there is nothing to weigh
        figures.append(cost_figure(trials))
    if sampled:
        from minigpt_search.reports.figures.sampler_plots import sampler_figures  # imports Optuna

        figures += sampler_figures(results)
    timed = trials.dropna(subset=["tokens_per_second"])
    figures += [throughput_figure(timed, experiment)] if len(timed) else []
    return figures + predicted_figures(trials, experiment)


def opening(figures: Sequence[ReportFigure], results: Results) -> list[ReportFigure]:
    """Those of the `figures` that a report opens with: loss over what was searched, and the curves.

    Two axes are a heat map of a grid, a contour of a sampler's; one axis, or more than two, is loss
    against the first of them whose figure has the answer, which of a grid that varies one axis at a
    time not each has.
    """
    experiment, best = results.experiment, results.winning_trial
    axes = list(experiment.space.axes)
    if best is not None:
        here = {name: AXES[name].value(best.config) for name in axes}
        axes.sort(key=lambda name: not held_at(experiment, name).items() <= here.items())
    pictures = ["loss_heat_map", "contour"] if len(axes) == 2 else []
    pictures += [f"loss_against_{name}" for name in axes] + ["slices"]
    named = {figure.name: figure for figure in figures}
    found = [named[name] for name in pictures if name in named][:1]
    return found + [named[name] for name in ("loss_by_tokens",) if name in named]
