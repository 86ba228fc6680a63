"""What a page is put together from: tables with their captions, and numbered sections."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import pandas as pd

from minigpt_search.reports.figures.report_figure import ReportFigure
from minigpt_search.search.answer.advice import Step
from minigpt_search.search.answer.columns import Shown, show


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

    @property
    def shown(self) -> Shown:
        return show(self.frame)


@dataclass(frozen=True, kw_only=True)
class Section:
    """One numbered part of the page."""

    title: str
    paragraphs: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    bullets: list[str] = field(default_factory=list)
    figures: list[ReportFigure] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)

    @property
    def filled(self) -> bool:
        """Whether there is anything under the title."""
        return any((self.paragraphs, self.tables, self.bullets, self.figures, self.steps))

    @property
    def anchor(self) -> str:
        return re.sub(r"[^a-z]+", "-", self.title.lower())
