"""What an experiment began with - code, libraries, data - and whether it still is so.

A trial's number depends on all of them, so a search that goes on with others would put numbers
side by side that are not comparable.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import CodeType
from typing import Any

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.common.package import package_folder, source_files
from minigpt_search.data.common.versions import version_differences
from minigpt_search.model.hardware.device import versions
from minigpt_search.search.records.experiment import Experiment

DECIDING = (
    *("data/corpus", "data/tokenizers/record.py"),
    *("model/batching", "model/hardware", "model/loss", "model/network", "model/scoring"),
    "model/training",
    *("model/config.py", "model/model_size.py", "model/records.py", "model/run_length.py"),
    "model/out_of_memory.py",
    *("search/driver", "search/early_stopping", "search/ladder", "search/machines"),
    *(
        "search/planning",
        "search/records",
        "search/results",
        "search/reuse",
        "search/samplers",
        "search/space",
    ),
    *("search/sync", "search/trials", "search/worker", "search/run.py"),
)
"""The code that can change a trial's number or a search's decision: what trains and with which
threads and variables, what is tried, stopped and taken over, and on what those rules look. How a
corpus is made is not among it, since what it holds has a hash of its own; flags, files and
sentences are not."""
ONLY_SHOWN = (
    *("search/driver/live_curves.py", "search/driver/live_study.py"),
    "search/driver/log_reports.py",
    *("search/driver/progress.py", "search/driver/screen.py"),
    *("search/driver/status_line.py", "search/driver/tensorboard.py", "search/driver/work_done.py"),
    *("search/planning/plan_text.py", "search/records/live.py", "search/results/labels.py"),
    *("search/samplers/study_db.py", "search/samplers/study_rows.py"),
    *("search/planning/counting.py", "search/results/baselines.py", "search/results/documents.py"),
    "search/ladder/frontier.py",
)
"""What is in those folders and changes only what is seen."""
DIFFERENT_CODE = "made by other code or libraries"
_NAMED = 4


def code_hashes() -> dict[str, str]:
    """A hash of what each source file that decides does, by its path in the project. Comments,
    docstrings and lines' places are not in it."""
    return {
        name: hashlib.sha256(repr(_what_runs(path)).encode()).hexdigest()[:16]
        for part in DECIDING
        for name, path in source_files(part).items()
        if name not in ONLY_SHOWN
    }


def _what_runs(path: Path) -> tuple[Any, ...]:
    """The byte code of a file, as Python's -OO makes it. Another Python makes another, but with
    another Python nothing goes on anyway (`versions`)."""
    return _parts(compile(path.read_bytes(), path.name, "exec", dont_inherit=True, optimize=2))


def _parts(code: CodeType) -> tuple[Any, ...]:
    names = (code.co_name, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    arguments = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount)
    constants = tuple(
        _parts(each)
        if isinstance(each, CodeType)
        # A set's order changes from process to process.
        else ("set", sorted(map(repr, each)))
        if isinstance(each, frozenset)
        else each
        for each in code.co_consts
    )
    exceptions = code.co_exceptiontable
    return code.co_code, exceptions, code.co_flags, names, arguments, constants


def same_code_and_versions(other: Experiment) -> bool:
    """Whether the code and libraries of now made all of the other experiment's trials, those that
    it took over itself among them."""
    return (
        not other.reuse.mixed
        and other.provenance.code == code_hashes()
        and other.provenance.versions == versions()
    )


def check_resume_compatible(experiment: Experiment, corpus_hash: str | None) -> None:
    """Raise `UserError` with all that differs from what the experiment began with.

    `corpus_hash` is None if its corpus is not there.
    """
    differences = [
        *_code_differences(experiment.provenance.code, code_hashes()),
        *(
            f"{name} {then or 'none'} then, {now or 'none'} now"
            for name, then, now in version_differences(experiment.provenance.versions, versions())
        ),
    ]
    if corpus_hash != experiment.corpus.content_hash:
        now = "missing" if corpus_hash is None else corpus_hash[:12]
        name = experiment.corpus.name
        differences.append(f"corpus {name}: {experiment.corpus.content_hash[:12]} then, {now} now")
    if differences:
        raise UserError(
            f"--resume {experiment.name}: it did not begin with this ({'; '.join(differences)}). "
            f"Put that back, or take its finished trials over: --extend {experiment.name}"
        )


def check_versions(found: Mapping[str, str], wanted: Mapping[str, str], node: str) -> None:
    """Raise `UserError` if a node has other libraries than the driver. What comes after a plus may
    differ: a head without a GPU may have the same torch for CPUs."""
    differ = [
        f"{name} {there or 'missing'} where the driver has {here or 'none'}"
        for name, there, here in version_differences(_public(found), _public(wanted))
    ]
    if differ:
        raise UserError(f"node {node} has {', '.join(differ)}: install the same on all nodes")


def _public(found: Mapping[str, str]) -> dict[str, str]:
    return {name: version.partition("+")[0] for name, version in found.items()}


def _code_differences(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    if not then:
        return ["code: not on record"]
    names = sorted(then.keys() | now.keys())
    changed = [name for name in names if then.get(name) != now.get(name)]
    if not changed:
        return []
    more = f" and {len(changed) - _NAMED} more" if len(changed) > _NAMED else ""
    return [f"changed code: {', '.join(changed[:_NAMED])}{more}"]


def git_commit() -> str | None:
    """The checkout's commit; `+changes` if a tracked file differs from it."""
    folder = package_folder()

    def git(*words: str) -> str:
        command = ["git", "-C", str(folder), *words]
        done = subprocess.run(command, capture_output=True, check=True)
        return done.stdout.decode(errors="replace").strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")) != folder.resolve().parents[1]:
            return None  # installed somewhere below another project's checkout
        commit = git("rev-parse", "HEAD")
        return commit + ("+changes" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return None
