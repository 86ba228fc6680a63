"""A ladder's plan on the text that it has: its target, its rungs and their trials."""

from __future__ import annotations

import dataclasses

from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.space.ladder_spec import (
    MOST_RUNGS,
    LadderSpec,
    ladder_space,
    ladder_widths,
    share_trunks,
    target_on,
)


def on_its_text(experiment: Experiment, spec: LadderSpec | None = None) -> Experiment:
    """A ladder's experiment on the corpus that it has by now, with these rungs; any other as it
    is. Raises `UserError` for rungs or a target that it is too small for."""
    if experiment.ladder is None:
        return experiment
    chosen = spec is not None or experiment.plan.budget_seconds is None
    spec = spec or experiment.ladder
    widths = ladder_widths(experiment.space)
    target = target_on(experiment.space.base, spec, experiment.corpus.manifest, chosen)
    spec = dataclasses.replace(spec, trunks=share_trunks(target, spec))
    return experiment.replace(ladder=spec, space=ladder_space(target, widths, spec))


def next_rungs(experiment: Experiment) -> tuple[int, ...]:
    """The ladder's rungs and one more above, by the ratio of the last two; the same ones where it
    would have more than half of the target's tokens: that is trained in little more time."""
    spec, train = experiment.ladder, experiment.space.base.train
    assert spec is not None and train.tokens_per_epoch is not None
    unit = train.batch_size * experiment.space.base.model.seq_len
    longer = round(spec.rungs[-1] ** 2 / spec.rungs[-2] / unit) * unit
    if 2 * longer > train.tokens_per_epoch or len(spec.rungs) == MOST_RUNGS:
        return spec.rungs
    return *spec.rungs, max(longer, spec.rungs[-1] + unit)
