"""Several searches on one page, and a page that is kept fresh."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from minigpt_search.data.common.errors import UserError
from minigpt_search.reports import generate
from minigpt_search.reports.page import watch
from minigpt_search.reports.page.compare import compare_page, comparison_folder
from minigpt_search.search.answer.columns import show
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.results.results import Results

pytestmark = pytest.mark.usefixtures("undrawn")


def two(build: Any, **changes: Any) -> list[Results]:
    """Two searches with three seeds each: 7.0 with a batch of 32, 6.5 with one of 16."""
    searches = []
    for name, end, batch in (("wide", 7.0, 32), ("narrow", 6.5, 16)):
        base = build.plan().space.base.replace(batch_size=batch)
        experiment = build.plan({"lr": (1e-3,)}, name=name, seeds=3, base=base, **changes)
        losses = [end - 0.01, end, end + 0.02]
        trials = [
            build.trial(experiment, {"lr": 1e-3}, (8.0, 7.5, loss), replicate=k)
            for k, loss in enumerate(losses)
        ]
        searches.append(Results(experiment, build.write(experiment, trials)))
    return searches


def test_the_best_of_each_and_how_far_behind(build: Any) -> None:
    page = compare_page(two(build))
    table = page.tables[0]
    shown = show(table.frame)
    assert [row[0] for row in shown.rows] == ["wide", "narrow"]
    assert table.marked_row == 1
    assert shown.rows[1][shown.headings.index("Behind the best")] == "–"
    one, other = [6.99, 7.0, 7.02], [6.49, 6.5, 6.52]
    expected = stats.ttest_ind(one, other, equal_var=False).confidence_interval(0.95)
    behind = f"+0.5000 [{expected.low:+.4f}, {expected.high:+.4f}]"
    assert shown.rows[0][shown.headings.index("Behind the best")] == behind
    assert "Best: lr=0.001 of narrow" in page.summary


def test_a_difference_of_shared_seeds_says_so(build: Any) -> None:
    shown = show(compare_page(two(build, paired=True)).tables[0].frame)
    behind = shown.rows[0][shown.headings.index("Behind the best")]
    assert behind == "+0.5000 [+0.5000, +0.5000], paired: of the 3 seeds in common alone"


def test_the_best_of_each_is_the_one_its_own_report_names(build: Any) -> None:
    """By the mean of its seeds, not by the luckiest; after confirming by the fresh ones alone."""
    experiment = build.plan({"lr": (1e-3, 2e-3)}, name="lucky", seeds=3)
    losses = {1e-3: (7.1, 7.12, 7.14), 2e-3: (7.0, 7.4, 7.5)}
    trials = [
        build.trial(experiment, {"lr": rate}, (8.0, 7.9, loss), replicate=k)
        for rate, found in losses.items()
        for k, loss in enumerate(found)
    ]
    ledger = build.write(experiment, trials)
    row = compare_page([Results(experiment, ledger)]).tables[0].frame.iloc[0]
    assert row["configuration"] == "lr=0.001" and row["val_loss_nats"] == pytest.approx(7.12)
    experiment = experiment.replace(confirm=2, confirm_seeds=2)
    for rate, loss in ((1e-3, 7.3), (2e-3, 7.2)):
        for k in (3, 4):
            fresh = build.trial(experiment, {"lr": rate}, (8.0, 7.9, loss + k / 100), replicate=k)
            ledger.append(fresh)
    row = compare_page([Results(experiment, ledger)]).tables[0].frame.iloc[0]
    assert row["configuration"] == "lr=0.002" and row["val_loss_nats"] == pytest.approx(7.235)
    assert row["seeds"] == "2 fresh"
    confirmed = compare_page([Results(experiment, ledger), *two(build)]).tables[1].frame
    trials = confirmed.set_index("setting").loc["trials finished"]
    assert list(trials) == ["10 of 10", "3 of 3", "3 of 3"]


def test_a_watched_page_goes_on_while_fresh_seeds_are_due(
    build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = build.plan({"lr": (1e-3, 2e-3)}, confirm=2, confirm_seeds=2)
    ledger = build.write(experiment)
    ended = []

    def watched(path: Path, write: Any, look: Any) -> None:
        look()
        for k in range(3):
            for rate in (1e-3, 2e-3):
                loss = 7 + rate + k / 1000
                trial = build.trial(experiment, {"lr": rate}, (8.0, 7.9, loss), replicate=k)
                ledger.append(trial)
            ended.append(write(5))

    monkeypatch.setattr(generate, "watch", watched)
    assert generate.main(["--watch", "--file", "--out", str(build.root)]) == 0
    assert ended == [False, False, True]


def test_only_settings_that_differ_are_listed(build: Any) -> None:
    frame = compare_page(two(build)).tables[1].frame
    assert list(frame.columns) == ["setting", "search:wide", "search:narrow"]
    assert frame.values.tolist() == [["batch_size", "32", "16"]]


def test_searches_on_different_text_have_no_best(build: Any) -> None:
    first, second = two(build)
    second.experiment = second.experiment.replace(content_hash="dead")
    page = compare_page([first, second])
    assert "no best" in page.summary and "different corpora" in page.cautions[0]
    assert page.tables[0].marked_row is None
    assert page.tables[0].frame["behind"].isna().all()


def test_a_search_without_a_result_is_listed(build: Any) -> None:
    first, second = two(build)
    empty = second.experiment.replace(name="empty")
    page = compare_page([first, Results(empty, build.write(empty))])
    assert page.tables[0].frame["search"].tolist() == ["wide", "empty"]
    assert "Not finished: empty." in page.cautions
    assert "No result yet" in compare_page([Results(empty, Ledger(Path("nowhere")))] * 2).summary


def test_the_command_writes_a_page_beside_the_experiments(
    build: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    two(build)
    assert generate.main(["wide", "narrow", "--out", str(build.root)]) == 0
    folder = build.root / "comparisons" / "wide+narrow"
    assert str(folder / "report.html") in capsys.readouterr().out
    assert {path.name for path in (folder / "figures").iterdir()} == {
        "loss_by_tokens.png",
        "loss_by_seconds.png",
        "generalisation_gap.png",
    }
    for mistake in (["wide", "wide"], ["wide", "narrow", "--watch"], ["wide", "nothing"]):
        with pytest.raises(UserError):
            generate.main([*mistake, "--out", str(build.root)])


def test_many_long_names_still_make_a_folder() -> None:
    names = ["x" * 100 + str(number) for number in range(9)]
    assert len(comparison_folder(Path(), names).name) < 150
    assert comparison_folder(Path(), names) != comparison_folder(Path(), names[:-1])


def test_watch_writes_at_each_change_and_ends_with_the_search(tmp_path: Path) -> None:
    ledger, calls = tmp_path / "ledger.jsonl", []
    sleeps = iter(["", "one\n", "one\n", "two\n", "two\n"])

    def sleep(seconds: float) -> None:
        text = next(sleeps)
        if text and text not in (ledger.read_text() if ledger.exists() else ""):
            ledger.write_text(text * (1 + ledger.exists()))

    def write(refresh: int | None) -> bool:
        calls.append(refresh)
        return ledger.exists() and "two" in ledger.read_text()

    watch.watch(ledger, write, sleep)
    # at the start without a ledger, with one record, with the last; then as it stays
    assert calls == [watch.REFRESH_SECONDS] * 3 + [None]


def test_watch_ends_quietly_on_ctrl_c(tmp_path: Path) -> None:
    calls = []

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    watch.watch(tmp_path / "ledger.jsonl", lambda refresh: bool(calls.append(refresh)), interrupted)
    assert calls == [watch.REFRESH_SECONDS, None]


def test_only_a_watched_page_refreshes_itself(build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = build.plan()
    ledger = build.write(experiment, [build.trial(experiment, {"lr": 1e-3}, (7.0, 6.5, 6.0))])
    page = ledger.path.parent / "report" / "report.html"
    seen = []

    def train_the_other(seconds: float) -> None:
        seen.append(page.read_text())
        ledger.append(build.trial(experiment, {"lr": 3e-4}, (7.0, 6.5, 6.2)))

    monkeypatch.setattr(watch.time, "sleep", train_the_other)
    monkeypatch.setattr(watch.watch, "__defaults__", (train_the_other,))
    assert generate.main(["--watch", "--file", "--out", str(build.root)]) == 0
    refresh = re.compile(r'<meta http-equiv="refresh" content="\d+">')
    assert len(seen) == 1 and refresh.search(seen[0])
    assert not refresh.search(page.read_text())
    assert "2 of 2 trials finished" in page.read_text()
