"""Tables against numbers worked out by hand."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt_search.data.common.folding import UNKNOWN
from minigpt_search.data.common.formatting import (
    duration,
    improvement,
    one_line,
    perplexity,
    share,
    storage,
)
from minigpt_search.model.config import ModelConfig, RunConfig, TrainConfig
from minigpt_search.model.records import Device
from minigpt_search.reports.figures.cost_plots import heat_map
from minigpt_search.reports.figures.style import new_figure, value_axis
from minigpt_search.reports.page import findings, setup_tables, tables
from minigpt_search.reports.page.compare import SPARE, narrow
from minigpt_search.reports.page.page import build_page, to_markdown
from minigpt_search.reports.page.parts import Table
from minigpt_search.search.answer import text_table
from minigpt_search.search.answer.answer import answer
from minigpt_search.search.answer.columns import show
from minigpt_search.search.answer.endings import progress, without_result
from minigpt_search.search.answer.text_table import as_text, trials_table
from minigpt_search.search.results.results import Results
from minigpt_search.search.space.axes import AXES


def test_experiments_table_is_exact(build: Any) -> None:
    frame = trials_table(Results(*build.two_rates()))
    assert list(frame.columns) == [
        "trial",
        "epochs",
        "train_loss_nats",
        "val_loss_nats",
        "val_perplexity",
        "val_bits_per_byte",
        "total_seconds",
        "notes",
    ]
    # exp(7.5) = 1808.04, 7.5 / ln 2 / 4 = 2.7051
    worse = "lr=0.0003 | 3 | 7.6250 | 7.5000 | 1,808.0 | 2.7051 | 20.0 s"
    better = "lr=0.001 | 3 | 6.1250 | 6.0000 | 403.43 | 2.1640 | 20.0 s"
    assert [" | ".join(row) for row in show(frame).rows] == [
        f"{worse} | validation loss rose after epoch 2",
        f"{better} | best; lr at the upper edge",
    ]


def test_notes_on_warm_up_and_attempts(build: Any) -> None:
    base = RunConfig(train=TrainConfig(epochs=3, warmup_steps=90))
    experiment = build.plan({"lr": (1e-3, 2e-3)}, base=base)
    trial = build.trial(experiment, {"lr": 1e-3}, (8.0, 7.5, 7.0), attempts=2, taken_from="old")
    own = build.trial(experiment, {"lr": 2e-3}, (8.0, 7.6, 7.1))
    frame = trials_table(Results(experiment, build.write(experiment, [trial, own])))
    # 90 of 300 steps
    assert frame["notes"].tolist() == [
        "best; lr at the lower edge; warm-up is 30% of the run; started 2 times; from old",
        "warm-up is 30% of the run",
    ]


def test_the_time_of_a_trunk_is_counted_once(build: Any) -> None:
    experiment = build.plan({"epochs": (1, 3)})
    trials = [
        build.trial(experiment, {"epochs": 1}, (8.0,), trunk_seconds=8.0),
        build.trial(experiment, {"epochs": 3}, (8.0, 7.5, 7.0)),
    ]
    alone = sum(trial.timing.total() for trial in trials)
    ledger = build.write(experiment, trials)
    told = findings.progress_and_time(Results(experiment, ledger))
    assert told.endswith(f"; {alone - 8:.1f} s of trials")


def test_the_time_of_a_pack_is_counted_once(build: Any) -> None:
    experiment = build.plan({"lr": (1e-3, 2e-3)}, pack=2)
    trials = [build.trial(experiment, {"lr": lr}, (8.0, 7.5, 7.0), pack=2) for lr in (1e-3, 2e-3)]
    ledger = build.write(experiment, trials)
    assert trials_table(Results(experiment, ledger))["notes"].str.endswith("of a pack of 2").all()
    told = findings.progress_and_time(Results(experiment, ledger))
    assert told == "2 of 2 trials finished; 20.0 s of trials"
    rows = dict(setup_tables.provenance(experiment).itertuples(index=False, name=None))
    assert "2 packs of up to 2 trials at a time" in rows["Trials ran on"]


def test_unfinished_trials_are_apart_and_without_a_loss(build: Any) -> None:
    experiment, ledger = build.mixed()
    assert trials_table(Results(experiment, ledger))["trial"].tolist() == ["lr=0.0001"]
    # 100 steps of 32 x 64 tokens, 41.1 million operations each
    assert show(without_result(Results(experiment, ledger))).rows == [
        ["lr=0.0003", "stopped", "100", "1 of 3", "8.0 s", "8.43e+12", "ended early on purpose"],
        ["lr=0.0005", "diverged", "100", "1 of 3", "8.0 s", "8.43e+12", "not finite at step 140"],
        ["lr=0.001", "failed", "0", "0 of 3", "2.0 s", "0.00e+00", "worker lost"],
    ]


def test_best_by_epoch_measures_improvement_from_the_first(build: Any) -> None:
    experiment, ledger = build.two_rates()
    frame = tables.by_epoch(Results(experiment, ledger), ledger.best())
    assert frame["val_loss_nats"].tolist() == [7.0, 6.5, 6.0]
    improvement = frame["improvement"].tolist()
    assert math.isnan(improvement[0])
    assert improvement[1:] == pytest.approx([1 - math.exp(-0.5), 1 - math.exp(-1.0)])
    assert [row[4] for row in show(frame).rows] == ["–", "39.3%", "63.2%"]


def test_reruns_say_whether_the_bits_came_out_again(build: Any) -> None:
    experiment, ledger = build.two_rates()
    best = ledger.best()
    ledger.append(build.rerun(best, 6.0))
    ledger.append(build.rerun(best, 6.0000001))
    rows = show(tables.reruns(Results(experiment, ledger))).rows
    assert [row[3] for row in rows] == ["yes", "no"]
    assert rows[0][0] == "lr=0.001"
    assert rows[0][5:8] == ["6.2500", "518.01", "2.2500"]


def test_no_trials_give_empty_tables(build: Any) -> None:
    experiment = build.plan()
    ledger = build.write(experiment)
    assert trials_table(Results(experiment, ledger)).empty
    assert without_result(Results(experiment, ledger)).empty
    assert tables.by_epoch(Results(experiment, ledger), None).empty


@pytest.mark.parametrize(("tied", "total"), [(True, 6_837_888), (False, 13_270_784)])
def test_architecture_adds_up(tied: bool, total: int) -> None:
    frame = setup_tables.architecture(RunConfig(model=ModelConfig(tie_head=tied)))
    assert frame["parameters"].iloc[-1] == total == frame["parameters"].iloc[:-1].sum()
    assert frame["share"].iloc[:-1].sum() == pytest.approx(1)


def test_sources_end_in_their_total(build: Any) -> None:
    rows = show(setup_tables.sources(build.manifest())).rows
    assert rows == [
        ["Wikipedia articles", "wikipedia", "CC BY-SA 4.0", "1,000", "950", "95.0%", "7,000,000"],
        ["News", "web and news", "–", "3,000", "2,900", "96.7%", "3,128,249"],
        ["Total", "", "", "4,000", "3,850", "96.2%", "10,128,249"],
    ]


def test_training_data_says_what_an_epoch_leaves_out(build: Any) -> None:
    base = RunConfig(train=TrainConfig(tokens_per_epoch=1_000_000))
    limited = dict(show(setup_tables.training_data(build.plan(base=base))).rows)
    assert limited["Training sequences in the corpus"] == "156,252 (64 tokens each)"
    assert limited["Tokens trained an epoch"] == (
        "1,000,000 (limited, 10.0% of the training split)"
    )
    whole = dict(show(setup_tables.training_data(build.plan())).rows)
    assert whole["Batches an epoch"] == "4,883 (batch size 32)"
    assert "limited" not in whole["Tokens trained an epoch"]


def test_recipe_names_every_value_searched(build: Any) -> None:
    recipe = dict(show(setup_tables.recipe(build.plan({"lr": (3e-4, 1e-3)}))).rows)
    assert recipe["Learning rate"].startswith("0.0003, 0.001 (searched)")
    tpe = build.plan({"lr": (1e-4, 1e-2)}, sampler="tpe", samples=5)
    recipe = dict(show(setup_tables.recipe(tpe)).rows)
    assert recipe["Learning rate"].startswith("0.0001 to 0.01 (searched by tpe)")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (59.94, "59.9 s"),
        (59.96, "60.0 s"),
        (119.94, "119.9 s"),
        (119.96, "2.0 min"),
        (2250, "37.5 min"),
        (4500, "1.25 h"),
        (216_000, "2.5 days"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_small_amounts() -> None:
    assert [share(part) for part in (0, 1e-5, 0.5)] == ["0.0%", "< 0.1%", "50.0%"]
    assert [storage(size) for size in (10, 1500, 2e7, 3e9)] == [
        "10 bytes",
        "1.5 kB",
        "20.0 MB",
        "3.0 GB",
    ]


def test_text_for_a_terminal_is_aligned(build: Any) -> None:
    table = trials_table(Results(*build.two_rates())).assign(notes="noted")
    text = as_text(table)
    lines = text.splitlines()
    headings = "Trial Epochs Train loss Validation loss Perplexity Bits per byte Time Notes"
    rule = next(number for number, line in enumerate(lines) if set(line) == {"-", " "})
    assert sorted(" ".join(lines[:rule]).split()) == sorted(headings.split())
    assert lines[0].index("Notes") == lines[rule + 1].index("noted")
    assert "lr=0.001 " in text


@pytest.mark.parametrize("columns", [80, 120])
def test_notes_take_one_line_a_trial(
    build: Any, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setattr(text_table, "table_columns", lambda stream: columns)
    table = trials_table(Results(*build.two_rates()))
    table.loc[0, "notes"] = "best by the mean of its seeds; lr at the upper edge"
    lines = as_text(table).splitlines()
    assert max(map(len, lines)) <= columns
    assert sum("best by the mean of its seeds; lr at the upper edge" in line for line in lines) == 1
    assert all(line.lstrip() for line in lines)
    below = "    best by the mean of its seeds; lr at the upper edge" in lines
    assert below == (columns == 80) == ("Notes" not in lines[0])


@given(
    reason=st.text(max_size=300),
    label=st.text(max_size=150),
)
def test_text_for_a_terminal_is_narrow_and_harmless(reason: str, label: str) -> None:
    frame = pd.DataFrame([{"trial": label, "status": "failed", "reason": reason}])
    text = as_text(frame)
    assert max(map(len, text.split("\n"))) <= UNKNOWN
    assert all(line.isprintable() for line in text.split("\n"))
    kept = "".join(text.split())
    assert all(word[:1] in kept for word in one_line(reason).split())


def test_threads_are_told_where_a_resume_changed_them(build: Any) -> None:
    experiment = build.plan({"lr": (1e-4, 3e-4, 1e-3, 3e-3)})

    def row(*threads: int, of_last: tuple[int, ...] = ()) -> str | None:
        devices = [Device(kind="cpu", name="EPYC", threads=number) for number in threads]
        trials = [build.trial(experiment, {"lr": 1e-4}, (8.0,) * 3, device=d) for d in devices]
        trials[-1] = dataclasses.replace(trials[-1], threads_of_attempts=of_last)
        frame = setup_tables.provenance(experiment, trials)
        rows = dict(frame.itertuples(index=False, name=None))
        assert rows["Trials ran on"].endswith(" at the end") == ("Threads" in rows)
        return rows.get("Threads")

    frame = setup_tables.provenance(experiment)
    ran = dict(frame.itertuples(index=False, name=None))["Trials ran on"]
    assert row(1, 1, 1) is None and "at the end" not in ran
    changed = row(2, 2, 2, 1)
    assert changed is not None and "trials 1 to 3 with 2, trial 4 with 1; the last bits" in changed
    cut = row(1, 1, of_last=(2, 1))
    assert cut is not None and "trial 1 with 1, trial 2 with 2, then 1" in cut


def test_what_trials_went_without_is_told_with_how_many_did(build: Any) -> None:
    experiment = build.plan({"lr": (1e-4, 3e-4)})
    trials = [build.trial(experiment, {"lr": lr}, (8.0,) * 3) for lr in (1e-4, 3e-4)]

    def row() -> str | None:
        rows = setup_tables.provenance(experiment, trials).itertuples(index=False, name=None)
        return dict(rows).get("Went without")

    assert row() is None
    trials[0] = dataclasses.replace(trials[0], notes=("no CUDA graph: why", "no kernel"))
    trials[1] = dataclasses.replace(trials[1], notes=("no kernel",))
    assert row() == "no CUDA graph: why (1 trial); no kernel (2 trials)"
    experiment.machine.hardware["unused_gpus"] = "1 NVIDIA GPU here can't be used"
    assert (row() or "").startswith("1 NVIDIA GPU here can't be used; no CUDA graph")


def test_a_perplexity_of_hundreds_of_digits_is_not_written_out(build: Any) -> None:
    """Of losses up to 700 nats, whose figure and page are made without a warning."""
    assert [perplexity(x) for x in (1e12, 1.1e12, math.inf)] == [f"{10**12:,}", "> 1e12", "> 1e12"]
    assert (improvement(0.123), improvement(-1e299)) == ("12.3%", "< -1,000,000%")
    experiment = build.plan()
    ends = {3e-4: (9.0, 300.0, 690.0), 1e-3: (8.0, 7.0, 6.0)}
    trials = [build.trial(experiment, {"lr": rate}, losses) for rate, losses in ends.items()]
    results = Results(experiment, build.write(experiment, trials))
    assert [row[4] for row in show(trials_table(results)).rows] == ["> 1e12", "403.43"]
    page = build_page(results)
    [figure] = [each for each in page.figures if each.name == "perplexity_by_epoch"]
    assert figure.caption.endswith("The lowest ends at 403.43. What is > 1e12 is drawn there.")
    assert max(map(len, re.findall(r"[\d,.]+", to_markdown(page)))) < 20


def test_one_trial_is_no_trials_and_epochs_have_a_number(build: Any) -> None:
    experiment = build.plan({"epochs": (3,)})
    alone = [build.trial(experiment, {"epochs": 3}, (8.0, 7.0, 6.0))]
    assert progress(Results(experiment, build.write(experiment, alone))) == (
        "1 of 1 trial finished"
    )
    experiment = build.plan({"epochs": (1, 2)})
    two = [build.trial(experiment, {"epochs": n}, (8.0, 7.0)[:n]) for n in (1, 2)]
    found = answer(Results(experiment, build.write(experiment, two)))
    assert found.steps[0].why.startswith("the best number of epochs is at the upper edge of what")


def test_a_ladders_tokens_are_written_as_all_tokens() -> None:
    frame = pd.DataFrame({"tokens_per_epoch": [71680, 1144832], "seq_len": [64, 1280]})
    table = Table(name="t", caption="", frame=frame)
    assert table.shown.headings == ["Tokens an epoch", "Context length (tokens)"]
    assert table.shown.rows == [["71,680", "64"], ["1,144,832", "1280"]]
    assert table.sort_values == [["71680", "64"], ["1144832", "1280"]]
    _, axes = new_figure()
    value_axis(axes, AXES["tokens_per_epoch"], [71680, 1144832])
    assert axes.get_xlabel() == "tokens an epoch (log scale)"
    ticks = axes.xaxis.get_major_formatter()
    assert [ticks(tokens) for tokens in (71680, 1144832)] == ["71,680", "1,144,832"]
    trials = frame.drop(columns="seq_len").assign(lr=[1e-3, 2e-3], val_loss_nats=[6, 5], flop=1.0)
    drawn = heat_map(trials, AXES["tokens_per_epoch"], AXES["lr"]).axes[0]
    assert [each.get_text() for each in drawn.get_xticklabels()] == ["71,680", "1,144,832"]


@pytest.mark.parametrize("columns", [40, 60, 80, 100])
def test_a_narrow_terminal_breaks_no_word(
    monkeypatch: pytest.MonkeyPatch, build: Any, columns: int
) -> None:
    """Of a ladder's table, whose trials have long names: it has fewer columns."""
    table = trials_table(Results(*build.two_rates()))
    table["trial"] = "tokens_per_epoch=10060288 lr=0.00283"
    monkeypatch.setattr(text_table, "table_columns", lambda stream: columns)
    lines = as_text(table).split("\n")
    assert max(map(len, lines)) <= columns
    words = {word for line in lines for word in line.split()}
    assert {"tokens_per_epoch=10060288", "Validation", "6.0000"} <= words
    left_out = [line for line in lines if line.startswith("No room here for: Bits per byte")]
    assert (left_out == []) == (columns >= 80)
    best = pd.DataFrame(
        {
            "search": "full-10-epochs-4-rungs",
            "configuration": table["trial"],
            "seeds": "1",
            "val_loss_nats": 6.0,
            "val_loss_interval": "5.9 to 6.1",
            "val_perplexity": 400.0,
            "flop": 1e15,
        }
    )
    words = {word for line in as_text(narrow(best), SPARE).split("\n") for word in line.split()}
    assert {"full-10-epochs-4-rungs", "Validation", "6.0000"} <= words
