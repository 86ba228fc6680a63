"""Bytes of a text file to its characters: all of them, and no others.

Files are UTF-8, or UTF-16 and UTF-32 with a byte order mark; UTF-16 without one and cp1252 (which
holds latin-1's letters) are told by what is in them, with a note. Anything else is refused, with
its line and byte: a wrong guess would be a corpus of wrong letters.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import IO

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.sources.readers.reading import NotText, Reading

CHUNK_BYTES = 256 * 1024
SAMPLE_BYTES = 4 * 1024 * 1024
"""From the first byte that is no UTF-8 on, as much is looked at to find out the encoding."""
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


@dataclass
class _Place:
    where: str
    name: str
    line: int
    offset: int
    """The bytes of the file that were given to a decoder."""


def decoded(stream: IO[bytes], where: str, name: str, reading: Reading) -> Iterator[str]:
    """Yield the text of a file in chunks, without its byte order mark; line ends as they are.

    Args:
        stream: the file's content.
        where: how messages name the file, for example `--source a.txt`.
        name: how notes do.
        reading: takes a note where the encoding was found out.

    Raises:
        NotText: a binary file.
        UserError: no encoding is sure.
    """
    chunks = iter(lambda: stream.read(CHUNK_BYTES), b"")
    head = next(chunks, b"")
    encoding, mark = _by_mark(head)
    if b"\0" in head and not mark:
        encoding = _utf_16(head)
        if not encoding:
            raise NotText(f"{where}: byte {head.index(0):,} is NUL: a binary file, not text")
        reading.tell(f"read as {encoding}, which has no mark here", name)
    may_be_other = encoding == "utf-8" and not mark
    place = _Place(where, name, line=1, offset=mark)
    yield from _decode(chain([head[mark:]], chunks), encoding, place, reading, may_be_other)


def _decode(
    chunks: Iterable[bytes], encoding: str, place: _Place, reading: Reading, may_be_other: bool
) -> Iterator[str]:
    """Yield the text of chunks of bytes. `may_be_other`: where the first byte that is no ASCII is
    no UTF-8 either, all that came before it reads the same in cp1252."""
    chunks = chain(chunks, [b""])
    decoder = codecs.getincrementaldecoder(encoding)()
    for chunk in chunks:
        pending = len(decoder.getstate()[0])
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            data, start = error.object, error.start
            place.offset -= pending
            if may_be_other and data[:start].isascii():
                data = data + _next_bytes(chunks, SAMPLE_BYTES)
                if _is_cp1252(data[max(start - 1, 0) :]):
                    reading.tell("read as cp1252, being no UTF-8", place.name)
                    yield from _decode(chain([data], chunks), "cp1252", place, reading, False)
                    return
            raise _refusal(place, encoding, data, start) from None
        place.offset += len(chunk)
        if text:
            place.line += text.count("\n")
            may_be_other = may_be_other and text.isascii()
            yield text


def _next_bytes(chunks: Iterator[bytes], count: int) -> bytes:
    found = []
    while count > 0 and (chunk := next(chunks, b"")):
        found.append(chunk)
        count -= len(chunk)
    return b"".join(found)


def _refusal(place: _Place, encoding: str, data: bytes, start: int) -> UserError:
    line = place.line + data[:start].decode(encoding).count("\n")
    guess = ""
    if encoding == "utf-8" and not _is_utf_8(data[start:]):
        from charset_normalizer import from_bytes  # only needed here

        best = from_bytes(data[start : start + CHUNK_BYTES]).best()
        guess = f" (it may be {best.encoding})" if best else ""
    return UserError(
        f"{place.where}, line {line:,}, byte {place.offset + start:,}: 0x{data[start]:02x} is not "
        f"{encoding.upper()}{guess}: convert the file, for example with "
        "`iconv -f ENCODING -t UTF-8`, or mend that place"
    )


def _by_mark(head: bytes) -> tuple[str, int]:
    """The encoding that a byte order mark says, and the mark's length; UTF-8 without one."""
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding, len(mark)
    return "utf-8", 0


def _utf_16(head: bytes) -> str:
    """Which UTF-16 bytes without a mark are; "" for none. The right one has spaces, line ends and
    Latin letters or CJK punctuation, and nothing that text doesn't have; in the other order of
    bytes, these are characters from all over Unicode."""
    found = {}
    for encoding in ("utf-16-le", "utf-16-be"):
        text = codecs.getincrementaldecoder(encoding)("replace").decode(head[:65536])
        kinds = Counter(map(unicodedata.category, set(text) - set("\t\n\r\f")))
        if not text or "\ufffd" in text or kinds["Cc"] or kinds["Cn"] or kinds["Co"]:
            continue
        found[encoding] = sum(map(text.count, " \n,.eaino\u3002\u3001\uff0c")) / len(text)
    best = max(found, key=lambda encoding: found[encoding], default="")
    other = min(found.values()) if len(found) == 2 else 0.0
    return best if best and found[best] > max(0.02, 3 * other) else ""


_LETTERS = {
    "French": "àâæçèéêëîïôœùûüÿ",
    "German": "äöüß",
    "Spanish": "áéíñóúü",
    "Portuguese": "àáâãçéêíóôõúü",
    "Italian": "àèéìíîòóùú",
    "Catalan": "àçèéíïòóúü",
    "Dutch and Afrikaans": "áèéêëíîïóôöúûü",
    "Swedish and Finnish": "àäåéö",
    "Danish and Norwegian": "æéøåòôê",
    "Estonian": "äõöüšž",
    "Icelandic and Faroese": "áæéíðóöøúýþ",
}
"""The letters beyond ASCII of the languages that cp1252 was made for."""
_ALL_LETTERS = frozenset("".join(_LETTERS.values()))
_WORDS_OF_ONE = frozenset("àáâåæèéêíîìòóôöúyýø")
_INSIDE_WORDS = frozenset("\u2019\u2018\u2013\u2014\u2026\u00a0\u00ad\u00b7")
"""What is no letter and may stand between two letters."""
_MOST_ODD = 0.02
_MOST_FOREIGN = 0.08
"""Of the letters beyond ASCII: names and words of other languages. Of Hungarian's letters 15% look
like such, of Turkish 25%, of Czech 45%."""
_SCARCE = 0.005
"""With fewer letters beyond ASCII a text is English with words of several languages."""


def _is_utf_8(data: bytes) -> bool:
    """Whether most of the bytes beyond ASCII are UTF-8, though some are not."""
    beyond = len(data) - len(data.translate(None, bytes(range(128, 256))))
    sequences = re.findall(
        rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}"
        rb"|[\xf0-\xf4][\x80-\xbf]{3}",
        data,
    )
    return 2 * sum(map(len, sequences)) >= beyond > 0


def _is_cp1252(data: bytes) -> bool:
    """Whether bytes are text in a language of Western Europe, in its encoding before Unicode: the
    letters beyond ASCII are those of one language, at the places of letters. In other encodings
    and languages (cp1250, cp1251, Mac Roman, GBK) they are from all over the table."""
    if _is_utf_8(data):
        return False
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError:
        return False
    if re.search(r"[\x00-\x08\x0b\x0e-\x1f\x7f]", text):
        return False
    beyond, odd = Counter[str](), 0
    for found in islice(re.finditer(r"[\x80-\uffff]", text), 100_000):
        before, letter = text[found.start() - 1 : found.start()], found[0]
        after = text[found.end() : found.end() + 1]
        if letter.lower() in _ALL_LETTERS:
            beyond[letter.lower()] += 1
            in_word = before.isalpha() or after.isalpha()
            odd += not (in_word or letter.lower() in _WORDS_OF_ONE)
            odd += before.islower() and letter.isupper()
        elif letter.isalpha() and letter not in "ªº":
            odd += 1
        else:
            odd += before.isalpha() and after.isalpha() and letter not in _INSIDE_WORDS
    letters = beyond.total()
    if odd > _MOST_ODD * (letters + odd):
        return False
    if letters <= _SCARCE * len(text):
        return True
    of_one = max(sum(beyond[each] for each in own) for own in _LETTERS.values())
    return letters - of_one <= _MOST_FOREIGN * letters
