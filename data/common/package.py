"""This program's own code as files: what travels to a cluster, and what is hashed."""

from __future__ import annotations

from pathlib import Path

import minigpt_search


def package_folder() -> Path:
    """The folder of the package `minigpt_search`: in a checkout that of links to its rooms."""
    assert minigpt_search.__file__ is not None
    return Path(minigpt_search.__file__).parent


def source_files(part: str) -> dict[str, Path]:
    """The source files of a part of the package (`data`, `search/space`, `model/config.py`), by
    their path in the package, in order."""
    folder = package_folder()
    whole = folder / part
    found = [whole] if whole.suffix == ".py" else sorted(whole.rglob("*.py"))
    return {path.relative_to(folder).as_posix(): path for path in found}
