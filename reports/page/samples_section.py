"""The section of samples: the same prompts under the best, the median and the worst."""

from __future__ import annotations

import pandas as pd

from minigpt_search.data.common.invocation import command_line
from minigpt_search.reports.page.parts import Section, Table
from minigpt_search.search.answer.commands import Step
from minigpt_search.search.records.samples import Samples
from minigpt_search.search.results.labels import trial_label
from minigpt_search.search.results.results import Results


def samples_section(results: Results, out: str | None) -> Section:
    """What the last rerun had the models write; else how to have it. Empty without a result."""
    drawn = next((rerun.samples for rerun in reversed(results.reruns) if rerun.samples), ())
    if not results.complete:
        return Section(title="Samples")
    if not drawn:
        why = (
            "No text has been sampled yet: a rerun of the best has the best, the median and the "
            "worst configuration go on from the same prompts"
        )
        rerun = command_line("search/rerun.py", results.experiment.name, out=out)
        return Section(title="Samples", steps=[Step(why=why, command=rerun)])
    table = Table(
        name="samples",
        caption="The same prompts under several configurations: sampled at temperature 0.8 from "
        "the likeliest 95%, one seed for all",
        frame=pd.DataFrame([row for each in drawn for row in _rows(results, each)]),
        file_only=("trial_id",),
    )
    missing = [
        f"Of the {each.role} configuration there is no text: {each.missing}."
        for each in drawn
        if each.missing
    ]
    return Section(title="Samples", paragraphs=missing, tables=[table])


def _rows(results: Results, samples: Samples) -> list[dict[str, object]]:
    trial = next((t for t in results.complete if t.trial_id == samples.trial_id), None)
    if trial is None or not samples.texts:
        return []
    label = trial_label(results.experiment, trial.config, trial.replicate)
    return [
        {
            "trial_id": trial.trial_id,
            "model": f"{samples.role}: {label}",
            "val_loss_nats": trial.final.val_loss_nats,
            "prompt": prompt,
            "continuation": text,
        }
        for prompt, text in zip(samples.prompts, samples.texts, strict=True)
    ]
