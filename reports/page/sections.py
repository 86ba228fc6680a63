"""The sections of a report: which tables and sentences stand under which title."""

from __future__ import annotations

import math
from collections.abc import Sequence

from minigpt_search.data.common.formatting import counted, times
from minigpt_search.data.common.invocation import command_line
from minigpt_search.model.records import COMPLETE
from minigpt_search.reports.claims.claims_table import claims_table
from minigpt_search.reports.claims.evidence import Evidence
from minigpt_search.reports.claims.from_ladder import expected_claims
from minigpt_search.reports.claims.recipe import differences
from minigpt_search.reports.claims.scaling_laws import expectations
from minigpt_search.reports.page import setup_tables, tables
from minigpt_search.reports.page.parts import Section, Table
from minigpt_search.reports.page.seed_tables import configurations_table, rerun_commands
from minigpt_search.reports.page.trial_tables import (
    finished_trials,
    lowest_first,
    trials_without_result,
)
from minigpt_search.search.answer.endings import not_run_yet
from minigpt_search.search.answer.front import front_sentence, front_table, limit_sentence
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.results.labels import short_label, trial_label, varies_one_axis
from minigpt_search.search.results.results import Results
from minigpt_search.search.space.axes import AXES, configuration_label
from minigpt_search.search.space.claims_grid import CLAIMS
from minigpt_search.search.space.objective import counted_length

ASSIGNMENT = "“Assignment 2: Building a Mini-GPT Transformer from Scratch”"
RECIPES_REPORT = (
    f"The recipe that this program starts from is that of {ASSIGNMENT}, whose report has its "
    "author's numbers, on another corpus and a T4 GPU."
)
CLAIMS_VARY = {"lr", "epochs", "embed_dim", "seq_len"}


def architecture_section(experiment: Experiment) -> Section:
    varied = [
        f"{AXES[name].label} ({', '.join(map(AXES[name].show, values))})"
        for name, values in experiment.space.axes.items()
        if hasattr(experiment.space.base.model, AXES[name].field)
    ]
    paragraphs = []
    if varied:
        paragraphs = [
            f"The search varies the {' and the '.join(varied)}: the table is of the base "
            "configuration."
        ]
    table = Table(
        name="architecture",
        caption="Trainable parameters of the base configuration",
        frame=setup_tables.architecture(experiment.space.base),
        has_total=True,
    )
    return Section(title="Architecture and parameters", paragraphs=paragraphs, tables=[table])


def training_section(
    experiment: Experiment, trials: Sequence[TrialRecord], out: str | None
) -> Section:
    paragraphs = []
    if not ran_claims(experiment):
        command = command_line("search/run.py", "--grid", "claims", out=out)
        paragraphs = [
            f"The recipe is that of {ASSIGNMENT}; its report's claims are tested by: {command}"
        ]
    recipe = Table(name="recipe", caption="Training recipe", frame=setup_tables.recipe(experiment))
    provenance = Table(
        name="provenance",
        caption="Machine, versions and command",
        frame=setup_tables.provenance(experiment, trials),
    )
    return Section(title="Training", paragraphs=paragraphs, tables=[recipe, provenance])


def data_section(experiment: Experiment) -> Section:
    corpus = experiment.corpus.manifest
    return Section(
        title="Data set",
        tables=[
            Table(
                name="training_data",
                caption="What the base configuration trains on",
                frame=setup_tables.training_data(experiment),
            ),
            Table(
                name="sources",
                caption="Sources; retention is the share of documents that preparation kept",
                frame=setup_tables.sources(corpus),
                has_total=True,
            ),
            Table(
                name="splits",
                caption="Splits, by document",
                frame=setup_tables.splits(corpus),
            ),
        ],
        bullets=setup_tables.attributions(corpus),
    )


def trials_section(results: Results) -> Section:
    experiment = results.experiment
    if not results.complete:
        return Section(title="Trials", paragraphs=["No trial has finished yet."])
    trials = finished_trials(results)
    paragraphs = [sentence] if (sentence := limit_sentence(results)) else []
    if varies_one_axis(experiment):
        base = configuration_label(experiment.space.base, list(experiment.space.axes))
        paragraphs += [f"One axis is varied at a time around the baseline, {base}."]
    seeds = configurations_table(results)
    if len(seeds) == len(results.trials):  # one seed each: the same rows again
        return Section(title="Trials", paragraphs=paragraphs, tables=[trials])
    best = results.winning_trial
    label = short_label(experiment, best.config) if best else None
    seeds, order = lowest_first(seeds)
    fresh = ", the search's and fresh ones (the answer is of fresh ones alone)"
    means = Table(
        name="configurations",
        caption="Configurations: means over the finished seeds"
        + fresh * (experiment.noise.confirm is not None)
        + ", the spread (standard deviation) and the 95% interval of the mean validation loss; "
        f"time and FLOP of one seed{order}",
        frame=seeds,
        marked_row=seeds["configuration"].tolist().index(label) if label else None,
        sortable=True,
        file_only=("configuration",),
    )
    return Section(title="Trials", paragraphs=paragraphs, tables=[means, trials])


def front_section(results: Results) -> Section:
    objectives = results.experiment.plan.objectives
    if len(objectives) < 2 or (frame := front_table(results, by_axis=True)).empty:
        return Section(title="Pareto front")
    table = Table(
        name="front",
        caption=front_sentence(results),
        frame=frame,
        sortable=True,
        file_only=("configuration",),
    )
    return Section(title="Pareto front", tables=[table])


def without_result_section(results: Results) -> Section:
    missing, planned = not_run_yet(results), results.trials_so_far
    paragraphs = []
    if missing:
        paragraphs = [f"Planned and not run yet: {missing} of {counted(planned, 'trial')}."]
    table = trials_without_result(results)
    return Section(
        title="Trials without a result",
        paragraphs=paragraphs,
        tables=[table] if table else [],
    )


def by_epoch_section(results: Results) -> Section:
    experiment, best = results.experiment, results.winning_trial
    baseline = tables.baseline_trial(results)
    if best is None:
        return Section(title="Training results by epoch")
    shown = [("best_by_epoch", "The best", best)]
    if baseline is not None and baseline is not best:
        shown.append(("baseline_by_epoch", "The baseline", baseline))
    return Section(
        title="Training results by epoch",
        tables=[
            Table(
                name=name,
                caption=f"{role}: {trial_label(experiment, trial.config, trial.replicate)}; "
                "improvement is the fall of perplexity since epoch 1",
                frame=tables.by_epoch(results, trial),
            )
            for name, role, trial in shown
        ],
    )


def ran_claims(experiment: Experiment) -> bool:
    """Whether the search is over the claims' grid, of which a flag may fix an axis: by its name, or
    as one of before that has none, by one axis at a time, all that they vary."""
    if experiment.space.named_grid is not None:
        return experiment.space.named_grid == CLAIMS
    return varies_one_axis(experiment) and set(experiment.space.axes) >= CLAIMS_VARY


def claims_section(results: Results, out: str | None, ladders: Sequence[Results] = ()) -> Section:
    """The claims' table where their grid ran, with what these ladders expect; nothing elsewhere,
    where the section on training says how to have it."""
    title = "Claims of the recipe's report"
    if not ran_claims(results.experiment):
        return Section(title=title)
    experiment, evidence = results.experiment, Evidence(results)
    apart = differences(experiment)
    size = (
        "This search has the recipe on as many tokens: its numbers can be compared."
        if not apart
        else "This search is not the recipe's: "
        + "; ".join(apart)
        + ". Claims about an order are tested at this size; its absolute numbers can't be compared."
    ) + (
        " Nobody has the recipe's own text (Wikipedia and OpenWebText), so verdicts from runs "
        "are on other text. First stand claims that need no run, then those that are tested at any "
        "size, then absolute numbers."
    )
    base = experiment.space.base
    tokens = counted_length(base, experiment.corpus.manifest).tokens_per_epoch
    return Section(
        title=title,
        paragraphs=[RECIPES_REPORT, size, evidence.rule()],
        tables=[
            Table(
                name="claims",
                caption="Claims, their tests and verdicts, computed from the ledger",
                frame=claims_table(evidence, out, expected_claims(ladders)),
            ),
            Table(
                name="scaling_laws",
                caption="Expected loss of N parameters on D tokens by published laws, for 7.8M and "
                f"10,000,249 as claimed, seen once or 10 times, and for this model on {tokens:,} "
                "tokens seen once; "
                f"more than a uniform prediction's {math.log(base.model.vocab_size):.1f} nats "
                "shows how far outside of its range a law is",
                frame=expectations(base, max(1, tokens)),
            ),
        ],
    )


def provenance_section(results: Results, out: str | None) -> Section:
    """How each row is trained again, and how that came out."""
    trials = results.trials_frame
    complete, ordered = lowest_first(trials[trials["status"] == COMPLETE])
    order = complete["trial_id"].tolist()
    start = command_line("search/rerun.py", results.experiment.name, out=out)
    table = Table(
        name="rerun_commands",
        caption=f"How to train each trial again; a rerun also scores the test split{ordered}",
        frame=rerun_commands(results, order, start),
    )
    paragraphs = [f"The test split has been looked at {times(len(results.reruns))}."]
    reruns = Table(
        name="reruns",
        caption="Reruns; equal bits are expected on the same machine only",
        frame=tables.reruns(results),
    )
    if not order:
        return Section(title="Provenance")
    if not results.reruns:
        return Section(title="Provenance", tables=[table])
    return Section(title="Provenance", paragraphs=paragraphs, tables=[reruns, table])
