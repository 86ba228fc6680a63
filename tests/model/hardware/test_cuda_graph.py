"""When a step is captured, replayed or run as it is, with a stand-in for CUDA's capture.

What needs a GPU is in `test_gpu.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from minigpt_search.model import notes
from minigpt_search.model.config import RunConfig
from minigpt_search.model.hardware import cuda_graph, retirement
from minigpt_search.model.hardware.cuda_graph import WARM_UP_STEPS, StepGraph
from minigpt_search.model.network.gpt import GPT
from minigpt_search.model.training import step as step_module
from minigpt_search.model.training.step import Step

Function = Callable[[Tensor, Tensor], None]


@pytest.fixture(autouse=True)
def in_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """What retires this process is forgotten after a test."""
    monkeypatch.setattr(retirement, "_reasons", [])


class FakeCapture:
    """Notes how the function was called; a capture runs nothing, its replay the function."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, failure: str | None = None) -> None:
        self.calls: list[str] = []
        self.failure = failure
        monkeypatch.setattr(cuda_graph, "run_on_side_stream", self.run_on_side_stream)
        monkeypatch.setattr(cuda_graph, "capture", self.capture)
        monkeypatch.setattr(cuda_graph, "_replace_state", torch.Generator.set_state)

    def run_on_side_stream(self, function: Function, tokens: Tensor, targets: Tensor) -> None:
        self.calls.append("warm-up")
        function(tokens, targets)

    def capture(
        self, function: Function, x: Tensor, y: Tensor, generators: Collection[torch.Generator]
    ) -> Callable[[], None]:
        self.calls.append("capture")
        if self.failure is not None:
            for generator in generators:
                torch.rand(3, generator=generator)  # whatever a failure leaves behind
            raise RuntimeError(self.failure)

        def replay() -> None:
            self.calls.append("replay")
            function(x, y)

        return replay


def make_step(config: RunConfig) -> Step:
    torch.manual_seed(0)
    model = GPT(config.model).train()
    model.draw_dropout_from(torch.Generator().manual_seed(1))
    return Step(model, config.train, "cpu")


def graphed(step: Step) -> Step:
    generator = step.model.dropout.generators[0]
    assert generator is not None
    step.compute = StepGraph(step._compute, step.config.batch_size, {generator})
    return step


def train(step: Step, sizes: list[int]) -> list[Tensor]:
    """One step for each batch size; returns all that a step changes."""
    generator = torch.Generator().manual_seed(2)
    for number, size in enumerate(sizes):
        tokens = torch.randint(60, (size, 8), generator=generator)
        step(tokens, tokens.flip(0), 1e-3 * (number + 1))
    stream = step.model.dropout.generators[0]
    assert stream is not None
    return [*step.model.parameters(), *step.sums.state().values(), stream.get_state()]


def assert_same(ours: list[Tensor], theirs: list[Tensor]) -> None:
    for a, b in zip(ours, theirs, strict=True):
        assert torch.equal(a, b)


def test_whole_batches_are_replayed_after_the_warm_up_and_short_ones_are_not(
    tiny: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeCapture(monkeypatch)
    sizes = [3, 8, 8, 8, 8, 3, 8]
    assert_same(train(graphed(make_step(tiny)), sizes), train(make_step(tiny), sizes))
    assert WARM_UP_STEPS == 2
    assert fake.calls == ["warm-up"] * 2 + ["capture"] + ["replay"] * 3


def test_what_can_t_be_captured_runs_with_the_same_numbers_and_one_warning(
    tiny: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeCapture(monkeypatch, "operation not permitted when stream is capturing\nmore")
    sizes = [8] * 5 + [3, 8]
    notes.begin()
    with pytest.warns(RuntimeWarning, match="no CUDA graph.*capturing$") as warned:
        ours = train(graphed(make_step(tiny)), sizes)
    assert len(warned) == 1 and notes.kept() == [str(warned[0].message)]
    assert retirement.retires() is not None
    assert fake.calls == ["warm-up", "warm-up", "capture"]
    assert_same(ours, train(make_step(tiny), sizes))


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (None, False),
        ("operation not permitted when stream is capturing", False),
        ("CUDA error: out of memory", True),
        ("CUDA out of memory. Tried to allocate 20.00 MiB. Process 7 has 3 GiB", True),
    ],
)
@pytest.mark.filterwarnings("ignore:no CUDA graph:RuntimeWarning")
def test_a_lack_of_memory_is_known_for_what_it_is(
    failure: str | None, expected: bool, tiny: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes.begin()
    FakeCapture(monkeypatch, failure)
    step = graphed(make_step(tiny))
    train(step, [8] * 4)
    assert isinstance(step.compute, StepGraph) and step.compute.lacks_memory == expected
    # Without torch's numbers, by which each trial's note would be another.
    assert [note.endswith(": out of memory") for note in notes.kept()] == [expected] * bool(failure)


def test_a_step_on_a_gpu_is_a_graph_with_exact_sums(
    tiny: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(step_module, "is_cuda", lambda device: True)
    monkeypatch.setattr(step_module, "keep_sums_exact", lambda: told.append("exact"))
    step = make_step(tiny)
    assert isinstance(step.compute, StepGraph) and told == ["exact"]


def test_fp16_is_replayed_too(tiny: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its gradient scaler has made its tensors in the warm-up, and decides without the host."""
    config = tiny.replace(precision="fp16")
    fake = FakeCapture(monkeypatch)
    sizes = [3, 8, 8, 8, 8, 3, 8]
    assert_same(train(graphed(make_step(config)), sizes), train(make_step(config), sizes))
    assert fake.calls == ["warm-up"] * 2 + ["capture"] + ["replay"] * 3


class Waits(TorchDispatchMode):
    """Refuses what reads a tensor's number on the host."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func is not torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def test_no_step_reads_a_number_on_the_host(tiny: RunConfig) -> None:
    """But for the head's on a CPU, which looks whether its sums overflowed, and its optimizer."""
    step = make_step(tiny.replace(precision="fp16"))
    train(step, [8])
    loss = step.model.loss(torch.zeros(8, 8).long(), torch.ones(8, 8).long(), torch.float16)
    with Waits():
        step.optimizer.zero_grad(set_to_none=True)
        step.scaled(loss).backward()
        step.scaler.unscale_(step.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(step.model.parameters(), 1.0)
        step.sums.add(loss.detach(), norm, 8)


def test_fp16_goes_on_after_a_capture_that_failed_half_way(
    tiny: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny.replace(precision="fp16")
    FakeCapture(monkeypatch)
    ours = graphed(make_step(config))

    def fail_half_way(function: Function, x: Tensor, y: Tensor, streams: object) -> None:
        ours.scaler.unscale_(ours.optimizer)  # as far as it came
        raise RuntimeError("no memory")

    monkeypatch.setattr(cuda_graph, "capture", fail_half_way)
    sizes = [8] * 4
    with pytest.warns(RuntimeWarning, match="no CUDA graph"):
        assert_same(train(ours, sizes), train(make_step(config), sizes))


class FakeCuda:
    """torch's calls around a capture, noted; it fails in the function or at its end."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[Any] = []
        graph = type("Graph", (), {"reset": lambda _: self.calls.append("reset")})
        monkeypatch.setattr(cuda_graph, "_failed", [])
        monkeypatch.setattr(torch.cuda, "CUDAGraph", graph)
        monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, 7))
        monkeypatch.setattr(torch.cuda, "current_stream", lambda: "current")
        monkeypatch.setattr(torch.cuda, "set_stream", lambda s: self.calls.append(f"to {s}"))
        monkeypatch.setattr(torch.cuda, "Stream", lambda: "own")
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 2)
        monkeypatch.setattr(torch.cuda, "graph", self.graph)
        monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", self.end, raising=False)

    @contextmanager
    def graph(self, graph: Any, pool: Any, stream: Any) -> Any:
        self.calls.append(("pool", pool))
        try:
            yield
        finally:
            raise RuntimeError("capture invalidated")

    def end(self, device: int, pool: Any) -> None:
        self.calls.append(("end", device, pool))
        raise RuntimeError("endAllocatePool: not currently recording to mempool_id")  # torch has


def test_a_capture_that_fails_ends_its_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeCuda(monkeypatch)
    x = torch.zeros(1)
    with pytest.raises(RuntimeError, match="capture invalidated"):
        cuda_graph.capture(lambda tokens, targets: None, x, x, [])
    assert fake.calls == [("pool", (0, 7)), "reset", ("end", 2, (0, 7)), "to current"]
    assert len(cuda_graph._failed) == 1  # kept: torch may still ask it
    monkeypatch.delattr(torch._C, "_cuda_endAllocateToPool")  # a torch that has none
    with pytest.raises(RuntimeError, match="capture invalidated"):
        cuda_graph.capture(lambda tokens, targets: None, x, x, [])


@pytest.mark.parametrize("cause", [RuntimeError("out of memory"), KeyboardInterrupt("now")])
def test_what_broke_a_capture_is_what_is_raised(
    cause: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not that it was broken, which torch raises over it."""
    fake, x = FakeCuda(monkeypatch), torch.zeros(1)

    def fail(tokens: Tensor, targets: Tensor) -> None:
        raise cause

    with pytest.raises(type(cause), match=str(cause)):
        cuda_graph.capture(fail, x, x, [])
    assert fake.calls[1:] == ["reset", ("end", 2, (0, 7)), "to current"]


def test_an_optimizer_s_state_from_another_kind_of_device_is_taken_over(tiny: RunConfig) -> None:
    step = make_step(tiny)
    train(step, [8, 8])
    state = step.optimizer.state_dict()
    for group in state["param_groups"]:  # as on a GPU
        group["lr"], group["capturable"] = torch.tensor(0.1), True
    other = make_step(tiny)
    other.load_optimizer(state)
    for group in other.optimizer.param_groups:
        assert (group["lr"], group["capturable"]) == (tiny.train.lr_peak, False)
    for ours, theirs in zip(step.model.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(
            step.optimizer.state[ours]["exp_avg"], other.optimizer.state[theirs]["exp_avg"]
        )
