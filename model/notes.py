"""What a run goes without on the machine that it has: said, and kept in its record.

Where a kernel, a graph or equal bits can't be had, a run goes on without, slower or less exactly
repeatable than it should be. Each such lack is a warning, and a line of the trial's record.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

_kept: list[str] = []


def begin(again: list[str] | None = None) -> None:
    """From here on notes are those of another run, or of several that are trained together; with
    `again` of the one that has these so far. A process trains one at a time."""
    global _kept
    _kept = [] if again is None else again


def note(text: str) -> None:
    """Warn of it, and keep it, once, for the run under way."""
    if text not in _kept:
        _kept.append(text)
    warnings.warn(text, RuntimeWarning, stacklevel=3)


def keep(texts: Sequence[str]) -> None:
    """Add what the run under way went without before, and was warned of then."""
    _kept[:0] = [text for text in texts if text not in _kept]


def first_line(error: Exception) -> str:
    """What it says, in a line: of a compiler that wraps what it met, that; where the first line
    only says where, the last one too."""
    inner = getattr(error, "inner_exception", None)
    lines = [line.strip() for line in str(inner or error).splitlines() if line.strip()]
    if not lines:
        return type(inner or error).__name__
    return f"{lines[0]} {lines[-1]}" if len(lines) > 1 and lines[0].endswith(":") else lines[0]


def kept() -> list[str]:
    """Those of the run under way; the list grows with them."""
    return _kept
