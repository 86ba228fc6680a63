"""Whether this process should end before another run: it holds what only its end gives back."""

from __future__ import annotations

_reasons: list[str] = []


class Retired(Exception):
    """A process ends although its run went well; the message says why."""


def retire(reason: str) -> None:
    """Have `retires` say so from here on."""
    _reasons.append(reason)


def retires() -> str | None:
    """Why the process should train no other run; None if it may."""
    return _reasons[0] if _reasons else None
