"""The page's tables and its script: a column an axis, what sorts them, what folds, what may run."""

from __future__ import annotations

import base64
import hashlib
import re
from html import unescape
from typing import Any

import pandas as pd
import pytest

from minigpt_search.reports.page.page import (
    Page,
    build_page,
    to_html,
    to_markdown,
    whole_words,
)
from minigpt_search.reports.page.parts import Table
from minigpt_search.search.results.results import Results

pytestmark = pytest.mark.usefixtures("undrawn")


def named(page: Page, name: str) -> Table:
    return next(table for table in page.tables if table.name == name)


def confirmed(build: Any) -> Page:
    """Two axes, two seeds and a fresh one; a trial diverged."""
    experiment = build.plan({"lr": (1e-3, 2e-3), "schedule": ("cosine", "linear")}, seeds=2)
    experiment = experiment.replace(confirm=2)
    cell = {"lr": 1e-3, "schedule": "linear"}
    trials = [build.trial(experiment, cell, (8.0, 7.0 + k / 100), replicate=k) for k in range(3)]
    trials.append(build.trial(experiment, cell | {"lr": 2e-3}, (9.0,), "diverged"))
    return build_page(Results(experiment, build.write(experiment, trials)))


def test_files_have_a_column_for_each_axis_and_labels_for_people(build: Any) -> None:
    page = confirmed(build)
    trials = named(page, "trials")
    assert list(trials.frame.columns)[:5] == ["trial_id", "trial", "lr", "schedule", "seed"]
    assert trials.frame["lr"].tolist() == [1e-3] * 3 and trials.frame["seed"].tolist() == [1, 2, 3]
    assert trials.frame["notes"].tolist()[2].endswith("fresh seed")
    assert trials.shown.headings[:3] == ["Learning rate", "Schedule", "Seed"]
    assert trials.shown.rows[0][:3] == ["0.001", "linear", "1"]
    without = named(page, "without_result").frame
    assert without[["lr", "schedule", "seed"]].values.tolist() == [[2e-3, "linear", 1]]
    seeds = named(page, "configurations")
    assert list(seeds.frame.columns)[:3] == ["configuration", "lr", "schedule"]
    assert "configuration" not in seeds.names


def test_what_is_shown_with_a_unit_is_sorted_by_its_number(build: Any) -> None:
    html = to_html(confirmed(build))
    assert re.search(r'<td class="number" data-value="[\d.]+">\d+\.\d s</td>', html)
    assert '<th scope="col" class="number" data-name="val_loss_nats">Validation loss</th>' in html
    assert 'data-value="1"' not in html  # where text and number are the same


@pytest.mark.parametrize("rows", [50, 51])
def test_a_long_table_folds(rows: int) -> None:
    frame = pd.DataFrame({"setting": [f"row {n}" for n in range(rows)], "value": "x"})
    table = Table(name="long", caption="Many", frame=frame)
    assert table.folds is (rows > 50)


def test_a_long_search_is_folded_with_its_best_first(build: Any) -> None:
    page = build_page(Results(*build.five_hundred(None)))
    table = named(page, "trials")
    assert table.frame["val_loss_nats"].is_monotonic_increasing and table.marked_row is not None
    html = to_html(page)
    assert "The first 50 of 480 rows; show all" in html and 'class="fold"' in html
    assert html.count("<tr") > 480  # folded, not left out
    markdown = to_markdown(page)
    assert "The other 430 rows are in `tables/trials.csv`." in markdown
    assert len(markdown.splitlines()) < 450


def test_the_policy_allows_the_pages_script_and_nothing_else(build: Any) -> None:
    html = to_html(confirmed(build))
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', html)
    policy = policy.replace("&#39;", "'")
    assert policy == (
        f"default-src 'none'; script-src 'sha256-{digest}'; img-src data:; "
        "style-src 'unsafe-inline'"
    )
    assert not re.search(r"\son\w+=", html)  # a handler in an attribute would be refused


def test_the_script_sets_text_and_never_markup(build: Any) -> None:
    (script,) = re.findall(r"<script>(.*?)</script>", to_html(confirmed(build)), re.DOTALL)
    for dangerous in ("innerHTML", "outerHTML", "insertAdjacentHTML", "eval", "document.write"):
        assert dangerous not in script


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("python search/run.py --lr 1", ["search/run.py", "--lr"]),
        ("on 2026-11-22, pre-norm", ["2026-11-22,", "pre-norm"]),
        ("lr=0.001 <b> & more", []),
        ("a-<b>&\"'", ["a-<b>&\"'"]),
    ],
)
def test_words_with_a_hyphen_or_a_slash_are_kept_whole(text: str, marked: list[str]) -> None:
    html = str(whole_words(text))
    words = re.findall('<span class="w">(.*?)</span>', html)
    assert [unescape(word) for word in words] == marked
    assert unescape(re.sub("</?span[^>]*>", "", html)) == text


def test_the_best_of_a_folded_table_is_among_the_rows_that_are_shown(build: Any) -> None:
    """Of a grid of 500 the configurations', the trials' and the commands' tables."""
    results = Results(*build.five_hundred(None))
    page, best = build_page(results), results.winner
    assert best is not None
    seeds, commands = named(page, "configurations"), named(page, "rerun_commands")
    for table in (seeds, named(page, "trials"), commands):
        assert table.folds and "; the lowest loss first" in table.caption
    assert (
        seeds.marked_row == 0
        and f"={best.configuration.config.train.lr_peak:g}" in (seeds.frame["configuration"][0])
    )
    assert seeds.frame["val_loss_nats"].is_monotonic_increasing
    lowest = min(results.complete, key=lambda trial: trial.final.val_loss_nats)
    assert commands.frame["command"][0].endswith(lowest.trial_id)
    text = to_markdown(page)
    assert f"| **{best.configuration.config.train.lr_peak:g}** |" in text.split("The other")[0]
