"""A Ray cluster of several nodes on this machine: each its own processes, address and folder.

Token authentication is on. Nodes are known by a variable in the environment of their processes, so
that one can be killed as if its machine had gone.
"""

from __future__ import annotations

import os
import random
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import psutil

START_SECONDS = 120.0
_MARK = "MINIGPT_TEST_NODE"


class RayNodes:
    """Use as a context manager. The head has no processors to work with."""

    def __init__(self, hidden: Path | None = None, *, job_server: bool = False) -> None:
        """
        Args:
            hidden: a folder that the nodes don't see, where this user can take it from them.
            job_server: whether the head takes `ray job submit`; needs `ray[default]`.
        """
        can_hide = subprocess.run(["unshare", "--mount", "true"], check=False).returncode == 0
        hide = f'mount -t tmpfs none {hidden} && exec "$0" "$@"'
        self._before = ["unshare", "--mount", "sh", "-c", hide] if hidden and can_hide else []
        self._folder = Path(tempfile.mkdtemp(prefix="mg-"))
        self._net = f"127.{random.randint(2, 250)}.{random.randint(2, 250)}"
        self._count = 0
        self.address = f"{self._net}.1:{_free_port()}"
        self.jobs = f"http://{self._net}.1:{_free_port()}" if job_server else None
        """Where `ray job submit --address` finds the job server, if there is one."""
        self.environment = {
            **os.environ,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",  # as on one machine: else other tests hold trials up
            # A submitted job's `python` is what the head's shell finds.
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
        self.nodes: list[str] = []
        """Marks of the worker nodes."""
        self._started: dict[str, subprocess.Popen[bytes]] = {}
        """The first process of each node, by mark."""

    def __enter__(self) -> RayNodes:
        options = ["--port", self.address.rpartition(":")[2]]
        if self.jobs is None:
            options += ["--include-dashboard", "false"]
        else:
            host, _, port = self.jobs.removeprefix("http://").partition(":")
            options += ["--include-dashboard", "true"]
            options += ["--dashboard-host", host, "--dashboard-port", port]
        self._head = self._start("--head", *options, cores=0)
        return self

    def add(self, cores: int = 1) -> Path:
        """Start a node, and wait until it has joined. Returns its $MINIGPT_NODE_HOME."""
        self.nodes.append(self._start("--address", self.address, cores=cores))
        return self._home(self._count)

    def kill(self, place: int) -> None:
        """SIGKILL all processes of a worker node."""
        self._end(self.nodes.pop(place))

    def _end(self, mark: str) -> None:
        _kill_all(mark)
        self._started.pop(mark).wait()

    def kill_head(self) -> None:
        """SIGKILL all processes of the head; the nodes end by themselves a minute later."""
        _kill_all(self._head)

    def processes(self) -> list[psutil.Process]:
        """Those of the worker nodes."""
        return [each for each in psutil.process_iter() if _mark_of(each) in self.nodes]

    def _home(self, number: int) -> Path:
        return self._folder / str(number) / "home"

    def _start(self, *options: str, cores: int) -> str:
        self._count += 1
        mark = uuid.uuid4().hex
        log = self._folder / f"{self._count}.log"
        command = [
            *self._before,
            *(str(Path(sys.executable).with_name("ray")), "start", "--block"),
            *("--node-ip-address", f"{self._net}.{self._count}", "--num-cpus", str(cores)),
            *("--temp-dir", str(self._folder / str(self._count)), "--disable-usage-stats"),
            *("--min-worker-port", "0", "--max-worker-port", "0", "--num-gpus", "0"),
            *("--dashboard-agent-listen-port", str(_free_port())),  # its default is one a machine
            *("--object-store-memory", "100000000", *options),
        ]
        with log.open("wb") as file:
            started = subprocess.Popen(
                command,
                stdout=file,
                stderr=file,
                cwd=self._folder,
                env={
                    **self.environment,
                    _MARK: mark,
                    "MINIGPT_NODE_HOME": str(self._home(self._count)),
                },
            )
        self._started[mark] = started
        deadline = time.monotonic() + START_SECONDS
        while "Ray runtime started" not in log.read_text(errors="replace"):
            if started.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"a Ray node did not start:\n{log.read_text()}")
            time.sleep(0.1)
        return mark

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for mark in (*self.nodes, self._head):
            self._end(mark)
        shutil.rmtree(self._folder, ignore_errors=True)


def _kill_all(mark: str) -> None:
    for _ in range(3):  # some may just have been starting others
        own = [each for each in psutil.process_iter() if _mark_of(each) == mark]
        for process in own:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(own, timeout=10)


def _mark_of(process: psutil.Process) -> str | None:
    try:
        return process.environ().get(_MARK)
    except (psutil.Error, OSError):
        return None


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])
