"""The versions of what makes a corpus."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

TEXT_LIBRARIES = ("tiktoken", "numpy", "trafilatura", "selectolax", "mwparserfromhell")
"""With others of these, or another Python, text may come out otherwise."""


def versions(libraries: tuple[str, ...] = TEXT_LIBRARIES) -> dict[str, str]:
    """Of Python, and of those libraries that are there: not all are needed for every source."""
    found = {"python": platform.python_version()}
    for name in libraries:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
