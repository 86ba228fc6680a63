"""Claims that one configuration is better than another: tested at whatever size there is."""

from __future__ import annotations

from minigpt_search.model.counting.baselines import BIGRAM, TRIGRAM
from minigpt_search.reports.claims.evidence import Evidence, Finding, val_loss, values_text
from minigpt_search.reports.claims.noise import NOT_RUN, NOTHING_KNOWN, UNTOLD, all_of
from minigpt_search.search.space.claims_grid import CONTEXTS, equal_tokens

Values = dict[str, float]
NO_COUNTING = "the ledger has no counting of the same text to judge by"


def _lower(evidence: Evidence, pairs: list[tuple[Values, Values]]) -> Finding:
    """Whether the validation loss of the first configuration of each pair is the lower."""
    texts, parts = [], []
    for values, others in pairs:
        one, other = evidence.replicates(**values), evidence.replicates(**others)
        if not one or not other:
            parts.append(NOTHING_KNOWN)
            continue
        difference = evidence.difference(one, other, val_loss)
        parts.append(difference.below(0))
        texts.append(
            f"{values_text(values)}: {difference.interval.text('{:+.3f}')} nats against "
            f"{values_text(others)} (seeds {len(one)} and {len(other)})"
        )
    if not texts:
        return Finding(verdict=NOT_RUN)
    return Finding(
        claimed=all_of(parts),
        measured="; ".join(texts),
        missing=NOT_RUN if NOTHING_KNOWN in parts else None,
    )


def longer_training(evidence: Evidence) -> Finding:
    """10 epochs are better than 3."""
    lengths = evidence.lengths
    return _lower(evidence, [({"epochs": lengths.extended}, {"epochs": lengths.baseline})])


def still_longer_training(evidence: Evidence) -> Finding:
    """15 and 20 epochs are better than 10."""
    lengths = evidence.lengths
    extended: Values = {"epochs": lengths.extended}
    return _lower(evidence, [({"epochs": epochs}, extended) for epochs in lengths.longer])


def learning_rate(evidence: Evidence) -> Finding:
    """1e-3 learns faster than 5e-4."""
    return _lower(evidence, [({"lr": 1e-3}, {"lr": 5e-4})])


def wider(evidence: Evidence) -> Finding:
    """A width of 256 is better than one of 128."""
    return _lower(evidence, [({"embed_dim": 256}, {"embed_dim": 128})])


def longer_context(evidence: Evidence) -> Finding:
    """Contexts of 128 and 256 tokens are better than one of 64, at as many tokens a step and as
    many steps."""
    base: Values = {"seq_len": CONTEXTS[0]}
    pairs = [(equal_tokens(evidence.baseline, length), base) for length in CONTEXTS[1:]]
    found = _lower(evidence, [(values, others) for values, others in pairs if values is not None])
    if found.verdict == NOT_RUN:
        return Finding(
            verdict=NOT_RUN,
            measured="the ledger has no run of a longer context with so much smaller batches",
        )
    return found


def longer_context_fewer_steps(evidence: Evidence) -> Finding:
    """The same with as many sequences a step: steps of more tokens, and fewer of them."""
    return _lower(evidence, [({"seq_len": length}, {"seq_len": 64}) for length in CONTEXTS[1:]])


def still_improving(evidence: Evidence) -> Finding:
    """The last of the extended run's epochs still lowered its validation loss."""
    trials = evidence.extended
    if not trials:
        return Finding(verdict=NOT_RUN)
    if len(trials[0].epochs) < 2:
        return Finding(verdict=UNTOLD, measured="it has one epoch")
    fall = evidence.within_runs(
        trials, lambda trial: trial.final.val_loss_nats - trial.epochs[-2].val_loss_nats
    )
    training = evidence.within_runs(
        trials, lambda trial: trial.final.train_loss_nats - trial.epochs[-2].train_loss_nats
    )
    return Finding(
        claimed=fall.below(0),
        measured=f"validation {fall.interval.text('{:+.3f}')} nats against the epoch before, "
        f"training {training.interval.text('{:+.3f}')} (seeds {len(trials)})",
    )


def excellent_for_its_size(evidence: Evidence) -> Finding:
    """The extended run is below a table of all trigrams of the text that it trains on: what a
    model must beat to have learnt more than counts."""
    trials = evidence.extended
    if not trials:
        return Finding(verdict=NOT_RUN)
    loss = evidence.level(trials, val_loss)
    counting = evidence.counting(trials)
    if counting is None:
        return Finding(
            verdict=UNTOLD,
            measured=f"{loss.interval.text('{:.3f}')} nats on validation; {NO_COUNTING}",
        )
    lead = loss.less(counting.losses[TRIGRAM])
    return Finding(
        claimed=lead.below(0),
        measured=f"{loss.interval.text('{:.3f}')} nats on validation, "
        f"{lead.interval.text('{:+.3f}')} against a trigram table of the same text "
        f"({counting.losses[TRIGRAM]:.2f}; a bigram table {counting.losses[BIGRAM]:.2f})",
    )
