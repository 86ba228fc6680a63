"""Processes that take turns: started together, asked one at a time, in a fixed order, round by
round, so that a change of the machine's mood meets every contender alike.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

CHILD = Path(__file__).with_name("child.py")


class Failed(Exception):
    """A child ended before it answered; the message has its last words."""


def _environment(spec: dict[str, Any]) -> dict[str, str]:
    threads = {"OMP_NUM_THREADS": str(spec["threads"])}
    if spec["device"] == "cuda":  # its time is dear, and the processor has little to do
        return threads
    # Compiles in the process itself, which leaves no workers behind.
    return threads | {"TORCHINDUCTOR_COMPILE_THREADS": "1"}


class Child:
    """One process of `child.py`. `idle_share` is what it used of a core while it waited."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.name = spec["name"]
        self._idle_seconds = self._idle_processor_seconds = 0.0
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed in __exit__
        self._process = subprocess.Popen(
            [sys.executable, str(CHILD), json.dumps(spec)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=os.environ | _environment(spec),
        )

    def ask(self, do: str, **arguments: int) -> dict[str, Any]:
        """The answer to one request. Raises `Failed`."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self._process.wait()
            self._errors.seek(0)
            words = " / ".join(self._errors.read().strip().splitlines()[-3:])
            raise Failed(f"{self.name}: exit status {self._process.returncode}: {words}")
        answer = json.loads(line)
        if do == "turn":  # the wait before `prepare` is for the other children's start
            self._idle_seconds += answer["idle_seconds"]
            self._idle_processor_seconds += answer["idle_processor_seconds"]
        return answer

    @property
    def idle_share(self) -> float:
        return self._idle_processor_seconds / self._idle_seconds if self._idle_seconds else 0.0

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        if kind is not None:
            self._process.kill()
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._errors.close()


Answers = dict[str, list[dict[str, Any]]]


def take_turns(
    children: list[Child],
    arguments: Mapping[str, dict[str, int]],
    rounds: int,
    after_round: Callable[[Answers, dict[str, str]], None],
) -> None:
    """Prepare each child, then ask for its turns. `after_round` is told of the answers so far of
    each that took one, `prepare` first and then its turns, and why some take no more.

    `arguments` are those of a turn, by the child's name.
    """
    answers: Answers = {child.name: [] for child in children}
    failures: dict[str, str] = {}
    for request in ["prepare"] + ["turn"] * rounds:
        for child in children:
            if child.name in failures:
                continue
            try:
                given = arguments[child.name] if request == "turn" else {}
                answer = child.ask(request, **given)
                answers[child.name].append(answer)
                told = None
                if "steps" in given:
                    told = f"{given['steps']} steps in {answer['seconds']:.3f} s"
                elif "prepare_seconds" in answer:
                    told = f"ready in {answer['prepare_seconds']:.1f} s"
                if told:  # at once, for a run that is cut short
                    print(f"{child.name}: {told}", file=sys.stderr, flush=True)
            except Failed as failure:
                failures[child.name] = str(failure)
        if request == "turn":
            after_round({name: own for name, own in answers.items() if len(own) > 1}, failures)
