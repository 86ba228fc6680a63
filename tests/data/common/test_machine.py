"""Quotas of cgroups, versions 1 and 2, in folders made as the kernel shows them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from minigpt_search.data.common import machine
from minigpt_search.data.common.package import package_folder

Place = Callable[[str, dict[str, str]], None]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """`place(text of /proc/self/cgroup, {file below /sys/fs/cgroup: text})` on 64 cores."""

    def put(own: str, files: dict[str, str]) -> None:
        (tmp_path / "cgroup").write_text(own)
        for name, text in files.items():
            path = tmp_path / "fs" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    monkeypatch.setattr(machine, "PROC_CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(machine, "MOUNT", tmp_path / "fs")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    monkeypatch.setattr(os, "sysconf", lambda name: 4_096 if "SIZE" in name else 2**24)
    return put


@pytest.mark.parametrize(
    ("own", "files", "cores", "memory"),
    [
        ("0::/\n", {"cpu.max": "200000 100000\n", "memory.max": "8000000000\n"}, 2, 8 * 10**9),
        ("0::/\n", {"cpu.max": "max 100000\n", "memory.max": "max\n"}, 64, 2**36),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1, 2**36),
        ("0::/\n", {"cpu.max": "1000 100000\n"}, 1, 2**36),
        (  # a limit of a parent holds too
            "0::/user.slice/job\n",
            {
                "user.slice/cpu.max": "300000 100000",
                "user.slice/job/cpu.max": "max 100000",
                "user.slice/memory.max": "5000",
            },
            3,
            5_000,
        ),
        ("0::/../../docker/ab\n", {"cpu.max": "400000 100000"}, 4, 2**36),
        (
            "4:memory:/docker/ab\n3:cpu,cpuacct:/docker/ab\n0::/\n",
            {
                "cpu,cpuacct/cpu.cfs_quota_us": "500000\n",
                "cpu,cpuacct/cpu.cfs_period_us": "100000\n",
                "memory/memory.limit_in_bytes": "9000000\n",
            },
            5,
            9_000_000,
        ),
        (
            "3:cpu:/\n4:memory:/\n",
            {
                "cpu/cpu.cfs_quota_us": "-1\n",
                "cpu/cpu.cfs_period_us": "100000\n",
                "memory/memory.limit_in_bytes": "9223372036854771712\n",
            },
            64,
            2**36,
        ),
        ("", {}, 64, 2**36),
        ("0::/\n", {"cpu.max": "nonsense"}, 64, 2**36),
    ],
)
def test_a_quota_is_seen(
    place: Place, own: str, files: dict[str, str], cores: int, memory: int
) -> None:
    place(own, files)
    assert machine.usable_cores() == cores
    assert machine.usable_memory() == memory


def test_without_cgroups_it_is_the_affinity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "PROC_CGROUP", tmp_path / "none")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 5, 6}, raising=False)
    assert machine.usable_cores() == 3


@pytest.mark.skipif(
    not os.access("/sys/fs/cgroup/cpu", os.W_OK), reason="no cgroup of version 1 can be made here"
)
def test_a_real_quota() -> None:
    group = Path("/sys/fs/cgroup/cpu/minigpt-test")
    group.mkdir()
    try:
        (group / "cpu.cfs_quota_us").write_text("100000")
        code = (
            f"open('{group}/cgroup.procs', 'w').write('0')\n"
            "from minigpt_search.data.common.machine import usable_cores\nprint(usable_cores())"
        )
        environment = {**os.environ, "PYTHONPATH": str(package_folder().parent)}
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert done.stdout == "1\n", done.stderr
    finally:
        group.rmdir()
