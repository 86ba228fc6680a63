"""A configuration with several seeds is told as one result."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from minigpt_search.model.records import COMPLETE, DIVERGED, FAILED, STOPPED
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.results.configurations import configuration_result

Make = Callable[..., TrialRecord]


def test_a_cell_is_told_by_the_mean_of_its_replicates(make_trial_record: Make) -> None:
    records = [make_trial_record(f"{n}", 7.0 + n, COMPLETE, 10.0 * n) for n in range(1, 4)]
    result = configuration_result(records)
    assert result.status == COMPLETE and result.loss == 9.0
    seconds = [record.timing.training_seconds for record in records]
    assert result.training_seconds == pytest.approx(sum(seconds) / 3)


@pytest.mark.parametrize(
    ("statuses", "told"),
    [
        ((COMPLETE, DIVERGED), DIVERGED),
        ((STOPPED, COMPLETE), STOPPED),
        ((STOPPED, DIVERGED), DIVERGED),
        ((DIVERGED, FAILED), FAILED),
    ],
)
def test_a_cell_is_as_good_as_its_worst_replicate(
    make_trial_record: Make, statuses: tuple[str, ...], told: str
) -> None:
    result = configuration_result([make_trial_record(s, 7.0, s, 1.0) for s in statuses])
    assert result.status == told and result.loss == math.log(50_257)
