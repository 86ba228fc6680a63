"""The report's page and its two renderings.

The templates only lay out; what they show is decided here and in the sections.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
import markupsafe

from minigpt_search.data.common.formatting import day_and_time, one_line, sentence
from minigpt_search.reports.figures.all_figures import all_figures, opening
from minigpt_search.reports.figures.report_figure import ReportFigure
from minigpt_search.reports.page import findings, sections
from minigpt_search.reports.page.ladder_section import ladder_section
from minigpt_search.reports.page.other_text import other_text_section
from minigpt_search.reports.page.parts import SHOWN_ROWS, Section, Table
from minigpt_search.reports.page.samples_section import samples_section
from minigpt_search.search.answer.answer import answer
from minigpt_search.search.results.results import Results

_TEMPLATES = Path(__file__).parent / "templates"
# What Markdown would read as its own. An underscore inside a word is not (`embed_dim`).
_MARKDOWN_SPECIAL = re.compile(r"[\\`*\[\]|~$]|(?<!\w)_|_(?!\w)")
_BREAKABLE = re.compile(r"\S*[-/–—]\S*")


@dataclass(frozen=True, kw_only=True)
class Page:
    """The whole report."""

    title: str
    begun: str
    """When, and how far it has come."""
    summary: str
    """One sentence; empty where the first section has the answer's lines."""
    cautions: list[str]
    """What to know before believing the summary, or the answer."""
    sections: list[Section]

    @property
    def tables(self) -> list[Table]:
        return [table for section in self.sections for table in section.tables]

    @property
    def figures(self) -> list[ReportFigure]:
        return [figure for section in self.sections for figure in section.figures]


def build_page(results: Results, out: str | None = None, ladders: Sequence[Results] = ()) -> Page:
    """Everything the report says: the answer and its picture, the trials, the rest, and last how
    it was set up. `out` is `--out` as it was given, for the commands shown; `ladders` say
    something of the claims, too."""
    experiment, found = results.experiment, answer(results, out)
    figures = all_figures(results)
    first, ladder = opening(figures, results), ladder_section(results)
    if ladder.figures:  # its picture is that of the valleys
        first, ladder = ladder.figures[:1], dataclasses.replace(ladder, figures=ladder.figures[1:])
    candidates = [
        Section(
            title="The answer",
            lines={title: f"{sentence(text)}." for title, text in found.first_lines.items()}
            | {"Next": f"{sentence(found.steps[0].why)}:", "Command": found.steps[0].command},
            figures=first,
            paragraphs=[findings.summary(results)],
            steps=[dataclasses.replace(step, why=sentence(step.why)) for step in found.steps[1:]],
        ),
        ladder,
        sections.trials_section(results),
        sections.front_section(results),
        other_text_section(results),
        sections.without_result_section(results),
        samples_section(results, out),
        sections.by_epoch_section(results),
        Section(title="Figures", figures=[each for each in figures if each not in first]),
        sections.claims_section(results, out, ladders),
        sections.provenance_section(results, out),
        sections.architecture_section(experiment),
        sections.training_section(experiment, results.trials, out),
        sections.data_section(experiment),
    ]
    return Page(
        title=one_line(experiment.name),
        begun=f"begun {day_and_time(experiment.created_at)}; {findings.progress_and_time(results)}",
        summary="",
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
    environment.filters["drawn"] = _drawn
    environment.filters["words"] = whole_words
    return environment


def whole_words(text: str) -> markupsafe.Markup:
    """`text` with marks around the words that a browser would break at a hyphen or a slash: names,
    dates, flags (`--`, then `confirm` on the next line). They go to the next line whole."""
    found, end = markupsafe.Markup(), 0
    for word in _BREAKABLE.finditer(text):
        found += markupsafe.escape(text[end : word.start()])
        found += markupsafe.Markup('<span class="w">{}</span>').format(word[0])
        end = word.end()
    return found + markupsafe.escape(text[end:])


def _drawn(figure: ReportFigure) -> markupsafe.Markup:
    """The figure as an element with its words for those who can't see it."""
    words = markupsafe.Markup('<svg role="img" aria-label="{}" ').format(figure.alt)
    return words + markupsafe.Markup(figure.svg.removeprefix("<svg "))


def policy(script: str) -> str:
    """The page's Content-Security-Policy: its own style and this script, and nothing else.
    Source: https://www.w3.org/TR/CSP3/#framework-directive-source-list (hash-source)."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    allowed = f"script-src 'sha256-{digest}'; img-src data:; style-src 'unsafe-inline'"
    return f"default-src 'none'; {allowed}"


def to_html(page: Page, refresh_seconds: int | None = None) -> str:
    """One self-contained page: style, figures and a script that sorts tables inside, nothing
    fetched; without scripts it says as much. With `refresh_seconds` an open page loads itself again
    that often."""
    template = _environment(autoescape=True).get_template("report.html.j2")
    script = (_TEMPLATES / "tables.js").read_text(encoding="utf-8")
    return template.render(
        page=page,
        refresh_seconds=refresh_seconds,
        script=markupsafe.Markup(script),
        policy=policy(script),
        shown_rows=SHOWN_ROWS,
    )


def to_markdown(page: Page) -> str:
    """The page as Markdown for a code host, with the figures as files beside it."""
    template = _environment(autoescape=False).get_template("report.md.j2")
    return template.render(page=page, shown_rows=SHOWN_ROWS)
