"""The versions of the libraries that make a corpus, and how two machines' differ."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

TEXT_LIBRARIES = ("tiktoken", "numpy", "trafilatura", "selectolax", "mwparserfromhell")
"""Libraries that decide what a text becomes: with another version of one of them, or of Python, it
may become another."""


def versions(libraries: tuple[str, ...] = TEXT_LIBRARIES) -> dict[str, str]:
    """The versions of Python and of those of the libraries that are installed: not every source
    needs all of them."""
    found = {"python": platform.python_version()}
    for name in libraries:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def version_differences(
    found: Mapping[str, str], wanted: Mapping[str, str]
) -> list[tuple[str, str | None, str | None]]:
    """The libraries whose versions differ, by name, each as (name, version found, version wanted);
    None where one of the two has no such library."""
    return [
        (name, found.get(name), wanted.get(name))
        for name in sorted(found.keys() | wanted.keys())
        if found.get(name) != wanted.get(name)
    ]
