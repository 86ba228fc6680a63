"""The section of a ladder: its rungs, how well each was predicted, and what is expected of the
target."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from minigpt_search.data.common.formatting import one_line, sentence
from minigpt_search.model.model_size import flops_per_token
from minigpt_search.reports.claims.from_ladder import (
    differences_of_ladders,
    expected_claims,
    ladder_differences,
    smallest_rung,
)
from minigpt_search.reports.claims.recipe import scored_tokens, training_tokens
from minigpt_search.reports.figures.ladder_plots import ladder_figures
from minigpt_search.reports.page.compare_scale import same_text, same_tokenizer
from minigpt_search.reports.page.parts import Section, Table
from minigpt_search.search.answer.ladder_answer import NO_VALLEYS
from minigpt_search.search.answer.ladder_outcome import outcome_texts, outcomes, present_text
from minigpt_search.search.ladder.prediction import Prediction
from minigpt_search.search.results.results import Results
from minigpt_search.search.space.ladder_spec import ladder_widths, rate_range, run_tokens

TITLE = "The ladder"
EQUAL_COST = "Epochs and widths at equal cost"


def ladder_section(results: Results) -> Section:
    """Nothing for another search."""
    spec = results.experiment.ladder
    if spec is None:
        return Section(title=TITLE)
    base, found = results.experiment.space.base, results.ladder_prediction
    epochs = base.train.epochs
    passes = "pass" if epochs == 1 else "passes"
    share = base.train.warmup_fraction
    warm_up = "" if share is None else f", a warm-up of {share:.1%} of the steps"
    warm_up = f", a warm-up of {base.train.warmup_steps:,} steps" if spec.trunks else warm_up
    lengths = ", ".join(f"{run_tokens(base, tokens):,}" for tokens in spec.rungs)
    paragraphs = [
        f"Rungs of {lengths} training tokens have the recipe of the target ({epochs} {passes} over "
        f"their text{warm_up}), each with learning rates placed by the rungs below it. What "
        "follows about the target is a prediction from these rungs alone."
    ]
    if results.predictions:
        paragraphs[0] += (
            " It is made anew with each report: what was predicted before a run, by the fit of "
            "that day, is in the ledger and quoted as such."
        )
    if found is None:
        return Section(title=TITLE, paragraphs=[*paragraphs, f"{sentence(NO_VALLEYS)}."])
    if found.refused:
        paragraphs.append(
            f"The best rate at the target is not predicted to a point: {found.refused}."
        )
    tables = [
        Table(
            name="ladder_rungs",
            caption="Best rates and lowest losses: of the rungs by the valleys fitted to all, of "
            "the target as predicted; 95% intervals",
            frame=_rungs(found),
            marked_row=len(found.cells),
        )
    ]
    if found.checks:
        tables.append(
            Table(
                name="ladder_checks",
                caption="Rungs as the ones below them predicted them, beside what they came to",
                frame=_checks(found),
            )
        )
    apart = ladder_differences(results)
    if apart:
        paragraphs.append(
            "It says nothing of the claims of the recipe's report, whose recipe is another: "
            f"{'; '.join(apart)}."
        )
    elif expected := expected_claims([results]):
        tables.append(
            Table(
                name="ladder_claims",
                caption="Claims of the recipe's report as this ladder expects them: likely where "
                "all of the 95% interval agrees, unlikely where none of it does. "
                "Runs of that size are not in it",
                frame=pd.DataFrame(
                    {"claim": e.claim, "from_ladder": e.text, "verdict": e.verdict}
                    for e in expected
                ),
            )
        )
    paragraphs += [f"Outcome: {text}." for text in outcome_texts(results)]
    now = [text for each in outcomes(results) if (text := present_text(results, each))]
    paragraphs += [f"{sentence(text)}." for text in now]
    return Section(
        title=TITLE, paragraphs=paragraphs, tables=tables, figures=ladder_figures(results)
    )


def _rungs(found: Prediction) -> pd.DataFrame:
    """A row for each rung, and one for the target."""
    rate, loss = found.rate, found.loss
    rows = []
    for row, cell in enumerate(found.cells):
        half = 1.96 * float(rate.ridge_sd[row])
        own = float(rate.ridge[row])
        sd = math.sqrt(rate.floors_covariance[row, row])
        floor = float(rate.floors[row])
        rows.append(
            {
                "run": "rung",
                "run_tokens": math.exp(cell[0]),
                "width": math.exp(cell[1]),
                "best_rate": f"{math.exp(own):.2g}",
                "best_rate_interval": rate_range(math.exp(own - half), math.exp(own + half)),
                "lowest_loss": floor,
                "lowest_loss_interval": f"{max(floor - 1.96 * sd, 0):.3f} to "
                f"{floor + 1.96 * sd:.3f}",
            }
        )
    rows.append(
        {
            "run": "target, predicted",
            "run_tokens": rate.tokens,
            "width": rate.width,
            "best_rate": f"{rate.rate:.2g}" if not found.refused else "no point",
            "best_rate_interval": rate_range(rate.low, rate.high),
            "lowest_loss": loss.loss,
            "lowest_loss_interval": f"{loss.low:.3f} to {loss.high:.3f}",
        }
    )
    return pd.DataFrame(rows)


def equal_cost_section(searches: Sequence[Results]) -> Section:
    """What ladders of several epochs or widths expect of the operations that the cheapest of their
    targets takes; why not where one of them is no ladder, has no prediction yet, or has losses of
    something else."""
    predictions = [each.ladder_prediction for each in searches]
    known = [(r, p) for r, p in zip(searches, predictions, strict=True) if p is not None]
    if all(each.experiment.ladder is None for each in searches):
        return Section(title=EQUAL_COST)
    if len(known) < len(searches):
        without = [
            one_line(r.experiment.name)
            for r, p in zip(searches, predictions, strict=True)
            if p is None
        ]
        text = f"Nothing is expected of {', '.join(without)}: no ladder, or {NO_VALLEYS}."
        return Section(title=EQUAL_COST, paragraphs=[text])
    if other := _other_losses(searches):
        text = f"Losses to expect are not put beside each other: the ladders have other {other}."
        return Section(title=EQUAL_COST, paragraphs=[text])
    flop = min(p.rate.tokens * flops_per_token(r.experiment.space.base.model) for r, p in known)
    rows = [
        _at_cost(results, found, width, flop)
        for results, found in known
        for width in ladder_widths(results.experiment.space)
    ]
    apart = differences_of_ladders([results for results, _ in known])
    also = f" Epochs and widths aside, {'; '.join(apart)}, which is in it too." if apart else ""
    return Section(
        title=EQUAL_COST,
        paragraphs=[
            f"What each ladder expects of a run of {flop:.2g} FLOP at its best rate, from its "
            "rungs alone. Tokens are with repeats: more epochs see less text as often more. "
            "Intervals are 95% ones of one run; those of two ladders have errors of their own."
            + also
        ],
        tables=[
            Table(
                name="equal_cost",
                caption="Losses to expect for the same number of operations",
                frame=pd.DataFrame(rows),
            )
        ],
    )


def _other_losses(ladders: Sequence[Results]) -> str:
    """What makes their losses those of something else in each; empty where they are of the same."""
    differs = [] if same_text(ladders) else ["text"]
    if not same_tokenizer(ladders):
        differs.append("tokenizers")
    elif len({scored_tokens(each.experiment) for each in ladders}) > 1:
        differs.append("validation tokens")
    return " and other ".join(differs)


def _at_cost(results: Results, found: Prediction, width: int, flop: float) -> dict[str, Any]:
    """A row: what a ladder expects of this width for so many operations. Nothing of a run that is
    shorter than its rungs: the power law was not fitted to such."""
    base = results.experiment.space.base
    text, epochs = training_tokens(results.experiment), base.train.epochs
    tokens = flop / flops_per_token(base.replace(embed_dim=width).model)
    row = {
        "search": one_line(results.experiment.name),
        "epochs": epochs,
        "width": width,
        "run_tokens": tokens,
        "beyond": tokens / found.largest,
        "lowest_loss": None,
        "lowest_loss_interval": None,
    }
    if (smallest := smallest_rung(found, width)) > tokens:
        return row | {"notes": f"none: shorter than its smallest rung of {smallest:,.0f} tokens"}
    loss = found.loss_at(tokens, width)
    notes = [found.refused] if found.passed_over else []
    notes += [] if tokens <= epochs * text else ["more text than the corpus has"]
    notes += [found.loss_caveat] if found.loss_caveat else []
    return row | {
        "lowest_loss": loss.loss,
        "lowest_loss_interval": f"{loss.low:.3f} to {loss.high:.3f}",
        "notes": "; ".join(notes),
    }


def _checks(found: Prediction) -> pd.DataFrame:
    """A row for each rung that was left out and predicted."""
    return pd.DataFrame(
        {
            "run_tokens": check.tokens,
            "width": check.width,
            "rate_predicted": f"{check.rate:.2g} ({rate_range(check.low, check.high)})",
            "rate_found": f"{check.found_rate:.2g} "
            f"({rate_range(check.found_low, check.found_high)})",
            "rate_held": check.rate_held,
            "loss_predicted": f"{check.loss:.3f} ({check.loss_low:.3f} to {check.loss_high:.3f})",
            "loss_found": check.found_loss,
            "loss_held": check.loss_held,
        }
        for check in found.checks
    )
