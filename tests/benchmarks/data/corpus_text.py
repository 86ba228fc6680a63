"""Text that is at hand, varied, dirty and partly repeated: the documentation in botocore.

The same bytes each time, for one version of botocore (which `moto`, of the test extra, needs).
"""

from __future__ import annotations

import gzip
import html
import importlib.util
import json
import random
import re
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

SHARES = {"jsonl": 0.6, "html": 0.2, "txt": 0.2}
"""Of the documents, by the kind of file they are written to."""
COPIES, NEAR_COPIES = 0.05, 0.05
"""Of the documents, those that are written again, the latter with a word exchanged."""
DIRT = ("\u200b", "\r\n", "  ", "\u00a0", "\ufeff", "e\u0301", "\x0b")


def write_texts(folder: Path, megabytes: float) -> None:
    """Fill `folder` with a .jsonl, a .txt and several .html files, about `megabytes` in all."""
    folder.mkdir(parents=True)
    chooser = random.Random(0)
    left = megabytes * 1e6
    lines, parts = (folder / "documents.jsonl").open("w"), (folder / "documents.txt").open("w")
    with lines, parts:
        for number, text in enumerate(_documents(chooser)):
            kind = chooser.choices(list(SHARES), list(SHARES.values()))[0]
            if kind == "html":
                page = f"<!doctype html><html><body><main>{text}</main></body></html>"
                (folder / f"page-{number:06d}.html").write_text(page)
            elif kind == "txt":
                parts.write(f"{_plain(text, chooser)}\n<|endoftext|>\n")
            else:
                lines.write(json.dumps({"text": _plain(text, chooser)}) + "\n")
            left -= len(text)
            if left < 0:
                return


def _documents(chooser: random.Random) -> Iterator[str]:
    """HTML, without end: each round through botocore exchanges a word in each paragraph."""
    for round_number in count():
        paragraphs = _paragraphs()
        while chosen := list(islice(paragraphs, chooser.randint(4, 24))):
            if round_number:
                chosen = [_exchange(text, chooser, f"round{round_number}") for text in chosen]
            text = "\n".join(chosen)
            yield text
            draw = chooser.random()
            if draw < COPIES:
                yield text
            elif draw < COPIES + NEAR_COPIES:
                yield "\n".join(_exchange(part, chooser, "other") for part in chosen)


def _paragraphs() -> Iterator[str]:
    found = importlib.util.find_spec("botocore")
    if found is None or found.origin is None:
        raise SystemExit('needs botocore: pip install -e ".[test]"')
    for path in sorted((Path(found.origin).parent / "data").glob("*/*/service-2.json*")):
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        yield from _documentation(json.loads(content))


def _documentation(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "documentation" and isinstance(value, str):
                yield value
            else:
                yield from _documentation(value)
    elif isinstance(node, list):
        for value in node:
            yield from _documentation(value)


def _exchange(text: str, chooser: random.Random, word: str) -> str:
    words = text.split(" ")
    words[chooser.randrange(len(words))] = word
    return " ".join(words)


def _plain(text: str, chooser: random.Random) -> str:
    """Without tags, with some dirt."""
    lines = html.unescape(re.sub(r"<[^>]*>", "", text)).split("\n")
    index = chooser.randrange(len(lines))
    lines[index] = f"{chooser.choice(DIRT)}{lines[index]}{chooser.choice(DIRT)}"
    return "\n".join(lines)
