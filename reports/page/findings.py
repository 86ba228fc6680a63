"""What the ledger says in sentences: the summary, how far it came, how far it can be trusted."""

from __future__ import annotations

from collections.abc import Sequence

from minigpt_search.data.common.formatting import counted, duration, perplexity, sentence, times
from minigpt_search.search.answer.endings import not_run_yet, progress
from minigpt_search.search.answer.ladder_answer import ladder_texts
from minigpt_search.search.results.results import Results
from minigpt_search.search.space.objective import counted_length


def summary(results: Results) -> str:
    """The best configuration and its numbers in one line."""
    if results.experiment.ladder is not None:
        return f"Ladder: {ladder_texts(results)['Use']} ({progress(results)})."
    found = results.winner
    if found is None:
        return f"No result yet: {progress(results)}."
    final, known = found.trial.final, found.estimate
    so_far = " so far" if not_run_yet(results) else ""
    if known.n > 1:
        seeds = f"{known.n} {'fresh ' * found.fresh}seeds"
        bits = known.mean * final.val_bits_per_byte / final.val_loss_nats
        numbers = (
            f"a mean validation loss of {known.mean:.4f} nats per token, {bits:.4f} bits per byte, "
            f"over {seeds}"
        )
    else:
        numbers = (
            f"a validation loss of {final.val_loss_nats:.4f} nats per token, perplexity "
            f"{perplexity(final.val_perplexity)}, {final.val_bits_per_byte:.4f} bits per byte"
        )
    return f"Best{so_far}: {found.configuration.label} with {numbers} ({progress(results)})."


def progress_and_time(results: Results) -> str:
    """How many trials ended how, and what all of them took."""
    # The clock of a packed trial is that of its whole pack; a trunk's time is its own trial's.
    seconds = sum(
        (trial.timing.total() - trial.trunk_seconds) / trial.pack for trial in results.trials
    )
    return f"{progress(results)}; {duration(seconds)} of trials"


def cautions(results: Results, alarms: Sequence[str]) -> list[str]:
    """What a reader must know before believing the summary; `alarms` are the answer's."""
    notes = []
    if missing := not_run_yet(results):
        of_all = counted(results.trials_so_far, "trial")
        notes.append(
            f"The search is unfinished ({missing} of {of_all} not run yet): the best may change."
        )
    experiment = results.experiment
    epoch = counted_length(experiment.space.base, experiment.corpus.manifest)
    if epoch.sequences < epoch.sequences_available:
        share = epoch.sequences / epoch.sequences_available
        notes.append(
            f"An epoch here is {epoch.tokens_per_epoch:,} tokens, {share:.1%} of the corpus "
            f"(preset {experiment.preset}): these are not results of training on the whole of it."
        )
    notes += [f"{sentence(alarm)}." for alarm in alarms]
    if len(results.reruns) > 1:
        notes.append(
            f"The test split has been looked at {times(len(results.reruns))}: each look at it "
            "makes its score a little less of a test."
        )
    return notes
