"""Exact repetition of documents and paragraphs."""

from __future__ import annotations

from minigpt_search.data.common.documents import Document
from minigpt_search.data.filtering.exact_duplicates import RepeatFilter

LONG = "This paragraph is long enough to count as a repetition wherever it is found again, as here."
OTHER = (
    "Another paragraph, which is also long enough, is found in no more than one of the documents."
)


def kept(repeats: RepeatFilter, *texts: str) -> list[str]:
    batches = [[Document(0, text)] for text in texts]
    return [document.text for document in repeats.keep_new(batches)]


def test_a_document_is_kept_once() -> None:
    repeats = RepeatFilter(range(9))
    assert kept(repeats, "short", "other", "short") == ["short", "other"]
    assert repeats.dropped == {(0, "exact_duplicate"): 1}


def test_a_long_paragraph_is_kept_once() -> None:
    repeats = RepeatFilter(range(9))
    texts = [f"A\n{LONG}", f"B\n{LONG}\n{OTHER}", f"C\n{LONG}"]
    assert kept(repeats, *texts, LONG) == [f"A\n{LONG}", f"B\n{OTHER}", "C"]
    assert repeats.dropped == {(0, "repeated_paragraphs"): 1}
    removed = 2 * (len(LONG) + 1)
    assert repeats.removed == {(0, "lines_removed"): 2, (0, "characters_removed"): removed}


def test_what_is_of_other_sources_stays() -> None:
    repeats = RepeatFilter({1})
    batch = [Document(0, LONG), Document(1, LONG), Document(0, f"{LONG}\nmore"), Document(0, LONG)]
    new = list(repeats.keep_new([batch]))
    assert [own.source for own in new] == [0, 0, 0] and repeats.dropped == {
        (1, "exact_duplicate"): 1
    }


def test_a_paragraph_repeated_within_a_document_is_kept_once() -> None:
    assert kept(RepeatFilter(range(9)), f"{LONG}\n{OTHER}\n{LONG}") == [f"{LONG}\n{OTHER}"]


def test_short_lines_may_be_repeated() -> None:
    texts = ["Mr Speaker:\nyes", "Mr Speaker:\nno"]
    assert kept(RepeatFilter(range(9)), *texts) == texts


def test_empty_documents_are_counted() -> None:
    repeats = RepeatFilter(range(9))
    assert kept(repeats, "", "text", "") == ["text"]
    assert repeats.dropped == {(0, "empty"): 2}
