"""The figures' structure: axes, scales, lines, marks."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from minigpt_search.reports.figures import axis_plots as figures
from minigpt_search.reports.figures import cost_plots, speed_plots
from minigpt_search.reports.figures import learning_curves as curves
from minigpt_search.reports.figures import sampler_plots as optuna_figures
from minigpt_search.reports.figures import style as drawing
from minigpt_search.reports.figures.all_figures import all_figures
from minigpt_search.search.results.results import Results
from minigpt_search.search.space.axes import AXES


def axes_of(figure: Figure) -> Axes:
    (axes,) = figure.axes
    return axes


def legend_of(figure: Figure) -> list[str]:
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]


def many(build: Any, count: int = 40) -> tuple[pd.DataFrame, pd.DataFrame]:
    rates = tuple(round(1e-4 * 1.1**i, 9) for i in range(count))
    experiment = build.plan({"lr": rates})
    trials = [
        build.trial(experiment, {"lr": rate}, (8.0, 7 + 0.01 * abs(i - 20)))
        for i, rate in enumerate(rates)
    ]
    ledger = build.write(experiment, trials)
    results = Results(experiment, ledger)
    return results.trials_frame, results.epochs_frame


def test_learning_curves_have_two_lines_a_trial(build: Any) -> None:
    epochs = Results(*build.two_rates()).epochs_frame
    axes = axes_of(curves.learning_curves(epochs, "wall_seconds"))
    assert axes.get_xlabel() == "time since the trial's start (seconds)"
    assert list(axes.lines[0].get_xdata()) == [6.0, 12.0, 18.0]
    figure = curves.learning_curves(epochs, "tokens_seen")
    axes = axes_of(figure)
    assert axes.get_xlabel() == "training tokens seen (thousands, repeats counted)"
    assert axes.get_ylabel() == "loss (nats per token)"
    assert list(axes.lines[0].get_xdata()) == [204.8, 409.6, 614.4]
    assert [list(line.get_ydata()) for line in axes.lines] == [
        [7.125, 6.625, 6.125],
        [7.0, 6.5, 6.0],
        [8.125, 7.125, 7.625],
        [8.0, 7.0, 7.5],
    ]
    assert [line.get_linestyle() for line in axes.lines] == ["--", "-", "--", "-"]
    assert legend_of(figure) == ["lr=0.001", "lr=0.0003", "validation", "training"]


def test_many_trials_share_one_entry_of_the_legend(build: Any) -> None:
    _, epochs = many(build)
    figure = curves.learning_curves(epochs, "tokens_seen")
    labels = legend_of(figure)
    assert len(labels) == drawing.HIGHLIGHTED + 3
    assert labels[drawing.HIGHLIGHTED] == "37 other trials"
    grey = [line for line in axes_of(figure).lines if line.get_color() == drawing.REST]
    assert len(grey) == 37
    top = sorted(axes_of(figure).lines, key=lambda line: line.get_zorder())[-1]
    assert top.get_ydata()[-1] == 7.0  # no other lies over it
    assert legend_of(curves.perplexity_by_epoch(epochs)) == labels[: drawing.HIGHLIGHTED + 1]


def test_one_epoch_is_a_visible_point_in_the_middle(build: Any) -> None:
    experiment = build.plan({"lr": (1e-3,)})
    ledger = build.write(experiment, [build.trial(experiment, {"lr": 1e-3}, (7.0,))])
    for draw in (curves.generalisation_gap, curves.perplexity_by_epoch):
        axes = axes_of(draw(Results(experiment, ledger).epochs_frame))
        assert axes.get_xlim() == (0.5, 1.5)
        points = [line for line in axes.lines if list(line.get_xdata()) == [1]]
        assert points and all(line.get_marker() not in ("", "None", None) for line in points)
        assert [tick for tick in axes.get_xticks() if 0.5 <= tick <= 1.5] == [1.0]


def test_perplexity_is_on_a_log_axis_when_it_falls_tenfold(build: Any) -> None:
    experiment = build.plan({"lr": (1e-3,)})
    trial = build.trial(experiment, {"lr": 1e-3}, (9.0, 8.0, 6.0))
    falls = Results(experiment, build.write(experiment, [trial])).epochs_frame
    assert axes_of(curves.perplexity_by_epoch(falls)).get_yscale() == "log"
    level = falls[falls["epoch"] > 1]
    assert axes_of(curves.perplexity_by_epoch(level)).get_yscale() == "linear"


def test_loss_against_learning_rate_is_log_and_marks_the_best(build: Any) -> None:
    frame = Results(*build.two_rates()).trials_frame
    axes = axes_of(figures.loss_against(frame, AXES["lr"], []))
    assert axes.get_xscale() == "log"
    assert axes.get_xlabel() == "learning rate (log scale)"
    assert axes.get_ylabel() == "validation loss (nats per token)"
    assert list(axes.get_xticks()) == [3e-4, 1e-3]
    ring = axes.lines[-1]
    assert (list(ring.get_xdata()), list(ring.get_ydata())) == ([1e-3], [6.0])


def test_loss_against_width_has_a_line_for_each_learning_rate(build: Any) -> None:
    experiment = build.plan({"lr": (3e-4, 1e-3), "embed_dim": (64, 128)}, seeds=2)
    trials = [
        build.trial(experiment, {"lr": lr, "embed_dim": d}, (9 - 100 * lr - d / 64,), replicate=k)
        for lr in (3e-4, 1e-3)
        for d in (64, 128)
        for k in range(2)
    ]
    frame = Results(experiment, build.write(experiment, trials)).trials_frame
    figure = figures.loss_against(frame, AXES["embed_dim"], ["lr"])
    axes = axes_of(figure)
    assert axes.get_xscale() == "linear"
    assert axes.get_xlabel() == "embedding dimension"
    assert legend_of(figure)[:2] == ["lr=0.0003", "lr=0.001"]
    means = [line for line in axes.lines if line.get_marker() == "None"]
    assert [list(line.get_xdata()) for line in means] == [[64, 128], [64, 128]]


def test_throughput_is_a_bar_each_or_a_dot_each(build: Any) -> None:
    few = axes_of(speed_plots.throughput(Results(*build.two_rates()).trials_frame))
    assert [bar.get_width() for bar in few.patches] == [40.96, 40.96]
    assert few.get_xlabel() == "thousand tokens per second"
    trials, _ = many(build)
    dots = axes_of(speed_plots.throughput(trials))
    assert not dots.patches
    assert len(dots.lines[0].get_xdata()) == 40


def test_all_figures_shows_complete_trials_only_and_stays_small(build: Any) -> None:
    figures = all_figures(Results(*build.mixed()))
    # one learning rate has finished: there is nothing to plot loss against
    assert [p.name for p in figures] == [
        "loss_by_tokens",
        "loss_by_seconds",
        "perplexity_by_epoch",
        "generalisation_gap",
        "throughput",
    ]
    words = " ".join(figure.alt + figure.caption for figure in figures)
    assert "7.125" in words
    assert "4.77" not in words
    assert "3.33" not in words
    assert all(figure.alt and len(figure.png) < 300_000 for figure in figures)


def test_the_same_ledger_gives_the_same_figures(build: Any) -> None:
    experiment, ledger = build.two_rates()
    first, second = (
        all_figures(Results(experiment, ledger)),
        all_figures(Results(experiment, ledger)),
    )
    assert [p.png for p in first] == [p.png for p in second]
    assert "loss_against_lr" in [p.name for p in first]


def test_the_best_seed_of_each_setting_is_in_colour(build: Any) -> None:
    """Not three seeds of the best setting."""
    experiment, ledger = build.claims()
    epochs = Results(experiment, ledger).epochs_frame
    assert legend_of(curves.perplexity_by_epoch(epochs)) == [
        "epochs=5, seed 1",
        "epochs=7, seed 1",
        "epochs=3 embed_dim=256, seed 1",
        "39 other trials",
    ]


def test_generalisation_gap_is_validation_less_training(build: Any) -> None:
    experiment = build.plan({"lr": (1e-3,)})
    one = build.trial(experiment, {"lr": 1e-3}, (7.0, 6.0))
    epochs = Results(experiment, build.write(experiment, [one])).epochs_frame
    epochs["train_loss_nats"] = [7.5, 5.75]
    zero, gap = axes_of(curves.generalisation_gap(epochs)).lines
    assert list(gap.get_ydata()) == [-0.5, 0.25]
    assert list(zero.get_ydata()) == [0, 0]


def test_heat_map_has_a_blank_for_what_was_not_tried(build: Any) -> None:
    experiment = build.plan({"epochs": (1, 2), "embed_dim": (64, 128), "lr": (1e-3, 2e-3)})
    cells = [(1, 64, 1e-3, 8.0), (1, 64, 2e-3, 7.5), (2, 64, 1e-3, 7.25), (1, 128, 1e-3, 7.0)]
    trials = [
        build.trial(experiment, {"epochs": e, "embed_dim": d, "lr": lr}, (9.0,) * (e - 1) + (loss,))
        for e, d, lr, loss in cells
    ]
    frame = Results(experiment, build.write(experiment, trials)).trials_frame
    axes = cost_plots.heat_map(frame, AXES["epochs"], AXES["embed_dim"]).axes[0]
    assert [text.get_text() for text in axes.texts] == ["7.500", "7.250", "7.000", "–"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["64", "128"]
    (frame_of_best,) = axes.patches
    assert frame_of_best.get_x() == -0.48 and frame_of_best.get_y() == 1 - 0.46  # 128, one epoch


@given(
    points=st.lists(
        st.tuples(st.integers(1, 20).map(float), st.integers(1, 20).map(float)), min_size=1
    )
)
def test_the_front_is_what_no_other_setting_beats(points: list[tuple[float, float]]) -> None:
    frame = pd.DataFrame(points, columns=["flop", "val_loss_nats"]).assign(lr=range(len(points)))
    found = cost_plots.pareto_front(frame)[["flop", "val_loss_nats"]]
    front = set(found.itertuples(index=False, name=None))

    def beaten(point: tuple[float, float]) -> bool:
        return any(
            other != point and other[0] <= point[0] and other[1] <= point[1] for other in points
        )

    assert front == {point for point in points if not beaten(point)}


def test_predicted_time_lies_on_the_diagonal_when_it_was_right(build: Any) -> None:
    trials = Results(*build.two_rates()).trials_frame
    axes = axes_of(speed_plots.predicted_time(trials, trials["total_seconds"].sum()))
    dots, _ = axes.lines
    assert list(dots.get_xdata()) == list(dots.get_ydata()) == [20.0, 20.0]


def test_a_samplers_search_has_optunas_plots_and_leaves_pyplot_alone(build: Any) -> None:
    experiment, ledger = build.tpe(trials=12)
    figures = {figure.name: figure for figure in all_figures(Results(experiment, ledger))}
    assert {"slices", "parallel_coordinates", "importances", "contour"} <= set(figures)
    assert "loss_against_lr" in figures and "loss_against_epochs" not in figures
    assert "learning rate" in figures["importances"].alt
    assert matplotlib.pyplot.get_fignums() == []
    again = {figure.name: figure.png for figure in all_figures(Results(experiment, ledger))}
    assert again == {name: figure.png for name, figure in figures.items()}


def test_optuna_sees_finished_trials_only(build: Any) -> None:
    experiment, ledger = build.five_hundred("tpe")
    study = optuna_figures.make_study(experiment.space.axes, ledger.complete())
    assert len(study.trials) == len(ledger.complete()) == 480
    assert {trial.state.name for trial in study.trials} == {"COMPLETE"}
    best = ledger.best()
    assert study.best_value == best.final.val_loss_nats
    assert study.best_params["epochs"] == best.config.train.epochs


def test_few_trials_of_a_sampler_have_no_optuna_plots(build: Any) -> None:
    names = [figure.name for figure in all_figures(Results(*build.tpe(trials=4)))]
    assert "slices" not in names and "loss_by_tokens" in names
