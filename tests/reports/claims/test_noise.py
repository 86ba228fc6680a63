"""Intervals and p-values against scipy, Holm's procedure against its definition, and how often a
table settles something wrongly where nothing is true."""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from scipy import stats

from minigpt_search.reports.claims.claims import CLAIMS, ORDER
from minigpt_search.reports.claims.claims_table import claims_table, settle
from minigpt_search.reports.claims.evidence import Evidence, val_loss
from minigpt_search.reports.claims.noise import (
    FAILS,
    HOLDS,
    UNTOLD,
    Claimed,
    Noisy,
    all_of,
    any_of,
    holm,
    verdict_of,
)
from minigpt_search.search.results.results import Results


@pytest.mark.parametrize(("first", "second"), [(3, 3), (2, 5), (8, 2)])
def test_differences_have_welchs_interval_and_p(build: Any, first: int, second: int) -> None:
    experiment = build.plan({"lr": (5e-4, 1e-3)}, seeds=8)
    chance = random.Random(first)
    losses = [
        [chance.gauss(7, 0.05) for _ in range(first)],
        [chance.gauss(7.1, 0.2) for _ in range(second)],
    ]
    cells = [
        [build.trial(experiment, {"lr": lr}, (loss,), replicate=k) for k, loss in enumerate(values)]
        for lr, values in zip((5e-4, 1e-3), losses, strict=True)
    ]
    evidence = Evidence(Results(experiment, build.write(experiment, [*cells[0], *cells[1]])))
    mine = evidence.difference(*cells, val_loss)
    theirs = stats.ttest_ind(*losses, equal_var=False)
    expected = theirs.confidence_interval(0.95)
    assert (mine.interval.low, mine.interval.high) == pytest.approx((expected.low, expected.high))
    assert mine.below(0).p == pytest.approx(theirs.pvalue)
    below = stats.ttest_ind(*losses, equal_var=False, alternative="less")
    assert mine.below(0).holds == pytest.approx(below.pvalue)
    level = evidence.level(cells[0], val_loss).interval
    error = stats.sem(losses[0])
    assert (level.low, level.high) == pytest.approx(
        stats.t.interval(0.95, first - 1, loc=level.mean, scale=error)
    )
    variances = [pd.Series(values).var() * (len(values) - 1) for values in losses]
    pooled = math.sqrt(sum(variances) / (first + second - 2))
    assert evidence.spread_nats == pytest.approx(pooled)


@pytest.mark.parametrize(
    ("mean", "negative", "within"),
    [
        (-1.5, HOLDS, FAILS),
        (1.5, FAILS, HOLDS),
        (0.2, UNTOLD, UNTOLD),
        (2.9, FAILS, UNTOLD),
        (9.5, FAILS, FAILS),
    ],
)
def test_judging_a_number(mean: float, negative: str, within: str) -> None:
    number = Noisy(mean=mean, error=0.25, degrees=100)
    below, between = number.below(0), number.within(0.5, 3.0)
    assert verdict_of(below, below.p) == negative
    assert verdict_of(between, between.p) == within
    # an interval that is wholly on one side is a p-value below 5%
    interval = number.interval
    assert (below.p < 0.05) == (interval.high < 0 or interval.low > 0)
    inside = interval.low > 0.5 and interval.high < 3.0
    assert (between.p < 0.05) == (inside or interval.high < 0.5 or interval.low > 3.0)


def test_replicates_that_are_equal_to_the_bit_settle_what_they_can() -> None:
    equal = Noisy(mean=1.0, error=0.0, degrees=1.0)
    assert equal.below(2).holds == 0 and equal.below(0).fails == 0
    assert equal.below(1).p == 1


def test_a_claim_of_several_parts_fails_with_one() -> None:
    good, bad, open_ = (Claimed(holds=h, fails=1 - h) for h in (0.001, 0.999, 0.4))
    assert all_of([good, good]).p == pytest.approx(0.002)
    for parts, verdict in (
        ([good, good], HOLDS),
        ([good, open_], UNTOLD),
        ([good, bad], FAILS),
        ([open_, bad], FAILS),
    ):
        assert verdict_of(all_of(parts), all_of(parts).p) == verdict
    assert verdict_of(any_of([good, bad]), any_of([good, bad]).p) == HOLDS
    assert verdict_of(any_of([bad, bad]), any_of([bad, bad]).p) == FAILS
    assert verdict_of(any_of([bad, open_]), any_of([bad, open_]).p) == UNTOLD


def test_noise_of_two_sources_adds_up() -> None:
    both = Noisy(mean=0.0, error=0.03, degrees=2).plus_error(0.04, 100)
    assert both.error == pytest.approx(0.05)
    assert both.degrees == pytest.approx(0.05**4 / (0.03**4 / 2 + 0.04**4 / 100))


def test_holms_is_the_closed_test_of_bonferronis() -> None:
    """Its definition: the adjusted p-value of a claim is the largest of Bonferroni's over every set
    of claims that it is in."""
    chance = random.Random(0)
    for n in (1, 2, 5):
        p_values = [chance.random() ** 3 for _ in range(n)]
        sets = [s for k in range(1, n + 1) for s in itertools.combinations(range(n), k)]
        expected = [
            max(min(1.0, len(s) * min(p_values[i] for i in s)) for s in sets if place in s)
            for place in range(n)
        ]
        assert holm(p_values) == pytest.approx(expected)
    assert holm([]) == []
    # Holm's own example of steps: 0.01 × 4, 0.02 × 3 …, none below the one before
    assert holm([0.01, 0.03, 0.02, 0.5]) == pytest.approx([0.04, 0.06, 0.06, 0.5])


def wrongly_settled(build: Any, tables: int) -> tuple[float, float]:
    """The share of tables with a verdict from noise although every configuration is the same, with
    Holm's correction and without: three seeds, 0.03 nats between them and from epoch to epoch."""
    experiment, ledger = build.claims()
    chance = random.Random(0)
    counting = build.counting(experiment)
    counting = dataclasses.replace(counting, losses=dict.fromkeys(counting.losses, 7.0))
    # That there is no overfitting is true here.
    claims = [claim for claim in CLAIMS if claim.kind == ORDER and claim.words != "No overfitting"]
    corrected = alone = 0
    for _ in range(tables):
        drawn = []
        for trial in ledger.trials:
            epochs = tuple(
                dataclasses.replace(epoch, val_loss_nats=chance.gauss(7, 0.03))
                for epoch in trial.epochs
            )
            drawn.append(dataclasses.replace(trial, epochs=epochs, curve=None))
        results: Any = SimpleNamespace(
            experiment=experiment, trials=drawn, complete=drawn, reruns=(), baselines=(counting,)
        )
        evidence = Evidence(results)
        findings = [claim.judge(evidence) for claim in claims]
        tested = [each for each in findings if each.claimed is not None]
        assert len(tested) == 8
        verdicts, _ = settle(tested, [True] * len(tested))
        corrected += any(verdict != UNTOLD for verdict in verdicts)
        alone += any(claimed.p <= 0.05 for each in tested if (claimed := each.claimed))
    return corrected / tables, alone / tables


def test_with_nothing_true_one_table_in_twenty_is_wrong_somewhere(build: Any) -> None:
    """Of 200 tables 8.5% are one and more than 5% with a probability of 2%."""
    corrected, alone = wrongly_settled(build, tables=200)
    assert corrected <= 0.085
    assert alone > 0.085


def test_an_interval_alone_does_not_settle_a_claim(build: Any) -> None:
    """The table shows the adjusted p-value, and the verdict goes by it."""
    experiment, ledger = build.claims()
    table = claims_table(Evidence(Results(experiment, ledger)))
    settled = table["p_adjusted"].notna()
    for row in table[settled].to_dict("records"):
        assert (row["p_adjusted"] <= 0.05) == (row["verdict"] != UNTOLD)
