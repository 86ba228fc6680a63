"""Which rows of a table are repetition: of whole documents, or nearly of them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from minigpt_search.data.filtering.near_duplicates import first_of_each
from minigpt_search.data.filtering.shingles import mix
from minigpt_search.data.filtering.treatment import Treatment
from minigpt_search.data.splitting.document_table import DocumentTable

Flags = npt.NDArray[np.bool_]
Keys = npt.NDArray[np.uint64]

KEPT, EXACT_DUPLICATE, NEAR_DUPLICATE = "", "exact_duplicate", "near_duplicate"


def repetition(
    table: DocumentTable, treatment: Treatment, validation: Iterable[int]
) -> list[Flags]:
    """Find repetition. Returns two arrays of (N,): which rows are of a document that came before,
    and which are nearly the same as an earlier one.

    Args:
        validation: the sources whose text is the validation split. Of a document that is there and
            elsewhere, theirs is kept: what is for validation is not to be trained on.
    """
    sources = table.sources
    exact = np.zeros(len(table), np.bool_)
    candidates = np.flatnonzero(np.isin(sources, list(treatment.exact)) & (table.text_bytes > 0))
    if len(candidates):
        late = ~np.isin(sources[candidates], list(validation))
        # one row of each document, those for validation first, else in the order of reading
        numbers, firsts = np.unique(table.numbers[candidates], return_index=True)
        keys = document_keys(table.order_keys[candidates], table.numbers[candidates])[firsts]
        order = np.argsort(late[firsts], kind="stable")
        kept = order[np.unique(keys[order], return_index=True)[1]]
        exact[candidates] = ~np.isin(table.numbers[candidates], numbers[kept])
    near = np.zeros(len(table), np.bool_)
    rows = np.flatnonzero(np.isin(sources, list(treatment.near)) & ~exact)
    if len(rows):
        signatures = table.signatures()
        near[rows] = ~first_of_each(signatures if len(rows) == len(table) else signatures[rows])
    return [exact, near]


def document_keys(keys: Keys, numbers: npt.NDArray[np.int64]) -> Keys:
    """A hash of the whole text of the document that each row belongs to, (N,), given the hashes of
    the rows' texts. Rows of one document stand together; a document of one row has that row's."""
    if not len(keys):
        return keys
    starts = np.flatnonzero(np.append(True, numbers[1:] != numbers[:-1]))
    counts = np.diff(np.append(starts, len(keys)))
    place = np.arange(len(keys)) - np.repeat(starts, counts)
    placed = np.where(place == 0, keys, mix(keys + place.astype(np.uint64)))
    return np.repeat(np.bitwise_xor.reduceat(placed, starts), counts)
