"""Claims of absolute numbers: they can be compared only at the recipe and size, and
then on other text. A number holds within 10%, by training loss, which is what the recipe
measured; validation stands beside it.
"""

from __future__ import annotations

import math
import statistics

from minigpt_search.data.common.formatting import counted
from minigpt_search.data.corpus.spec import WEB
from minigpt_search.model.counting.baselines import BIGRAM, TRIGRAM
from minigpt_search.reports.claims.evidence import Evidence, Finding, train_loss, val_loss
from minigpt_search.reports.claims.noise import (
    FAILS,
    HOLDS,
    NOT_RUN,
    NOTHING_KNOWN,
    UNTOLD,
    Claimed,
    Noisy,
    all_of,
    any_of,
)
from minigpt_search.reports.claims.orders import NO_COUNTING
from minigpt_search.reports.claims.recipe import (
    about,
    is_about,
    recipe_differences,
    training_tokens,
)
from minigpt_search.search.records.ledger_records import TrialRecord

EPOCHS = {1: 661.25, 3: 331.54, 5: 294.39, 10: 238.59}
"""Perplexity of training after each of the final model's epochs that the recipe's report shows."""
ALL_TOKENS = 475_000_000
"""Training tokens that the recipe has in all."""
OWN_GPU = "T4"


def _near(loss: Noisy, perplexity: float) -> Claimed:
    """The claim that a loss is that of this perplexity, within 10% of it."""
    low, high = map(math.log, about(perplexity))
    return loss.within(low, high)


def _lower_by(change: Noisy, percent: float) -> Claimed:
    """The claim that a change of loss is a fall of perplexity by so many percent, within 10%."""
    least, most = about(percent)
    return change.within(math.log1p(-most / 100), math.log1p(-least / 100))


def _percent(change: Noisy) -> str:
    """A change of loss as the fall of perplexity in percent."""
    return f"{change.interval.map(lambda d: 100 * -math.expm1(min(d, 20.0))).text('{:.1f}')}% lower"


def _perplexity(evidence: Evidence, trials: list[TrialRecord], claimed: float) -> Finding:
    """Whether the training perplexity over replicates is the claimed one."""
    if not trials:
        return Finding(verdict=NOT_RUN)
    training, validation = (evidence.level(trials, each) for each in (train_loss, val_loss))
    shown = (level.interval.perplexities() for level in (training, validation))
    return Finding(
        claimed=_near(training, claimed),
        measured="training perplexity {}; validation {}".format(*shown),
    )


def baseline_perplexity(evidence: Evidence) -> Finding:
    return _perplexity(evidence, evidence.replicates(), 330.39)


def final_perplexity(evidence: Evidence) -> Finding:
    return _perplexity(evidence, evidence.extended, EPOCHS[10])


def wide_perplexity(evidence: Evidence) -> Finding:
    trials = evidence.replicates(epochs=evidence.lengths.extended, embed_dim=256)
    return _perplexity(evidence, trials, 90)


def long_perplexity(evidence: Evidence) -> Finding:
    """About 180 between 15 and 20 epochs, so either may come to it."""
    lengths = evidence.lengths.longer
    found = [_perplexity(evidence, evidence.replicates(epochs=each), 180) for each in lengths]
    texts = [
        f"{epochs} epochs: {one.measured}"
        for epochs, one in zip(lengths, found, strict=True)
        if one.measured
    ]
    if not texts:
        return Finding(verdict=NOT_RUN)
    parts = [one.claimed or NOTHING_KNOWN for one in found]
    return Finding(
        claimed=any_of(parts),
        measured="; ".join(texts),
        missing=NOT_RUN if NOTHING_KNOWN in parts else None,
    )


def perplexity_by_epoch(evidence: Evidence) -> Finding:
    """661, 332, 294 and 239 after epochs 1, 3, 5 and 10 of the extended run."""
    trials = evidence.extended
    if not trials:
        return Finding(verdict=NOT_RUN)
    parts, texts = [], []
    for epoch, perplexity in EPOCHS.items():
        if epoch > len(trials[0].epochs):
            parts.append(NOTHING_KNOWN)
            continue
        level = evidence.after_epoch(trials, epoch)
        parts.append(_near(level, perplexity))
        texts.append(f"{level.interval.perplexities()} after epoch {epoch}")
    return Finding(
        claimed=all_of(parts),
        measured=f"training perplexity {', '.join(texts)}",
        missing=NOT_RUN if NOTHING_KNOWN in parts else None,
    )


def improvement(evidence: Evidence) -> Finding:
    """27.8% lower perplexity with 10 epochs than with 3."""
    extended, baseline = evidence.extended, evidence.replicates()
    if not extended or not baseline:
        return Finding(verdict=NOT_RUN)
    training, validation = (
        evidence.difference(extended, baseline, each) for each in (train_loss, val_loss)
    )
    return Finding(
        claimed=_lower_by(training, 27.8),
        measured=f"training perplexity {_percent(training)}; validation {_percent(validation)}",
    )


def fall_over_epochs(evidence: Evidence) -> Finding:
    """63.9% lower perplexity after the extended run's last epoch than after its first."""
    trials = evidence.extended
    if not trials:
        return Finding(verdict=NOT_RUN)
    training = evidence.within_runs(
        trials, lambda trial: trial.final.train_loss_nats - trial.epochs[0].train_loss_nats
    )
    validation = evidence.within_runs(
        trials, lambda trial: trial.final.val_loss_nats - trial.epochs[0].val_loss_nats
    )
    return Finding(
        claimed=_lower_by(training, 63.9),
        measured=f"training perplexity {_percent(training)}; validation {_percent(validation)}",
    )


def better_than_guessing(evidence: Evidence) -> Finding:
    """Vocabulary over perplexity is 210; to count is far better than to guess, too."""
    trials = evidence.extended
    if not trials:
        return Finding(verdict=NOT_RUN)
    vocabulary = evidence.baseline.model.vocab_size
    training, validation = (evidence.level(trials, each) for each in (train_loss, val_loss))
    shown = (
        level.interval.map(lambda loss: vocabulary / math.exp(min(loss, 700.0))).text("{:.1f}")
        for level in (training, validation)
    )
    counting = evidence.counting(trials)
    beside = NO_COUNTING
    if counting is not None:
        bigram, trigram = (
            vocabulary / math.exp(counting.losses[name]) for name in (BIGRAM, TRIGRAM)
        )
        beside = (
            f"tables of the same text's bigrams {bigram:.1f} and of its trigrams {trigram:.1f} on "
            "validation"
        )
    return Finding(
        claimed=_near(training, vocabulary / 210),
        measured="{} times on training text, {} on validation; ".format(*shown) + beside,
    )


def all_tokens_perplexity(evidence: Evidence) -> Finding:
    """About 120 with all 475 million tokens."""
    experiment = evidence.experiment
    tokens = training_tokens(experiment)
    if is_about(tokens, ALL_TOKENS) and not recipe_differences(experiment):
        return _perplexity(evidence, evidence.extended, 120)
    minutes = 37.5 * ALL_TOKENS / 10_000_249
    return Finding(
        verdict=NOT_RUN,
        measured=f"this corpus has {tokens:,} training tokens; a run of 10 epochs of 475M "
        f"takes {minutes / 60:.0f} hours at the recipe's own speed, and 475M tokens of text",
    )


def speed(evidence: Evidence) -> Finding:
    """21-22 steps a second and 37.5 minutes, on a Tesla T4."""
    trials = evidence.extended
    if not trials:
        return Finding(verdict=NOT_RUN)
    rate = statistics.fmean(trial.final.steps_per_second for trial in trials)
    minutes = statistics.fmean(trial.timing.total() for trial in trials) / 60
    names = sorted({trial.device.name for trial in trials if trial.device})
    own = bool(names) and all(OWN_GPU in name for name in names)
    verdict = HOLDS if is_about(rate, 21.5) and is_about(minutes, 37.5) else FAILS
    tokens = evidence.baseline.train.batch_size * evidence.baseline.model.seq_len
    return Finding(
        verdict=verdict if own and evidence.at_size else UNTOLD,
        measured=f"{rate:.1f} steps of {tokens:,} tokens a second, {minutes:.1f} min, on "
        f"{' and '.join(names) or 'an unknown device'}"
        f"{'' if own else '; it was said of a Tesla T4'}",
    )


def memory(evidence: Evidence) -> Finding:
    """Training on 10 million tokens within 12 GB."""
    peaks = [trial.epochs[-1].peak_memory_mb for trial in evidence.trials if trial.device]
    if not peaks:
        return Finding(verdict=NOT_RUN)
    if evidence.experiment.machine.device != "cpu":
        return Finding(verdict=UNTOLD, measured=f"{max(peaks):,.0f} MB of the GPU's memory")
    return Finding(
        verdict=HOLDS if max(peaks) < 12_000 else FAILS,
        measured=f"at most {max(peaks):,.0f} MB in a process ({counted(len(peaks), 'trial')})",
    )


def retention(evidence: Evidence) -> Finding:
    """97.3% of the documents pass the filters: judged by the share that they drop, 2.7%."""
    corpus = evidence.experiment.corpus.manifest
    # A manifest of before says it once for all sources.
    made = corpus.get("options", {}).get("quality_filter", True)
    sources = [each for each in corpus["sources"] if made and each.get("filter", WEB) == WEB]
    if not sources:
        return Finding(verdict=NOT_RUN, measured="this corpus was made without filters")
    kept, of_which = float(corpus["retention"]), "this corpus' documents"
    if len(sources) < len(corpus["sources"]):  # the others' documents were not judged
        rules = [rule["rule"] for rule in corpus["quality_rules"]]
        dropped = sum(each["dropped"].get(rule, 0) for each in sources for rule in rules)
        passed = sum(each["documents_kept"] for each in sources)
        kept = passed / max(1, passed + dropped)
        of_which += (
            f" that went through filters ({len(sources)} of {len(corpus['sources'])} sources)"
        )
    return Finding(
        verdict=HOLDS if is_about(1 - kept, 1 - 0.973) else FAILS,
        measured=f"{kept:.1%} of {of_which}, {1 - kept:.1%} dropped against 2.7%",
    )
