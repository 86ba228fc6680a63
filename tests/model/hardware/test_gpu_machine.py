"""`tests/benchmarks/gpu/machine.py`: what a machine hasn't is said, and nothing else lost."""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks" / "gpu"


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The command as a module, where no program is found but those in `tmp_path`."""
    monkeypatch.syspath_prepend(FOLDER.parent / "common")
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    return importlib.import_module("machine")


def test_an_nvidia_smi_that_isn_t_there_or_hangs_is_said(
    machine: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert machine.driver() == "unknown: no nvidia-smi here"
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nexec /bin/sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setattr(machine, "SMI_SECONDS", 0.2)
    assert machine.driver() == "unknown: no answer of nvidia-smi in 0.2 s"
    program.write_text("#!/bin/sh\necho 575.1, 1980 MHz\n")
    monkeypatch.setattr(machine, "SMI_SECONDS", 30)
    assert machine.driver() == "575.1, 1980 MHz"


def test_that_there_is_no_compiler_is_said_and_fails(
    machine: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "machine.json"
    monkeypatch.setattr(sys, "argv", ["machine.py", "--json", str(path)])
    monkeypatch.setattr(machine, "CHECKS", (machine.compiler,))
    assert machine.main() == 1
    assert "no C compiler found" in json.loads(path.read_text())["compiler"]


def test_a_full_disk_leaves_the_results_so_far(
    machine: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "machine.json"
    path.write_text("so far")
    monkeypatch.setattr(sys, "argv", ["machine.py", "--json", str(path)])
    monkeypatch.setattr(machine, "CHECKS", (machine.environment,))

    def full(descriptor: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        machine.main()
    assert path.read_text() == "so far" and list(tmp_path.iterdir()) == [path]
