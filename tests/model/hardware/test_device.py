"""What precision a machine gets, and what is noted of it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import torch

from minigpt_search.data.common.errors import UserError
from minigpt_search.model.config import PRECISIONS
from minigpt_search.model.hardware import device


@pytest.mark.parametrize(
    ("capability", "expected"), [((7, 5), "fp16"), ((8, 0), "bf16"), ((9, 0), "bf16")]
)
def test_cuda_devices_older_than_ampere_get_fp16(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    assert device.best_precision("cuda") == expected


@pytest.mark.parametrize(("has_bf16", "expected"), [(True, "bf16"), (False, "fp32")])
def test_a_cpu_gets_bf16_only_if_it_multiplies_it(
    monkeypatch: pytest.MonkeyPatch, has_bf16: bool, expected: str
) -> None:
    monkeypatch.setattr(device, "_cpu_has", lambda probe: has_bf16)
    assert device.best_precision("cpu") == expected


def test_this_machine_is_described() -> None:
    described = device.describe_device("cpu")
    assert (described.kind, described.threads) == ("cpu", torch.get_num_threads())
    assert described.name == device.processor_name()
    assert device.hardware()["cores"] == device.usable_cores() >= 1
    assert device.peak_memory_mb("cpu") > 10
    assert device.versions()["torch"] == torch.__version__
    assert tuple(device.TORCH_TYPES) == PRECISIONS


def test_gpus_that_are_counted_but_can_t_be_used_are_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 9000).")

    (tmp_path / "nvidia0").touch()
    monkeypatch.setattr(device, "DEVICES", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)  # NVML's, which knows no runtime
    monkeypatch.setattr(torch.cuda, "get_device_name", refuse)
    monkeypatch.setattr(torch.cuda, "init", refuse)
    machine = device.hardware()
    assert machine["gpus"] == [] and "driver on your system is too old" in machine["unused_gpus"]


def test_a_machine_without_ray_says_what_else_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name in ("ray", "optuna"):
            raise PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(device, "version", version)
    assert device.versions().keys() == {"python", "torch", "tiktoken"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mps", "give cpu, cuda or cuda:N"),
        ("cuda:", "give cpu, cuda or cuda:N"),
        ("cpu:0", "give cpu, cuda or cuda:N"),
        ("cuda:2", "there are 2 CUDA devices"),
    ],
)
def test_a_device_that_is_not_there_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match=message):
        device.use_device(name)


def test_a_numbered_gpu_becomes_the_current_one(monkeypatch: pytest.MonkeyPatch) -> None:
    current = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    for name in ("cpu", "cuda", "cuda:1"):
        device.use_device(name)
    assert current == [1]


def test_cublas_made_to_use_tf32_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    device.use_device("cuda")
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    device.use_device("cpu")
    with pytest.raises(UserError, match=r"NVIDIA_TF32_OVERRIDE=1.*unset it"):
        device.use_device("cuda")


def fail(words: str) -> None:
    raise RuntimeError(f"{words}\nPlease update your GPU driver")


def test_gpus_that_torch_can_t_use_are_named_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(device, "DEVICES", tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "init", lambda: fail("The NVIDIA driver is too old"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert device.unused_gpus() is None and "unused_gpus" not in device.hardware()
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    expected = "2 NVIDIA GPUs here can't be used: The NVIDIA driver is too old"
    assert device.unused_gpus() == device.hardware()["unused_gpus"] == expected
    with pytest.raises(UserError, match=r"no CUDA device here .2 NVIDIA GPUs.*too old.; use cpu"):
        device.use_device("cuda")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # hidden on purpose
    assert device.unused_gpus() is None
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device.unused_gpus() is None


def test_cuda_without_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="torch sees no CUDA device"):
        device.use_device("cuda")
