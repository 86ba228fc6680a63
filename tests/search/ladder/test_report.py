"""The report of a ladder: its section, its tables and figures; unfinished and of several widths."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from PIL import Image

from minigpt_search.reports.figures.ladder_plots import _frontier, _valleys, ladder_figures
from minigpt_search.reports.page.ladder_section import ladder_section
from minigpt_search.reports.page.page import build_page, to_html, to_markdown
from minigpt_search.search.results.results import Results
from minigpt_search.search.trials.trial import Trial

Make = Callable[..., Results]


@pytest.mark.parametrize("words", [(), ("--embed-dim", "8,16")])
def test_the_section_has_rungs_checks_and_both_figures(
    results_of: Make, loss_of: Callable[..., object], words: tuple[str, ...]
) -> None:
    section = ladder_section(results_of(loss_of(slope=-0.3, sd=0.01, steep=0.2), *words))
    rungs, checks = section.tables
    widths = 2 if words else 1
    assert len(rungs.frame) == 3 * widths + 1 and rungs.marked_row == 3 * widths
    assert checks.frame["rate_held"].all() and len(checks.frame) == widths
    assert rungs.shown.rows[-1][:2] == ["target, predicted", "8,000"]
    assert [figure.name for figure in section.figures] == ["ladder_valleys", "ladder_frontier"]
    for figure in section.figures:
        image = Image.open(io.BytesIO(figure.png))
        assert image.width > 900 and len(set(image.convert("L").tobytes())) > 30


def test_before_there_is_a_prediction_the_page_says_so(results_of: Make) -> None:
    page = build_page(results_of(lambda trial: None))
    section = next(each for each in page.sections if each.title == "The ladder")
    answer = next(each for each in page.sections if each.title == "The answer")
    assert answer.paragraphs[0].startswith("Ladder: no two rungs")
    assert "placed rung by rung" in to_html(page) and "## 2. The ladder" in to_markdown(page)
    assert section.figures == [] and "No two rungs" in section.paragraphs[-1]


def test_a_refused_target_has_one_mark_and_no_rate(
    results_of: Make, loss_of: Callable[..., Callable[[Trial], float]]
) -> None:
    """In the legend as in the plot, and in the words for those who can't see it."""
    refused = results_of(loss_of(steep=0.005, sd=0.05))
    found = refused.ladder_prediction
    assert found is not None and found.refused
    for figure, across in ((_valleys, "|"), (_frontier, "_")):
        drawn = figure(refused, found, 8, refused.ladder_fan)
        [entry] = [h for h in drawn.legends[0].legend_handles if "predicted" in h.get_label()]
        marks = {line.get_marker() for line in drawn.axes[0].lines}
        assert entry.get_marker() == across and across in marks and "*" not in marks
    valleys = ladder_figures(refused)[0]
    assert f"target, {found.rate.high:.2g} and below, without a point" in valleys.alt
    left, right = _valleys(refused, found, 8, refused.ladder_fan).axes[0].get_xlim()
    assert 1e-6 < left < right < 1  # an end that bounds nothing does not squeeze the valleys
    assert f"{found.rate.rate:.2g} (" not in valleys.alt


def test_points_above_the_frame_are_counted(
    results_of: Make, loss_of: Callable[..., Callable[[Trial], float]]
) -> None:
    results = results_of(loss_of(slope=-0.3, sd=0.01, steep=0.6))
    found = results.ladder_prediction
    assert found is not None
    top = _valleys(results, found, 8, results.ladder_fan).axes[0].get_ylim()[1]
    said = []
    for tokens in (800, 1600, 3200):
        own = [t for t in results.complete if t.config.train.tokens_per_epoch == tokens]
        high = sum(t.final.val_loss_nats > top for t in own)
        said += [f"{high} of the {len(own)} of {tokens:,} tokens"] * bool(high)
    assert said
    assert f"Points above the frame: {', '.join(said)}." in ladder_figures(results)[0].caption
    flat = results_of(loss_of(slope=-0.3, sd=0.01, steep=0.02), "--name", "flat")
    assert "above the frame" not in ladder_figures(flat)[0].caption


def test_the_lines_of_the_valleys_are_each_explained(
    results_of: Make, loss_of: Callable[..., Callable[[Trial], float]]
) -> None:
    """One joins the rungs' lowest points, the other is predicted and needs not begin at the last of
    them: they are no single line."""
    results = results_of(loss_of(slope=-0.3, sd=0.01, steep=0.2))
    found = results.ladder_prediction
    assert found is not None
    lines = {
        line.get_linestyle(): line
        for line in _valleys(results, found, 8, results.ladder_fan).axes[0].lines
    }
    assert len(lines["--"].get_xdata()) == 3 and lines[":"].get_xdata()[-1] == found.rate.rate
    caption = ladder_figures(results)[0].caption
    assert (
        "dashed line joins their lowest points" in caption and "dotted one is the best" in caption
    )
