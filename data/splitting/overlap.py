"""Whether text that is given for validation is in the training text too."""

from __future__ import annotations

import re
from collections.abc import Iterable

PART_CHARACTERS = 40
"""Shorter parts of text come again by chance: headings, forms of address."""
WORTH_SAYING = 0.01
_ENDS = re.compile(r"[\n.!?]+")


def overlap(validation: Iterable[str], train: Iterable[str]) -> float:
    """The share of the validation text, 0 to 1, whose sentences or lines are in the training text.

    Only those of at least `PART_CHARACTERS` count. Memory: the validation text.
    """
    sizes = {part: len(part) for text in validation for part in _parts(text)}
    total = sum(sizes.values())
    found = {part for text in train for part in _parts(text) if part in sizes}
    return sum(sizes[part] for part in found) / total if total else 0.0


def _parts(text: str) -> Iterable[str]:
    stripped = map(str.strip, _ENDS.split(text))
    return (part for part in stripped if len(part) >= PART_CHARACTERS)
