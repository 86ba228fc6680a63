"""What is said of training curves, against curves that are known."""

from __future__ import annotations

import dataclasses
import itertools
import random
import statistics
from typing import Any

import pytest

from minigpt_search.model.records import DocumentLosses, TrialCurve
from minigpt_search.reports.claims.dynamics import (
    NO_CURVE,
    falls_between_parts,
    highest_rise,
    monotone,
    no_spikes,
    point_noise,
    steady_gradients,
)
from minigpt_search.reports.claims.evidence import Evidence, Finding
from minigpt_search.reports.claims.noise import (
    FAILS,
    HOLDS,
    NOT_RUN,
    UNTOLD,
    all_of,
    verdict_of,
)
from minigpt_search.reports.claims.overfitting import no_overfitting
from minigpt_search.search.records.ledger_records import RerunRecord, TrialRecord
from minigpt_search.search.results.results import Results


def by_document(count: int, spread: float = 0.01) -> DocumentLosses:
    """So many documents of 100 tokens, whose losses have this spread."""
    chance = random.Random(0)
    return DocumentLosses(
        nats=tuple(100 * chance.gauss(7, spread) for _ in range(count)),
        tokens=(100,) * count,
        sources=(0,) * count,
    )


DOCUMENTS = by_document(200)


def verdict(finding: Finding) -> str:
    """The verdict of a finding alone in its table."""
    if finding.claimed is None:
        assert finding.verdict is not None
        return finding.verdict
    found = verdict_of(finding.claimed, finding.claimed.p)
    return (finding.missing or UNTOLD) if found == UNTOLD else found


def evidence(
    build: Any, trials: list[TrialRecord], reruns: list[RerunRecord] | None = None
) -> Evidence:
    experiment = build.plan({"epochs": (3, 10)}, seeds=3)
    return Evidence(Results(experiment, build.write(experiment, [*trials, *(reruns or [])])))


def runs(build: Any, curves: list[TrialCurve | None], **changes: Any) -> Evidence:
    """Extended runs with these curves."""
    experiment = build.plan({"epochs": (3, 10)}, seeds=3)
    losses = [8.0 - 0.1 * epoch for epoch in range(10)]
    trials = [
        build.trial(experiment, {"epochs": 10}, losses, replicate=seed, curve=curve, **changes)
        for seed, curve in enumerate(curves)
    ]
    return evidence(build, trials)


def test_the_noise_of_points_is_that_of_a_trend_taken_off() -> None:
    chance = random.Random(0)
    found = []
    for _ in range(50):
        losses = [10.8 / (1 + 0.1 * n) + 5 + chance.gauss(0, 0.1) for n in range(100)]
        found.append(point_noise(losses))
    assert statistics.fmean(found) == pytest.approx(0.1, rel=0.15)


def test_a_falling_curve_is_monotone_whatever_its_points_do(build: Any) -> None:
    curves = [build.curve(build.falling(9.0, 6.0, 0.2, seed)) for seed in range(3)]
    losses = curves[0].train_loss_nats
    assert any(after > before for before, after in itertools.pairwise(losses))
    assert verdict(monotone(runs(build, curves))) == HOLDS


def test_a_rise_in_the_middle_is_seen_and_a_flat_end_is_not_told(build: Any) -> None:
    def curve(seed: int, end: float) -> TrialCurve:
        rising = build.falling(9.0, 6.0, 0.1, seed, 60) + build.falling(6.0, end, 0.1, seed, 40)
        made: TrialCurve = build.curve(rising)
        return made

    assert verdict(monotone(runs(build, [curve(seed, 7.0) for seed in range(3)]))) == FAILS
    assert verdict(monotone(runs(build, [curve(seed, 6.0) for seed in range(3)]))) == UNTOLD


def test_flat_curves_are_seldom_said_to_rise(build: Any) -> None:
    """Where nothing falls or rises, a verdict is wrong: at most one in twenty."""
    wrong = 0
    for number in range(200):
        curves = [build.curve(build.falling(6.0, 6.0, 0.1, 3 * number + k)) for k in range(3)]
        claimed = all_of([fall.below(0) for fall in falls_between_parts(curves)])
        wrong += verdict_of(claimed, claimed.p) != UNTOLD
    assert wrong <= 16  # 10 expected at most; 16 or fewer with probability 0.98


def test_a_ledger_without_curves_says_so(build: Any) -> None:
    curve = build.curve(build.falling(9.0, 6.0, 0.1, 0))
    late = dataclasses.replace(curve, missing_steps=500)
    short = build.curve(build.falling(9.0, 6.0, 0.1, 0, 20))
    few = "too few points: a step curve has 20, 30 are needed"
    known: list[tuple[list[TrialCurve | None], str]] = [
        ([None, None], NO_CURVE),
        ([curve, None], NO_CURVE),
        ([curve, late], "a step curve lacks its first steps"),
        ([curve, short], few),
    ]
    for curves, why in known:
        found = runs(build, curves)
        for judge in (monotone, no_spikes, steady_gradients):
            finding = judge(found)
            assert verdict(finding) == UNTOLD
            assert why in finding.measured
    for judge in (monotone, no_spikes, steady_gradients):
        assert verdict(judge(evidence(build, []))) == NOT_RUN


def test_spikes_of_loss_and_of_gradients(build: Any) -> None:
    losses = build.falling(9.0, 6.0, 0.1, 0)
    assert highest_rise(build.curve(losses)) < 4
    assert verdict(no_spikes(runs(build, [build.curve(losses)]))) == HOLDS
    losses[50] += 1.0
    assert highest_rise(build.curve(losses)) > 6
    assert verdict(no_spikes(runs(build, [build.curve(losses)]))) == FAILS
    calm = build.curve(build.falling(9.0, 6.0, 0.1, 0))
    norms = list(calm.grad_norm_max)
    norms[30] = 20.0
    hidden = dataclasses.replace(calm, grad_norm_max=tuple(norms))
    assert verdict(no_spikes(runs(build, [hidden]))) == UNTOLD  # the loss doesn't show it


def test_gradients_that_vanish_or_explode(build: Any) -> None:
    losses = build.falling(9.0, 6.0, 0.1, 0)
    steady = build.curve(losses)
    vanishing = build.curve(losses, [1.5] * 90 + [0.001] * 10)
    exploding = build.curve(losses, [1.5] * 99 + [400.0])
    for curve, expected in ((steady, HOLDS), (vanishing, FAILS), (exploding, FAILS)):
        assert verdict(steady_gradients(runs(build, [curve]))) == expected
    experiment = build.plan({"epochs": (3, 10)}, seeds=3)
    lost = build.trial(experiment, {"epochs": 10}, (8.0,), "diverged", error="not finite")
    ended = build.trial(experiment, {"epochs": 10}, [7.0] * 10, replicate=1, curve=steady)
    for trials in ([lost], [lost, ended]):
        assert verdict(steady_gradients(evidence(build, trials))) == FAILS


def overfitting(
    build: Any,
    ends: tuple[float, float],
    gap: float | None,
    documents: DocumentLosses | None = DOCUMENTS,
) -> Finding:
    """Three runs whose validation ends so, `gap` above the text that they trained on."""
    experiment = build.plan({"epochs": (3, 10)}, seeds=3)
    trials = []
    for seed in range(3):
        losses = [8.0, 7.9, 7.8, 7.7, 7.6, 7.5, 7.4, 7.3, *ends]
        losses[-1] += 0.001 * seed
        own = None if gap is None else losses[-1] - gap - 0.002 * seed
        changes = {"replicate": seed, "train_eval_loss_nats": own, "val_documents": documents}
        trials.append(build.trial(experiment, {"epochs": 10}, losses, **changes))
    return no_overfitting(evidence(build, trials))


def test_overfitting_is_a_rise_or_a_gap_without_dropout(build: Any) -> None:
    assert verdict(overfitting(build, (7.2, 7.1), gap=0.02)) == HOLDS
    assert verdict(overfitting(build, (7.2, 7.1), gap=0.31)) == FAILS
    assert verdict(overfitting(build, (7.2, 7.1), gap=0.093)) == UNTOLD
    assert verdict(overfitting(build, (7.2, 7.25), gap=0.02)) == FAILS
    assert verdict(overfitting(build, (7.2, 7.209), gap=0.02)) == UNTOLD


def test_the_gap_has_the_noise_of_documents_in_it(build: Any) -> None:
    """0.3 nats are overfitting, or other documents: which of them, the spread over them says."""
    wide = by_document(100, spread=2.0)  # 0.2 nats for the mean of 100
    assert verdict(overfitting(build, (7.2, 7.1), 0.31, wide)) == UNTOLD
    for few in (by_document(5), None):
        found = overfitting(build, (7.2, 7.1), 0.31, few)
        assert verdict(found) == UNTOLD
        assert "too few documents" in found.measured


def test_without_a_score_of_the_training_text_it_can_only_be_refuted(build: Any) -> None:
    found = overfitting(build, (7.2, 7.1), gap=None)
    assert verdict(found) == UNTOLD
    assert "was not scored without dropout" in found.measured
    assert verdict(overfitting(build, (7.2, 7.25), gap=None)) == FAILS


def test_a_rerun_can_bring_the_score_later(build: Any) -> None:
    experiment = build.plan({"epochs": (3, 10)}, seeds=3)
    losses = [8.0 - 0.1 * epoch for epoch in range(10)]
    trials = [
        build.trial(experiment, {"epochs": 10}, losses, replicate=k, val_documents=DOCUMENTS)
        for k in range(3)
    ]
    again = [
        dataclasses.replace(
            build.rerun(trial, trial.final.val_loss_nats),
            train_eval_loss_nats=trial.final.val_loss_nats - 0.3 - 0.01 * trial.replicate,
        )
        for trial in trials
    ]
    assert verdict(no_overfitting(evidence(build, trials, again[:2]))) == UNTOLD
    found = no_overfitting(evidence(build, trials, again))
    assert "+0.310 [" in found.measured
    assert verdict(found) == FAILS
