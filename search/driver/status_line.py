"""What a running search has to say at one moment, as one line of a terminal or of a log."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterator
from dataclasses import dataclass

from minigpt_search.data.common.formatting import duration

_SHOWN = 4
"""Running trials named on a line; more don't fit."""
_WIDEST, _NARROWEST = 20, 5
"""Columns of the bar."""
_LABELS = range(40, 5, -2)
"""Columns that a running trial's label is cut to where all of it doesn't fit."""
_WORTH_A_BAR = 12
"""Columns of a label that the bar leaves at least."""


@dataclass(frozen=True, kw_only=True)
class Status:
    """A search at one moment, in words."""

    counted: str
    """`3/12 trials`: those that ended."""
    share: float
    """Of the work that is done, 0 to 1."""
    left: str | None = None
    """`12.1 min left`; None while it can't be told."""
    ends: str | None = None
    """The clock's time then: `ends 18:20`."""
    best: str | None = None
    """`best 7.3412`, or `confirmed 7.3412` of fresh seeds; None before the first result."""
    best_of: str | None = None
    """Whose number that is."""
    speed: str
    """`35.1 steps/s`, or that it starts or is done."""
    running: tuple[tuple[str, str], ...] = ()
    """Label and training loss of the trials that train now."""


def time_left(seconds: float, most: str = "") -> tuple[str, str]:
    """`12.1 min left` and `ends 18:20`, with the day unless it is today; `most` stands before."""
    seconds = max(0.0, seconds)
    now = datetime.datetime.now()
    end = now + datetime.timedelta(seconds=seconds)
    at = f"{end:%H:%M}" if end.date() == now.date() else f"{end:%a %H:%M}"
    return f"{most}{duration(seconds)} left", f"ends {at}"


def log_line(status: Status, elapsed: str) -> str:
    """All of it, for a file that somebody reads later."""
    wide = dataclasses.replace(status, best=_best_with_name(status))
    words = _words(wide, wide.running[:_SHOWN])
    return f"{status.counted}, {status.share:.0%}, {elapsed}: {'; '.join(words)}"


def terminal_line(status: Status, elapsed: str, columns: int, ascii_only: bool) -> str:
    """As much of it as a terminal has room for, in at most `columns` characters. The time left, the
    best and one running loss stay longest."""
    head = f"{status.counted} {status.share:4.0%}"
    for words, has_bar in _from_long_to_short(status):
        text = "; ".join(words)
        if not has_bar:
            if len(head) + 1 + len(text) <= columns:
                return f"{head} {text}"
            continue
        rest = f"| {elapsed}, {text}" if text else f"| {elapsed}"
        width = min(_WIDEST, columns - len(head) - 1 - len(rest))
        if width >= _NARROWEST:
            return f"{head}|{_bar(status.share, width, ascii_only)}{rest}"
    return head[:columns]


def _bar(share: float, width: int, ascii_only: bool) -> str:
    """So much of `width` columns filled, by eighths where there are characters for them."""
    parts = " #" if ascii_only else " ▏▎▍▌▋▊▉█"
    each = len(parts) - 1
    whole, rest = divmod(round(min(1.0, share) * width * each), each)
    return (parts[-1] * whole + parts[rest] * (rest > 0)).ljust(width)


def _from_long_to_short(status: Status) -> Iterator[tuple[list[str], bool]]:
    """What a line may say, and whether it has a bar."""
    named = dataclasses.replace(status, best=_best_with_name(status))
    for one in (named, status):
        for shown in range(min(_SHOWN, len(status.running)), 0, -1):
            yield _words(one, status.running[:shown]), True
        if not status.running:
            yield _words(one, ()), True
    # Without its speed, then without the time of its end, then with a shorter label.
    speed = "" if status.running else status.speed
    for ends in (status.ends, None):
        shorter = dataclasses.replace(status, speed=speed, ends=ends)
        yield _words(shorter, status.running[:1]), True
    first = status.running[:1]
    cut = {at: tuple((_cut(label, at), loss) for label, loss in first) for at in _LABELS}
    for at in filter(lambda at: at >= _WORTH_A_BAR, _LABELS):
        yield _words(shorter, cut[at]), True
    for running in (first, *cut.values(), tuple(("loss", loss) for _, loss in first)):
        yield _words(shorter, running), False
    yield _words(shorter, ()), False
    yield [status.left or status.best or speed], False


def _words(status: Status, running: tuple[tuple[str, str], ...]) -> list[str]:
    left = ", ".join(filter(None, (status.left, status.ends)))
    losses = (f"{label} {loss}" for label, loss in running)
    return list(filter(None, (left, status.best, status.speed, *losses)))


def _best_with_name(status: Status) -> str | None:
    return status.best and f"{status.best} ({status.best_of})"


def _cut(label: str, columns: int) -> str:
    return label if len(label) <= columns else f"{label[: columns - 2]}.."
