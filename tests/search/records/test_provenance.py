"""Which code an experiment is held to: what can change a number or a decision, and nothing else."""

from __future__ import annotations

from pathlib import Path

import grimp
import pytest

from minigpt_search.data.common import package
from minigpt_search.search.records.provenance import DECIDING, ONLY_SHOWN, code_hashes

ENTRIES = ("search.run", "search.rerun", "search.worker.trainable", "search.driver.tuner")
"""What trains, and what decides which trials there are, which end early, and which is best."""
UNDECIDING = (
    *("data/common", "search/cli", "search/answer"),  # files; flags; sentences
    *("search/machines", "search/storage", "search/sync"),  # where trials run and files travel
    # How a corpus is made: what it holds has a hash of its own.
    *("data/cleaning", "data/filtering", "data/pipeline", "data/sources", "data/prepare.py"),
    *(
        "search/reuse",
        "search/run.py",
        "search/rerun.py",
        "model/generate.py",
    ),  # what is copied; the order of it all
)


def test_all_that_a_search_imports_is_held_to_or_known_to_decide_nothing() -> None:
    graph = grimp.build_graph("minigpt_search", cache_dir=None)
    folder = package.package_folder()
    undecided = []
    for entry in ENTRIES:
        module = f"minigpt_search.{entry}"
        for name in {module, *graph.find_upstream_modules(module)}:
            path = folder.joinpath(*name.split(".")[1:])
            if path.is_dir():
                continue  # an __init__.py, which holds a sentence
            file = path.with_suffix(".py").relative_to(folder).as_posix()
            if file not in code_hashes() and not file.startswith((*UNDECIDING, *ONLY_SHOWN)):
                undecided.append(file)
    assert sorted(set(undecided)) == []


def test_every_named_part_is_there() -> None:
    for part in (*DECIDING, *ONLY_SHOWN, *UNDECIDING):
        assert package.source_files(part), part


def test_a_changed_file_has_another_hash_and_texts_have_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = code_hashes()
    assert {"model/training/loop.py", "search/results/winner.py", "model/config.py"} <= set(here)
    assert not {"search/cli/parser.py", "search/driver/progress.py", "reports/generate.py"} & set(
        here
    )
    for name in ("model/training/a.py", "search/results/a.py", "search/cli/a.py"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("x = 1\n")
    monkeypatch.setattr(package, "package_folder", lambda: tmp_path)
    monkeypatch.setattr(
        "minigpt_search.search.records.provenance.DECIDING", ("model/training", "search/results")
    )
    before = code_hashes()
    assert list(before) == ["model/training/a.py", "search/results/a.py"]
    for name in ("model/training/a.py", "search/cli/a.py"):
        (tmp_path / name).write_text("x = 2\n")
    changed = {name for name, digest in code_hashes().items() if before[name] != digest}
    assert changed == {"model/training/a.py"}
