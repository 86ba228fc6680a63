"""Text in files of the user's own, and in folders of them: `data/sources/formats.py` lists which.

All are streamed. Text is kept to the character.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from minigpt_search.data.common.documents import Piece, Source
from minigpt_search.data.common.errors import UserError
from minigpt_search.data.common.extras import need_extra
from minigpt_search.data.common.formatting import counted
from minigpt_search.data.corpus.spec import CorpusSpec
from minigpt_search.data.sources.folders import File, find_files
from minigpt_search.data.sources.formats import TOKEN_ENDING
from minigpt_search.data.sources.readers.compressed import DAMAGES, open_content
from minigpt_search.data.sources.readers.reading import NotText, Reading
from minigpt_search.data.sources.readers.token_files import check_token_file

_FORM_NAMES = {"plain": "text", "html_page": "html", "wikitext": "wikitext"}


def check_files(path: Path, flag: str) -> None:
    """Check a file or folder as far as can be told by names and sizes.

    Raises:
        UserError: as `find_files` and `check_token_file`; web pages without their parser.
    """
    found = find_files(path, flag).files
    if "html_page" in found:
        need_extra("html", f"{flag} {found['html_page'][0][0]}")
    for files in found.values():
        for file, kind in files:
            if kind.ending.startswith(TOKEN_ENDING):
                check_token_file(file, f"{flag} {file}")


def file_sources(
    path: Path, group: int, spec: CorpusSpec, root: Path, flag: str = "--source"
) -> list[Source]:
    """A file as one source; a folder as one source for each form of text in it.

    Args:
        path: the file or folder.
        group: the index of the flag that named it.
        spec: how rows, separators and bad rows are read.
        root: where the tokenizer's files are, for nanoGPT's .bin.
        flag: the flag that named it.

    Raises:
        UserError: as `find_files`, or a file can't be opened.
    """
    found = find_files(path, flag)
    sources: list[Source] = []
    for form, files in found.files.items():
        known = [found.note] if found.note and not sources else []
        known += _note_of_tokens(files[0], spec)
        reading = Reading(spec=spec, root=root, flag=flag)
        name = path.name or str(path)
        sources.append(
            Source(
                name=name if len(found.files) == 1 else f"{name} ({_FORM_NAMES[form]})",
                title=counted(len(files), "file") if path.is_dir() else path.name,
                kind="user",
                form=form,
                read=partial(_read_all, files, path, reading, known),
                group=group,
                sha256=_hash_files([file for file, _ in files], path, flag),
                notes=reading.notes,
                passed_over=reading.passed_over,
            )
        )
        reading.notes[:] = known
    return sources


def _note_of_tokens(first: File, spec: CorpusSpec) -> list[str]:
    """A note where nanoGPT's validation tokens lie beside its train tokens and are not used."""
    file, _ = first
    if not file.name.lower().startswith("train.bin"):
        return []
    other = file.with_name(file.name.lower().replace("train", "val"))
    used = {os.path.abspath(each) for each in (spec.validation, *spec.sources) if each}
    if not other.exists() or os.path.abspath(other) in used:
        return []
    return [f"{other.name} beside {file.name} is not used: `--validation {other}` would"]


def _hash_files(files: Sequence[Path], path: Path, flag: str) -> str:
    """The SHA-256 of a file; of the files of a folder, the SHA-256 over their names in it and
    theirs, in order."""
    digests = []
    for file in files:
        try:
            with file.open("rb") as stream:
                digests.append(hashlib.file_digest(stream, "sha256"))
        except OSError as error:
            raise UserError(f"{flag} {file}: cannot be read ({error.strerror})") from None
    if not path.is_dir():
        return digests[0].hexdigest()
    whole = hashlib.sha256()
    for file, digest in zip(files, digests, strict=True):
        whole.update(os.fsencode(file.relative_to(path)) + b"\0" + digest.digest())
    return whole.hexdigest()


def _read_all(
    files: Sequence[File], path: Path, reading: Reading, known: Sequence[str]
) -> Iterator[str | bytes | Piece]:
    """Yield the documents of files, one after another; files that are no text are passed over, as
    long as they are fewer than the others."""
    reading.begin(known)
    without_text: list[NotText] = []
    are_any = False
    for file, kind in files:
        name = str(file.relative_to(path)) if file != path else file.name
        where = reading.where(file)
        is_empty, passed_over = True, reading.passed_over.total()
        try:
            with open_content(file) as stream:
                for document in kind.read(stream, where, name, reading):
                    is_empty, are_any = False, True
                    yield document
        except NotText as error:
            without_text.append(error)
            reading.passed_over["not_text"] += 1
            reason = str(error).removeprefix(where).lstrip(":, ")
            reading.tell("no text is in", f"{name} ({reason[:160]})")
        except DAMAGES as error:  # bz2 says "Invalid data stream", or EOFError if cut
            why = getattr(error, "strerror", None) or error
            raise UserError(f"{where}: cannot be read ({why}): is it whole?") from None
        if is_empty and passed_over == reading.passed_over.total():
            reading.passed_over["empty_file"] += 1
    reading.end()
    if 2 * len(without_text) >= len(files) and without_text:
        rest = len(without_text) - 1
        more = f"; {counted(rest, 'other file')} can't be read as text either" if rest else ""
        raise UserError(f"{without_text[0]}{more}")
    if not are_any and reading.first_bad_row is not None:
        raise reading.first_bad_row
