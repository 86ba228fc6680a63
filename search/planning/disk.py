"""`--max-disk`: what an experiment's folder may hold, and what goes when it would hold more.

Only final weights of trials that are not the best are ever deleted, the worst first. What a trial
that is not finished needs to go on stays, and room for what the running ones may still write is
kept free, so that the limit holds between two looks as well. No torch, no Ray.
"""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.common.formatting import storage
from minigpt_search.data.common.paths import existing
from minigpt_search.data.tokenizers.record import GPT2_ENTRIES
from minigpt_search.model.config import RunConfig
from minigpt_search.model.model_size import parameter_count
from minigpt_search.model.training.checkpoint_files import (
    FINAL_BYTES_PER_PARAMETER,
    STEP_BYTES_PER_PARAMETER,
    STEP_CHECKPOINTS_KEPT,
    TOKENIZER_BYTES_PER_ENTRY,
)
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.space.axes import AXES, apply_axes
from minigpt_search.search.space.ladder_spec import ladder_widths

STEPS_AT_ONCE = STEP_CHECKPOINTS_KEPT + 1
"""Step checkpoints of a running trial: those kept, and one being written."""
OTHER_BYTES, OTHER_TRIAL_BYTES = 2_000_000, 20_000
"""An allowance for all the rest, of the experiment and of each trial: records, curves, study.db,
Ray's scratch. A search of 180 trials of one short epoch left 0.9 MB of it (2026-11-24)."""
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT])(i?)B?", re.IGNORECASE)


def parse_size(text: str) -> int:
    """Bytes of `500MB`, `2GB` or `1.5GiB`. Raises `UserError` for anything else."""
    match = _SIZE.fullmatch(text.strip())
    size = 0
    if match:
        base = 1024 if match[3] else 1000
        size = int(float(match[1]) * base ** ("KMGT".index(match[2].upper()) + 1))
    if size <= 0:
        raise UserError(f"--max-disk {text}: give a size with its unit, such as 500MB or 2GB")
    return size


def final_bytes(config: RunConfig) -> int:
    """Size of a trial's final weights, with the tokenizer where that is not GPT-2's."""
    entries = config.model.vocab_size
    tokenizer = 0 if entries == GPT2_ENTRIES else TOKENIZER_BYTES_PER_ENTRY * entries
    return FINAL_BYTES_PER_PARAMETER * parameter_count(config.model) + tokenizer


def largest_config(experiment: Experiment) -> RunConfig:
    """A configuration with at least as many parameters as any in the plan. The number of heads
    makes no difference, so it is one that divides the width."""
    most = {name: AXES[name].most(values) for name, values in experiment.space.axes.items()}
    width = most.get("embed_dim", experiment.space.base.model.embed_dim)
    heads = math.gcd(width, experiment.space.base.model.n_heads)
    return apply_axes(experiment.space.base, {**most, "n_heads": heads})


def running_bytes(experiment: Experiment, trials: int) -> int:
    """The most that so many running trials can have on disk at a time, and a ladder's rungs left
    for the next ones: those that the present rung found, and those that it leaves itself."""
    parameters = parameter_count(largest_config(experiment).model)
    spec, left = experiment.ladder, 0
    if spec is not None and spec.trunks:
        widths = len(ladder_widths(experiment.space))
        left = 2 * spec.rates * experiment.noise.seeds * widths
    return (trials * STEPS_AT_ONCE + left) * parameters * STEP_BYTES_PER_PARAMETER


def at_a_time(experiment: Experiment) -> int:
    """Trials that run at a time, members of packs counted, and of a trunk and its branch both."""
    in_a_process = 2 if experiment.has_branches else experiment.machine.pack
    return min(experiment.machine.max_concurrent * in_a_process, experiment.planned_trials)


def check_limit(experiment: Experiment) -> None:
    """Raise `UserError` if the limit can't hold what must stay: the best and the unfinished."""
    limit = experiment.storage.max_disk_bytes
    if limit is None:
        return
    must = final_bytes(largest_config(experiment))
    must += running_bytes(experiment, at_a_time(experiment))
    must += OTHER_BYTES + OTHER_TRIAL_BYTES * experiment.most_trials
    if limit < must:
        raise UserError(
            f"--max-disk {storage(limit)}: the best weights and the checkpoints of "
            f"{at_a_time(experiment)} running trials need up to {storage(must)}: give that much, "
            "or a smaller --max-concurrent"
        )


def needed_bytes(experiment: Experiment, configs: Sequence[RunConfig]) -> tuple[float, float]:
    """What the checkpoints will take at the end, and at most before it. `configs` may be a sample
    of a sampler's."""
    scale = experiment.most_trials / len(configs)
    kept = scale * sum(map(final_bytes, configs))
    return kept, kept + running_bytes(experiment, at_a_time(experiment))


def check_space(experiment: Experiment, configs: Sequence[RunConfig], root: Path) -> None:
    """Raise `UserError` if the disk hasn't room for the checkpoints that the search will write."""
    _, most = needed_bytes(experiment, configs)
    most = min(most, experiment.storage.max_disk_bytes or most)
    free = shutil.disk_usage(existing(root)).free
    if most > free:
        raise UserError(
            f"--out {root}: the trials' weights take about {storage(most)}, and "
            f"{storage(free)} are free: make room, choose another --out, or give --max-disk"
        )


def disk_line(experiment: Experiment, configs: Sequence[RunConfig]) -> str:
    """What the checkpoints will take, for the plan; `configs` as for `needed_bytes`."""
    kept, most = needed_bytes(experiment, configs)
    line = (
        f"Disk       about {storage(kept)} for checkpoints (at most {storage(most)} while running)"
    )
    limit = experiment.storage.max_disk_bytes
    if limit is None:
        return line
    return f"{line}; --max-disk {storage(limit)}: the worst trials' go first"
