"""Claims that need no run: whether the recipe's numbers follow from each other. A number that
was rounded agrees with whatever rounds to it."""

from __future__ import annotations

import math

from minigpt_search.data.common.formatting import counted
from minigpt_search.model.config import ModelConfig
from minigpt_search.model.counting.baselines import BIGRAM, TRIGRAM
from minigpt_search.model.model_size import parameter_count
from minigpt_search.reports.claims.evidence import Evidence, Finding
from minigpt_search.reports.claims.noise import FAILS, HOLDS, UNTOLD
from minigpt_search.reports.claims.numbers import EPOCHS
from minigpt_search.reports.claims.orders import NO_COUNTING
from minigpt_search.reports.claims.recipe import CLAIMED_TOKENS, is_about
from minigpt_search.reports.claims.scaling_laws import CLAIMED_LOSS, LAWS, claimed_losses
from minigpt_search.search.space.objective import counted_length

SEQUENCES, BATCHES, FILES = 156_252, 4_883, 8
BASELINE, FINAL = 330.39, EPOCHS[10]
LOSSES = {1: 6.49, 3: 5.80, 5: 5.68, 10: 5.47}
IMPROVEMENTS = {3: 49.9, 5: 55.5, 10: 63.9}
"""Percent by which perplexity is lower than after epoch 1."""


def _rounds(number: float, shown: float, digits: int) -> bool:
    """Whether `number` is shown as `shown` with so many digits, the last one of which may be cut
    off in place of rounded."""
    return abs(number - shown) < 10.0**-digits


def parameters(evidence: Evidence) -> Finding:
    """7.8M parameters, 82% of them in embeddings."""
    texts, verdicts = [], []
    for tied in (True, False):
        model = ModelConfig(tie_head=tied)
        total = parameter_count(model)
        share = (model.vocab_size + model.seq_len) * model.embed_dim / total
        right = round(total / 1e6, 1) == 7.8 and round(share, 2) == 0.82
        verdicts.append(right)
        texts.append(f"{'tied' if tied else 'untied'} head {total:,} ({share:.0%} in embeddings)")
    return Finding(verdict=HOLDS if any(verdicts) else FAILS, measured="; ".join(texts))


def dataset(evidence: Evidence) -> Finding:
    """10,000,249 tokens make 156,252 sequences, 4,883 batches an epoch, in 8 files."""
    length, batch = 64, 32
    # Each file loses what is left over beside whole sequences, and a token that has no next one.
    most = (CLAIMED_TOKENS - FILES) // length
    least = -(-(CLAIMED_TOKENS - FILES * length) // length)
    right = least <= SEQUENCES <= most and -(-SEQUENCES // batch) == BATCHES
    corpus = evidence.experiment.corpus.manifest
    here = counted_length(evidence.experiment.space.base, corpus)
    train = corpus["splits"]["train"]
    return Finding(
        verdict=HOLDS if right else FAILS,
        measured=f"{CLAIMED_TOKENS:,} tokens in {FILES} files are {least:,} to {most:,} sequences "
        f"of {length}; {SEQUENCES:,} are {-(-SEQUENCES // batch):,} batches of {batch}. Here: "
        f"{train['tokens']:,} tokens, {here.sequences_available:,} sequences, "
        f"{counted(len(train['files']), 'file')}",
    )


def speed(evidence: Evidence) -> Finding:
    """21-22 steps a second, 11 minutes for 3 epochs and 37.5 for 10."""
    short, long = (BATCHES * epochs / 60 for epochs in (3, 10))
    # 11 minutes are 10.5 to 11.5.
    slow, fast = short / 11.5, short / 10.5
    right = 21 <= long / 37.5 <= 22 and slow <= 22 and fast >= 21
    return Finding(
        verdict=HOLDS if right else FAILS,
        measured=f"{10 * BATCHES:,} steps in 37.5 min are {long / 37.5:.1f} a second; "
        f"{3 * BATCHES:,} in 11 min (10.5 to 11.5) {slow:.1f} to {fast:.1f}",
    )


def losses_and_perplexities(evidence: Evidence) -> Finding:
    """Each perplexity is the exponential of its loss."""
    pairs = [(LOSSES[epoch], EPOCHS[epoch]) for epoch in LOSSES]
    pairs.append((LOSSES[3], BASELINE))
    right = all(_rounds(math.log(perplexity), loss, 2) for loss, perplexity in pairs)
    shown = ", ".join(f"ln {perplexity} = {math.log(perplexity):.3f}" for _, perplexity in pairs)
    return Finding(
        verdict=HOLDS if right else FAILS,
        measured=f"{shown}; 331.54 and 330.39 after 3 epochs are two runs, one that goes on to 10 "
        "and one whose rate has fallen to zero",
    )


def improvements(evidence: Evidence) -> Finding:
    """49.9%, 55.5% and 63.9% since epoch 1, and 27.8% since the baseline."""
    found = {epoch: 100 * (1 - EPOCHS[epoch] / EPOCHS[1]) for epoch in IMPROVEMENTS}
    beyond = 100 * (1 - FINAL / BASELINE)
    right = all(_rounds(found[epoch], shown, 1) for epoch, shown in IMPROVEMENTS.items())
    listed = ", ".join(f"{percent:.2f}%" for percent in found.values())
    return Finding(
        verdict=HOLDS if right and _rounds(beyond, 27.8, 1) else FAILS,
        measured=f"by the perplexities given {listed} and {beyond:.2f}%",
    )


def choices(evidence: Evidence) -> Finding:
    """The choice among 50,257 tokens is reduced to one among 239, 210 times fewer."""
    vocabulary = ModelConfig().vocab_size
    right = _rounds(FINAL, 239, 0) and _rounds(vocabulary / FINAL, 210, 0)
    return Finding(
        verdict=HOLDS if right else FAILS,
        measured=f"perplexity {FINAL} is that number; {vocabulary:,} / {FINAL} = "
        f"{vocabulary / FINAL:.1f}. It is of the text that it trained on",
    )


def scaling_law(evidence: Evidence) -> Finding:
    """About 5.5 nats for 7.8M parameters and 10M tokens: told only if every law says the same,
    however parameters and tokens are counted."""
    found = {law.name: claimed_losses(law) for law in LAWS}
    near = [is_about(loss, CLAIMED_LOSS) for losses in found.values() for loss in losses]
    verdict = HOLDS if all(near) else UNTOLD if any(near) else FAILS
    ranges = [f"{name} {min(own):.2f} to {max(own):.2f}" for name, own in found.items()]
    counting = evidence.counting(evidence.extended)
    beside = NO_COUNTING
    if counting is not None:
        beside = (
            f"here a bigram table scores {counting.losses[BIGRAM]:.2f} and a trigram table "
            f"{counting.losses[TRIGRAM]:.2f}"
        )
    return Finding(
        verdict=verdict,
        measured=f"{'; '.join(ranges)} nats, by what counts as parameters and as tokens: "
        f"{sum(near)} of {len(near)} within 10%; {beside}",
    )
