"""The report of a ladder: its section, its tables and figures; unfinished and of several widths."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from PIL import Image

from minigpt_search.reports.page.ladder_section import ladder_section
from minigpt_search.reports.page.page import build_page, to_html, to_markdown
from minigpt_search.search.results.results import Results

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
