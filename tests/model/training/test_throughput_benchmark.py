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
from minigpt_search.data.corpus.corpus import open_corpus

LOOP = "minigpt_search.model.training.loop"
BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "training" / "throughput.py"


@pytest.fixture
def throughput(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The command as a module; its neighbours are found as when it runs as a file."""
    monkeypatch.syspath_prepend(BENCHMARK.parents[1] / "common")
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
    assert content["complete"] and content["left_out"] == {}
    results = content["contenders"]
    assert [result["name"] for result in results] == contenders.split(",")
    reference = results[0]["first_loss_nats"]
    assert reference == pytest.approx(math.log(300), abs=0.1)  # untrained: a uniform prediction
    for result in results:
        tolerance = 1e-4 if result["precision"] == "fp32" else 0.05
        assert result["first_loss_nats"] == pytest.approx(reference, abs=tolerance)
        assert result["first_loss_with_dropout_nats"] == pytest.approx(reference, abs=0.2)
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
    differences = importlib.import_module("throughput_results").loss_differences(contenders)
    result = {"embed_dim": 32, "failures": {}, "loss_differences_nats": differences}
    assert len(throughput.faults([result | {"contenders": []}])) == found


@pytest.mark.parametrize(("timed", "found"), [(5.8, 0), (6.7, 1), (math.nan, 1)])
def test_so_is_one_that_is_another_model_once_it_is_compiled(
    timed: float, found: int, throughput: ModuleType
) -> None:
    contender = {
        "name": "ours-compiled",
        "first_loss_nats": 5.7,
        "first_loss_with_dropout_nats": timed,
    }
    result = {"embed_dim": 32, "failures": {}, "loss_differences_nats": {}}
    assert len(throughput.faults([result | {"contenders": [contender]}])) == found


def test_what_the_device_only_emulates_is_left_out_and_named(
    throughput: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    emulated, floor = importlib.import_module("emulated"), importlib.import_module("floor")
    peers = importlib.import_module("peers")
    for module in (emulated, peers):
        monkeypatch.setattr(module, "best_precision", lambda device: "fp32")
    named = "ours,transformers-fp32,transformers-bf16-autocast"
    names, left_out = peers.chosen(named, "cpu")
    assert names == ["ours", "transformers-fp32"]
    assert left_out == {"transformers-bf16-autocast": "this device only emulates bf16"}
    assert not any("bf16" in name for name in peers.chosen(None, "cpu")[0])
    assert peers.chosen(named, "cpu", quick=True) == (named.split(","), {})
    with pytest.raises(UserError, match="only emulates bf16"):
        peers.chosen("transformers-bf16-autocast", "cpu")
    shape = throughput.base_config(True).model
    assert {product.precision for product in floor.products(shape, 64, "cpu")} == {"fp32"}
    monkeypatch.setattr(emulated, "best_precision", lambda device: "bf16")
    assert {p.precision for p in floor.products(shape, 64, "cpu")} == {"fp32", "bf16"}


@pytest.mark.parametrize("end", ["interrupted", "failed"])
def test_each_round_is_kept(
    throughput: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    end: str,
) -> None:
    """Of a run that is cut short, or a contender that is, there is what it had measured."""
    turns = importlib.import_module("turns")

    class Child:
        rounds = 0

        def __init__(self, spec: dict[str, Any]) -> None:
            self.name, self.idle_share = spec["name"], 0.0

        def __enter__(self) -> Child:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def ask(self, do: str, **arguments: int) -> dict[str, Any]:
            if self.name == "products":
                Child.rounds += do == "turn"
                return {"flops_per_second": {"a product": 1e12}, "baseline_memory_mb": 100.0}
            if Child.rounds == 2:
                raise KeyboardInterrupt if end == "interrupted" else turns.Failed("no memory")
            losses = dict.fromkeys(("first_loss_nats", "first_loss_with_dropout_nats"), 5.7)
            return {"seconds": 1.0, "prepare_seconds": 9.0, "peak_memory_mb": 200.0, **losses}

    monkeypatch.setattr(throughput, "Child", Child)
    path = tmp_path / "t.json"
    words = ["--quick", "--device", "cpu", "--contenders", "ours", "--rounds", "5"]
    monkeypatch.setattr(sys, "argv", [str(BENCHMARK), *words, "--json", str(path)])
    if end == "interrupted":
        with pytest.raises(KeyboardInterrupt):
            throughput.main()
    else:
        assert throughput.main() == 1
    content = json.loads(path.read_text())
    assert content["complete"] == (end == "failed")
    assert content["shapes"][0]["failures"] == ({"ours": "no memory"} if end == "failed" else {})
    assert len(content["contenders"][0]["tokens_per_second"]) == 2
    said = capsys.readouterr().err  # also before a first round has ended
    assert "ours: ready in 9.0 s\n" in said and said.count("ours: 2 steps in 1.000 s\n") == 2


def test_nothing_is_compiled_twice(throughput: ModuleType, tmp_path: Path) -> None:
    child, peers = importlib.import_module("child"), importlib.import_module("peers")
    importlib.import_module("synthetic_corpus").write_synthetic_corpus(tmp_path / "c", 4000)
    made: list[tuple[str | None, float]] = []

    class Counted:
        def __init__(self, config: Any, corpus: object, device: str, kind: Any) -> None:
            made.append((kind.compile_mode, config.model.dropout))

        def train(self, batches: Any) -> float:
            list(batches)
            return 5.7

    kind = peers.Kind(make=Counted, precision="fp32", compile_mode="default")
    config = throughput.base_config(True).to_dict()
    spec = {"name": "counted", "config": config, "corpus": str(tmp_path / "c"), "device": "cpu"}
    peers.KINDS["counted"] = kind
    try:
        child.Trainer(spec).prepare()
    finally:
        del peers.KINDS["counted"]
    assert made == [(None, 0.0), ("default", throughput.base_config(True).model.dropout)]


@pytest.mark.parametrize("compiles", [True, False])
def test_compiled_is_what_was_compiled(
    throughput: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, compiles: bool
) -> None:
    peers, loop = importlib.import_module("peers"), importlib.import_module(LOOP)
    importlib.import_module("synthetic_corpus").write_synthetic_corpus(tmp_path / "c", 4000)
    corpus, config = open_corpus(tmp_path / "c"), throughput.base_config(True)
    calls: list[object] = []

    def compile_blocks(model: Any, config: object) -> bool:
        calls.append(config)
        if compiles:
            for block in model.blocks:
                block.forward = block.forward
        return compiles

    monkeypatch.setattr(loop, "compile_blocks", compile_blocks)
    for module in (peers, loop):
        monkeypatch.setattr(module, "triton_runs", lambda: True)
    peers.Ours(config, corpus, "cpu", peers.KINDS["ours"])
    assert not calls
    if compiles:
        peers.Ours(config, corpus, "cpu", peers.KINDS["ours-compiled"])
        assert len(calls) == 1
    else:
        with pytest.raises(RuntimeError, match="not compiled"):
            peers.Ours(config, corpus, "cpu", peers.KINDS["ours-compiled"])
    monkeypatch.setattr(peers, "triton_runs", lambda: False)
    with pytest.raises(RuntimeError, match="Triton"):
        peers.Ours(config, corpus, "cpu", peers.KINDS["ours-compiled"])
