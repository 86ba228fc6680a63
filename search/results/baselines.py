"""What counting scores on the text of a trial: the losses to beat. No torch, no Ray.

The tables of counts see the windows that the trial trains on, once, and are scored on those that
its validation is: `model/counting/baselines.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from minigpt_search.model.config import RunConfig
from minigpt_search.model.counting.baselines import BIGRAM, TRIGRAM, UNIFORM, UNIGRAM
from minigpt_search.search.records.ledger import BaselineRecord

NAMES = {
    UNIFORM: "guessing evenly",
    UNIGRAM: "token frequencies",
    BIGRAM: "a bigram table",
    TRIGRAM: "a trigram table",
}
"""What each is called in a sentence, in the order of what they know."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where a loss stands among what counting scores."""

    beaten: str | None
    """The one of `NAMES` with the lowest loss among those that it is below."""
    not_beaten: str | None
    """The one with the highest loss among those that it is not below."""


def standing(record: BaselineRecord, loss: float) -> Standing:
    """Where `loss`, in nats, stands."""
    by_loss = sorted(NAMES, key=lambda name: record.losses[name])
    beaten = [name for name in by_loss if loss < record.losses[name]]
    others = [name for name in by_loss if name not in beaten]
    return Standing(beaten=beaten[0] if beaten else None, not_beaten=others[-1] if others else None)


def standing_text(record: BaselineRecord, loss: float) -> str:
    """`below token frequencies (7.70), not below a bigram table of the same text (6.96)`."""
    found = standing(record, loss)
    known = (("below", found.beaten), ("not below", found.not_beaten))
    parts = [f"{word} {NAMES[name]} ({record.losses[name]:.2f})" for word, name in known if name]
    return f"{', '.join(parts)}, of the same text"


def counting_line(record: BaselineRecord) -> str:
    """What counting scores, for the screen: the losses to beat."""
    scores = ", ".join(f"{NAMES[name]} {record.losses[name]:.2f}" for name in NAMES)
    return (
        f"Counting   {scores} nats, on the {record.counted_tokens:,} tokens of text that trials see"
    )


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
