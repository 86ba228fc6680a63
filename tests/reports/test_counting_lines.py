"""What counting scores beside losses: on the screen, in the figures, in the report's tables."""

from __future__ import annotations

import itertools
import math
import warnings
from typing import Any

import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from minigpt_search.model.records import DocumentLosses
from minigpt_search.reports.figures.axis_plots import axis_figure, loss_against
from minigpt_search.reports.figures.counting_lines import add_counting_lines, common_baseline
from minigpt_search.reports.page.other_text import counting_table, other_text_section
from minigpt_search.reports.page.tables import reruns
from minigpt_search.search.answer.answer import answer
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.ledger_records import BaselineRecord
from minigpt_search.search.results.baselines import counting_line, standing_text
from minigpt_search.search.results.documents import on_other_text
from minigpt_search.search.results.results import Results
from minigpt_search.search.space.axes import AXES

TOKENS = (100, 300) * 6
"""Of each document."""


def documents(nats: float) -> DocumentLosses:
    """Twelve documents, half of which are 1 nat a token above the mean of `nats`, or so much below
    that it stays the mean."""
    own = [n * (nats + (1.0 if n == 100 else -1 / 3)) for n in TOKENS]
    return DocumentLosses(nats=tuple(own), tokens=TOKENS, sources=(0,) * len(TOKENS))


def counted(seq_len: int = 64, **losses: float) -> BaselineRecord:
    known = {"uniform": 10.82, "unigram": 7.7, "bigram": 6.9, "trigram": 5.0, **losses}
    return BaselineRecord(
        seq_len=seq_len,
        tokens_per_epoch=None,
        val_tokens=None,
        counted_tokens=1000,
        scored_tokens=sum(TOKENS),
        losses=known,
        documents={name: documents(loss) for name, loss in known.items()},
    )


@pytest.fixture
def known(build: Any) -> Results:
    """Two rates, of which the better one ends at 6.5, beside the tables of `counted`."""
    experiment = build.plan()
    trials = [
        build.trial(experiment, {"lr": rate}, (loss,), val_documents=documents(loss))
        for rate, loss in ((3e-4, 7.5), (1e-3, 6.5))
    ]
    ledger: Ledger = build.write(experiment, [*trials, counted()])
    return Results(experiment, ledger)


def test_the_screen_says_which_size_of_text_its_line_is_of() -> None:
    assert counting_line([counted()]).endswith("on the 1,000 tokens of text that trials see")
    assert counting_line([counted(), counted(seq_len=128), counted(seq_len=256)]).endswith(
        "tokens of text that trials with seq_len=64 see; the ledger has the 2 other sizes"
    )


def test_a_loss_stands_between_the_tables() -> None:
    assert standing_text(counted(), 7.0, 7.0) == (
        "below token frequencies (7.70), not below a bigram table (6.90), of the same text"
    )
    assert standing_text(counted(), 11, 11) == "not below guessing evenly (10.82), of the same text"
    assert standing_text(counted(), 1.0, 1.0) == "below a trigram table (5.00), of the same text"


def test_a_table_between_the_ends_of_the_interval_is_not_told_from_the_loss() -> None:
    assert standing_text(counted(), 6.8, 7.1) == (
        "below token frequencies (7.70), not told from a bigram table (6.90), not below a trigram "
        "table (5.00), of the same text"
    )
    assert standing_text(counted(), 6.8, 7.8) == (
        "below guessing evenly (10.82), not told from a bigram table (6.90) and token frequencies "
        "(7.70), not below a trigram table (5.00), of the same text"
    )


@pytest.mark.parametrize("shrunk", [True, False])
def test_a_winner_that_luck_put_below_a_table_is_not_told_from_it(build: Any, shrunk: bool) -> None:
    """By its seeds' interval, or by the shrunk one where that is what is said."""
    losses = {1e-3: (6.80, 6.95), 2e-3: (6.88, 7.02), 5e-4: (6.90, 6.99)}
    rates = tuple(losses)[: 3 if shrunk else 1]
    experiment = build.plan({"lr": rates}, seeds=2)
    trials = [
        build.trial(experiment, {"lr": rate}, (loss,), replicate=replicate)
        for rate in rates
        for replicate, loss in enumerate(losses[rate])
    ]
    found = answer(Results(experiment, build.write(experiment, [*trials, counted()])))
    assert ("shrunk" in found.loss) == shrunk
    assert "6.8750 nats" in found.loss and "not told from a bigram table (6.90)" in found.loss
    [caution] = [each for each in found.alarms if "counting pairs" in each]
    assert "scores 6.90 nats, which its seeds do not tell it from: what is best" in caution


def test_the_answer_says_what_the_winner_is_below(known: Results) -> None:
    said = answer(known).loss
    assert "below a bigram table (6.90), not below a trigram table (5.00)" in said
    assert " (12 documents; what another seed changes comes on top)" in said


def test_too_few_documents_are_said(build: Any) -> None:
    few = DocumentLosses(nats=(700.0,) * 3, tokens=(100,) * 3, sources=(0,) * 3)
    experiment = build.plan()
    trial = build.trial(experiment, {"lr": 1e-3}, (7.0,), val_documents=few)
    said = "on other text of this kind it can't be told (3 documents, fewer than 10)"
    assert said in answer(Results(experiment, build.write(experiment, [trial]))).loss
    assert on_other_text([few]) == said and on_other_text([]) == ""


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        ((), "no trial of the best configuration kept its losses by document"),
        (
            ((100,) * 3, (100,) * 3),
            "the 300 validation tokens that trials are scored on are of 3 documents, fewer than 10 "
            "(the split has 25; --val-tokens says how much of it is scored).",
        ),
        (((100,) * 12, (100,) * 11), "its seeds were not scored on the same documents"),
    ],
)
def test_the_page_says_why_other_text_cant_be_told(build: Any, seen: Any, said: str) -> None:
    experiment = build.plan({"lr": (1e-3,)}, seeds=2)
    known = [DocumentLosses(nats=t, tokens=t, sources=(0,) * len(t)) for t in seen] or [None] * 2
    trials = [
        build.trial(experiment, {"lr": 1e-3}, (7.0,), replicate=n, val_documents=each)
        for n, each in enumerate(known)
    ]
    results = Results(experiment, build.write(experiment, [*trials, counted()]))
    assert said in other_text_section(results).paragraphs[-1]


def test_a_winner_above_the_bigram_gets_a_caution(build: Any) -> None:
    experiment, ledger = build.two_rates()  # 6.0 is best
    cautions = {}
    for bigram in (5.9, 6.1):
        ledger.append(counted(bigram=bigram))
        found = Results(experiment, Ledger(ledger.path))
        found.baselines = found.baselines[-1:]
        cautions[bigram] = [each for each in answer(found).alarms if "counting pairs" in each]
    assert len(cautions[5.9]) == 1 and cautions[6.1] == []


def test_a_figure_has_the_lines_that_are_near(known: Results) -> None:
    figure = loss_against(known.trials_frame, AXES["lr"], [])
    (axes,) = figure.axes
    words = add_counting_lines(axes, counted())
    levels = [line.get_ydata()[0] for line in axes.lines if line.get_linestyle() != "-"]
    assert {7.7, 6.9} <= set(levels) and not {5.0, 10.82} & set(levels)
    assert [text.get_text() for text in axes.texts] == [
        "token frequencies 7.70",
        "a bigram table 6.90",
    ]
    assert "Outside of the figure: guessing evenly at 10.82, a trigram table at 5.00 nats" in words
    caption = axis_figure(known.trials_frame, [], "lr", counting=counted()).caption
    assert caption.endswith(words)
    assert add_counting_lines(axes, None) == ""


@pytest.mark.parametrize("far", (0.0, 9.0))
def test_lines_and_their_names_lie_inside_a_plot_of_replicates(build: Any, far: float) -> None:
    """Bars over seeds freeze the plot's ends; a rate that nearly diverged spreads the losses."""
    experiment = build.plan({"lr": (5e-4, 1e-3, 3e-3)}, seeds=2)
    ends = {5e-4: (7.4, 7.41), 1e-3: (7.3, 7.33), 3e-3: (7.5 + far, 7.52 + far)}
    trials = [
        build.trial(experiment, {"lr": lr}, (loss,), replicate=k)
        for lr, losses in ends.items()
        for k, loss in enumerate(losses)
    ]
    results = Results(experiment, build.write(experiment, trials))
    figure = loss_against(results.trials_frame, AXES["lr"], [])
    (axes,) = figure.axes
    words = add_counting_lines(axes, counted(bigram=6.96, trigram=6.91))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as axes that collapse
        FigureCanvasAgg(figure).draw()
    low, high = axes.get_ylim()
    levels = [line.get_ydata()[0] for line in axes.lines if line.get_linestyle() not in "-None"]
    assert 7.7 in levels and (6.96 in levels) == (far > 0)
    assert all(low < level < high for level in levels)
    names = [text.get_window_extent() for text in axes.texts]
    plot = axes.get_window_extent()
    for name in names:
        assert plot.x0 <= name.x0 and plot.y0 <= name.y0 and name.y1 <= plot.y1
    assert not any(a.overlaps(b) for a, b in itertools.combinations(names, 2))
    for name in ("bigram", "trigram"):
        shown = any(name in text.get_text() for text in axes.texts)
        assert shown != (name in words.partition("Outside")[2])


def test_trials_that_see_different_texts_share_no_line(known: Results) -> None:
    configs = [trial.config for trial in known.trials]
    records = (counted(), counted(seq_len=128))
    assert common_baseline(records, configs) is records[0]
    longer = configs[0].replace(seq_len=128)
    assert common_baseline(records, [*configs, longer]) is None
    assert common_baseline(records, [longer]) is records[1]
    assert common_baseline((), configs) is None


def test_the_table_has_differences_over_documents(known: Results) -> None:
    rows = {row["baseline"]: row for row in counting_table(known).to_dict("records")}
    # Each document is as far below: the paired difference has no spread, a level has.
    assert rows["a bigram table"]["above"] == "-0.400 [-0.400, -0.400]"
    assert rows["a trigram table"]["above"] == "+1.500 [+1.500, +1.500]"


def test_a_rerun_has_its_test_loss_on_other_text(build: Any) -> None:
    experiment, ledger = build.two_rates()
    (_, best) = sorted(ledger.trials, key=lambda trial: -trial.final.val_loss_nats)
    plain = build.rerun(best, 6.0)
    ledger.append(plain)
    assert "other_text_interval" not in reruns(Results(experiment, ledger))
    ledger.append(
        type(plain)(**{**vars(plain), "test_loss_nats": 6.25, "test_documents": documents(6.25)})
    )
    table = reruns(Results(experiment, Ledger(ledger.path)))
    assert pd.isna(table["other_text_interval"][0])
    low, high = map(float, table["other_text_interval"][1].split(" to "))
    # By hand: 6 documents at +1 with 100 tokens, 6 at -1/3 with 300; t with 11 degrees is 2.201.
    error = math.sqrt(12 / 11 * (6 * 100**2 + 6 * 100**2)) / sum(TOKENS)
    assert low == pytest.approx(6.25 - 2.201 * error, abs=6e-4)
    assert high == pytest.approx(6.25 + 2.201 * error, abs=6e-4)
