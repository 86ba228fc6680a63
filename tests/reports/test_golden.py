"""The committed ledger, reported again: tables exactly as committed, figures of the same structure.

After a change that is meant: `PYTHONPATH=. python tests/reports/test_golden.py` writes it anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from minigpt_search.reports.page.page import build_page, to_markdown
from minigpt_search.search.records.experiment import read_experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.results.results import Results

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "results" / "lr-quick"
RATES = ["lr=0.0003", "lr=0.0005", "lr=0.001", "lr=0.002"]
TOKENS = "training tokens seen (thousands, repeats counted)"
SECONDS = "time since the trial's start (seconds)"
LOSS, VALIDATION = "loss (nats per token)", "validation loss (nats per token)"
CURVES = [*RATES, "validation", "training"]
FITTED = "fitted optimum 0.0009"
SPEED = "thousand tokens per second"
# x, y, lines, bars, legend
FIGURES = [
    (TOKENS, LOSS, 8, 0, CURVES),
    (SECONDS, LOSS, 8, 0, CURVES),
    ("epoch", "validation perplexity", 4, 0, RATES),
    ("epoch", "validation − training loss (nats)", 5, 0, RATES),
    ("learning rate (log scale)", VALIDATION, 4, 0, ["trials", "lowest: 7.334 nats", FITTED]),
    (SPEED, "", 0, 4, []),
]


def structure(figure: Figure) -> tuple[str, str, int, int, list[str]]:
    (axes,) = figure.axes
    legend = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    return axes.get_xlabel(), axes.get_ylabel(), len(axes.lines), len(axes.patches), legend


def test_the_committed_ledger_gives_the_committed_report(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    draw = Figure.savefig

    def savefig(self: Figure, *args: Any, **options: Any) -> None:
        if options["format"] == "png":  # each is also an element of the page
            drawn.append(structure(self))
        draw(self, *args, **options)

    monkeypatch.setattr(Figure, "savefig", savefig)
    page = build_page(Results(read_experiment(FOLDER), Ledger(FOLDER / "ledger.jsonl")))
    assert to_markdown(page).splitlines() == (FOLDER / "report.md").read_text().splitlines()
    assert drawn == FIGURES
    names = {f"{figure.name}.png" for figure in page.figures}
    assert {path.name for path in (FOLDER / "figures").iterdir()} == names


if __name__ == "__main__":
    page = build_page(Results(read_experiment(FOLDER), Ledger(FOLDER / "ledger.jsonl")))
    (FOLDER / "report.md").write_text(to_markdown(page))
    for old in (FOLDER / "figures").glob("*.png"):
        old.unlink()
    for figure in page.figures:
        (FOLDER / "figures" / f"{figure.name}.png").write_bytes(figure.png)
