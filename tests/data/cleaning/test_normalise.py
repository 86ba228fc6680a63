"""Unicode in one form and tidy white space, for web text, in a time that grows with the text."""

from __future__ import annotations

import re
import time
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from minigpt_search.data.cleaning.clean import MARKS_AT_ONCE, clean_text, normalise
from minigpt_search.data.common.documents import RawDocument

MARKS = "\u0301\u0316\u0323\u0307"  # of classes that have to be put in order


@given(st.text(alphabet="ae \u00e9\u4e2d" + MARKS, max_size=MARKS_AT_ONCE))
def test_it_is_nfc_where_marks_are_as_in_writing(text: str) -> None:
    assert normalise(text) == re.sub("  +", " ", unicodedata.normalize("NFC", text)).strip()


def test_text_of_combining_marks_takes_a_time_that_grows_with_it() -> None:
    def seconds(count: int) -> float:
        text = "a" + MARKS * count
        times = []
        for _ in range(3):
            started = time.process_time()
            normalise(text)
            times.append(time.process_time() - started)
        return min(times)

    assert seconds(80_000) < 16 * seconds(10_000)  # with its square it would be 64 times


def test_plain_text_that_is_no_web_text_stays() -> None:
    text = "\ta  b \r\n\n\n\n c\u00a0e\u0301\ufffd "
    assert clean_text(RawDocument(0, "plain", text), False) == text
    assert clean_text(RawDocument(0, "plain", text), True) == "a b\n\nc \u00e9"
