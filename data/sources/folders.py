"""The files of a folder that are read, and what is said of the others."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from minigpt_search.data.common.documents import Form
from minigpt_search.data.common.errors import UserError
from minigpt_search.data.sources.formats import (
    KNOWN,
    TOKEN_ENDING,
    Format,
    format_of,
    is_archive,
)

_LEFT_OUT = frozenset({"__MACOSX", "__pycache__", "node_modules"})
"""Folders and files that programs leave among others; so are those that begin with a dot."""
MOST_ENDINGS = 8
"""A note tells the others' number in one."""

File = tuple[Path, Format]


class Found(NamedTuple):
    """What a file or folder has to read."""

    files: dict[Form, list[File]]
    """By form, in the order of their names."""
    note: str
    """What was read of a folder and what not, by ending; "" for a file."""


def find_files(path: Path, flag: str) -> Found:
    """The files to read: `path` itself, or those below it. `flag` is what named it.

    Raises:
        UserError: a kind of file that is not read, or a folder without any that is.
    """
    where = f"{flag} {path}"
    try:
        return _in_folder(path, where) if path.is_dir() else _one_file(path, where)
    except OSError as error:
        raise UserError(f"{where}: cannot be read ({error.filename}: {error.strerror})") from None


def _one_file(path: Path, where: str) -> Found:
    if is_archive(path):
        raise UserError(f"{where}: an archive of files: unpack it, and name the folder")
    found = format_of(path)
    if found is None:
        raise UserError(f"{where}: its ending says none of {KNOWN}: rename it, if it is text")
    if not path.is_file():
        raise UserError(f"{where}: neither a file nor a folder")
    return Found({found.form: [(path, found)]}, "")


def _in_folder(path: Path, where: str) -> Found:
    read, others, left_out = Counter[str](), Counter[str](), Counter[str]()
    files: dict[Form, list[File]] = {}
    for file in sorted(_walk(path, left_out), key=lambda each: each.parts):
        found = format_of(file)
        if found is None or found.ending.startswith(TOKEN_ENDING):
            unpack = " (to be unpacked)" if is_archive(file) else ""
            others[(file.suffix.lower() or "without an ending") + unpack] += 1
        else:
            read[found.ending] += 1
            files.setdefault(found.form, []).append((file, found))
    told = [f"read {_listed(read)}"]
    told += [f"not read: {_listed(others)}"] if others else []
    told += [f"left out: {_listed(left_out)}"] if left_out else []
    if not files:
        told[0] = f"holds none of {KNOWN}"
        if TOKEN_ENDING in others:
            told.append(f"a {TOKEN_ENDING} is read where it is named itself, not in a folder")
        raise UserError(f"{where}: {'; '.join(told)}")
    return Found(files, f"{path.name or path}/: {'; '.join(told)}")


def _walk(folder: Path, left_out: Counter[str]) -> list[Path]:
    """The files below a folder, links followed; a folder that links lead to again is read once."""
    found: list[Path] = []
    waiting, seen = [str(folder)], {_identity(os.stat(folder))}
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    left_out["hidden"] += 1
                elif entry.name in _LEFT_OUT:
                    left_out[entry.name] += 1
                elif entry.is_file():
                    found.append(Path(entry.path))
                elif not entry.is_dir():
                    kind = "broken link" if entry.is_symlink() else "neither file nor folder"
                    left_out[kind] += 1
                elif (identity := _identity(os.stat(entry.path))) in seen:
                    left_out["folder that was there before"] += 1
                else:
                    seen.add(identity)
                    waiting.append(entry.path)
    return found


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _listed(counts: Counter[str]) -> str:
    """Counts by ending, the most first: `12 .txt, 3 .md`."""
    common = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{count:,} {name}" for name, count in common[:MOST_ENDINGS]]
    rest = sum(count for _, count in common[MOST_ENDINGS:])
    return ", ".join([*shown, f"{rest:,} of other kinds"] if rest else shown)
