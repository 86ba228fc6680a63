"""Data sets of the Hugging Face hub by name, streamed: `hub:wikimedia/wikipedia@20231101.en`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from minigpt_search.data.common.documents import Piece, Source
from minigpt_search.data.common.errors import UserError
from minigpt_search.data.common.extras import need_extra
from minigpt_search.data.corpus.spec import CorpusSpec
from minigpt_search.data.sources.readers.reading import Reading
from minigpt_search.data.sources.readers.rows import Row, row_documents

CHARACTERS_PER_TOKEN = 8
"""The characters read for each token that is wanted: English has 4.5, and a part is dropped."""


def check_hub(name: str, spec: CorpusSpec) -> None:
    """Raise `UserError` for no name, no `--tokens` (the data sets are too large to take whole), or
    no `datasets`."""
    where = f"--source hub:{name}"
    if not name.partition("@")[0]:
        raise UserError(f"{where}: give hub:OWNER/NAME")
    if spec.tokens is None:
        raise UserError(f"{where}: needs --tokens, for example `--tokens 10000000`")
    need_extra("hub", where)


def hub_source(name: str, group: int, spec: CorpusSpec, root: Path) -> Source:
    """The train split of a hub data set, as much of its beginning as `spec.tokens` needs.

    Args:
        name: `OWNER/NAME` or `OWNER/NAME@CONFIG`; a local folder in the hub's layout will do.
    """
    path, _, config = name.partition("@")
    assert spec.tokens is not None  # see `check_hub`
    limit = CHARACTERS_PER_TOKEN * (spec.tokens + 2 * spec.eval_tokens)
    reading = Reading(spec=spec, root=root)
    return Source(
        name=f"hub:{name}",
        title=name,
        kind="user",
        form="plain",
        read=partial(_stream, path, config or None, reading, limit),
        group=group,
        licence="see the data set's page",
        attribution=path,
        url=f"https://huggingface.co/datasets/{path}",
        notes=reading.notes,
        passed_over=reading.passed_over,
    )


def _stream(path: str, config: str | None, reading: Reading, limit: int) -> Iterator[str | Piece]:
    where = f"--source hub:{path}{f'@{config}' if config else ''}"
    reading.begin(())
    characters, are_any = 0, False
    for document in row_documents(_rows(path, config, where), reading):
        are_any = True
        yield document
        text, ends = document if isinstance(document, Piece) else (document, True)
        characters += len(text)
        if ends and characters >= limit:
            break
    reading.end()
    if not are_any and reading.first_bad_row is not None:
        raise reading.first_bad_row


def _rows(path: str, config: str | None, where: str) -> Iterator[Row]:
    import datasets

    try:
        for row in datasets.load_dataset(path, config, split="train", streaming=True):
            yield where, row
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001  it lets through those of four libraries below it
        reason = re.sub(r"\S*://\S+", "<address>", str(error)).strip() or type(error).__name__
        raise UserError(
            f"{where}: cannot be read ({reason.splitlines()[0][:160]}): check the name, the config "
            "after `@` and the network"
        ) from None
