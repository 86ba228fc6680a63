"""Which code an experiment is held to: what can change a number or a decision, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

import minigpt_search
from minigpt_search.data.common import package
from minigpt_search.search.records.provenance import DECIDING, ONLY_SHOWN, code_hashes

ENTRIES = ("search.run", "search.rerun", "search.worker.trainable", "search.driver.tuner")
"""What trains, and what decides which trials there are, which end early, and which is best."""
UNDECIDING = (
    *(
        "data/common",
        "data/ray",
        "search/cli",
        "search/answer",
        "search/loggers",
        "search/storage",
    ),  # files; flags; sentences; what is shown elsewhere
    # How a corpus is made: what it holds has a hash of its own.
    *("data/cleaning", "data/filtering", "data/pipeline", "data/sources", "data/splitting"),
    "data/prepare.py",
    "data/tokenizers",  # but what a manifest says of one
    "model/counting",  # what a table of counts scores
    # What is done with a finished search.
    *("search/rerun.py", "model/generate.py", "model/parsers.py", "model/newest_model.py"),
    *("model/model_card.py", "model/notes.py"),
)


def test_all_that_a_search_imports_is_held_to_or_known_to_decide_nothing() -> None:
    graph = grimp.build_graph("minigpt_search", cache_dir=None)
    folder = package.package_folder()
    undecided, held_to = [], code_hashes()
    for entry in ENTRIES:
        module = f"minigpt_search.{entry}"
        for name in {module, *graph.find_upstream_modules(module)}:
            path = folder.joinpath(*name.split(".")[1:])
            if path.is_dir():
                continue  # an __init__.py, which holds a sentence
            file = path.with_suffix(".py").relative_to(folder).as_posix()
            if file not in held_to and not file.startswith((*UNDECIDING, *ONLY_SHOWN)):
                undecided.append(file)
    assert sorted(set(undecided)) == []


def test_every_named_part_is_there() -> None:
    for part in (*DECIDING, *ONLY_SHOWN, *UNDECIDING):
        assert package.source_files(part), part


def test_a_changed_file_has_another_hash_and_texts_have_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = code_hashes()
    assert {"search/machines/environment.py", "search/sync/stored_rungs.py"} <= set(here)
    assert {"model/training/loop.py", "search/results/winner.py", "model/config.py"} <= set(here)
    assert not {"search/cli/parser.py", "search/driver/progress.py", "reports/generate.py"} & set(
        here
    )
    deciding, text = tmp_path / "model/training/a.py", tmp_path / "search/cli/a.py"
    for file in (deciding, text):
        file.parent.mkdir(parents=True)
        file.write_text(
            '"""Old."""\nOF = {"a", "b", "c"}\n\n\ndef f(x):\n    return x in {"a", "b"}\n'
        )
    monkeypatch.setattr(minigpt_search, "__path__", [str(tmp_path)])
    monkeypatch.setattr("minigpt_search.search.records.provenance.DECIDING", ("model/training",))
    before = code_hashes()
    assert list(before) == ["model/training/a.py"]
    written = deciding.read_text()
    text.write_text("x = 2\n")
    deciding.write_text("# why\n\n" + written.replace("Old.", "A new docstring."))
    assert code_hashes() == before
    for now in (written.replace('{"a", "b"}', '{"a"}'), written.replace("x in", "x not in")):
        deciding.write_text(now)
        assert code_hashes() != before


def test_a_hash_is_the_same_in_every_process() -> None:
    command = [
        sys.executable,
        "-c",
        "from minigpt_search.search.records.provenance import code_hashes; print(code_hashes())",
    ]
    said = {
        subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"PYTHONHASHSEED": s},
        ).stdout
        for s in ("1", "2")
    }
    assert said == {f"{code_hashes()}\n"}
