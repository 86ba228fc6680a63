"""What counting scores on the text of a trial: the losses to beat. No torch, no Ray.

The tables of counts see the windows that the trial trains on, once, and are scored on those that
its validation is: `model/counting/baselines.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

from minigpt_search.data.common.formatting import counted
from minigpt_search.model.config import RunConfig
from minigpt_search.model.counting.baselines import BIGRAM, TRIGRAM, UNIFORM, UNIGRAM
from minigpt_search.search.records.ledger_records import BaselineRecord

NAMES = {
    UNIFORM: "guessing evenly",
    UNIGRAM: "token frequencies",
    BIGRAM: "a bigram table",
    TRIGRAM: "a trigram table",
}
"""What each is called in a sentence, in the order of what they know."""


def standing_text(record: BaselineRecord, low: float, high: float) -> str:
    """`below token frequencies (7.70), not told from a bigram table (6.96), not below a trigram
    table (6.91), of the same text`, for a loss between `low` and `high` nats: of those that it is
    below the lowest is named, of those that it is not below the highest."""
    scores = sorted((record.losses[name], NAMES[name]) for name in NAMES)
    known = (
        ("below", [each for each in scores if high < each[0]][:1]),
        ("not told from", [each for each in scores if low < each[0] <= high]),
        ("not below", [each for each in scores if each[0] <= low][-1:]),
    )
    parts = [
        f"{words} {' and '.join(f'{name} ({score:.2f})' for score, name in found)}"
        for words, found in known
        if found
    ]
    return f"{', '.join(parts)}, of the same text"


def counting_line(records: Sequence[BaselineRecord]) -> str:
    """What counting scores on the first size of text, for the screen: the losses to beat."""
    record, more = records[0], len(records) - 1
    scores = ", ".join(f"{NAMES[name]} {record.losses[name]:.2f}" for name in NAMES)
    see = f"{record.counted_tokens:,} tokens of text that trials"
    if more:
        others = f"the ledger has the {counted(more, 'other size')}"
        return f"Counting   {scores} nats, on the {see} with seq_len={record.seq_len} see; {others}"
    return f"Counting   {scores} nats, on the {see} see"


Size = tuple[int, int | None, int | None]
"""Context length, tokens an epoch and validation tokens: which text a trial sees."""


def size_of(sized: RunConfig | BaselineRecord) -> Size:
    """Which text trials of a configuration see, or a record is for."""
    if isinstance(sized, BaselineRecord):
        return sized.seq_len, sized.tokens_per_epoch, sized.val_tokens
    return sized.model.seq_len, sized.train.tokens_per_epoch, sized.train.val_tokens


def baseline_of(baselines: Sequence[BaselineRecord], config: RunConfig) -> BaselineRecord | None:
    """The record for the text that trials of `config` see; None if there is none."""
    return next((each for each in baselines if size_of(each) == size_of(config)), None)
