"""The Pareto front of a search with two objectives, and what `--max-cost` excludes: as a table and
in sentences. No torch, no Ray, no matplotlib."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from minigpt_search.data.common.formatting import counted
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.results.configurations import diverged, mean_loss
from minigpt_search.search.results.cost import mean_cost, pareto_front, within_limit
from minigpt_search.search.results.labels import axis_values
from minigpt_search.search.results.results import Results
from minigpt_search.search.space.axes import configuration_label
from minigpt_search.search.space.objective import FLOP, PARAMETERS, SECONDS, parse_max_cost

_COLUMNS = {FLOP: "flop", SECONDS: "training_seconds", PARAMETERS: "parameters"}


def front_table(results: Results, by_axis: bool = False) -> pd.DataFrame:
    """A row for each configuration that no other beats in loss and cost, the cheapest first;
    with a column for each axis if it is to be `by_axis`, beside the label."""
    experiment = results.experiment
    unit = experiment.plan.objectives[1]
    rows = []
    for trials in _front(results):
        loss = mean_loss(trials)
        row = {
            "configuration": configuration_label(trials[0].config, list(experiment.space.axes)),
            **(axis_values(experiment, trials[0].config) if by_axis else {}),
            _COLUMNS[unit]: mean_cost(trials, unit),
            "val_loss_nats": loss,
            "val_perplexity": math.exp(loss),
        }
        rows.append(row)
    return pd.DataFrame(rows)


def front_sentence(results: Results) -> str:
    """What the table is of."""
    plan, tried = results.experiment.plan, len(_with_result(results))
    finished = counted(tried, "finished trial")
    if results.experiment.noise.seeds > 1:
        finished = f"{counted(tried, 'configuration')} by the means of their seeds"
    return (
        f"Pareto front of validation loss and {_COLUMNS[plan.objectives[1]].replace('_', ' ')}: "
        f"{len(_front(results))} of {finished}; no other is better in both."
    )


def _front(results: Results) -> list[Sequence[TrialRecord]]:
    plan = results.experiment.plan
    return pareto_front(_with_result(results), plan.objectives[1], parse_max_cost(plan.max_cost))


def _with_result(results: Results) -> list[tuple[TrialRecord, ...]]:
    """The complete trials in the search of each configuration that never diverged there."""
    return [
        each.searched
        for each in results.configurations
        if each.searched and not diverged(each, fresh=False)
    ]


def limit_sentence(results: Results) -> str | None:
    """How many finished trials can't be the best, because they cost too much; None if all can."""
    limit = parse_max_cost(results.experiment.plan.max_cost)
    above = [t for t in results.complete if limit is not None and not within_limit(t, limit)]
    if limit is None or not above:
        return None
    left = len(results.complete) - len(above)
    return (
        f"--max-cost {limit.text}: {counted(len(above), 'finished trial')} cost more and can't be "
        f"the best; {left} {'is' if left == 1 else 'are'} within it."
    )
