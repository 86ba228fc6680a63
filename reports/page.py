"""The report's page: sections of tables, figures and sentences, and its two renderings.

The templates only lay out; what they show is decided here.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from pathlib import Path

import jinja2
import pandas as pd

from reports import findings, setup_tables, tables
from reports.columns import Shown, day_and_time, one_line, show, times
from reports.frames import trial_label
from reports.front import front_sentence, front_table, limit_sentence
from reports.gallery import Picture, gallery
from search.axes import AXES
from search.experiment import Experiment
from search.ledger import Ledger

_TEMPLATES = Path(__file__).parent / "templates"
# What Markdown would read as its own. An underscore inside a word is not (`embed_dim`).
_MARKDOWN_SPECIAL = re.compile(r"[\\`*\[\]|~$]|(?<!\w)_|_(?!\w)")


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
    pictures: list[Picture] = field(default_factory=list)
    steps: list[findings.NextStep] = field(default_factory=list)

    @property
    def filled(self) -> bool:
        """Whether there is anything under the title."""
        return any((self.paragraphs, self.tables, self.bullets, self.pictures, self.steps))

    @property
    def anchor(self) -> str:
        return re.sub(r"[^a-z]+", "-", self.title.lower())


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
    def pictures(self) -> list[Picture]:
        return [picture for section in self.sections for picture in section.pictures]


def build_page(experiment: Experiment, ledger: Ledger, out: str | None = None) -> Page:
    """Everything the report says. `out` is `--out` as it was given, for the commands shown."""
    candidates = [
        _architecture(experiment),
        _training(experiment),
        _data(experiment),
        _experiments(experiment, ledger),
        _front(experiment, ledger),
        _without_result(experiment, ledger),
        _by_epoch(experiment, ledger),
        Section(title="Figures", pictures=gallery(experiment, ledger)),
        _reruns(experiment, ledger),
        Section(title="What to run next", steps=findings.next_steps(experiment, ledger, out)),
    ]
    return Page(
        title=one_line(experiment.name),
        begun=day_and_time(experiment.created_at),
        summary=findings.summary(experiment, ledger),
        headline=findings.headline(experiment, ledger),
        cautions=findings.cautions(experiment, ledger),
        sections=[section for section in candidates if section.filled],
    )


def _architecture(experiment: Experiment) -> Section:
    varied = [
        f"{AXES[name].label} ({', '.join(map(AXES[name].show, values))})"
        for name, values in experiment.axes.items()
        if hasattr(experiment.base.model, AXES[name].field)
    ]
    paragraphs = []
    if varied:
        paragraphs = [
            f"The search varies the {' and the '.join(varied)}: the table is of the base "
            "configuration."
        ]
    table = Table(
        name="architecture",
        caption="Trainable parameters of the base configuration",
        frame=setup_tables.architecture(experiment.base),
        has_total=True,
    )
    return Section(title="Architecture and parameters", paragraphs=paragraphs, tables=[table])


def _training(experiment: Experiment) -> Section:
    recipe = Table(name="recipe", caption="Training recipe", frame=setup_tables.recipe(experiment))
    provenance = Table(
        name="provenance",
        caption="Machine, versions and command",
        frame=setup_tables.provenance(experiment),
    )
    return Section(title="Training", tables=[recipe, provenance])


def _data(experiment: Experiment) -> Section:
    corpus = experiment.corpus
    return Section(
        title="Data set",
        tables=[
            Table(
                name="training_data",
                caption="What the base configuration trains on",
                frame=setup_tables.training_data(experiment),
            ),
            Table(
                name="sources",
                caption="Sources; retention is the share of documents that preparation kept",
                frame=setup_tables.sources(corpus),
                has_total=True,
            ),
            Table(
                name="splits",
                caption="Splits, by document",
                frame=setup_tables.splits(corpus),
            ),
        ],
        bullets=setup_tables.attributions(corpus),
    )


def _experiments(experiment: Experiment, ledger: Ledger) -> Section:
    frame = tables.experiments(experiment, ledger)
    if frame.empty:
        return Section(title="Experiments", paragraphs=["No trial has finished yet."])
    table = Table(
        name="experiments",
        caption="Finished trials; losses in nats per token, perplexity and bits per byte on the "
        "validation split",
        frame=frame,
        marked_row=next((i for i, n in enumerate(frame["notes"]) if n.startswith("best")), None),
    )
    paragraphs = [sentence] if (sentence := limit_sentence(ledger)) else []
    return Section(title="Experiments", paragraphs=paragraphs, tables=[table])


def _front(experiment: Experiment, ledger: Ledger) -> Section:
    if len(experiment.objectives) < 2 or (frame := front_table(experiment, ledger)).empty:
        return Section(title="Pareto front")
    table = Table(name="front", caption=front_sentence(experiment, ledger), frame=frame)
    return Section(title="Pareto front", tables=[table])


def _without_result(experiment: Experiment, ledger: Ledger) -> Section:
    missing = findings.not_run_yet(experiment, ledger)
    paragraphs = []
    if missing:
        paragraphs = [f"Planned and not run yet: {missing} of {experiment.planned_trials} trials."]
    frame = tables.without_result(experiment, ledger)
    table = Table(
        name="without_result",
        caption="Stopped, diverged and failed trials: they have no result to compare",
        frame=frame,
    )
    return Section(
        title="Trials without a result",
        paragraphs=paragraphs,
        tables=[] if frame.empty else [table],
    )


def _by_epoch(experiment: Experiment, ledger: Ledger) -> Section:
    best = ledger.best()
    if best is None:
        return Section(title="Results by epoch")
    label = trial_label(experiment, best.config, best.replicate)
    table = Table(
        name="best_by_epoch",
        caption=f"{label}; improvement is the fall of perplexity since epoch 1",
        frame=tables.best_by_epoch(experiment, ledger),
    )
    return Section(title="Results by epoch", tables=[table])


def _reruns(experiment: Experiment, ledger: Ledger) -> Section:
    if not ledger.reruns:
        return Section(title="Reruns")
    table = Table(
        name="reruns",
        caption="Equal bits are expected on the same machine only",
        frame=tables.reruns(experiment, ledger),
    )
    return Section(
        title="Reruns",
        paragraphs=[
            f"The test split has been looked at {times(len(ledger.reruns))}, by the reruns below."
        ],
        tables=[table],
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


def to_html(page: Page) -> str:
    """One self-contained page: style and figures inside, no script, nothing fetched."""
    return _environment(autoescape=True).get_template("report.html.j2").render(page=page)


def to_markdown(page: Page) -> str:
    """The same for a code host, with the figures as files beside it."""
    return _environment(autoescape=False).get_template("report.md.j2").render(page=page)
