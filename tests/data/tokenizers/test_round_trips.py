"""Every tokenizer gives every text back, and none makes its separator of it."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from minigpt_search.data.tokenizers.base import Tokenizer, token_dtype
from minigpt_search.data.tokenizers.gpt2 import get_encoding
from minigpt_search.data.tokenizers.simple import CharTokenizer

MARKS = ["<|endoftext|>", "</s>", "<|begin|>", "<0x41>", "\u2581", "\u0120", "  ", "\r\n", "\ufeff"]
PIECES = st.lists(st.one_of(st.text(), st.sampled_from(MARKS)), max_size=8)
ANY_TEXT = PIECES.map("".join)
KINDS = ("gpt2", "byte", "char", "bpe", "file")


@settings(max_examples=150, deadline=None)
@given(text=ANY_TEXT)
def test_any_text_comes_back_and_makes_no_separator(
    every_kind: dict[str, Tokenizer], text: str
) -> None:
    assert tuple(each.kind for each in every_kind.values()) == KINDS
    for tokenizer in every_kind.values():
        tokens = tokenizer.encode(text)
        assert tokenizer.decode_bytes(tokens.tolist()) == text.encode()
        assert tokenizer.separator_token not in tokens
        assert tokens.max(initial=0) < tokenizer.vocab_size


@settings(max_examples=50, deadline=None)
@given(texts=st.lists(ANY_TEXT, max_size=3), cut=st.integers(0, 40))
def test_separators_stand_for_nothing_and_a_cut_text_is_a_beginning(
    every_kind: dict[str, Tokenizer], texts: list[str], cut: int
) -> None:
    for tokenizer in every_kind.values():
        tokens: list[int] = []
        for text in texts:
            tokens += [*tokenizer.encode(text).tolist(), tokenizer.separator_token]
        whole = "".join(texts).encode()
        assert tokenizer.decode_bytes(tokens) == whole
        assert whole.startswith(tokenizer.decode_bytes(tokens[:cut]))


@settings(max_examples=100, deadline=None)
@given(text=ANY_TEXT)
def test_bytes_are_utf_8_and_the_file_made_for_others_gives_the_same_tokens(
    every_kind: dict[str, Tokenizer], text: str
) -> None:
    assert every_kind["byte"].encode(text).tolist() == list(text.encode())
    for kind in ("byte", "char"):
        tokenizer = every_kind[kind]
        library = _library(tokenizer)
        assert library.encode(text).ids == tokenizer.encode(text).tolist()
        back = library.decode(tokenizer.encode(text).tolist(), skip_special_tokens=False)
        assert back == text
        assert library.token_to_id("<|endoftext|>") == tokenizer.separator_token
        assert library.get_vocab_size() == tokenizer.vocab_size


def _library(tokenizer: Tokenizer) -> tokenizers.Tokenizer:
    content = tokenizer.transformers_files()["tokenizer.json"].decode()
    made = tokenizers.Tokenizer.from_str(content)
    made.encode_special_tokens = True
    return made


@settings(max_examples=50, deadline=None)
@given(text=ANY_TEXT)
def test_gpt2_s_encoding_as_a_file_is_tiktoken_s(
    every_kind: dict[str, Tokenizer], text: str
) -> None:
    gpt2, _, _, _, file = every_kind.values()
    assert file.encode(text).tolist() == gpt2.encode(text).tolist()


def test_gpt2_is_tiktoken_s(every_kind: dict[str, Tokenizer], shared_home: object) -> None:
    text = "na\u00efve \U0001f41d <|endoftext|>"
    encoding = get_encoding(shared_home)  # type: ignore[arg-type]
    assert every_kind["gpt2"].encode(text).tolist() == encoding.encode_ordinary(text)


@settings(max_examples=50, deadline=None)
@given(learnt=st.text(max_size=30), text=st.text(max_size=30))
def test_characters_that_were_not_learnt_are_bytes(learnt: str, text: str) -> None:
    tokenizer = CharTokenizer.learn([learnt])
    known = sorted(set(learnt))
    expected = [
        number
        for character in text
        for number in (
            [known.index(character)]
            if character in known
            else [len(known) + byte for byte in character.encode()]
        )
    ]
    assert tokenizer.encode(text).tolist() == expected
    assert tokenizer.vocab_size == len(known) + 257
    assert CharTokenizer.from_json(tokenizer.to_json()).characters == "".join(known)


def test_they_can_be_sent_to_another_process(every_kind: dict[str, Tokenizer]) -> None:
    text = "the </s> \u4e2d"
    for tokenizer in every_kind.values():
        sent = pickle.loads(pickle.dumps(tokenizer))
        assert sent.encode(text).tolist() == tokenizer.encode(text).tolist()
        assert sent.record() == tokenizer.record()


@pytest.mark.parametrize(
    ("entries", "width"), [(257, 2), (50_257, 2), (65_536, 2), (65_537, 4), (1_000_000, 4)]
)
def test_ids_are_as_wide_as_the_vocabulary_needs(entries: int, width: int) -> None:
    dtype = token_dtype(entries)
    assert dtype.itemsize == width and np.iinfo(dtype).max >= entries - 1


def test_special_tokens_of_a_file_are_text(
    every_kind: dict[str, Tokenizer], gpt2_file: Callable[[], tokenizers.Tokenizer]
) -> None:
    file = list(every_kind.values())[-1]
    plain = gpt2_file()
    for text in ("</s>", "<|begin|>", "a</s> <|endoftext|>"):
        assert file.encode(text).tolist() == plain.encode(text).ids
    assert file.separator_token == 50_258  # its own </s>
