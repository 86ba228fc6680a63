"""What a page is put together from: tables with their captions, and numbered sections."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from minigpt_search.reports.figures.report_figure import ReportFigure
from minigpt_search.search.answer.advice import Step
from minigpt_search.search.answer.columns import Shown, show

SHOWN_ROWS = 50
"""Of a longer table; the rest is folded."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table and its words."""

    name: str
    """Its file is tables/NAME.csv."""
    caption: str
    frame: pd.DataFrame
    has_total: bool = False
    """Whether the last row is the sum of the others."""
    marked_row: int | None = None
    """The row to point out: the best trial's."""
    sortable: bool = False
    """Whether a reader may want its rows in another order, or a few of them."""
    file_only: tuple[str, ...] = ()
    """Columns that only the file has: ids, and labels that the page has a column a value of."""

    @cached_property
    def shown(self) -> Shown:
        """What the page and the terminal show."""
        return show(self._on_page)

    @property
    def _on_page(self) -> pd.DataFrame:
        return self.frame.drop(columns=list(self.file_only))

    @property
    def names(self) -> list[str]:
        """The names in the file of the columns that are shown, by which a reader filters."""
        return [str(name) for name in self._on_page.columns]

    @cached_property
    def sort_values(self) -> list[list[str]]:
        """Of each cell that is shown the number to sort by; empty where its text will do."""
        columns = [self._on_page[name].tolist() for name in self._on_page.columns]
        rows = zip(*columns, strict=True)
        return [[_sort_value(value) for value in row] for row in rows]

    @property
    def folds(self) -> bool:
        """Whether it has more rows than a page shows unasked."""
        return len(self.frame) > SHOWN_ROWS

    @property
    def file(self) -> bytes:
        """Its CSV file."""
        return self.frame.to_csv(index=False).encode()


def _sort_value(value: Any) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{value:.9g}" if number and math.isfinite(value) else ""


@dataclass(frozen=True, kw_only=True)
class Section:
    """One numbered part of the page."""

    title: str
    lines: dict[str, str] = field(default_factory=dict)
    """The answer's, under their titles."""
    paragraphs: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    bullets: list[str] = field(default_factory=list)
    figures: list[ReportFigure] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)

    @property
    def filled(self) -> bool:
        """Whether there is anything under the title."""
        return any(
            (self.lines, self.paragraphs, self.tables, self.bullets, self.figures, self.steps)
        )

    @property
    def anchor(self) -> str:
        return re.sub(r"[^a-z]+", "-", self.title.lower())
