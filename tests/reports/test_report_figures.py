"""What figures mark and say agrees with the answer, and can be read."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pandas as pd
import pytest

from minigpt_search.reports.figures import axis_plots as figures
from minigpt_search.reports.figures import cost_plots, speed_plots
from minigpt_search.reports.figures import learning_curves as curves
from minigpt_search.reports.figures import style as drawing
from minigpt_search.reports.figures.all_figures import all_figures
from minigpt_search.reports.figures.axis_plots import axis_figure
from minigpt_search.reports.figures.report_figure import ReportFigure
from minigpt_search.reports.figures.speed_plots import predicted_figures
from minigpt_search.search.results.best_rate import BestRate
from minigpt_search.search.results.results import Results
from minigpt_search.search.space.axes import AXES

# The lowest seed of all is one of 2e-3, the lowest mean is that of 1e-3.
LOSSES = {1e-3: (7.1, 7.12, 7.14), 2e-3: (7.0, 7.4, 7.5)}


def lucky(build: Any, **changes: Any) -> Any:
    """Two rates with three seeds each."""
    experiment = build.plan({"lr": tuple(LOSSES)}, seeds=3, **changes)
    trials = [
        build.trial(experiment, {"lr": rate}, (8.0, loss), replicate=k)
        for rate, losses in LOSSES.items()
        for k, loss in enumerate(losses)
    ]
    return experiment, build.write(experiment, trials)


def named(figures: list[ReportFigure], name: str) -> ReportFigure:
    (found,) = [figure for figure in figures if figure.name == name]
    return found


def test_the_ring_is_around_the_winner_not_around_the_luckiest_seed(build: Any) -> None:
    experiment, ledger = lucky(build)
    frame = Results(experiment, ledger).trials_frame
    (axes,) = figures.loss_against(frame, AXES["lr"], []).axes
    found = Results(experiment, ledger).winner
    assert found is not None and found.configuration.values == {"lr": 1e-3}
    ring = axes.lines[-1]
    assert ring.get_xdata() == [1e-3] and ring.get_ydata()[0] == pytest.approx(7.12)
    caption = axis_figure(frame, [], "lr").caption
    assert caption.startswith("The lowest mean of 3 seeds, 7.120 nats, is at 0.001.")


def test_a_heat_map_is_of_means_over_seeds(build: Any) -> None:
    cells = {(1, 64): (7.0, 7.5), (2, 64): (7.2, 7.2)}
    experiment = build.plan({"epochs": (1, 2), "embed_dim": (64, 128)}, seeds=2)
    trials = [
        build.trial(
            experiment, {"epochs": e, "embed_dim": d}, (8.0,) * (e - 1) + (loss,), replicate=k
        )
        for (e, d), losses in cells.items()
        for k, loss in enumerate(losses)
    ]
    frame = Results(experiment, build.write(experiment, trials)).trials_frame
    axes = cost_plots.heat_map(frame, AXES["epochs"], AXES["embed_dim"]).axes[0]
    assert [text.get_text() for text in axes.texts] == ["7.250", "7.200"]


def test_the_legend_counts_all_that_are_grey(build: Any) -> None:
    """With fewer settings than colours too."""
    experiment = build.plan({"lr": tuple(LOSSES)}, seeds=5)
    trials = [
        build.trial(experiment, {"lr": rate}, (8.0, 7 + k / 10), replicate=k)
        for rate in LOSSES
        for k in range(5)
    ]
    epochs = Results(experiment, build.write(experiment, trials)).epochs_frame
    figure = curves.perplexity_by_epoch(epochs)
    grey = [line for line in figure.axes[0].lines if line.get_color() == drawing.REST]
    assert figure.legends[0].get_texts()[-1].get_text() == f"{len(grey)} other trials"


def test_a_wide_interval_leaves_the_points_where_they_are(build: Any) -> None:
    frame = Results(*lucky(build)).trials_frame
    optimum = BestRate(
        rate=1.4e-3, low=1e-9, high=1e9, extrapolated=False, rates=3,
        delta=0.01, near=(1e-3, 2e-3), near_low=None, near_high=None, fits=True,
    )  # fmt: skip
    plain, fitted = (figures.loss_against(frame, AXES["lr"], [], o) for o in (None, optimum))
    assert plain.axes[0].get_xlim() == fitted.axes[0].get_xlim()


def test_an_optimum_beyond_the_rates_is_not_drawn(build: Any) -> None:
    rates = (3e-4, 5e-4, 1e-3, 2e-3)
    experiment = build.plan({"lr": rates})
    trials = [
        build.trial(experiment, {"lr": rate}, (8.5, loss))
        for rate, loss in zip(rates, (8.0, 7.0, 6.1, 5.3), strict=True)
    ]
    frame = Results(experiment, build.write(experiment, trials)).trials_frame
    figure = named(
        all_figures(Results(experiment, build.write(experiment, trials))), "loss_against_lr"
    )
    assert figure.png == axis_figure(frame, [], "lr").png


def test_labels_that_would_run_into_each_other_are_left_out(build: Any) -> None:
    rates = (5e-4, 9e-4, 1e-3, 1e-2)
    experiment = build.plan({"lr": rates})
    trials = [build.trial(experiment, {"lr": rate}, (7.0,)) for rate in rates]
    frame = Results(experiment, build.write(experiment, trials)).trials_frame
    figure = figures.loss_against(frame, AXES["lr"], [])
    figure.canvas.draw()
    axes = figure.axes[0]
    assert list(axes.get_xticks()) == list(rates)
    labels = [label for label in axes.get_xticklabels() if label.get_text()]
    assert [label.get_text() for label in labels] == ["0.0005", "0.0009", "0.01"]
    ends = [label.get_window_extent() for label in labels]
    assert all(one.x1 < other.x0 for one, other in itertools.pairwise(ends))


def test_losses_that_differ_by_little_have_no_offset(build: Any) -> None:
    experiment = build.plan({"lr": (5e-4, 1e-3)})
    trials = [build.trial(experiment, {"lr": rate}, (7.33 + rate / 100,)) for rate in (5e-4, 1e-3)]
    frame = Results(experiment, build.write(experiment, trials)).trials_frame
    figure = figures.loss_against(frame, AXES["lr"], [])
    figure.canvas.draw()
    assert figure.axes[0].yaxis.get_offset_text().get_text() == ""


def test_what_all_trials_cost_alike_is_not_drawn(build: Any) -> None:
    assert "loss_against_cost" not in [p.name for p in all_figures(Results(*build.two_rates()))]
    experiment = build.plan({"epochs": (1, 2)})
    trials = [build.trial(experiment, {"epochs": n}, (7.0, 7.5)[:n]) for n in (1, 2)]
    caption = named(
        all_figures(Results(experiment, build.write(experiment, trials))), "loss_against_cost"
    )
    assert caption.caption.startswith("The best of 2 trials is also among the cheapest: 7.000 nats")


def test_the_front_of_costs_is_of_means_over_seeds(build: Any) -> None:
    experiment = build.plan({"epochs": (1, 2, 3)}, seeds=2)
    ends = {1: (7.0, 7.8), 2: (7.3, 7.2), 3: (7.4, 7.3)}
    trials = [
        build.trial(experiment, {"epochs": n}, (*[8.0] * (n - 1), loss), replicate=k)
        for n, losses in ends.items()
        for k, loss in enumerate(losses)
    ]
    ledger = build.write(experiment, trials)
    front = cost_plots.pareto_front(Results(experiment, ledger).trials_frame)
    assert list(front["epochs"]) == [1, 2]
    assert list(front["val_loss_nats"]) == pytest.approx([7.4, 7.25])
    caption = named(all_figures(Results(experiment, ledger)), "loss_against_cost").caption
    assert caption.startswith(
        "2 of 3 configurations, seeds averaged, are best at their cost, from 7.400"
    )


def test_the_prediction_is_compared_with_what_it_was_of(build: Any) -> None:
    """Not with fresh seeds or what another search trained: 20 s for each trial of the plan."""
    experiment, ledger = lucky(build, confirm=2, predicted_seconds=50.0)
    (alone,) = predicted_figures(Results(experiment, ledger).trials_frame, experiment)
    # 6 x 14 of 2 x (50 - 9): the prediction is of the start and the end of the search, too.
    assert alone.caption.startswith("The trials alone took 102% of the time")
    for k in (3, 4):
        ledger.append(build.trial(experiment, {"lr": 1e-3}, (8.0, 7.1), replicate=k))
    (confirmed,) = predicted_figures(Results(experiment, ledger).trials_frame, experiment)
    assert confirmed == alone
    taken = [dataclasses.replace(trial, taken_from="old") for trial in ledger.trials]
    ledger = build.write(experiment, taken)
    assert predicted_figures(Results(experiment, ledger).trials_frame, experiment) == []


def test_long_names_stay_inside_of_the_figures(build: Any) -> None:
    axes = {"schedule": ("cosine", "linear"), "batch_size": (2, 4), "lr": (1e-3, 2e-3)}
    axes |= {"weight_decay": (0.05, 0.1), "dropout": (0.05,), "warmup_fraction": (0.05,)}
    experiment = build.plan(axes)
    first = {name: values[0] for name, values in axes.items()}
    trials = [
        build.trial(experiment, first | {"lr": lr, "batch_size": size}, (7.0,))
        for lr in (1e-3, 2e-3)
        for size in (2, 4)
    ]
    ledger = build.write(experiment, trials)
    frame, epochs = (
        Results(experiment, ledger).trials_frame,
        Results(experiment, ledger).epochs_frame,
    )
    for figure in (
        curves.generalisation_gap(epochs),
        curves.learning_curves(epochs, "tokens_seen"),
        speed_plots.throughput(frame),
    ):
        figure.draw_without_rendering()
        (axes,) = figure.axes
        texts = [axes.xaxis.label, axes.yaxis.label, *axes.texts, *axes.get_yticklabels()]
        texts += [text for legend in figure.legends for text in legend.get_texts()]
        for text in [text for text in texts if text.get_text()]:
            box = text.get_window_extent()
            assert box.x0 >= 0 and box.x1 <= figure.bbox.x1, text


def test_few_trials_of_a_sampler_have_round_ticks(build: Any) -> None:
    rates = (2.27348e-4, 5.25968e-4, 2.13027e-3, 4.83491e-3)
    experiment = build.plan({"lr": (1e-4, 1e-2)}, sampler="random", samples=4)
    trials = [build.trial(experiment, {"lr": rate}, (7.0,)) for rate in rates]
    frame = Results(experiment, build.write(experiment, trials)).trials_frame
    figure = figures.loss_against(frame, AXES["lr"], [])
    figure.canvas.draw()
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert {"0.0005", "0.001", "0.002"} <= set(labels)
    assert max(map(len, labels)) <= 6


def test_costs_within_a_decade_have_ticks_to_read_them_by(build: Any) -> None:
    experiment = build.plan({"epochs": (1, 2, 3)})
    for lengths in ((1, 2), (1, 3), (2, 3)):
        trials = [build.trial(experiment, {"epochs": n}, (8.0,) * n) for n in lengths]
        frame = Results(experiment, build.write(experiment, trials)).trials_frame
        (axes,) = cost_plots.loss_against_cost(frame).axes
        low, high = axes.get_xlim()
        assert sum(low <= tick <= high for tick in axes.get_xticks()) >= 3


@pytest.mark.parametrize(("rates", "widths"), [(6, 3), (8, 3), (10, 4), (20, 20), (60, 2)])
def test_nothing_in_a_heat_map_lies_over_something_else(rates: int, widths: int) -> None:
    """Rates of four digits, some pairs diverged: labels and losses are turned, thinned, shrunk or
    left out."""
    cells = [(1.234e-4 * 1.15**k, 16 * (n + 1)) for k in range(rates) for n in range(widths)]
    table = pd.DataFrame(cells, columns=["lr", "embed_dim"])
    table = table.assign(val_loss_nats=range(rates * widths), flop=1.0)
    frame, diverged = table.iloc[:-1], table.iloc[-1:]
    figure = cost_plots.heat_map(frame, AXES["lr"], AXES["embed_dim"], diverged)
    assert figure.get_figheight() < 7
    figure.draw_without_rendering()
    axes = figure.axes[0]
    texts = [[*axes.get_xticklabels()], [*axes.get_yticklabels()], [*axes.texts]]
    for drawn in texts:
        boxes = [text.get_window_extent() for text in drawn if text.get_text()]
        assert boxes and not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    assert len(texts[0]) >= 6 and axes.texts[-1].get_text()[0] == "×"
