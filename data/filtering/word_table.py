"""What rules, shingles and encoding need of a word, found once for each distinct word.

Of twenty words of prose nineteen came before. A text is looked up as the ids of its pieces, and
what is asked of it is gathered with numpy from columns with an entry for each distinct piece. A
piece is a word after a space, or a line's end and the word after it: GPT-2's tokens of prose are
those of its pieces, because the expression that the encoding begins with never takes a space or a
line's end together with what is before it. Other text is encoded as a whole.

Shapes: N texts, W words in them, R runs of five words, P pieces of a text, T its tokens.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from minigpt_search.data.filtering.shingles import (
    SHINGLE_WORDS,
    Hashes,
    mix,
    shingle_hashes,
    split_words_of_each,
)
from minigpt_search.data.filtering.string_ids import Ints, StringIds

if TYPE_CHECKING:
    import tiktoken

Tokens = npt.NDArray[np.uint16]

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
STOP_MARKS = (1 << len(STOP_WORDS)) - 1
"""The bits of all stop words in a word's marks."""
HAS_LETTER, HAS_LOREM, _NO_WORD = 1 << 8, 1 << 9, 1 << 10
_STOP_MARK = {word: 1 << bit for bit, word in enumerate(STOP_WORDS)}

PIECES_LIMIT = 300_000
CHARACTERS_LIMIT = 4_000_000
"""The most pieces of a table, and the most characters in them. With more it begins anew, so that it
stays under 40 MB whatever the corpus."""


@dataclass(frozen=True, kw_only=True)
class Words:
    """The words of N texts in a row, as `str.split` finds them."""

    bounds: Ints
    """(N + 1,) Text k has the words from bounds[k] to bounds[k + 1]."""
    ids: Ints
    """(W,) The id of each word: the same for the same word."""
    lengths: npt.NDArray[np.int32]
    """(W,) The characters of each word."""
    marks: npt.NDArray[np.uint16]
    """(W,) The bits of each word: one for each of `STOP_WORDS`, HAS_LETTER, HAS_LOREM."""
    runs: Hashes
    """(R,) The hash of each run of five words; case and punctuation do not count."""
    run_slices: list[slice]
    """The runs of each of the N texts. A run that reaches into the next text is in none of them."""
    shingles: list[Hashes]
    """The hashes of each text's runs; a text of fewer than five words is one run."""
    pieces: list[Ints | None]
    """The ids of each text's pieces, for `WordTable.encode`; None where its white space is not that
    of prose."""


class WordTable:
    """The distinct pieces of many texts. Its memory is bounded by the two limits above."""

    def __init__(self, encoding: tiktoken.Encoding) -> None:
        self._encoding = encoding
        tokens = map(encoding.decode_single_token_bytes, range(encoding.n_vocab))
        self._begins_piece = np.array([token[:1] in (b" ", b"\n") for token in tokens])
        self._clear()

    def _clear(self) -> None:
        self._ids = StringIds()
        self._characters = 0
        # Columns, whose row k is that of the piece with id k:
        self._word_ids = array("q")  # a line's first word has the id that it has after a space
        self._lengths = array("i")  # characters of the word
        self._marks = array("H")
        self._hashes = _Ragged("Q")  # "don't" is two words for a shingle, "--" none
        self._tokens = _Ragged("H")

    def look_up(self, texts: Sequence[bytes]) -> Words:
        """Find the words of texts, given in UTF-8: of many at once, since each call of numpy has a
        fixed cost."""
        if len(self._ids) > PIECES_LIMIT or self._characters > CHARACTERS_LIMIT:
            self._clear()
        # A text begins like a line, so that its first word is a piece like any other.
        rows = self._rows([b"\n" + text for text in texts])
        is_prose = [self._is_prose(text, row) for text, row in zip(texts, rows, strict=True)]
        for index, text in enumerate(texts):
            if not is_prose[index]:
                (rows[index],) = self._rows([" ".join(["", *text.decode().split()]).encode()])
        return self._words(rows, is_prose)

    def _rows(self, texts: Sequence[bytes]) -> list[Ints]:
        """Find the ids of each text's pieces. Each text begins with a space or a line's end."""
        joined = b"".join(texts)
        data = np.frombuffer(joined, np.uint8)
        separators = np.flatnonzero((data == ord(" ")) | (data == ord("\n")))
        is_line = data[separators] == ord("\n")
        starts = separators + ~is_line  # a line's end is part of its piece, a space is not
        ends = np.append(separators[1:], len(joined))
        known = len(self._ids)
        ids, new = self._ids.look_up(joined, starts, ends)
        if len(new):
            self._add(joined, starts[new], ends[new], is_line[new], known)
        bounds = np.searchsorted(separators, np.cumsum([0, *map(len, texts)])).tolist()
        return [ids[start:end] for start, end in pairwise(bounds)]

    def _add(
        self, joined: bytes, starts: Ints, ends: Ints, is_line: npt.NDArray[np.bool_], known: int
    ) -> None:
        """Add rows to all columns for the pieces joined[starts[k]:ends[k]] with the ids known,
        known + 1, ..."""
        # A line's first word is the same word as after a space, where it may not have been yet.
        words, own = self._ids.look_up(joined, starts[is_line] + 1, ends[is_line])
        word = np.arange(known, len(self._ids))
        word[: len(starts)][is_line] = words
        self._word_ids.frombytes(word.tobytes())
        starts = np.append(starts, starts[is_line][own] + 1)
        ends = np.append(ends, ends[is_line][own])
        spans = zip(starts.tolist(), ends.tolist(), strict=True)
        self._add_columns([joined[start:end].decode() for start, end in spans])

    def _add_columns(self, pieces: Sequence[str]) -> None:
        words = [piece.removeprefix("\n") for piece in pieces]
        marks = list(map(_marks, pieces))
        self._characters += sum(map(len, words))
        self._lengths.extend(map(len, words))
        self._marks.extend(marks)
        parts = split_words_of_each(words)
        hashes = [zlib.crc32(part) for part in chain.from_iterable(parts)]
        self._hashes.extend(mix(np.array(hashes, np.uint64)), np.array(list(map(len, parts)), int))
        # the tokens of what is no word are never asked for
        rows = zip(pieces, marks, strict=True)
        plain = ["-" if mark & _NO_WORD else piece for piece, mark in rows]
        self._tokens.extend(*self._encode_pieces(plain))

    def _encode_pieces(self, pieces: Sequence[str]) -> tuple[Tokens, Ints]:
        """Encode pieces by one call; returns the tokens of all in a row, and how many each has."""
        text = (" " + " ".join(pieces)).replace(" \n", "\n")
        tokens = np.array(self._encoding.encode_ordinary(text), np.uint16)
        # a token begins with a space or a line's end where a piece begins, and nowhere else
        starts = np.flatnonzero(self._begins_piece[tokens])
        assert len(starts) == len(pieces)
        return tokens, np.diff(starts, append=len(tokens))

    def _is_prose(self, text: bytes, row: Ints) -> bool:
        """Whether the tokens of `text` are those of its pieces."""
        # GPT-2's expression takes white space that stands before white space as one: of three line
        # ends the first two, and all at a text's end. Two spaces, a tab, ... are marked as no word.
        marks = np.frombuffer(self._marks, np.uint16).take(row)
        has_other = bool(np.bitwise_or.reduce(marks) & _NO_WORD)
        return not (has_other or b"\n\n\n" in text or text.endswith(b"\n"))

    def _words(self, rows: Sequence[Ints], is_prose: Sequence[bool]) -> Words:
        """Gather from the columns what stands for the pieces of each text."""
        pieces = np.concatenate(rows)
        lengths = np.frombuffer(self._lengths, np.int32).take(pieces)
        is_word = lengths > 0  # an empty line is a piece without a word
        words = pieces[is_word]
        hashes, hash_counts = self._hashes.gather(pieces)
        ends = np.cumsum([0, *map(len, rows)])
        starts = running_sum(hash_counts)[ends].tolist()
        runs = shingle_hashes(hashes, SHINGLE_WORDS)
        run_slices = [
            slice(start, max(start, end - SHINGLE_WORDS + 1)) for start, end in pairwise(starts)
        ]
        return Words(
            bounds=running_sum(is_word)[ends],
            ids=np.frombuffer(self._word_ids, np.int64).take(words),
            lengths=lengths[is_word],
            marks=np.frombuffer(self._marks, np.uint16).take(words),
            runs=runs,
            run_slices=run_slices,
            shingles=[
                runs[own]
                if own.start < own.stop
                else shingle_hashes(hashes[start:end], SHINGLE_WORDS)
                for own, start, end in zip(run_slices, starts, starts[1:], strict=False)
            ],
            pieces=[row if prose else None for row, prose in zip(rows, is_prose, strict=True)],
        )

    def encode(self, texts: Sequence[str], pieces: Sequence[Ints | None]) -> list[Tokens]:
        """Encode each text, (T,), as `encode_ordinary` does, given its pieces, which the last
        `look_up` found."""
        prose = [own for own in pieces if own is not None]
        if not prose:
            prose = [np.empty(0, np.int64)]
        tokens, counts = self._tokens.gather(np.concatenate(prose))
        ends = running_sum(counts)[np.cumsum([0, *map(len, prose)])].tolist()
        # the first piece is that of a line's beginning, whose line end is not in the text
        parts = (tokens[start + 1 : end] for start, end in pairwise(ends))
        return [
            np.array(self._encoding.encode_ordinary(text), np.uint16)
            if own is None
            else next(parts)
            for text, own in zip(texts, pieces, strict=True)
        ]


def _marks(piece: str) -> int:
    """The bits of `Words.marks` for the word in a piece; _NO_WORD for white space that is in no
    prose."""
    word = piece.removeprefix("\n")
    has_letter = word.isalpha()
    if not has_letter:  # there may be something else in it
        if word.split() != [word]:
            return 0 if piece == "\n" else _NO_WORD  # an empty line is as it should be
        has_letter = any(map(str.isalpha, word))
    small = word.lower()
    return (
        _STOP_MARK.get(small, 0)
        | (HAS_LETTER if has_letter else 0)
        | (HAS_LOREM if small.endswith("lorem") else 0)
    )


def running_sum(values: npt.NDArray[Any]) -> Ints:
    """The sums of the first 0, 1, 2, ... values: one more than there are values."""
    return np.concatenate(([0], np.cumsum(values, dtype=np.int64)))


class _Ragged:
    """A column with any number of values in each row."""

    def __init__(self, typecode: str) -> None:
        self._values: array[Any] = array(typecode)
        self._ends = array("q", [0])

    def extend(self, values: npt.NDArray[Any], counts: Ints) -> None:
        """Add rows, the k-th of the next `counts[k]` values."""
        ends = len(self._values) + np.cumsum(counts, dtype=np.int64)
        self._values.frombytes(values.tobytes())
        self._ends.frombytes(ends.tobytes())

    def gather(self, rows: Ints) -> tuple[npt.NDArray[Any], Ints]:
        """Return the values of the given rows, one row after another, and how many each has."""
        ends = np.frombuffer(self._ends, np.int64)
        starts = ends.take(rows)
        counts = ends.take(rows + 1) - starts
        before = np.cumsum(counts) - counts  # the values of the rows before each
        indices = np.repeat(starts - before, counts)
        indices += np.arange(len(indices))
        return np.frombuffer(self._values, self._values.typecode).take(indices), counts
