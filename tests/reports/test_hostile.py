"""Every text of a user's that reaches a report, at once hostile: the page must not change shape.

The same experiment is reported with harmless and with hostile words. Parsed by `html.parser`, the
two pages must have the same elements and attributes in the same order; read as Markdown, the same
lines and cells.
"""

from __future__ import annotations

import dataclasses
import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from minigpt_search.data.common.errors import UserError
from minigpt_search.model.records import Device
from minigpt_search.reports import generate
from minigpt_search.reports.page.compare import compare_page
from minigpt_search.reports.page.page import Page, build_page, to_html, to_markdown
from minigpt_search.search.results.results import Results

pytestmark = pytest.mark.usefixtures("undrawn")

PAYLOADS = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</style></title></pre></td></table><iframe src=//example.com>",
    "](javascript:alert(1)) [x](javascript:alert(1)) ![y](http://example.com/y.png)",
    "` `` ``` | a | b || \\| \\",
    "one\ntwo\r\n# three\n\n    four\n---\n<b>\x0b\x0c\x1b[31m\u2028five\x85",
    "<!-- &lt;script&gt; &#60;b&#62; ]]> {{ 7 * 7 }} {% raw %}",
    "http://example.com www.example.com *a* __b__ ~~c~~ $d$ <http://e.example>",
]

CELL_ENDS = re.compile(r"(?<!\\)(?:\\\\)*\|")
"""A pipe after an even number of backslashes."""


class Shape(HTMLParser):
    """Each tag with the names of its attributes, and where links and figures lead."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, ...]] = []
        self.leads: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "span":  # around words with a hyphen, of which there are some in either
            self.tags.append((tag, *(name for name, _ in attrs)))
        self.leads += [str(value)[:22] for name, value in attrs if name in ("href", "src")]

    def handle_endtag(self, tag: str) -> None:
        if tag != "span":
            self.tags.append(("/" + tag,))

    def handle_comment(self, data: str) -> None:
        self.tags.append(("comment",))

    def handle_pi(self, data: str) -> None:
        self.tags.append(("instruction",))

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(build: Any, word: str) -> Page:
    """A report in which every text that a user or a machine gave is `word`."""
    source = build.manifest()["sources"][0]
    source |= dict.fromkeys(("name", "title", "kind", "licence", "attribution", "url"), word)
    plain = build.plan(seeds=2)
    device = Device(kind="cpu", name=word, threads=1)
    given = {"versions": {word: word}, "device": device, "ended_at": word}
    done = build.trial(plain, {"lr": 1e-3}, (7.0, 6.5, 6.0), **given)
    diverged = build.trial(plain, {"lr": 3e-4}, (7.0,), "diverged", error=word, **given)
    failed = build.trial(plain, {"lr": 3e-4}, (), "failed", error=word, replicate=1, **given)
    rerun = dataclasses.replace(build.rerun(done, 6.0), ended_at=word)
    ledger = build.write(plain, [done, diverged, failed, rerun])
    experiment = plain.replace(
        name=word,
        created_at=word,
        command=("search/run.py", word),
        manifest=build.manifest(sources=[source], name=word),
        content_hash=word,
        hardware={"processor": word, "cores": 2, "memory_gb": 24.0, "gpus": [word]},
        versions={word: word},
        git_commit=word,
    )
    return build_page(Results(experiment, ledger), out=word)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_html_has_the_elements_of_a_harmless_report(build: Any, payload: str) -> None:
    harmless, hostile = (Shape(to_html(page_of(build, word))) for word in ("word", payload))
    assert hostile.tags == harmless.tags
    assert hostile.leads == harmless.leads
    seen = " ".join("".join(c if c.isprintable() else " " for c in payload).split())
    assert hostile.text.count(seen) >= 10  # shown as it is, not swallowed


def comparison_of(build: Any, word: str) -> Page:
    """A comparison of two searches in which every text is `word`."""
    searches = []
    for rate in (1e-3, 2e-3):
        plain = build.plan({"lr": (rate,)}, command=("search/run.py", str(rate)))
        ledger = build.write(plain, [build.trial(plain, {"lr": rate}, (7.0, 6.5, 6.0))])
        experiment = plain.replace(
            name=f"{word}{rate}",
            command=("search/run.py", f"{word} {rate}"),
            versions={word: f"{word} {rate}"},
            hardware={**plain.machine.hardware, "processor": f"{word} {rate}"},
            git_commit=f"{word} {rate}",
        )
        searches.append(Results(experiment, ledger))
    return compare_page(searches)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_comparison_has_the_shape_of_a_harmless_one(build: Any, payload: str) -> None:
    pages = [comparison_of(build, word) for word in ("word", payload)]
    harmless, hostile = (Shape(to_html(page)) for page in pages)
    assert hostile.tags == harmless.tags
    assert hostile.leads == harmless.leads
    lines = [[kind(line) for line in to_markdown(page).splitlines()] for page in pages]
    assert lines[0] == lines[1]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_markdown_has_the_lines_and_cells_of_a_harmless_report(build: Any, payload: str) -> None:
    harmless, hostile = (
        to_markdown(page_of(build, word)).splitlines() for word in ("word", payload)
    )
    assert [kind(line) for line in hostile] == [kind(line) for line in harmless]
    for line in hostile:
        if kind(line) != "code":
            assert "<" not in line and not re.search(r"(?<!\\)\]\((?!figures/)", line), line


def kind(line: str) -> str:
    """What Markdown takes a line for; a table's row with its number of cells."""
    if line.startswith("    "):
        return "code"
    if line.startswith("|"):
        return f"row of {len(CELL_ENDS.findall(line))}"
    return re.match(r"#* |- |!\[|\*\*|", line)[0] if line else "empty"  # type: ignore[index]


def test_hostile_values_of_axes_are_refused_in_one_line(build: Any) -> None:
    build.two_rates()
    path = build.root / "experiments" / "lr-quick" / "experiment.json"
    for axes in ({"lr": ["<script>"]}, {"<script>": [1.0]}, {"lr": []}, {"lr": [float("inf")]}):
        raw = json.loads(path.read_text())
        path.write_text(json.dumps(raw | {"space": raw["space"] | {"axes": axes}}))
        with pytest.raises(UserError, match="axes") as refused:
            generate.main(["lr-quick", "--out", str(build.root)])
        assert len(str(refused.value).splitlines()) == 1
