"""Each part of a driver alone, by how many trials it knows of: what grows with them (`scaling.py`).

No Ray here: what a part does when one more trial ends, timed on a search that has so many.
"""

from __future__ import annotations

import contextlib
import io
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from scaling_trial import STEPS, make_record

from minigpt_search.search.records.clock import Clock
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.records.trial_folder import (
    Start,
    note_start,
    trial_folder,
    write_outcome,
)
from minigpt_search.search.results.results import Results
from minigpt_search.search.trials.feasible import drawn
from minigpt_search.search.trials.trial import Trial, make_trial

TIMES = 5
"""Calls timed; the median counts."""
MOST_OF_GP = 1_000
"""Trials beyond which it isn't asked: a suggestion would take minutes."""


def measure_parts(experiment: Experiment, counts: Sequence[int], home: str) -> list[dict[str, Any]]:
    """Processor milliseconds of each part at each number of trials."""
    most = max(counts) + 2 * TIMES
    trials = [make_trial(experiment, values, 0) for values in drawn(experiment, most)]
    return [{"trials": count} | _at(experiment, trials, count, Path(home)) for count in counts]


def _at(
    experiment: Experiment, trials: Sequence[Trial], count: int, home: Path
) -> dict[str, float]:
    folder = home / "experiments" / f"parts-{count}"
    experiment.write(folder)
    ledger = Ledger(folder / "ledger.jsonl")
    records = [make_record(experiment, trial, 20.0) for trial in trials]
    for trial, record in zip(trials[:count], records, strict=False):
        _leave(folder, trial, record)
    for record in records[:count]:  # without its fsync
        ledger._remember(record)
    new = list(zip(trials[count:], records[count:], strict=True))
    return {
        **_callbacks(experiment, folder, ledger, new[:TIMES]),
        **_sampler(experiment, records[:count]),
        **_ends(experiment, folder, ledger),
    }


def _leave(folder: Path, trial: Trial, record: TrialRecord) -> None:
    home = trial_folder(folder, trial.trial_id)
    note_start(home, trial.values, trial.replicate, Start(session="one", from_step=0))
    write_outcome(home, record)


def _callbacks(
    experiment: Experiment,
    folder: Path,
    ledger: Ledger,
    new: Sequence[tuple[Trial, TrialRecord]],
) -> dict[str, float]:
    """When a trial reports and ends."""
    from minigpt_search.search.driver.progress import ProgressLine
    from minigpt_search.search.driver.recorder import Recorder

    recorder = Recorder(experiment, folder, ledger)
    with contextlib.redirect_stderr(io.StringIO()):
        planned = experiment.planned_trials
        progress = ProgressLine(experiment, ledger, {}, planned, {}, Clock(folder, time.time()))
        for record in ledger.trials:
            progress.done.add(record.trial_id, 1.0)
        own = []
        for trial, record in new:
            _leave(folder, trial, record)
            tune_trial: Any = SimpleNamespace(config={"values": trial.values}, last_result={})
            result = {"kind": "progress", "member": trial.trial_id, "step": 1}
            result |= {"total_steps": STEPS, "train_loss_nats": 8.0}
            one: list[Callable[[], Any]] = [
                lambda t=tune_trial, r=result: progress.on_trial_result(0, [], t, r),
                lambda t=tune_trial: recorder.on_trial_complete(0, [], t),
                lambda t=tune_trial: progress.on_trial_complete(0, [], t),
            ]
            own.append([processor_ms(call) for call in one])
        progress.close()
    names = ("report: progress line", "end: record", "end: progress line")
    return {
        name: sorted(values)[TIMES // 2]
        for name, values in zip(names, zip(*own, strict=True), strict=True)
    }


def _sampler(experiment: Experiment, records: Sequence[TrialRecord]) -> dict[str, float]:
    from minigpt_search.search.samplers.from_ledger import observation_of
    from minigpt_search.search.samplers.ledger_sampler import LedgerOptunaSearch

    found = {}
    for name in ("tpe", "gp", "cmaes", "qmc", "random"):
        if name == "gp" and len(records) > MOST_OF_GP:
            found["suggest: gp"] = math.nan
            continue
        began = time.process_time()
        search = LedgerOptunaSearch(
            space=experiment.space,
            sampler=name,
            base_seed=0,
            finished=[observation_of(experiment, [record]) for record in records],
            unfinished=[],
        )
        if name == "tpe":
            found["resume: tell the sampler"] = 1e3 * (time.process_time() - began)
        times = 1 if name == "gp" else TIMES  # seconds each, at a thousand
        own = [processor_ms(partial(search.suggest, f"new-{n}")) for n in range(times)]
        found[f"suggest: {name}"] = sorted(own)[times // 2]
    return found


def _ends(experiment: Experiment, folder: Path, ledger: Ledger) -> dict[str, float]:
    """What a resumed search begins with, and what follows the last trial: once a search."""
    from minigpt_search.search.answer.answer import answer
    from minigpt_search.search.driver.recorder import collect_outcomes
    from minigpt_search.search.records.ledger_lines import encode
    from minigpt_search.search.samplers.study_db import StudyFile, write_study

    ledger.path.write_bytes(b"".join(map(encode, ledger.trials)))
    study, records = StudyFile(experiment, folder), ledger.trials
    study.write(records[:-TIMES])
    first = len(records) - TIMES
    added = [
        processor_ms(partial(study.add, records[number : number + 1], number))
        for number in range(first, len(records))
    ]
    return {
        "end: study.db, alone in its three seconds": sorted(added)[TIMES // 2],
        "resume: read the ledger": processor_ms(lambda: Ledger(ledger.path)),
        "resume: look for outcomes": processor_ms(lambda: collect_outcomes(folder, ledger)),
        "last: study.db": processor_ms(lambda: write_study(experiment, folder, ledger)),
        "last: the answer": processor_ms(lambda: answer(Results(experiment, ledger), None)),
    }


def processor_ms(call: Callable[[], Any]) -> float:
    began = time.process_time()
    call()
    return 1e3 * (time.process_time() - began)


def parts_lines(parts: Sequence[dict[str, Any]]) -> list[str]:
    """A table in Markdown."""
    counts = [str(part["trials"]) for part in parts]
    lines = [f"| processor ms, at trials | {' | '.join(counts)} |"]
    lines.append("| --- |" + " ---: |" * len(counts))
    for name in parts[0]:
        if name != "trials":
            cells = ["" if math.isnan(p[name]) else f"{p[name]:,.2f}" for p in parts]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines
