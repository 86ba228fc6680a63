"""Whether a user's tokenizer gives every text back, and makes no special token from it."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.tokenizers.hugging_face import (
    BYTE_FALLBACK,
    BYTE_LEVEL,
    FileTokenizer,
    parts_of,
)
from minigpt_search.data.tokenizers.simple import BYTE_CHARACTERS

SAMPLES = (
    *("Hello World", "hello", " a", "a ", "  two  spaces   and more", "\ttabs\t\tin\tit"),
    *("line\nline\n\n\nline\r\nline\r", " \n \n", "na\u00efve caf\u00e9", "e\u0301 is not \u00e9"),
    *("\u4e2d\u6587\u5b57 and \u65e5\u672c\u8a9e", "\U0001f41d\U0001f469\u200d\U0001f52c"),
    *("\ufb01 \u00b2 \u2460 \uff21 \u00bd", "\x00\x01\x07\x1b\x7f\x85\xa0\xad\ufeff\u200b\u2028"),
    *("\u2581\u2581a \u2581b", "<0x41> \u0120 \u010a", "don't  you'LL ``quote'' \"q\" \u2019"),
    *("def f(x):\n\treturn {'a': [1_000, -2.5e-3]}  # x != y\n", "a , b . c ! ( d ) : e ' s"),
    *("1234567 12,345.67", "\u0627\u0644\u0639 \u05d0\u05d1 \u0e44\u0e17\u0e22 \u0939\u093f"),
)
"""Texts with what tokenizers are known to change: case, accents, white space, composed and
compatibility characters, control characters, characters they don't know, their own marks."""
_BYTE_LEVEL_STEPS = {"ByteLevel", "Split", "Digits", "Punctuation", "UnicodeScripts"}
"""The kinds of pre-tokenizers that only cut a text, if nothing is removed and no space added."""
_BYTES_OF_UTF8 = [byte for byte in range(256) if byte not in (0xC0, 0xC1) and byte < 0xF5]


def check_lossless(tokenizer: FileTokenizer, choice: str) -> None:
    """Raise `UserError` with one line that says what the tokenizer changes, if it does.

    First by examples, which tell a reader most; then by its parts: those known to leave a text as
    it is, and a token for each byte.
    """
    reason = _changed(tokenizer) or _special_from_text(tokenizer) or _odd_part(tokenizer)
    if reason is not None:
        raise UserError(
            f"--tokenizer {choice}: {reason}: no text may be lost; give another, such as bpe:4096"
        )


def _special_from_text(tokenizer: FileTokenizer) -> str | None:
    added = tokenizer.library.get_added_tokens_decoder()
    special = {number for number, token in added.items() if token.special}
    special.add(tokenizer.separator_token)
    for number in sorted(special):
        name = tokenizer.library.id_to_token(number) or ""
        for text in (name, f"a {name} b", f"a{name}{name}b"):
            if special.intersection(tokenizer.encode(text).tolist()):
                return f"it makes the special token {name!r} from text"
    return None


def _changed(tokenizer: FileTokenizer) -> str | None:
    """What comes back of the first text that is changed: by the library's own decoder, whose words
    a user knows, and then by the tokens' bytes."""

    def by_library(tokens: list[int]) -> str:
        return tokenizer.library.decode(tokens, skip_special_tokens=False)

    def by_bytes(tokens: list[int]) -> str:
        return tokenizer.decode_bytes(tokens).decode(errors="replace")

    for decode in (by_library, by_bytes):
        for text in _texts(tokenizer):
            back = decode(tokenizer.encode(text).tolist())
            if back != text:
                return f"it changes {_difference(text, back)}"
    return None


def _texts(tokenizer: FileTokenizer) -> Iterator[str]:
    yield from SAMPLES
    for start in range(0, 0x3000, 64):
        yield "".join(map(chr, range(start, start + 64)))
    # Added tokens that are not special are found in a text; some take the white space around.
    for token in tokenizer.library.get_added_tokens_decoder().values():
        if token.special:
            continue  # not found (`_special_from_text`)
        yield f"a  {token.content}  b\n{token.content}{token.content}"
    chance = random.Random(0)
    parts = [*"aZ09 \t\n\r.,'\"-_(){}<>|/\\", "  ", "\u00e9", "\u0301", "\u4e2d", "\U0001f41d"]
    for _ in range(200):
        yield "".join(chance.choices(parts, k=40))


def _difference(text: str, back: str) -> str:
    """`'lo Wo' into 'lo wo'`: the two from where they differ, with a little before it."""
    same = next(
        (place for place, pair in enumerate(zip(text, back, strict=False)) if pair[0] != pair[1]),
        min(len(text), len(back)),
    )
    start = max(0, same - 4)
    return f"{text[start : same + 6]!r} into {back[start : same + 6]!r}"


def _odd_part(tokenizer: FileTokenizer) -> str | None:
    """What in the file is not known to leave every text as it is."""
    raw: dict[str, Any] = json.loads(tokenizer.content)
    for part in parts_of(raw.get("normalizer")):
        return f"its normalizer {part['type']} changes text"
    for part in parts_of(raw.get("pre_tokenizer")):
        removes = part.get("behavior") == "Removed" or part.get("add_prefix_space")
        if removes or part["type"] not in _BYTE_LEVEL_STEPS:
            return f"its pre-tokenizer {part['type']} may change text"
    vocabulary = tokenizer.library.get_vocab(with_added_tokens=False)
    if tokenizer.decoders == {BYTE_LEVEL}:
        names = BYTE_CHARACTERS
    elif tokenizer.decoders <= {BYTE_FALLBACK, "Fuse"} and BYTE_FALLBACK in tokenizer.decoders:
        names = {byte: f"<0x{byte:02X}>" for byte in range(256)}
    else:
        return "its tokens are not those of bytes"
    missing = [byte for byte in _BYTES_OF_UTF8 if names[byte] not in vocabulary]
    return f"it has no token for the byte 0x{missing[0]:02X}" if missing else None
