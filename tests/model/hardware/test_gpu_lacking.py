"""`tests/benchmarks/gpu/lacking.py`: what parts of `gpu.sh` can't do without."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks" / "gpu"
BLOCKED = """
import importlib.util, sys
sys.path.insert(0, sys.argv.pop(1))
real, gone = importlib.util.find_spec, sys.argv.pop(1).split(",")
importlib.util.find_spec = lambda name, *rest: None if name in gone else real(name, *rest)
import lacking
lacking.main()
"""


def told(root: Path, gone: str, *words: str) -> list[str]:
    command = [sys.executable, "-c", BLOCKED, str(FOLDER), gone, *words]
    environment = os.environ | {"MINIGPT_HOME": str(root), "PATH": "", "CUDA_HOME": ""}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    return done.stdout.splitlines()


PARTS = ("machine", "correctness", "throughput", "search", "worker-tests", "packs")


@pytest.mark.parametrize(
    ("gone", "lines"),
    [
        ("", []),
        ("ray,optuna", ["search: ray, optuna", "worker-tests: ray, optuna"]),
        (
            "matplotlib",
            ["throughput: matplotlib", "search: matplotlib", "worker-tests: matplotlib"],
        ),
        ("torch", [f"{part}: torch" for part in PARTS]),
    ],
)
def test_packages_that_are_not_there_are_told_of_the_parts_that_need_them(
    tmp_path: Path, gone: str, lines: list[str]
) -> None:
    assert told(tmp_path, gone, "--quick", *PARTS) == lines


def test_a_gpu_s_parts_need_the_corpus_and_the_checker(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus" / "builtin"
    words = ("long-run", "racecheck", "packs")
    assert told(tmp_path, "", *words) == [
        f"long-run: the corpus {corpus}",
        "racecheck: compute-sanitizer",
    ]
    corpus.mkdir(parents=True)
    (corpus / "manifest.json").write_text("{}")
    assert told(tmp_path, "", *words) == ["racecheck: compute-sanitizer"]


def test_every_part_that_is_named_is_one_of_the_script_s(tmp_path: Path) -> None:
    script = (FOLDER.parent / "gpu.sh").read_text()
    named = told(tmp_path, "torch", *PARTS)
    for part in [line.partition(":")[0] for line in named]:
        assert f"part {part} " in script or part == "worker-tests"
