"""The Pareto front of a search with two objectives, and what `--max-cost` excludes: as a table and
in sentences. No torch, no Ray, no matplotlib."""

from __future__ import annotations

import pandas as pd

from reports.columns import counted
from reports.frames import trial_label
from search.experiment import Experiment
from search.ledger import Ledger
from search.objective import FLOP, PARAMETERS, SECONDS, cost_of_record, pareto_front, parse_max_cost

_COLUMNS = {FLOP: "flop", SECONDS: "training_seconds", PARAMETERS: "parameters"}


def front_table(experiment: Experiment, ledger: Ledger) -> pd.DataFrame:
    """A row for each trial that no other beats in loss and cost, the cheapest first."""
    unit = experiment.objectives[1]
    rows = [
        {
            "experiment": trial_label(experiment, record.config, record.replicate),
            _COLUMNS[unit]: cost_of_record(record, unit),
            "val_loss_nats": record.final.val_loss_nats,
            "val_perplexity": record.final.val_perplexity,
        }
        for record in pareto_front(ledger.trials, unit, parse_max_cost(experiment.max_cost))
    ]
    return pd.DataFrame(rows)


def front_sentence(experiment: Experiment, ledger: Ledger) -> str:
    """What the table is of."""
    unit = experiment.objectives[1]
    front, finished = (
        pareto_front(ledger.trials, unit, parse_max_cost(experiment.max_cost)),
        ledger.complete(),
    )
    return (
        f"Pareto front of validation loss and {_COLUMNS[unit].replace('_', ' ')}: "
        f"{len(front)} of {counted(len(finished), 'finished trial')}; no other is better in both."
    )


def limit_sentence(experiment: Experiment, ledger: Ledger) -> str | None:
    """How many finished trials can't be the best, because they cost too much; None if all can."""
    limit = parse_max_cost(experiment.max_cost)
    above = [t for t in ledger.complete() if limit is not None and not limit.held_by(t)]
    if limit is None or not above:
        return None
    left = len(ledger.complete()) - len(above)
    return (
        f"--max-cost {limit.text}: {counted(len(above), 'finished trial')} cost more and can't be "
        f"the best; {left} {'is' if left == 1 else 'are'} within it."
    )
