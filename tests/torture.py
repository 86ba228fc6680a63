"""Kills real searches at random moments, resumes them, and compares with an undisturbed one.

    python tests/torture.py --rounds 50 --seed 1
    python tests/torture.py --rounds 1 --seed 1          # what `pytest -m slow` runs

Each round is a search of four trials, by turns a grid with two at a time and TPE with one at a
time. It meets one to three faults (`tests/torture_faults.py`), is resumed after each that ended
it, and must then have the ledger of the undisturbed search to the bit, with nothing trained twice
beyond its last checkpoint and nothing left behind (`tests/torture_checks.py`). Exits with 1 at the
first round that has not.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(
    0, str(Path(__file__).resolve().parents[1] / "src")
)  # the checkout, beside this folder

import psutil
from torture_checks import (
    Losses,
    Moment,
    check_end,
    check_nothing_was_lost,
    losses_of,
    records,
    take_moment,
)
from torture_faults import FAULTS, SURVIVED, Target, small_disk

from minigpt_search.data.common.paths import artifacts_root
from minigpt_search.data.corpus.spec import CorpusSpec
from minigpt_search.data.pipeline.build import prepare_corpus

RUN = Path(__file__).resolve().parents[1] / "search" / "run.py"
TRIALS = 4
COMMON = ("--corpus", "torture", "--embed-dim", "16", "--checkpoint-every", "1")
ONE_AT_A_TIME = ("--max-concurrent", "1", "--cpus-per-trial", "1")
KINDS = {
    "grid": ("--grid", "lr", *COMMON),
    "tpe": ("--search", "tpe", "--trials", f"{TRIALS}", "--epochs", "1", *ONE_AT_A_TIME, *COMMON),
}
PATIENCE = 300
"""Seconds after which a driver counts as hanging."""
RAY_EXITS = "core_worker_process.cc"
"""In what Ray (2.60) says before it ends the driver's process by itself: a raylet was killed in the
second in which `ray.init` waits for it. Nothing is lost, and nothing else can be said."""


class Search:
    """A search in a folder of its own, begun once and resumed as often as it takes."""

    def __init__(self, root: Path, name: str, kind: str) -> None:
        self.root, self.name, self.kind = root, name, kind
        self.folder = root / "experiments" / name
        self.resumed = 0

    def start(self) -> subprocess.Popen[str]:
        words = ["--resume", self.name]
        if not (self.folder / "experiment.json").exists():
            words = [*KINDS[self.kind], "--name", self.name]
        else:
            self.resumed += 1
        command = [sys.executable, str(RUN), *words, "--out", str(self.root)]
        return subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # a process group of its own, as a terminal gives it
        )

    def ended(self) -> bool:
        ledger = self.folder / "ledger.jsonl"
        return ledger.exists() and len(records(self.folder)) == TRIALS


def finish(driver: subprocess.Popen[str], *, may_fail: bool) -> str:
    """Wait for the driver's end and return what it printed."""
    output, _ = driver.communicate(timeout=PATIENCE)
    assert "Traceback" not in output, output
    may_fail = may_fail or RAY_EXITS in output
    # -11: Ray (2.60) crashes at the exit of a process that got SIGTERM while it started.
    expected = (0, 1, 2, -9, -11, -15) if may_fail else (0,)
    assert driver.returncode in expected, f"exit status {driver.returncode}\n{output}"
    if driver.returncode in (1, -11) and RAY_EXITS not in output:
        assert "--resume" in output, output
    return output


def torment(search: Search, faults: list[str], chance: random.Random, span: float) -> list[Moment]:
    """Let the faults happen to it, each at a random moment of `span` seconds; resume it until it
    ends. Returns what was there after each fault."""
    moments = []
    for fault in faults:
        if search.ended():
            break
        driver = search.start()
        try:
            driver.wait(timeout=chance.uniform(0, 0.8 * span))
        except subprocess.TimeoutExpired:
            assert driver.stdout is not None
            target = Target(
                driver=psutil.Process(driver.pid),
                folder=search.folder,
                home=search.root,
                chance=chance,
                screen=driver.stdout,
            )
            undo = FAULTS[fault](target)
            if fault in SURVIVED:
                moments.append(take_moment(search.folder))
                finish(driver, may_fail=False)
                undo()
                continue
            finish(driver, may_fail=True)
            undo()
            moments.append(take_moment(search.folder))
        else:
            finish(driver, may_fail=False)
    finish(search.start(), may_fail=False)
    return moments


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, help="of the moments and faults (the clock)")
    parser.add_argument("--fault", choices=FAULTS, help="only this one")
    parser.add_argument("--source", default="builtin:wikipedia-leads", help="text to train on")
    args = parser.parse_args()
    seed = args.seed if args.seed is not None else time.time_ns() % 2**31
    print(f"seed {seed}", flush=True)
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="torture-") as scratch:
        root = Path(scratch) / "home"
        with small_disk(root):
            downloads = artifacts_root() / "downloads"
            downloads.mkdir(parents=True, exist_ok=True)
            (root / "downloads").symlink_to(downloads)
            sources = (args.source,)
            spec = CorpusSpec(name="torture", sources=sources, tokens=15_000, eval_tokens=1_000)
            prepare_corpus(spec, root, quiet=True)
            kinds = [args.fault] if args.fault else list(FAULTS)
            return run_rounds(args.rounds, root, kinds, chance)


def run_undisturbed(root: Path, kind: str) -> tuple[float, Losses]:
    """The seconds that a search takes, and its losses."""
    search, began = Search(root, f"undisturbed-{kind}", kind), time.monotonic()
    finish(search.start(), may_fail=False)
    span, losses = time.monotonic() - began, losses_of(search.folder)
    check_end(search.folder, losses)
    print(f"undisturbed {kind}: {TRIALS} trials in {span:.0f} s", flush=True)
    return span, losses


def run_rounds(rounds: int, root: Path, kinds: list[str], chance: random.Random) -> int:
    expected: dict[str, Losses] = {}
    spans = {}
    total, resumes = Counter(), 0
    for number in range(rounds):
        kind = list(KINDS)[number % len(KINDS)]
        if kind not in expected:
            spans[kind], expected[kind] = run_undisturbed(root, kind)
        faults = chance.choices(kinds, k=chance.randint(1, 3))
        search, began = Search(root, f"round-{number + 1}", kind), time.monotonic()
        try:
            moments = torment(search, faults, chance, spans[kind])
            check_nothing_was_lost(search.folder, moments)
            check_end(search.folder, expected[kind])
        except (AssertionError, subprocess.TimeoutExpired) as error:
            print(f"round {number + 1} ({kind}; {', '.join(faults)}): FAILED\n{error}")
            return 1
        shutil.rmtree(search.folder)  # the disk is small
        total.update(faults[: len(moments)])
        resumes += search.resumed
        print(
            f"round {number + 1} ({kind}; {', '.join(faults[: len(moments)])}): the same ledger, "
            f"{time.monotonic() - began:.0f} s",
            flush=True,
        )
    told = ", ".join(f"{count} x {fault}" for fault, count in sorted(total.items()))
    print(
        f"{rounds} rounds, {sum(total.values())} faults, {resumes} resumes: nothing lost ({told})"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
