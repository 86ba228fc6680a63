"""Races in shared memory, looked for by NVIDIA's compute-sanitizer in training steps of 2,048
tokens, launched kernel by kernel.

python tests/benchmarks/gpu/racecheck.py
python tests/benchmarks/gpu/racecheck.py --device cpu       # the steps alone, nothing checked

A kernel that refills a shared buffer before all have read it is wrong once in thousands of steps,
which no test of some steps sees (pytorch#187687: the embedding's gradient of up to 3,072 indices).
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "src"))  # import from the checkout

STEPS = 3


def find_tool() -> str | None:
    """compute-sanitizer, from the path, a CUDA toolkit or a wheel."""
    homes = [os.environ.get("CUDA_HOME", ""), "/usr/local/cuda", "/opt/cuda"]
    wheels = Path(sysconfig.get_paths()["purelib"], "nvidia").rglob("compute-sanitizer")
    found = shutil.which("compute-sanitizer")
    places = [Path(home, "bin", "compute-sanitizer") for home in homes if home]
    return found or next((str(p) for p in [*places, *wheels] if os.access(p, os.X_OK)), None)


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
    print(f"{step.sums.read().sequences:.0f} sequences of {config.model.seq_len} tokens")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--steps-alone", action="store_true", help="what is checked")
    args = parser.parse_args()
    if args.steps_alone or args.device == "cpu":
        take_steps(args.device)
        return 0
    tool = find_tool()
    if tool is None:
        print("There is no compute-sanitizer here: nothing was checked")
        return 0
    steps = [sys.executable, __file__, "--steps-alone"]
    check = [tool, "--tool", "racecheck", "--error-exitcode", "9", "--print-limit", "20"]
    return subprocess.run([*check, *steps]).returncode


if __name__ == "__main__":
    sys.exit(main())
