"""What a run went without is in its result, and in no other's."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from minigpt_search.data.corpus.corpus import Corpus
from minigpt_search.model import notes
from minigpt_search.model.config import RunConfig
from minigpt_search.model.hardware import device
from minigpt_search.model.loss import gpu as loss_gpu
from minigpt_search.model.network import embedding, lacks
from minigpt_search.model.records import EpochRecord
from minigpt_search.model.training import loop
from minigpt_search.model.training.hooks import Hooks
from minigpt_search.model.training.train import train, train_packed
from minigpt_search.model.training.trunk import train_branches

pytestmark = pytest.mark.filterwarnings("ignore:at:RuntimeWarning")


def lack(text: str) -> Hooks:
    return Hooks(on_start=lambda step: notes.note(f"at {text}"))


def test_a_run_has_its_own_each_once(tiny: RunConfig, corpus: Corpus) -> None:
    assert train(tiny, corpus, hooks=lack("first")).notes == ("at first",)
    twice = Hooks(on_start=lambda step: [notes.note("at twice") for _ in range(2)] and None)
    assert train(tiny, corpus, hooks=twice).notes == ("at twice",)
    assert train(tiny, corpus).notes == ()


def test_a_run_that_is_resumed_has_those_of_before_too(
    tiny: RunConfig, corpus: Corpus, tmp_path: Path
) -> None:
    """As where a trial was trained without a kernel, killed, and goes on in a whole process."""

    def cut(record: EpochRecord) -> None:
        raise KeyboardInterrupt

    given = {"checkpoint_dir": tmp_path, "checkpoint_every_seconds": 0.0}
    first = Hooks(on_start=lack("first").on_start, on_epoch=cut)
    with pytest.raises(KeyboardInterrupt):
        train(tiny.replace(epochs=2), corpus, hooks=first, **given)
    resumed = train(tiny.replace(epochs=2), corpus, hooks=lack("second"), **given)
    assert resumed.notes == ("at first", "at second")


def test_a_run_on_a_gpu_notes_its_lacks(
    tiny: RunConfig, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[RunConfig] = []
    monkeypatch.setattr(loop, "is_cuda", lambda device: True)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: None)
    monkeypatch.setattr(loop, "note_lacks", asked.append)
    loop.Run(tiny, corpus, "cpu", None, 1e9, Hooks())
    assert asked == [tiny]


def test_a_pack_s_members_go_without_the_same(tiny: RunConfig, corpus: Corpus) -> None:
    configs = [tiny.replace(seed=seed) for seed in (0, 1)]
    results = train_packed(configs, corpus, hooks=[lack("first"), Hooks()])
    assert [result.notes for result in results] == [("at first",)] * 2


def test_a_trunk_keeps_its_own_after_a_branch(
    tiny: RunConfig, corpus: Corpus, tmp_path: Path
) -> None:
    base = tiny.replace(schedule="wsd", warmup_steps=None, warmup_fraction=0.4)
    configs = [base.replace(epochs=epochs) for epochs in (1, 2)]
    late = Hooks(on_start=lack("trunk").on_start, on_epoch=lambda epoch: notes.note("at epoch"))
    ended = train_branches(
        configs,
        corpus,
        device="cpu",
        checkpoint_dirs=[tmp_path / "0", tmp_path / "1"],
        checkpoint_every_seconds=60,
        hooks=[lack("branch"), late],
    )
    assert {n: result.notes for n, result in ended} == {
        0: ("at trunk", "at branch"),  # it has the trunk's steps
        1: ("at trunk", "at epoch"),
    }


@pytest.mark.parametrize(("dropout", "seq_len", "expected"), [(0.1, 512, 0), (0.0, 256, 0)])
def test_where_all_is_there_nothing_is_noted(
    tiny: RunConfig, dropout: float, seq_len: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lacks, "triton_runs", lambda: True)
    monkeypatch.setattr(lacks, "scatter_fault", lambda: None)
    notes.begin()
    lacks.note_lacks(tiny.replace(dropout=dropout, seq_len=seq_len))
    assert notes.kept() == []


class Wrapped(Exception):
    """As Dynamo's `BackendCompilerFailed` is made."""

    def __init__(self, inner: Exception) -> None:
        super().__init__(f"backend='inductor' raised:\n{type(inner).__name__}: {inner}\n")
        self.inner_exception = inner


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            RuntimeError("CUDA error: out of memory\nCompile with TORCH_USE_CUDA_DSA"),
            "CUDA error: out of memory",
        ),
        (Wrapped(ValueError("no C compiler\nset CC")), "no C compiler"),
        (
            ValueError("at 3:5:\n  x = tl.load(p)\n      ^\nTypeError: no pointer\n"),
            "at 3:5: TypeError: no pointer",
        ),
        (KeyError(), "KeyError"),
        (Wrapped(MemoryError()), "MemoryError"),
    ],
)
def test_the_line_that_is_kept_has_the_cause(error: Exception, said: str) -> None:
    assert notes.first_line(error) == said


@pytest.mark.parametrize(
    ("found", "fault"),
    [(math.log(64), None), (0.0, "its kernel gave 0.0"), (math.nan, "its kernel gave nan")],
)
def test_a_kernel_that_runs_and_is_wrong_is_a_fault(
    found: float, fault: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = SimpleNamespace(softmax_losses=lambda *a, **k: torch.tensor([found]))
    monkeypatch.setitem(sys.modules, "minigpt_search.model.loss.softmax_kernel", given)
    zeros = torch.zeros
    monkeypatch.setattr(torch, "zeros", lambda *a, device=None, **k: zeros(*a, **k))
    assert loss_gpu.triton_fault.__wrapped__() == fault


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("Triton Error [CUDA]: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_a_passing_lack_of_memory_is_no_lack_for_good(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: object, **more: object) -> None:
        raise error

    kernels = SimpleNamespace(softmax_losses=full, scatter=full)
    for name in ("loss.softmax_kernel", "network.scatter_kernel"):
        monkeypatch.setitem(sys.modules, f"minigpt_search.model.{name}", kernels)
    for name in ("zeros", "ones", "tensor"):
        monkeypatch.setattr(torch, name, full)
    for ask in (
        loss_gpu.triton_fault.__wrapped__,
        embedding.scatter_fault.__wrapped__,
        lambda: loss_gpu.gives_fp32.__wrapped__(torch.bfloat16, "cuda"),
    ):
        with pytest.raises(type(error)):
            ask()


def test_half_precision_sums_are_noted(tiny: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lacks, "triton_runs", lambda: True)
    monkeypatch.setattr(lacks, "scatter_fault", lambda: None)
    monkeypatch.setattr(lacks, "gives_fp32", lambda dtype, device: False)
    notes.begin()
    lacks.note_lacks(tiny.replace(precision="fp32"))
    assert notes.kept() == []
    with pytest.warns(RuntimeWarning, match="gradients are rounded to bf16"):
        lacks.note_lacks(tiny.replace(precision="bf16"))


def test_a_gpu_without_triton_and_bits_that_differ_are_noted(
    tiny: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lacks, "triton_runs", lambda: False)
    monkeypatch.setattr(lacks, "triton_fault", lambda: "Failed to find C compiler")
    notes.begin()
    with pytest.warns(RuntimeWarning, match="no Triton kernels.*: Failed to find C compiler$"):
        lacks.note_lacks(tiny)
    monkeypatch.setattr(lacks, "triton_runs", lambda: True)
    monkeypatch.setattr(lacks, "scatter_fault", lambda: None)
    with pytest.warns(RuntimeWarning, match="other last bits"):
        lacks.note_lacks(tiny.replace(dropout=0.0, seq_len=257))
    assert len(notes.kept()) == 2


def test_triton_s_fault_is_told_in_a_line() -> None:
    loss_gpu.triton_fault.cache_clear()
    fault = loss_gpu.triton_fault()  # this machine has no GPU, and maybe no Triton
    assert fault and "\n" not in fault and not loss_gpu.triton_runs()
    loss_gpu.triton_fault.cache_clear()


def test_tf32_asked_for_by_torch_s_variable_is_overruled_and_noted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    monkeypatch.setenv(device.TORCH_TF32, "1")
    torch.set_float32_matmul_precision("high")  # what torch makes of it when it is imported
    notes.begin()
    with pytest.warns(RuntimeWarning, match="TORCH_ALLOW_TF32_CUBLAS_OVERRIDE is overruled"):
        device.keep_fp32_exact()
    assert torch.get_float32_matmul_precision() == "highest" and len(notes.kept()) == 1
    monkeypatch.delenv(device.TORCH_TF32)
    device.keep_fp32_exact()
    assert len(notes.kept()) == 1
