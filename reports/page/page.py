"""The report's page and its two renderings.

The templates only lay out; what they show is decided here and in the sections.
"""

from __future__ import annotations

import base64
import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path

import jinja2

from minigpt_search.data.common.formatting import day_and_time, one_line, sentence
from minigpt_search.reports.figures.all_figures import all_figures
from minigpt_search.reports.figures.report_figure import ReportFigure
from minigpt_search.reports.page import findings, sections
from minigpt_search.reports.page.ladder_section import ladder_section
from minigpt_search.reports.page.other_text import other_text_section
from minigpt_search.reports.page.parts import Section, Table
from minigpt_search.search.answer.answer import answer
from minigpt_search.search.results.results import Results

_TEMPLATES = Path(__file__).parent / "templates"
# What Markdown would read as its own. An underscore inside a word is not (`embed_dim`).
_MARKDOWN_SPECIAL = re.compile(r"[\\`*\[\]|~$]|(?<!\w)_|_(?!\w)")


@dataclass(frozen=True, kw_only=True)
class Page:
    """The whole report."""

    title: str
    begun: str
    summary: str
    headline: dict[str, str]
    cautions: list[str]
    sections: list[Section]

    @property
    def tables(self) -> list[Table]:
        return [table for section in self.sections for table in section.tables]

    @property
    def figures(self) -> list[ReportFigure]:
        return [figure for section in self.sections for figure in section.figures]


def build_page(results: Results, out: str | None = None) -> Page:
    """Everything the report says. `out` is `--out` as it was given, for the commands shown."""
    experiment, found = results.experiment, answer(results, out)
    candidates = [
        Section(
            title="The answer",
            paragraphs=[f"{title}: {text}." for title, text in found.first_lines.items()],
            steps=[dataclasses.replace(step, why=sentence(step.why)) for step in found.steps],
        ),
        ladder_section(results),
        sections.architecture_section(experiment),
        sections.training_section(experiment, results.trials),
        sections.data_section(experiment),
        sections.trials_section(results),
        sections.front_section(results),
        other_text_section(results),
        sections.without_result_section(results),
        sections.by_epoch_section(results),
        Section(title="Figures", figures=all_figures(results)),
        sections.claims_section(results, out),
        sections.provenance_section(results, out),
    ]
    return Page(
        title=one_line(experiment.name),
        begun=day_and_time(experiment.created_at),
        summary=findings.summary(results),
        headline=findings.headline(results),
        cautions=findings.cautions(results, found.alarms),
        sections=[section for section in candidates if section.filled],
    )


def markdown_text(value: object) -> str:
    """`value` as literal text for a line or a table's cell of GitHub-flavoured Markdown."""
    text = one_line(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKDOWN_SPECIAL.sub(lambda match: "\\" + match[0], text)


def _environment(autoescape: bool) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=autoescape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["markdown"] = markdown_text
    environment.filters["one_line"] = one_line  # a line break would end an indented code block
    environment.filters["base64"] = lambda content: base64.b64encode(content).decode()
    return environment


def to_html(page: Page, refresh_seconds: int | None = None) -> str:
    """One self-contained page: style and figures inside, no script, nothing fetched. With
    `refresh_seconds` an open page loads itself again that often."""
    template = _environment(autoescape=True).get_template("report.html.j2")
    return template.render(page=page, refresh_seconds=refresh_seconds)


def to_markdown(page: Page) -> str:
    """The page as Markdown for a code host, with the figures as files beside it."""
    return _environment(autoescape=False).get_template("report.md.j2").render(page=page)
