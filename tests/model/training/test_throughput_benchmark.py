"""`tests/benchmarks/training/throughput.py` runs, its contenders train the same model; never a
time."""

from __future__ import annotations

import importlib
import json
import math
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from minigpt_search.data.common.errors import UserError

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "training" / "throughput.py"


@pytest.fixture
def throughput(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The command as a module; its neighbours are found as when it runs as a file."""
    monkeypatch.syspath_prepend(BENCHMARK.parent)
    return importlib.import_module("throughput")


def check(contenders: str, folder: Path) -> dict[str, Any]:
    """The JSON of a quick run of these contenders, whose first losses agree."""
    path = folder / "throughput.json"
    command = [sys.executable, str(BENCHMARK), "--quick", "--device", "cpu", "--threads", "1"]
    command += ["--contenders", contenders, "--json", str(path), "--figure", str(folder / "f.png")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (folder / "f.png").stat().st_size
    content = json.loads(path.read_text())
    results = content["contenders"]
    assert [result["name"] for result in results] == contenders.split(",")
    reference = results[0]["first_loss_nats"]
    assert reference == pytest.approx(math.log(300), abs=0.1)  # untrained: a uniform prediction
    for result in results:
        tolerance = 1e-4 if result["precision"] == "fp32" else 0.05
        assert result["first_loss_nats"] == pytest.approx(reference, abs=tolerance)
        low, high = result["tokens_per_second_spread"]
        assert 0 < low <= result["tokens_per_second_median"] <= high
        assert result["embed_dim"] == 32
    return content


@pytest.mark.slow
def test_quick_run_writes_what_it_measured(tmp_path: Path) -> None:
    content = check("ours-fp32,ours", tmp_path)
    assert content["floor_tokens_per_second"] == content["floors"]["32"] > 0
    assert content["threads"] == 1
    assert content["device"] == "cpu"
    assert {"date", "command", "machine", "versions", "shape"} <= content.keys()
    assert {"torch", "transformers"} <= content["versions"].keys()
    baseline = content["shapes"][0]["baseline_memory_mb"]
    assert all(result["peak_memory_mb"] > baseline > 0 for result in content["contenders"])


@pytest.mark.slow
def test_every_contender_starts_with_the_same_loss(tmp_path: Path) -> None:
    names = ["ours-fp32", "ours", "transformers-fp32", "transformers-bf16-autocast"]
    names += ["transformers-fp32-compiled", "transformers-bf16-compiled"]
    if find_spec("x_transformers"):
        names += ["x-transformers-fp32", "x-transformers-bf16-autocast"]
    check(",".join(names), tmp_path)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--contenders", "theirs"], "--contenders theirs"),
        (["--embed", "wide"], "--embed wide"),
        (["--embed", "30"], "embed_dim=30"),
        (["--rounds", "-1"], "--rounds -1"),
    ],
)
def test_mistakes_are_named_before_anything_starts(
    words: list[str], named: str, throughput: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [str(BENCHMARK), "--quick", "--device", "cpu", *words])
    with pytest.raises(UserError, match=named):
        throughput.main()


@pytest.mark.parametrize(
    ("precision", "loss", "found"),
    [
        ("fp32", 5.70005, 0),
        ("fp32", 5.7002, 1),
        ("fp32", math.nan, 1),
        ("bf16", 5.74, 0),
        ("bf16", 5.64, 1),
    ],
)
def test_a_loss_of_another_model_is_a_fault(
    precision: str, loss: float, found: int, throughput: ModuleType
) -> None:
    contenders = [
        {"precision": "bf16", "first_loss_nats": 5.71},
        {"precision": "fp32", "first_loss_nats": 5.7},
        {"precision": precision, "first_loss_nats": loss},
    ]
    differences = throughput.loss_differences(contenders)
    result = {"embed_dim": 32, "failures": {}, "loss_differences_nats": differences}
    assert len(throughput.faults([result])) == found
