"""What the ledger says in sentences: the answer, how far it can be trusted, what to run next."""

from __future__ import annotations

from model.records import COMPLETE, FAILED, STATUSES
from reports.answer import how_sure
from reports.columns import duration, times
from reports.frames import Edge, edges, epoch_plan, trial_label
from reports.winner import winner, winning_trial
from search.confirm import missing_trials, trials_so_far
from search.experiment import Experiment
from search.ledger import Ledger


def progress(experiment: Experiment, ledger: Ledger) -> str:
    """`3 of 4 trials finished; 1 not run yet`, with those that ended without a result."""
    statuses = [trial.status for trial in ledger.trials]
    finished = statuses.count(COMPLETE)
    parts = [f"{finished} of {trials_so_far(experiment, ledger)} trials finished"]
    parts += [
        f"{statuses.count(status)} {status}"
        for status in STATUSES
        if status != COMPLETE and status in statuses
    ]
    if missing := not_run_yet(experiment, ledger):
        parts.append(f"{missing} not run yet")
    return "; ".join(parts)


def not_run_yet(experiment: Experiment, ledger: Ledger) -> int:
    """Planned trials without a record."""
    failed = sum(trial.status == FAILED for trial in ledger.trials)
    return max(0, missing_trials(experiment, ledger) - failed)


def summary(experiment: Experiment, ledger: Ledger) -> str:
    """The best configuration and its numbers in one line."""
    best = winning_trial(experiment, ledger)
    if best is None:
        return f"No result yet: {progress(experiment, ledger)}."
    final = best.final
    so_far = " so far" if not_run_yet(experiment, ledger) else ""
    return (
        f"Best{so_far}: {trial_label(experiment, best.config, best.replicate)} with a validation "
        f"loss of {final.val_loss_nats:.4f} nats per token, "
        f"perplexity {final.val_perplexity:,.2f}, {final.val_bits_per_byte:.4f} bits per byte "
        f"({progress(experiment, ledger)})."
    )


def headline(experiment: Experiment, ledger: Ledger) -> dict[str, str]:
    """The few numbers that stand first on the page."""
    best = winning_trial(experiment, ledger)
    tiles = {}
    if best is not None:
        tiles = {
            "Best": trial_label(experiment, best.config, best.replicate),
            "Validation loss": f"{best.final.val_loss_nats:.4f} nats",
            "Perplexity": f"{best.final.val_perplexity:,.2f}",
            "Bits per byte": f"{best.final.val_bits_per_byte:.4f}",
        }
    # The clock of a packed trial is that of its whole pack; a trunk's time is its own trial's.
    seconds = sum(
        (trial.timing.total() - trial.trunk_seconds) / trial.pack for trial in ledger.trials
    )
    finished = f"{len(ledger.complete())} of {trials_so_far(experiment, ledger)}"
    return tiles | {"Trials finished": finished, "Time of all trials": duration(seconds)}


def cautions(experiment: Experiment, ledger: Ledger) -> list[str]:
    """What a reader must know before believing the summary."""
    notes = []
    if missing := not_run_yet(experiment, ledger):
        of_all = trials_so_far(experiment, ledger)
        notes.append(
            f"The search is unfinished ({missing} of {of_all} trials not run yet): the best may "
            "change."
        )
    plan = epoch_plan(experiment.base, experiment.corpus["splits"]["train"]["files"])
    if plan.sequences < plan.sequences_available:
        share = plan.sequences / plan.sequences_available
        notes.append(
            f"An epoch here is {plan.tokens:,} tokens, {share:.1%} of the corpus (preset "
            f"{experiment.preset}): these are not results of training on the whole of it."
        )
    best = winning_trial(experiment, ledger)
    if best is not None:
        notes += [_edge_note(edge, experiment) for edge in edges(experiment, best.config)]
        notes += _noise(experiment, ledger)
    if len(ledger.reruns) > 1:
        notes.append(
            f"The test split has been looked at {times(len(ledger.reruns))}: each look at it "
            "makes its score a little less of a test."
        )
    return notes


def _edge_note(edge: Edge, experiment: Experiment) -> str:
    kind = "grid" if experiment.sampler is None else "searched range"
    end, beyond = ("upper", "above") if edge.upper else ("lower", "below")
    return (
        f"The best {edge.axis.label}, {edge.axis.show(edge.value)}, is at the {end} edge of the "
        f"{kind}: a better one may lie {beyond} it."
    )


def _noise(experiment: Experiment, ledger: Ledger) -> list[str]:
    losses = sorted(trial.final.val_loss_nats for trial in ledger.complete())
    if len(losses) < 2:
        return []
    found = winner(experiment, ledger)
    if found is None or found.test is None:
        return [
            f"One seed each: the best leads the next by {losses[1] - losses[0]:.4f} nats, and "
            "differences smaller than the spread between seeds can't be told from chance."
        ]
    known = found.estimate
    seeds = f"{known.n} {'fresh ' * found.fresh}seed{'s' * (known.n > 1)}"
    return [
        f"Over its {seeds} {found.cell.label} has a mean loss of {known.mean:.4f} nats: "
        f"{how_sure(found)}."
    ]
