"""A sampler's search through Optuna's own matplotlib plots, fed with finished trials only.

Optuna and pyplot are imported when a plot is asked for: reports of grids need neither.
Importances are PED-ANOVA's (Watanabe et al. 2023, arXiv 2304.10255): unlike fANOVA it needs no
scikit-learn.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from minigpt_search.data.common.formatting import counted
from minigpt_search.reports.figures.report_figure import ReportFigure, draw
from minigpt_search.reports.figures.style import PALETTE, TEXT_POINTS
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.results.results import Results
from minigpt_search.search.space.axes import AXES, Axis

if TYPE_CHECKING:
    import optuna

WIDEST = 7.4
"""Inches of a figure: more would be small print on a page."""
LEAST_TRIALS = 5
"""Fewer say nothing about an axis."""


def make_study(axes: dict[str, tuple[Any, ...]], trials: Sequence[TrialRecord]) -> optuna.Study:
    """A study in memory of complete trials, its parameters under the axes' labels. The bounds are
    the searched ones, wider where a trial lies outside them."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="minimize")
    distributions = {
        AXES[name].label: _distribution(
            AXES[name], [*bounds, *(AXES[name].value(trial.config) for trial in trials)]
        )
        for name, bounds in axes.items()
    }
    study.add_trials(
        [
            optuna.trial.create_trial(
                value=trial.final.val_loss_nats,
                params={AXES[name].label: AXES[name].value(trial.config) for name in axes},
                distributions=distributions,
            )
            for trial in trials
        ]
    )
    return study


def _distribution(axis: Axis, values: Sequence[Any]) -> optuna.distributions.BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if any(isinstance(value, bool | str) for value in values):
        return CategoricalDistribution(sorted(set(values), key=str))
    log = axis.log and min(values) > 0  # no weight decay at all is a value too
    if axis.integer:
        return IntDistribution(int(min(values)), int(max(values)), log=log)
    return FloatDistribution(min(values), max(values), log=log)


def parallel_coordinates(study: optuna.Study) -> Figure:
    """A line a trial through its values, the darker the lower its loss."""
    figure = _drawn(lambda plots: plots.plot_parallel_coordinate(study), WIDEST, 4.4)
    main = figure.axes[0]
    place = (0.07, 0.1, 0.78, 0.86)
    for axes in figure.axes:
        for lines in axes.collections:
            lines.set_cmap("cividis")  # no line fades into the page
        if axes.get_label() == "<colorbar>":
            axes.remove()  # the first axis says the same
            continue
        axes.set_position(place)
        for label in axes.get_yticklabels():  # lines run behind the axes' numbers
            label.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.75})
    names = ["loss (nats)", *(label.get_text() for label in main.get_xticklabels()[1:])]
    main.set_xticks(main.get_xticks(), labels=names, rotation=0)
    return figure


def slices(study: optuna.Study) -> Figure:
    """Loss against each axis alone."""
    width = min(WIDEST, max(6.5, 2.4 * len(study.best_params)))
    return _drawn(lambda plots: plots.plot_slice(study), width, 3.6, fitted=True)


def importances(study: optuna.Study) -> tuple[Figure, dict[str, float]]:
    """How much of the losses' variation each axis explains, and the shares themselves."""
    import optuna

    with _quiet():
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
    figure = Figure(figsize=(6.5, 1.3 + 0.45 * len(shares)), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    names = list(shares)
    bars = axes.barh(names, list(shares.values()), color=PALETTE[0], height=0.6)
    axes.bar_label(bars, [f"{share:.2f}" for share in shares.values()], padding=4, fontsize=12)
    axes.set_xlim(0, 1.12 * max([*shares.values(), 0.1]))
    axes.invert_yaxis()
    axes.tick_params(labelsize=TEXT_POINTS)
    axes.set_xlabel("importance for the loss (share of 1)", fontsize=TEXT_POINTS + 1)
    return figure, shares


def contour(study: optuna.Study, names: Sequence[str]) -> Figure:
    """Loss over the two axes called `names`, between the trials interpolated."""
    return _drawn(lambda plots: plots.plot_contour(study, params=list(names)), 6.5, 4.6)


def _drawn(plot: Callable[[Any], Any], width: float, height: float, fitted: bool = False) -> Figure:
    """What Optuna draws, at our size, with pyplot's state as it was before. `fitted` is for what
    has no axes on top of each other."""
    matplotlib.use("Agg")  # no display
    import matplotlib.pyplot as plt
    from optuna.visualization import matplotlib as plots

    style: Any = {"font.size": TEXT_POINTS - 1.5, "axes.titlesize": 1, "axes.titlecolor": "white"}
    with _quiet(), plt.style.context("default"), plt.rc_context(style):
        drawn = plot(plots)
        axes = getattr(drawn, "flat", [drawn])[0]
        figure: Figure = axes.figure
        figure.set_size_inches(width, height)
        if fitted:
            figure.set_layout_engine("constrained")
        figure.suptitle("")
        for panel in figure.axes:
            _plain_numbers(panel, panels=len(figure.axes) if fitted else 1)
            panel.xaxis.label.set_fontsize(TEXT_POINTS - 1)
            panel.set_title("")  # the page has a title above
            if panel.get_ylabel() == "Objective Value":
                panel.set_ylabel("validation loss (nats)")
        plt.close(figure)
    return figure


def _plain_numbers(axes: Axes, panels: int) -> None:
    """`0.002` instead of `2 x 10^-3` on logarithmic axes, fewer of them on narrow panels."""
    subs = (1, 2, 5) if panels == 1 else (1,)
    for axis, scale in ((axes.xaxis, axes.get_xscale()), (axes.yaxis, axes.get_yscale())):
        if scale == "log":
            axis.set_major_locator(LogLocator(subs=subs))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_formatter(NullFormatter())


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings that these plots are experimental."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


MOST_LINES = 100
"""More in one figure hide each other."""


def sampler_figures(results: Results) -> list[ReportFigure]:
    """Optuna's plots of the finished trials; none where they are too few to say anything."""
    experiment, trials = results.experiment, results.complete
    losses = {trial.final.val_loss_nats for trial in trials}
    if len(trials) < LEAST_TRIALS or len(losses) < 2 or not experiment.space.axes:
        return []
    study = make_study(experiment.space.axes, trials)
    count = counted(len(trials), "finished trial")
    figures = [
        ReportFigure(
            name="slices",
            title="Validation loss against each axis",
            alt=f"Validation loss of {count} against each searched axis alone.",
            caption="Each dot is a trial, the darker the later it was tried. A trend in one panel "
            "is an axis that matters by itself; dots that crowd together show where the sampler "
            "came to look.",
            drawing=draw(slices(study)),
        )
    ]
    if len(experiment.space.axes) < 2:
        return figures
    # The lowest last, so that no other line lies over it.
    best = sorted(trials, key=lambda trial: -trial.final.val_loss_nats)[-MOST_LINES:]
    all_or_best = f"the best {len(best)} of {count}" if len(best) < len(trials) else count
    drawn, shares = importances(study)
    first, second = list(shares)[:2]
    figures += [
        ReportFigure(
            name="parallel_coordinates",
            title="Settings and loss, trial by trial",
            alt=f"Parallel coordinates of {all_or_best}: loss and the value of each axis.",
            caption=f"Of {all_or_best}. A line is a trial, from its loss on the left through its "
            "values; the darker, the lower the loss. Where dark lines run together lies the "
            "region that works.",
            drawing=draw(parallel_coordinates(make_study(experiment.space.axes, best))),
        ),
        ReportFigure(
            name="importances",
            title="What matters",
            alt="Importance of each axis: "
            + ", ".join(f"{name} {share:.2f}" for name, share in shares.items())
            + ".",
            caption=f"How much of the difference between good and bad trials each axis explains "
            f"(PED-ANOVA): most of it {first}. It is about the range that was searched, and trials "
            "that a sampler placed.",
            drawing=draw(drawn),
        ),
        ReportFigure(
            name="contour",
            title=f"Loss over {first} and {second}",
            alt=f"Contour of validation loss over {first} and {second} with {count} as dots.",
            caption="The two axes that matter most; dots are trials, and between them the loss is "
            "interpolated, not measured. Darker is lower.",
            drawing=draw(contour(study, (first, second))),
        ),
    ]
    return figures
