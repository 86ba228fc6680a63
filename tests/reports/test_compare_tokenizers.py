"""Searches on the same text in other tokens: compared in bits per byte, or not at all."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
from scipy import stats

from minigpt_search.reports import generate
from minigpt_search.reports.page.compare import compare_page
from minigpt_search.reports.page.page import build_page, to_markdown
from minigpt_search.search.answer.columns import show
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.results.results import Results

pytestmark = pytest.mark.usefixtures("undrawn")

GPT2 = {"name": "gpt2", "vocab_size": 50_257}
BYTE = {"name": "byte", "kind": "byte", "vocab_size": 257, "separator_token": 256, "files": {}}
BPE = {"name": "bpe:1000", "kind": "bpe", "vocab_size": 1000, "files": {"tokenizer.json": "ab"}}
TEXT = {"train": "11", "val": "22", "test": "33"}
BYTES = {"train": 48_000_000, "val": 300_000, "test": 300_000}
LN2 = math.log(2)


def plan(
    build: Any,
    name: str,
    tokenizer: dict[str, Any],
    bytes_per_token: float,
    texts: dict[str, str | None] = TEXT,
    **changes: Any,
) -> Experiment:
    """A search with three seeds on a corpus of this tokenizer."""
    splits = {
        split: {
            "documents": 25,
            "tokens": round(size / bytes_per_token),
            "bytes": size,
            "files": [{"name": f"{split}.pt", "tokens": round(size / bytes_per_token)}],
        }
        | ({"text_sha256": texts[split]} if texts[split] else {})
        for split, size in BYTES.items()
    }
    manifest = build.manifest(tokenizer=tokenizer, splits=splits)
    base = build.plan().space.base.replace(vocab_size=tokenizer["vocab_size"])
    fields = {"seeds": 3, "base": base, "content_hash": name, "manifest": manifest}
    made: Experiment = build.plan({"lr": (1e-3,)}, name=name, **(fields | changes))
    return made


def results(build: Any, experiment: Experiment, ends: list[float]) -> Results:
    """The search with trials that ended at these losses in nats per token."""
    records = []
    for number, end in enumerate(ends):
        record = build.trial(experiment, {"lr": 1e-3}, (end + 1, end + 0.5, end), replicate=number)
        per_token = experiment.corpus.bytes_per_token("val")
        epochs = [
            dataclasses.replace(each, val_bits_per_byte=each.val_loss_nats / LN2 / per_token)
            for each in record.epochs
        ]
        records.append(dataclasses.replace(record, epochs=tuple(epochs)))
    return Results(experiment, build.write(experiment, records))


def two(build: Any, seeds: int = 3, **changes: Any) -> list[Results]:
    """GPT-2's tokens of 4 bytes at 6 nats, 2.16 bits a byte; bytes at 1.8 nats, 2.6 bits a byte."""
    words = plan(build, "words", GPT2, 4.0, seeds=seeds, **changes)
    letters = plan(build, "letters", BYTE, 1.0, seeds=seeds, **changes)
    ends = [0.0, 0.01, 0.03][:seeds]
    return [
        results(build, words, [6 + end for end in ends]),
        results(build, letters, [1.8 + end for end in ends]),
    ]


def test_fewer_bits_win_over_fewer_nats(build: Any) -> None:
    page = compare_page(two(build))
    table = page.tables[0]
    shown = show(table.frame)
    assert table.marked_row == 0  # its nats are more than three times as many
    assert page.summary.startswith("Best: lr=0.001 of words with 2.1689 bits per byte")
    assert "never by nats per token" in page.summary
    rows = [dict(zip(shown.headings, row, strict=True)) for row in shown.rows]
    assert [row["Tokenizer"] for row in rows] == ["gpt2", "byte"]
    assert [row["Vocabulary"] for row in rows] == ["50,257", "257"]
    assert [row["Context"] for row in rows] == ["64 tokens, 256 bytes", "64 tokens, 64 bytes"]
    assert not {"Validation loss", "Perplexity"} & set(shown.headings)
    words = [(6 + end) / LN2 / 4 for end in (0, 0.01, 0.03)]
    letters = [(1.8 + end) / LN2 for end in (0, 0.01, 0.03)]
    assert table.frame["val_bits_per_byte"].tolist() == pytest.approx(
        [sum(words) / 3, sum(letters) / 3]
    )
    test = stats.ttest_ind(letters, words, equal_var=False)
    expected, mean = test.confidence_interval(0.95), sum(letters) / 3 - sum(words) / 3
    behind = f"{mean:+.4f} [{expected.low:+.4f}, {expected.high:+.4f}]"
    assert [row["Behind the best"] for row in rows] == ["–", behind]


def test_it_says_how_much_text_each_has_seen(build: Any) -> None:
    """Each of them 614,400 tokens."""
    (note,) = compare_page(two(build)).cautions
    assert "words 2.5 MB, letters 614.4 kB" in note


def test_curves_and_settings_are_in_bytes_too(build: Any) -> None:
    page = compare_page(two(build))
    assert [figure.name for figure in page.figures] == ["bits_by_bytes", "bits_by_seconds"]
    assert not any("nats" in figure.caption + figure.alt for figure in page.figures)
    assert "between 2.168 and 2.611 bits per byte" in page.figures[0].caption
    settings = page.tables[1].frame.set_index("setting")
    assert settings.loc["tokenizer"].tolist() == ["gpt2", "byte"]
    assert settings.loc["vocab_size"].tolist() == ["50257", "257"]


def test_with_one_seed_the_assumed_spread_is_in_bits(build: Any) -> None:
    page = compare_page(two(build, seeds=1))
    frame = page.tables[0].frame
    for row, per_token in ((0, 4.0), (1, 1.0)):
        low, high = map(float, frame["val_bits_interval"][row].split(" to "))
        reach = 2.776445 * 0.04 / LN2 / per_token  # t with 4 degrees of freedom
        assert (high - low) / 2 == pytest.approx(reach, abs=1e-4)


@pytest.mark.parametrize(
    ("texts", "where"),
    [
        (TEXT | {"val": "other"}, "val"),
        (TEXT | {"test": "other"}, "test"),
        (TEXT | {"train": "other"}, "train"),
        (dict.fromkeys(TEXT), "train and val and test"),
    ],
)
def test_other_text_in_other_tokens_is_not_ranked(
    build: Any, texts: dict[str, str | None], where: str
) -> None:
    first, _ = two(build)
    second = results(build, plan(build, "other", BYTE, 1.0, texts), [1.0, 1.1, 1.2])
    page = compare_page([first, second])
    assert page.summary == (
        "Trained on different text with different tokenizers: there is no best among them."
    )
    assert (
        f"not the same text in {where}: neither nats per token nor bits per byte can be compared"
        in page.cautions[0]
    )
    assert page.tables[0].marked_row is None
    assert page.tables[0].frame["behind"].isna().all()


def test_without_a_hash_of_the_training_text_its_size_tells(build: Any) -> None:
    texts = TEXT | {"train": None}
    searches = [
        results(build, plan(build, name, tokenizer, size, texts), [loss, loss])
        for name, tokenizer, size, loss in (("a", GPT2, 4.0, 6.0), ("b", BPE, 2.0, 3.1))
    ]
    assert "Best: lr=0.001 of a with" in compare_page(searches).summary


def test_old_manifests_are_not_taken_for_the_same_text(build: Any) -> None:
    nothing: dict[str, str | None] = dict.fromkeys(TEXT)
    searches = [
        results(build, plan(build, name, tokenizer, size, nothing), [loss, loss])
        for name, tokenizer, size, loss in (("a", GPT2, 4.0, 6.0), ("b", BPE, 2.0, 3.1))
    ]
    page = compare_page(searches)
    assert "no best" in page.summary and page.tables[0].marked_row is None


def test_three_tokenizers_and_a_part_of_the_split(build: Any) -> None:
    base = build.plan().space.base.replace(val_tokens=1000)
    searches = [
        results(
            build,
            plan(build, name, tokenizer, size, base=base.replace(vocab_size=entries)),
            [loss, loss + 0.01],
        )
        for name, tokenizer, size, entries, loss in (
            ("words", GPT2, 4.0, 50_257, 6.0),
            ("letters", BYTE, 1.0, 257, 1.8),
            ("pieces", BPE, 2.0, 1000, 2.9),
        )
    ]
    page = compare_page(searches)
    assert "of pieces with 2.09" in page.summary
    assert any("not the same text for each tokenizer" in note for note in page.cautions)


def test_the_same_tokenizer_is_compared_in_nats_as_ever(build: Any) -> None:
    searches = [
        results(build, plan(build, name, BPE, 2.0, content_hash="same"), [loss, loss + 0.01])
        for name, loss in (("a", 3.0), ("b", 3.1))
    ]
    page = compare_page(searches)
    assert "nats per token" in page.summary and "bits" not in page.summary
    assert "val_perplexity" in page.tables[0].frame


def test_the_command_says_it(build: Any, capsys: pytest.CaptureFixture[str]) -> None:
    two(build)
    assert generate.main(["words", "letters", "--out", str(build.root)]) == 0
    said = capsys.readouterr().out
    assert "ranked by bits per byte and never by nats per token" in said
    assert {"50,257", "256", "2.1689", "Vocabulary"} <= set(said.split())


def test_one_search_s_report_names_the_tokenizer(build: Any) -> None:
    _, letters = two(build)
    text = to_markdown(build_page(letters))
    assert "| Tokenizer | byte, 257 entries, 1.00 bytes a token |" in text
    assert "1.8133 nats per token, 2.6161 bits per byte, over 3 seeds" in text
