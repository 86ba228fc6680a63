"""Races in shared memory, looked for by NVIDIA's compute-sanitizer in training steps of 2,048
tokens, launched kernel by kernel: one in this project's kernels fails, one in others' is said.

python tests/benchmarks/gpu/racecheck.py
python tests/benchmarks/gpu/racecheck.py --device cpu       # the steps alone, nothing checked

A kernel that refills a shared buffer before all have read it is wrong once in thousands of steps,
which no test of some steps sees (pytorch#187687: the embedding's gradient of up to 3,072 indices).
Libraries' products are not looked at: up to release 2026.1 the tool takes a Hopper's way of waiting
in them for races (https://docs.nvidia.com/compute-sanitizer/ReleaseNotes/), they take most of its
time, and no argument of ours could cause one.

That nothing is found says something only where something would be: a race is planted, too.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "src"))  # import from the checkout

STEPS = 3
LIBRARIES = ("cublas", "cutlass", "nvjet", "xmma", "gemm", "gemv", "splitK", "cudnn", "flash")
"""In the names of libraries' kernels: they are left out."""
OTHERS = re.compile("|".join((*LIBRARIES, "at::", "at_cuda_detail", "c10::", "cub::", "thrust::")))
"""In a report on a kernel of torch's or a library's; each other one is on ours."""
PLANTED = "planted_race"
SOURCE = f"""
extern "C" __global__ void {PLANTED}(float* out) {{
    __shared__ float shared[64];
    shared[threadIdx.x] = threadIdx.x;
    out[threadIdx.x] = shared[63 - threadIdx.x];
}}
"""
"""Two warps, each reads what the other writes, and none waits."""
FOUND = 9
"""The exit status for a race in a kernel of ours."""


def find_tool() -> str | None:
    """compute-sanitizer, from the path, a CUDA toolkit or a wheel."""
    homes = [os.environ.get("CUDA_HOME", ""), "/usr/local/cuda", "/opt/cuda"]
    wheels = Path(sysconfig.get_paths()["purelib"], "nvidia").rglob("compute-sanitizer")
    found = shutil.which("compute-sanitizer")
    places = [Path(home, "bin", "compute-sanitizer") for home in homes if home]
    return found or next((str(p) for p in [*places, *wheels] if os.access(p, os.X_OK)), None)


def command_of(tool: str) -> list[str]:
    """How the tool is called; what it is to check follows."""
    told = subprocess.run([tool, "--help"], capture_output=True, text=True).stdout
    command = [tool, "--tool", "racecheck", "--target-processes", "application-only"]
    command += ["--print-limit", "1000"]
    names = ("--kernel-name-exclude", "--kernel-regex-exclude")  # that before 2023.3
    exclude = next((name for name in names if name in told), None)
    if exclude:
        command += [exclude, ",".join(f"kns={each}" for each in LIBRARIES)]
    return command


def take_steps(device: str) -> None:
    """Some steps of a small model on a whole batch of tokens, without a graph."""
    import torch

    from minigpt_search.model.config import RunConfig
    from minigpt_search.model.hardware.device import best_precision
    from minigpt_search.model.network.gpt import GPT
    from minigpt_search.model.training.step import Step

    config = RunConfig().replace(vocab_size=500, embed_dim=32, n_layers=1)
    config = config.replace(precision=best_precision(device))
    model = GPT(config.model).to(device).train()
    model.draw_dropout_from(torch.Generator(device))
    step = Step(model, config.train, device)
    shape = (config.train.batch_size, config.model.seq_len)
    for _ in range(STEPS):
        tokens = torch.randint(config.model.vocab_size, shape, device=device)
        step._compute(tokens, tokens)
    sequences = step.sums.read().sequences
    print(f"{sequences:.0f} sequences of {config.model.seq_len} tokens", flush=True)


def plant() -> None:
    """Run a kernel with a race, compiled by torch's NVRTC."""
    import torch

    kernel = torch.cuda._compile_kernel(SOURCE, PLANTED)
    kernel(grid=(1, 1, 1), block=(64, 1, 1), args=[torch.zeros(64, device="cuda")])
    torch.cuda.synchronize()


def reports(lines: Iterable[str]) -> list[str]:
    """The tool's reports of races, each in one line."""
    found: list[str] = []
    open_report = False
    for line in lines:
        if not line.startswith("========="):
            continue  # what the program prints
        text = line.strip("= \n")
        if "Race reported between" in text:
            found.append(text)
            open_report = True
        elif open_report and text.startswith("and "):
            found[-1] += f" {text}"
        else:
            open_report = False
    return found


def judge(lines: list[str], status: int) -> int:
    """Say what the tool's output comes to; the exit status."""
    found = reports(lines)
    planted = [each for each in found if PLANTED in each]
    others = [each for each in found if each not in planted and OTHERS.search(each)]
    ours = [each for each in found if each not in planted and each not in others]
    errors = [each for each in ours if each.startswith("Error")]
    print(f"In others' kernels: {len(others)} reports, which count for nothing here")
    print(f"In this project's: {len(errors)} races, {len(ours) - len(errors)} warnings")
    if errors:
        return FOUND
    if not any("RACECHECK SUMMARY" in line for line in lines) or status != 0:
        print(f"The check did not come to its end: status {status}")
        return status or 1
    if not planted:
        print("The race that was planted was not found, so that nothing is shown")
        return 1
    return 0


def check(tool: str) -> int:
    """Take the steps under the tool; the exit status. What it prints is passed on at once."""
    command = [*command_of(tool), sys.executable, __file__, "--steps-alone"]
    lines: list[str] = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    return judge(lines, process.returncode)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--steps-alone", action="store_true", help="what is checked")
    args = parser.parse_args()
    if args.steps_alone or args.device == "cpu":
        take_steps(args.device)
        if args.device != "cpu":
            plant()
        return 0
    tool = find_tool()
    if tool is None:
        print("There is no compute-sanitizer here: nothing was checked")
        return 1
    return check(tool)


if __name__ == "__main__":
    sys.exit(main())
