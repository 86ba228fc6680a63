"""`--grid claims`: the runs that put the claims of the recipe's report to the test.

    python search/run.py --grid claims --preset full --seeds 3    # its recipe, on the whole corpus
    python search/run.py --grid claims --preset quick             # a laptop's size, 10 minutes

One search around the baseline, one axis varied at a time, so that the claims share their cells;
`reports/claims/claims.py` reads them back. No torch, no Ray: reports use it too.
"""

from __future__ import annotations

from dataclasses import dataclass

from minigpt_search.model.config import RunConfig
from minigpt_search.search.space.axes import AXES, Value

CLAIMS = "claims"
Cell = dict[str, Value]
_VARIED = ("lr", "epochs", "embed_dim", "seq_len", "batch_size")
LEARNING_RATES = (3e-4, 5e-4, 1e-3, 2e-3)
WIDTHS = (64, 128, 256)
CONTEXTS = (64, 128, 256)


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """The epochs that the claims speak of."""

    baseline: int
    """3 in the recipe."""
    extended: int
    """10, its final model."""
    longer: tuple[int, int]
    """15 and 20, what it expects further gains from."""


def lengths_for(baseline: int) -> Lengths:
    """The recipe's ratios to a baseline of so many epochs: 3, 10, 15, 20 or 1, 3, 5, 7."""
    return Lengths(
        baseline=baseline,
        extended=round(baseline * 10 / 3),
        longer=(5 * baseline, round(baseline * 20 / 3)),
    )


def equal_tokens(base: RunConfig, seq_len: int) -> Cell | None:
    """The values that give `base` this context at as many tokens a step, and so as many steps: with
    twice the context half the sequences a step. None where that is no whole number."""
    tokens = base.train.batch_size * base.model.seq_len
    if tokens % seq_len:
        return None
    return {"seq_len": seq_len, "batch_size": tokens // seq_len}


def claims_cells(base: RunConfig) -> list[Cell]:
    """Every cell that a claim needs, the baseline first, none twice."""
    lengths = lengths_for(base.train.epochs)
    baseline: Cell = {name: AXES[name].value(base) for name in _VARIED}
    epochs = (lengths.extended, *lengths.longer)
    cells = [baseline, *(baseline | {"lr": value} for value in LEARNING_RATES)]
    cells += [baseline | {"epochs": value} for value in epochs]
    cells += [baseline | {"embed_dim": value} for value in WIDTHS]
    # The expected perplexity of a wider model is about the final model, the extended one.
    cells += [baseline | {"epochs": lengths.extended, "embed_dim": max(WIDTHS)}]
    cells += [baseline | {"seq_len": value} for value in CONTEXTS]
    cells += [baseline | equal for value in CONTEXTS if (equal := equal_tokens(base, value))]
    return [cell for place, cell in enumerate(cells) if cell not in cells[:place]]


def claims_line(base: RunConfig, preset: str) -> str:
    """What a plan says of the claims' size."""
    lengths = lengths_for(base.train.epochs)
    epochs = ", ".join(map(str, (lengths.baseline, lengths.extended, *lengths.longer)))
    if preset == "full":
        return f"Claims     the recipe, {epochs} epochs"
    return (
        f"Claims     at the {preset} preset's size: {epochs} epochs stand for the recipe's 3, "
        "10, 15, 20; its absolute numbers need --preset full"
    )
