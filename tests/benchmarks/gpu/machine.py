"""What a GPU machine has of what this project needs, in half a minute: packages, driver, compiler,
whether kernels in Triton run and if not why, and whether a step is captured as a graph.

python tests/benchmarks/gpu/machine.py --json machine.json
python tests/benchmarks/gpu/machine.py --device cpu               # does it work at all?
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import time
import tomllib
import traceback
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "src"))  # import from the checkout
sys.path.append(str(Path(__file__).resolve().parents[1] / "common"))

import torch
from json_file import write_json

from minigpt_search.model.config import RunConfig
from minigpt_search.model.hardware.cuda_graph import StepGraph
from minigpt_search.model.hardware.device import is_cuda
from minigpt_search.model.network.gpt import GPT
from minigpt_search.model.training.step import Step

ROOT = Path(__file__).resolve().parents[3]
VARIABLES = re.compile("CUDA|NVIDIA|TORCH|TRITON|CUBLAS|^CC$|^OMP_")
"""Of the environment, those that change what torch does."""
SMI_SECONDS = 10.0
"""For nvidia-smi's answer, which may never come where a driver is in trouble."""


def versions(device: str) -> str:
    """Python, torch and the CUDA that it was built with."""
    triton = "no Triton"
    if find_spec("triton"):
        import triton

        triton = f"Triton {triton.__version__}"
    python, cuda = platform.python_version(), torch.version.cuda
    return f"Python {python}, torch {torch.__version__}, CUDA {cuda}, {triton}"


def packages(device: str) -> str:
    """The project's requirements that can't be imported."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = [re.split(r"[<>=~!\[; ]", each)[0].replace("-", "_") for each in wanted]
    missing = [name for name in names if not find_spec(name)]
    return f"missing: {', '.join(missing)}" if missing else "all there"


def gpu(device: str) -> str:
    """The GPU, its memory and the driver."""
    if not is_cuda(device):
        return "not asked for"
    torch.cuda.init()  # says why, if there is none
    free, total = torch.cuda.mem_get_info()
    capability = ".".join(map(str, torch.cuda.get_device_capability()))
    return (
        f"{torch.cuda.get_device_name()}, capability {capability}, {free / 1e9:.0f} of "
        f"{total / 1e9:.0f} GB free; driver {driver()}"
    )


def driver() -> str:
    """Its version and the GPU's highest clock, which some containers can't ask for."""
    query = ["nvidia-smi", "--query-gpu=driver_version,clocks.max.sm", "--format=csv,noheader"]
    try:
        told = subprocess.run(query, capture_output=True, text=True, timeout=SMI_SECONDS)
    except FileNotFoundError:
        return "unknown: no nvidia-smi here"
    except subprocess.TimeoutExpired:
        return f"unknown: no answer of nvidia-smi in {SMI_SECONDS:g} s"
    return told.stdout.strip()


def compiler(device: str) -> str:
    """The C compiler that Triton and Inductor would call."""
    names = (os.environ.get("CC", ""), "gcc", "cc", "clang")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        raise FileNotFoundError("no C compiler found")
    told = subprocess.run([path, "--version"], capture_output=True, text=True)
    return f"{path}: {told.stdout.splitlines()[0]}"


def triton(device: str) -> str:
    """Whether the head's kernel compiles and runs."""
    if not is_cuda(device):
        return "not asked for"
    from minigpt_search.model.loss.gpu import ALIGNMENT
    from minigpt_search.model.loss.softmax_kernel import softmax_losses

    logits = torch.zeros(1, ALIGNMENT, device=device)
    target = torch.zeros(1, dtype=torch.int64, device=device)
    softmax_losses(logits, target, ALIGNMENT, gradients=True)
    torch.cuda.synchronize()
    return "runs"


def graph(device: str) -> str:
    """Whether a small step is captured and replayed."""
    config = RunConfig().replace(vocab_size=500, embed_dim=16, n_layers=1, batch_size=4)
    model = GPT(config.model).to(device).train()
    model.draw_dropout_from(torch.Generator(device))
    step = Step(model, config.train, device)
    tokens = torch.zeros(4, config.model.seq_len, dtype=torch.int64)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "no CUDA graph")
        for _ in range(5):
            step(tokens, tokens, 1e-3)
    steps = f"{step.sums.read().sequences / 4:.0f} steps"
    captured = isinstance(step.compute, StepGraph) and step.compute.replay is not None
    return f"{steps}, {'captured' if captured else 'launched kernel by kernel'}"


def environment(device: str) -> str:
    """What is set there that changes what torch does."""
    found = {name: value for name, value in os.environ.items() if VARIABLES.search(name)}
    return ", ".join(f"{name}={value}" for name, value in sorted(found.items()))


CHECKS: tuple[Callable[[str], str], ...] = (
    versions,
    packages,
    gpu,
    compiler,
    triton,
    graph,
    environment,
)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--json", type=Path, metavar="PATH")
    args = parser.parse_args()
    found: dict[str, str] = {"processor": f"{platform.machine()}, {os.cpu_count()} cores"}
    failed = False
    for check in CHECKS:
        started = time.perf_counter()
        try:
            told = check(args.device)
        except Exception as error:  # noqa: BLE001 - what is wrong there is what is asked for
            traceback.print_exc()
            told = f"FAILED: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
            failed = True
        found[check.__name__] = f"{told} ({time.perf_counter() - started:.1f} s)"
        print(f"{check.__name__:12} {found[check.__name__]}", flush=True)
        if args.json:  # at once, for a run that is cut short
            write_json(args.json, found)
    return failed


if __name__ == "__main__":
    sys.exit(main())
