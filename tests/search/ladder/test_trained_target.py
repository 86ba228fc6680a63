"""What is said of a ledger that has lost a ladder's prediction."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from minigpt_search.data.common.errors import UserError
from minigpt_search.search.answer.ladder_outcome import keep_predictions
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger import Ledger


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("prediction", "a ladder's prediction is missing, and --resume makes it again only where"),
        ("trial", "its trial counts as not run, and --resume trains it again"),
        ("no kind", "its record counts as missing: if it was a trial's, --resume trains that"),
    ],
)
def test_what_a_damaged_record_was_is_said(
    climbed: Callable[..., tuple[Experiment, Ledger]], kind: str, said: str
) -> None:
    experiment, ledger = climbed()
    keep_predictions(experiment, ledger)
    lines = ledger.path.read_bytes().splitlines(keepends=True)
    number = 0 if kind == "trial" else len(lines) - 1
    lines[number] = lines[number].replace(b'4,"record"', b'3,"record"')
    if kind == "no kind":
        lines[number] = lines[number].replace(b'"prediction"', b'"pred\xfftion"')
    ledger.path.write_bytes(b"".join(lines))
    with pytest.raises(UserError, match=f"line {number + 1} is damaged .*; then {said}"):
        Ledger(ledger.path)
    [damage] = Ledger(ledger.path, skip_damaged=True).damaged
    assert f"line {number + 1} is damaged" in damage and f": passed over, {said}" in damage
