"""Where replicates share their seeds, what is said of differences is said of pairs."""

from __future__ import annotations

from typing import Any

import pytest
from scipy import stats

from minigpt_search.reports.claims.evidence import Evidence, val_loss
from minigpt_search.reports.page.setup_tables import recipe
from minigpt_search.search.answer.answer import answer
from minigpt_search.search.answer.fresh_seeds import seed_spread
from minigpt_search.search.results.results import Results

LUCK = (-0.3, 0.0, 0.1, 0.2)
RATES = {5e-4: 0.2, 1e-3: 0.0, 2e-3: 0.04}
OWN = {5e-4: (0.004, 0.0, -0.004, 0.0), 1e-3: (0.0,) * 4, 2e-3: (0.0, 0.005, -0.005, 0.003)}
LOSSES = {
    rate: [7 + above + luck + own for luck, own in zip(LUCK, OWN[rate], strict=True)]
    for rate, above in RATES.items()
}


def results(made: Any, paired: bool, **changes: Any) -> Results:
    losses = changes.pop("losses", LOSSES)
    return Results(*made({"lr": tuple(RATES)}, losses, seeds=4, paired=paired, **changes))


def test_the_test_is_that_of_the_design_and_the_answer_says_so(made: Any) -> None:
    """Welch's test doesn't tell any of them apart: seeds differ by more."""
    found = answer(results(made, True))
    p = stats.ttest_rel(LOSSES[1e-3], LOSSES[2e-3]).pvalue
    assert f"lr=0.002 (0.0408 nats behind, p = {p:.2g}, paired)" in found.loss
    assert "separated from lr=0.002" in found.loss and found.winner is not None
    assert found.winner.open == () and "all others are excluded" in found.loss
    blind = answer(results(made, False))
    assert "not separable from lr=0.002" in blind.loss and "paired" not in blind.loss
    assert found.winner.estimate == (blind.winner and blind.winner.estimate)  # of a level


def test_who_lacks_the_unlucky_seeds_is_no_better_for_it(made: Any) -> None:
    """2e-3 lost its replicates of bad luck: its plain mean is the lowest."""
    few = LOSSES | {2e-3: LOSSES[2e-3][:2]}
    found = results(made, True, losses=few).winner
    assert found is not None and found.configuration.values == {"lr": 1e-3}
    nearest = found.rivals[0]
    assert nearest.values == {"lr": 2e-3} and 0.03 < found.behind(nearest) < 0.05
    plain = results(made, False, losses=few).winner
    assert plain is not None and plain.configuration.values == {"lr": 2e-3}


def test_levels_keep_the_luck_and_differences_lose_it(made: Any) -> None:
    paired, apart = results(made, True), results(made, False)
    assert seed_spread(paired) < 0.005 < 0.2 < seed_spread(apart)
    near = {5e-4: 7.12, 1e-3: 7.1, 2e-3: 7.11}
    losses = {rate: [mean + luck for luck in LUCK] for rate, mean in near.items()}
    losses[5e-4][0] += 0.01
    found = results(made, True, losses=losses)
    best = found.winner
    assert best is not None
    mine = found.shrunk[best.configuration.config]
    known = best.estimate
    assert known.low is not None and known.high is not None
    assert mine.high - mine.low > 0.9 * (known.high - known.low)  # no surer than its seeds


def test_claims_and_the_report_follow_the_design(made: Any) -> None:
    found = results(made, True)
    evidence = Evidence(found)
    cells = [evidence.replicates(lr=rate) for rate in (1e-3, 2e-3)]
    mine = evidence.difference(*cells, val_loss).interval
    theirs = stats.ttest_rel(LOSSES[1e-3], LOSSES[2e-3]).confidence_interval(0.95)
    assert (mine.low, mine.high) == pytest.approx((theirs.low, theirs.high))
    assert "(paired for differences)" in evidence.rule()
    table = recipe(found.experiment).set_index("setting")["value"]
    assert table["Seeds"].endswith("base seed 0, the same for every configuration (paired)")
    assert "paired" not in recipe(results(made, False).experiment).to_string()
    apart = results(made, False)
    assert Evidence(apart).rule() == evidence.rule().replace("(paired for", "(Welch's for")
