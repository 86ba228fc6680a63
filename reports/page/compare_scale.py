"""What the losses of several searches can be compared in.

A loss in nats is of a token. Where tokenizers differ, a token is another piece of text in each, and
only bits per byte are of the same thing: nats a token over ln 2 and the bytes of a token. Source:
Gao et al. 2020 (The Pile, arXiv 2101.00027), section 3.1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from minigpt_search.data.common.formatting import one_line, storage
from minigpt_search.data.corpus.manifest import SPLITS
from minigpt_search.reports.claims.evidence import Measure, val_bits, val_loss
from minigpt_search.reports.claims.recipe import scored_tokens
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.results.results import Results

MUCH_MORE_TEXT = 1.1
"""Times as much text as another search has seen: less is not worth a caution."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """A measure of validation loss, and how the page shows it."""

    measure: Measure
    column: str
    """The column of the loss in the table of the best."""
    interval: str
    """The column of its interval."""
    phrase: str
    """How the summary has the number."""


NATS = Scale(
    measure=val_loss,
    column="val_loss_nats",
    interval="val_loss_interval",
    phrase="with a validation loss of {} nats per token.",
)
BITS = Scale(
    measure=val_bits,
    column="val_bits_per_byte",
    interval="val_bits_interval",
    phrase="with {} bits per byte of validation text. Their tokenizers differ, so they are ranked "
    "by bits per byte and never by nats per token, which are of other pieces of text in each.",
)


def different_text(searches: Sequence[Results]) -> list[str]:
    """The splits whose text is not the same in all of them."""
    first = searches[0].experiment.corpus
    found = {name for each in searches for name in first.different_text(each.experiment.corpus)}
    return [name for name in SPLITS if name in found]


def same_text(searches: Sequence[Results]) -> bool:
    """Whether all were trained and scored on the same text."""
    return not different_text(searches)


def same_tokenizer(searches: Sequence[Results]) -> bool:
    """Whether text is the same tokens in all of them."""
    first = searches[0].experiment.corpus
    return all(first.same_tokenizer(each.experiment.corpus) for each in searches[1:])


def bits_per_nat(results: Results, split: str) -> float:
    """A nat a token of this split in bits per byte."""
    return 1 / math.log(2) / results.experiment.corpus.bytes_per_token(split)


def ladder_lengths(searches: Sequence[Results]) -> str:
    """What the best of each was trained on, where a ladder is among them and these are different
    lengths: a rung's loss is no more than one on the way to its target. Empty else."""
    winners = [(each, best) for each in searches if (best := each.winning_trial) is not None]
    lengths = {best.final.tokens_seen for _, best in winners}
    if len(lengths) < 2 or all(each.experiment.ladder is None for each in searches):
        return ""
    return ", ".join(
        f"of {one_line(each.experiment.name)} it is {_kind_of_run(each, best)} of "
        f"{best.final.tokens_seen:,} tokens"
        for each, best in winners
    )


def _kind_of_run(results: Results, trial: TrialRecord) -> str:
    """A ladder's target, a rung of it, or one of its runs between them."""
    spec, tokens = results.experiment.ladder, trial.config.train.tokens_per_epoch
    if spec is None:
        return "a run"
    if tokens == results.experiment.space.base.train.tokens_per_epoch:
        return "the target"
    return "only a rung" if tokens in spec.rungs else "only a run towards the target"


def context(results: Results, seq_len: int) -> str:
    """A context of `seq_len` tokens in tokens and bytes: `64 tokens, 246 bytes`."""
    in_bytes = seq_len * results.experiment.corpus.bytes_per_token("train")
    return f"{seq_len} tokens, {in_bytes:,.0f} bytes"


def scale_cautions(searches: list[Results]) -> list[str]:
    """What a reader must know who compares bits per byte: numbers of tokens in a recipe are other
    amounts of text for each tokenizer."""
    notes = []
    if any(map(_is_scored_in_part, searches)):
        notes.append(
            "Validation was scored on a part of the split, so many tokens of it, which is not the "
            "same text for each tokenizer: bits per byte are comparable but for that."
        )
    found = {
        one_line(each.experiment.name): best.final.tokens_seen
        * each.experiment.corpus.bytes_per_token("train")
        for each in searches
        if (best := each.winning_trial) is not None
    }
    if found and max(found.values()) > MUCH_MORE_TEXT * min(found.values()):
        amounts = ", ".join(f"{name} {storage(seen)}" for name, seen in found.items())
        notes.append(
            f"The best of each has seen other amounts of training text, repeats counted: {amounts} "
            "(--tokens-per-epoch counts tokens)."
        )
    return notes


def _is_scored_in_part(results: Results) -> bool:
    """Whether validation was scored on fewer tokens than the split has."""
    split = results.experiment.corpus.manifest["splits"]["val"]["tokens"]
    return scored_tokens(results.experiment) < split
