"""Figures as elements of the page: named curves, the page's colours, ids of their own, light."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any
from xml.etree import ElementTree

import pytest

from minigpt_search.reports.figures import cost_plots
from minigpt_search.reports.figures.all_figures import all_figures
from minigpt_search.reports.figures.report_figure import ReportFigure, draw
from minigpt_search.reports.figures.style import PALETTE, new_figure
from minigpt_search.reports.figures.svg import MOST_CHARACTERS, VARIABLES
from minigpt_search.search.results.results import Results

HOSTILE = '</title></svg><script>alert(1)</script> id="x" #0072b2 & "'


def figure_of(label: str, name: str = "curves") -> ReportFigure:
    figure, axes = new_figure()
    axes.plot([1, 2, 3], [3, 2, 1], color=PALETTE[0], label=label)
    axes.plot([1, 2, 3], [1, 2, 3], color=PALETTE[1])
    axes.set_xlabel(label)
    return ReportFigure(name=name, title="t", alt="a", caption="c", drawing=draw(figure))


def test_a_curve_with_a_label_is_named_when_it_is_hovered() -> None:
    svg = figure_of("lr=0.001, seed 2").svg
    assert re.findall("<title>(.*?)</title>", svg) == ["lr=0.001, seed 2"]
    assert re.search(r'<g id="curves-named-0"><title>lr=0.001, seed 2</title>\s*<path', svg)


def test_a_label_is_text_whatever_is_in_it() -> None:
    harmless, hostile = (
        ElementTree.fromstring(re.sub("xlink:", "", figure_of(label).svg))
        for label in ("label", HOSTILE)
    )
    assert [e.tag for e in hostile.iter()] == [e.tag for e in harmless.iter()]
    assert [e.text for e in hostile.iter("title")] == [HOSTILE]
    assert HOSTILE in [e.text for e in hostile.iter("text")]


def test_what_style_draws_with_is_the_pages_colours(build: Any) -> None:
    for figure in all_figures(Results(*build.two_rates())):
        tags = " ".join(re.findall("<[^>]+>", figure.svg))
        assert not set(re.findall("#[0-9a-f]{6}", tags)) & set(VARIABLES), figure.name
        assert "var(--curve-1)" in tags and "<style" not in tags and "font-family" not in tags


@pytest.mark.parametrize("of", ["rates", "claims", "sampler"])
def test_no_grey_stays_as_it_is_in_dark_mode(build: Any, of: str) -> None:
    """Counting's lines and all else: but for the numbers on a heat map's own colours."""
    experiment, ledger = {
        "rates": lambda: build.two_rates(),
        "claims": lambda: build.claims(seeds=2),
        "sampler": lambda: build.tpe(30),
    }[of]()
    ledger.append(build.counting(experiment))
    figures = all_figures(Results(experiment, ledger))
    for figure in figures:
        tags = " ".join(re.findall("<[^>]+>", figure.svg))
        greys = {c for c in re.findall("#[0-9a-f]{6}", tags) if c[1:3] == c[3:5] == c[5:]}
        assert greys <= {cost_plots.NEARLY_WHITE, cost_plots.NEARLY_BLACK}, figure.name


def test_ids_are_unique_over_the_figures_of_a_page(build: Any) -> None:
    figures = all_figures(Results(*build.two_rates()))
    ids = Counter(i for figure in figures for i in re.findall(r'\bid="([^"]+)"', figure.svg))
    assert max(ids.values()) == 1
    used = {i for figure in figures for i in re.findall(r'(?:href="#|url\(#)([^")]+)', figure.svg)}
    assert used <= set(ids)


def test_hundreds_of_lines_are_a_picture_under_those_that_are_pointed_out() -> None:
    figure, axes = new_figure()
    for number in range(600):
        axes.plot(range(100), [number + (n * number) % 7 for n in range(100)], color="#B3B3B3")
    axes.plot([0, 1], [1, 2], zorder=5, label="the best")
    svg = draw(figure).svg
    assert len(svg) < 2 * MOST_CHARACTERS and "data:image/png;base64" in svg
    assert re.findall("<title>(.*?)</title>", svg) == ["the best"]


def test_the_same_figure_gives_the_same_element() -> None:
    assert figure_of("x") == figure_of("x")
