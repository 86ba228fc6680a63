"""The section of a ladder: its rungs, how well each was predicted, and what is expected of the
target."""

from __future__ import annotations

import math

import pandas as pd

from minigpt_search.reports.claims.from_ladder import expected_claims, ladder_differences
from minigpt_search.reports.figures.ladder_plots import ladder_figures
from minigpt_search.reports.page.parts import Section, Table
from minigpt_search.search.answer.ladder_outcome import outcome_text, outcomes
from minigpt_search.search.ladder.prediction import Prediction
from minigpt_search.search.results.results import Results

TITLE = "The ladder"


def ladder_section(results: Results) -> Section:
    """Nothing for another search."""
    spec = results.experiment.ladder
    if spec is None:
        return Section(title=TITLE)
    base, found = results.experiment.space.base, results.ladder_prediction
    epochs = base.train.epochs
    share = base.train.warmup_fraction
    warm_up = "" if share is None else f", a warm-up of {share:.1%} of the steps"
    lengths = ", ".join(f"{tokens * epochs:,}" for tokens in spec.rungs)
    paragraphs = [
        f"Rungs of {lengths} training tokens have the recipe of the target ({epochs} passes over "
        f"their text{warm_up}), each with learning rates placed by the rungs below it. What "
        "follows about the target is a prediction from these rungs alone."
    ]
    if found is None:
        return Section(title=TITLE, paragraphs=[*paragraphs, "No two rungs have results yet."])
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
                "all of the 95% interval agrees, unlikely where none of it does. No run was made",
                frame=pd.DataFrame(
                    {"claim": e.claim, "from_ladder": e.text, "verdict": e.verdict}
                    for e in expected
                ),
            )
        )
    paragraphs += [f"Outcome: {outcome_text(each)}." for each in outcomes(results)]
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
                "best_rate_interval": f"{math.exp(own - half):.2g} to {math.exp(own + half):.2g}",
                "lowest_loss": floor,
                "lowest_loss_interval": f"{floor - 1.96 * sd:.3f} to {floor + 1.96 * sd:.3f}",
            }
        )
    rows.append(
        {
            "run": "target, predicted",
            "run_tokens": rate.tokens,
            "width": rate.width,
            "best_rate": f"{rate.rate:.2g}" if not found.refused else "no point",
            "best_rate_interval": f"{rate.low:.2g} to {rate.high:.2g}",
            "lowest_loss": loss.loss,
            "lowest_loss_interval": f"{loss.low:.3f} to {loss.high:.3f}",
        }
    )
    return pd.DataFrame(rows)


def _checks(found: Prediction) -> pd.DataFrame:
    """A row for each rung that was left out and predicted."""
    return pd.DataFrame(
        {
            "run_tokens": check.tokens,
            "width": check.width,
            "rate_predicted": f"{check.rate:.2g} ({check.low:.2g} to {check.high:.2g})",
            "rate_found": f"{check.found_rate:.2g}",
            "rate_held": check.rate_held,
            "loss_predicted": f"{check.loss:.2f} ({check.loss_low:.2f} to {check.loss_high:.2f})",
            "loss_found": check.found_loss,
            "loss_held": check.loss_held,
        }
        for check in found.checks
    )
