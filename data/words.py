"""What rules, shingles and encoding need of a word, found once for each distinct word.

Of twenty words of prose nineteen came before. A text is looked up as the numbers of its pieces, and
what is asked of it is gathered with numpy from columns with an entry for each distinct piece. A
piece is a word after a space, or a line's end and the word after it: GPT-2's tokens of prose are
those of its pieces, because the expression that the encoding begins with never takes a space or a
line's end together with what is before it. Other text is encoded as a whole.

Shapes: W words of a text, R runs of five words, P pieces, T tokens.
"""

from __future__ import annotations

import zlib
from array import array
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, count, islice
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from data.shingles import SHINGLE_WORDS, Hashes, mix, shingle_hashes, split_words_of_each

if TYPE_CHECKING:
    import tiktoken

Ints = npt.NDArray[np.int64]
Tokens = npt.NDArray[np.uint16]

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
_STOP_BITS = {word: 1 << place for place, word in enumerate(STOP_WORDS)}

PIECES_LIMIT = 250_000
CHARACTERS_LIMIT = 4_000_000
"""With more pieces, or more text in them, a table begins anew: about 60 MB."""


@dataclass(frozen=True, kw_only=True)
class Words:
    """The words of one text, as `str.split` finds them."""

    numbers: Ints
    """(W,) The same for the same word, among texts that were looked up together."""
    lengths: npt.NDArray[np.int32]
    """(W,) Characters."""
    alphabetic: npt.NDArray[np.uint8]
    """(W,) 1 where there is a letter in it."""
    stop_words: npt.NDArray[np.uint8]
    """(W,) A bit for each of `STOP_WORDS`."""
    shingles: Hashes
    """(R,) As `data.shingles.shingles` gives them."""
    pieces: Ints | None
    """(P,) None where the text has other white space than prose has."""


class WordTable:
    """The distinct words of many texts. Memory: bounded by the two limits above."""

    def __init__(self, encoding: tiktoken.Encoding) -> None:
        self._encoding = encoding
        words = encoding.token_byte_values()  # all but the separator
        ranks = [encoding.encode_single_token(word) for word in words]
        self._begins_piece = np.zeros(encoding.n_vocab, np.bool_)
        self._begins_piece[ranks] = [word[:1] in (b" ", b"\n") for word in words]
        self._clear()

    def _clear(self) -> None:
        self._numbers: defaultdict[str, int] = defaultdict(count().__next__)
        self._characters = 0
        self._word, self._length = array("q"), array("i")
        self._alphabetic, self._stop_words = array("B"), array("B")
        self._hashes, self._tokens = _Ragged("Q"), _Ragged("H")
        self._add(["\n"])  # an empty line, which is no word

    def look_up(self, texts: Sequence[str]) -> list[Words]:
        """The words of each text. For many texts at once: numpy's calls are dear."""
        if len(self._numbers) > PIECES_LIMIT or self._characters > CHARACTERS_LIMIT:
            self._clear()
        known = len(self._numbers)
        pieces = [_pieces(text) for text in texts]
        rows = [
            np.fromiter(map(self._numbers.__getitem__, own), np.int64, len(own))
            for own in (own or text.split() for own, text in zip(pieces, texts, strict=True))
        ]
        for piece in self._since(known):
            if piece[0] == "\n":
                self._numbers[piece[1:]]  # the word by itself, which gives its number
        self._add(self._since(known))
        return self._words(rows, [bool(own) for own in pieces])

    def _since(self, known: int) -> list[str]:
        """The pieces that came after the first `known`."""
        return list(islice(reversed(self._numbers), len(self._numbers) - known))[::-1]

    def _add(self, pieces: Sequence[str]) -> None:
        """Add rows to all columns."""
        words = [piece.removeprefix("\n") for piece in pieces]
        self._characters += sum(map(len, words))
        self._word.extend(self._numbers[word or "\n"] for word in words)
        self._length.extend(map(len, words))
        self._alphabetic.extend(any(map(str.isalpha, word)) for word in words)
        self._stop_words.extend(_STOP_BITS.get(word.lower(), 0) for word in words)
        parts = split_words_of_each(words)
        hashes = [zlib.crc32(part) for part in chain.from_iterable(parts)]
        self._hashes.extend(mix(np.array(hashes, np.uint64)), np.array(list(map(len, parts))))
        text = "".join(piece if piece[0] == "\n" else " " + piece for piece in pieces)
        tokens = np.array(self._encoding.encode_ordinary(text), np.uint16)
        starts = np.flatnonzero(self._begins_piece[tokens])
        assert len(starts) == len(pieces)
        self._tokens.extend(tokens, np.diff(starts, append=len(tokens)))

    def _words(self, rows: Sequence[Ints], is_prose: Sequence[bool]) -> list[Words]:
        pieces = np.concatenate(rows)
        lengths = np.frombuffer(self._length, np.int32)[pieces]
        hashes, hash_counts = self._hashes.gather(pieces)
        runs = shingle_hashes(hashes, SHINGLE_WORDS)  # those over two texts are left out below
        is_word = lengths > 0
        numbers = np.frombuffer(self._word, np.int64)[pieces[is_word]]
        lengths = lengths[is_word]
        alphabetic = np.frombuffer(self._alphabetic, np.uint8)[numbers]
        stop_words = np.frombuffer(self._stop_words, np.uint8)[numbers]
        ends = np.cumsum([0, *map(len, rows)])
        word_ends = np.concatenate(([0], np.cumsum(is_word)))[ends].tolist()
        hash_ends = np.concatenate(([0], np.cumsum(hash_counts)))[ends].tolist()
        found = []
        for place, own in enumerate(rows):
            part = slice(word_ends[place], word_ends[place + 1])
            first, last = hash_ends[place], hash_ends[place + 1]
            found.append(
                Words(
                    numbers=numbers[part],
                    lengths=lengths[part],
                    alphabetic=alphabetic[part],
                    stop_words=stop_words[part],
                    shingles=runs[first : last - SHINGLE_WORDS + 1]
                    if last - first >= SHINGLE_WORDS
                    else shingle_hashes(hashes[first:last], SHINGLE_WORDS),
                    pieces=own if is_prose[place] else None,
                )
            )
        return found

    def encode(self, texts: Sequence[str], words: Sequence[Words]) -> list[Tokens]:
        """`encode_ordinary` of each text, (T,), given what `look_up` found last."""
        prose = [own.pieces for own in words if own.pieces is not None]
        tokens, counts = self._tokens.gather(np.concatenate([np.empty(0, np.int64), *prose]))
        ends = np.concatenate(([0], np.cumsum(counts)))[np.cumsum([0, *map(len, prose)])].tolist()
        # a text's first piece is taken as the beginning of a line, whose end before it is no part
        parts = (tokens[start + 1 : end] for start, end in zip(ends, ends[1:], strict=False))
        return [
            np.array(self._encoding.encode_ordinary(text), np.uint16)
            if own.pieces is None
            else next(parts)
            for text, own in zip(texts, words, strict=True)
        ]


def _pieces(text: str) -> list[str]:
    """The pieces of prose, as `data.cleaning.normalise` leaves it; nothing for other text."""
    framed = f"\n{text}\n"
    if any(odd in framed for odd in ("  ", " \n", "\n ", "\n\n\n")):
        return []
    if not text.replace("\n", "").isprintable():  # no tabs, no-break spaces and the like
        return []
    return framed[:-1].replace("\n", " \n").split(" ")[1:]


class _Ragged:
    """A column with any number of values in each row."""

    def __init__(self, typecode: str) -> None:
        self._values: array[Any] = array(typecode)
        self._ends = array("q", [0])

    def extend(self, values: npt.NDArray[Any], counts: Ints) -> None:
        """Add a row of `counts[k]` values for each k."""
        ends = len(self._values) + np.cumsum(counts, dtype=np.int64)
        self._values.frombytes(values.tobytes())
        self._ends.frombytes(ends.tobytes())

    def gather(self, rows: Ints) -> tuple[npt.NDArray[Any], Ints]:
        """The values of each row in turn, and how many each has."""
        ends = np.frombuffer(self._ends, np.int64)
        starts = ends[rows]
        counts = ends[rows + 1] - starts
        before = np.cumsum(counts) - counts
        places = np.repeat(starts - before, counts) + np.arange(counts.sum())
        return np.frombuffer(self._values, self._values.typecode)[places], counts
