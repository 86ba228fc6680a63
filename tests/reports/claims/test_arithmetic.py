"""What needs no run: the scaling laws against their papers, and that a wrong number is seen."""

from __future__ import annotations

from typing import Any

import pytest

from minigpt_search.reports.claims import arithmetic
from minigpt_search.reports.claims.evidence import Evidence
from minigpt_search.reports.claims.noise import FAILS, HOLDS, UNTOLD
from minigpt_search.reports.claims.scaling_laws import LAWS, claimed_losses, expectations
from minigpt_search.search.results.results import Results


def test_scaling_laws_come_to_their_papers_numbers() -> None:
    kaplan, hoffmann, refit = LAWS
    # Kaplan et al.: without a limit of data (6.4e13 / N)^0.076, without one of size
    # (1.8e13 / D)^0.103.
    assert kaplan.loss(1e9, 1e30) == pytest.approx((6.4e13 / 1e9) ** 0.076)
    assert kaplan.loss(1e30, 1e10) == pytest.approx((1.8e13 / 1e10) ** 0.103)
    # Chinchilla, 70B parameters on 1.4T tokens: 1.69 + 0.083 + 0.163
    assert hoffmann.loss(70e9, 1.4e12) == pytest.approx(1.936, abs=0.002)
    assert refit.loss(70e9, 1.4e12) == pytest.approx(1.8172 + 482.01 / 70e9**0.3478 + 0.0747, 1e-3)


def test_the_scaling_law_is_not_told_where_ways_to_count_disagree(
    build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """7.8M parameters or the 1.4M outside of embeddings, 10M tokens or the 100M of ten epochs."""
    found = [claimed_losses(law) for law in LAWS]
    assert found[0] == pytest.approx([4.44, 3.67, 4.51, 3.96], abs=0.01)
    assert found[1] == pytest.approx([8.04, 5.90, 9.50, 7.36], abs=0.01)
    assert found[2] == pytest.approx([9.48, 6.22, 11.06, 7.80], abs=0.01)
    evidence = Evidence(Results(*build.two_rates()))
    assert arithmetic.scaling_law(evidence).verdict == UNTOLD
    assert "1 of 12 within 10%" in arithmetic.scaling_law(evidence).measured
    for losses, verdict in (([5.4, 5.6], HOLDS), ([7.0, 8.0], FAILS)):
        monkeypatch.setattr(arithmetic, "claimed_losses", lambda law, losses=losses: losses)
        assert arithmetic.scaling_law(evidence).verdict == verdict
    table = expectations(evidence.baseline, 110_000)
    assert len(table) == 6
    own = table[table["counted"].str.contains("as the law does")]
    assert own["claim_loss_nats"].tolist() == pytest.approx([4.51, 8.04, 9.48], abs=0.01)


@pytest.mark.parametrize(
    ("judge", "name", "value"),
    [
        ("dataset", "SEQUENCES", 156_300),
        ("dataset", "SEQUENCES", 156_200),
        ("dataset", "BATCHES", 4_882),
        ("speed", "BATCHES", 5_200),
        ("losses_and_perplexities", "LOSSES", {1: 6.49, 3: 5.90, 5: 5.68, 10: 5.47}),
        ("losses_and_perplexities", "BASELINE", 340.0),
        ("improvements", "IMPROVEMENTS", {3: 49.9, 5: 56.5, 10: 63.9}),
        ("improvements", "BASELINE", 335.0),
        ("choices", "FINAL", 245.0),
    ],
)
def test_a_number_that_does_not_follow_is_seen(
    build: Any, monkeypatch: pytest.MonkeyPatch, judge: str, name: str, value: Any
) -> None:
    evidence = Evidence(Results(*build.two_rates()))
    assert getattr(arithmetic, judge)(evidence).verdict == HOLDS
    monkeypatch.setattr(arithmetic, name, value)
    assert getattr(arithmetic, judge)(evidence).verdict == FAILS
