"""What a running search listens on, read from /proc: this machine only, and no dashboard."""

from __future__ import annotations

import ipaddress
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Socket = tuple[str, str, int, str]
"""Protocol, local address, local port, remote address."""
TCP_LISTEN = "0A"


def processes_below(root: int) -> Iterator[int]:
    """`root` and all its descendants."""
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        yield pid
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            try:
                waiting += map(int, children.read_text().split())
            except OSError:  # it ended meanwhile
                continue


def socket_inodes(pid: int) -> set[str]:
    found = set()
    for descriptor in Path(f"/proc/{pid}/fd").glob("*"):
        try:
            target = str(descriptor.readlink())
        except OSError:
            continue
        if target.startswith("socket:["):
            found.add(target[len("socket:[") : -1])
    return found


def address(field: str) -> tuple[str, int]:
    """`0100007F:1F90` is 127.0.0.1, port 8080: words of four bytes in the machine's order."""
    digits, port = field.split(":")
    words = [digits[i : i + 8] for i in range(0, len(digits), 8)]
    packed = b"".join(int(word, 16).to_bytes(4, sys.byteorder) for word in words)
    ip = ipaddress.ip_address(packed)
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return str(mapped or ip), int(port, 16)


def sockets_of(pids: list[int], *, listening: bool) -> set[Socket]:
    """Internet sockets of these processes: those that wait for others, or all."""
    inodes = set().union(*map(socket_inodes, pids))
    found = set()
    for protocol in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/net/{protocol}").read_text().splitlines()[1:]:
            words = line.split()
            # A UDP socket that is bound has no state of its own: it hears whoever sends.
            waits = words[3] == TCP_LISTEN or protocol.startswith("udp")
            if words[9] in inodes and (waits or not listening):
                found.add((protocol, *address(words[1]), address(words[2])[0]))
    return found


@pytest.fixture(scope="module")
def running(
    command_of: Callable[..., list[str]], search_root: Path
) -> Iterator[subprocess.Popen[str]]:
    """A search while it trains."""
    words = ("--grid", "lr", "--name", "sockets", "--corpus", "small", "--epochs", "9")
    driver = subprocess.Popen(
        command_of("search/run.py", *words), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    folder, deadline = search_root / "experiments" / "sockets", time.monotonic() + 120
    while not list(folder.glob("checkpoints/*/trial.json")):
        assert driver.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    yield driver
    assert driver.poll() is None  # all the while
    driver.send_signal(signal.SIGINT)
    driver.communicate(timeout=60)


def test_a_running_search_listens_on_loopback_only(running: subprocess.Popen[str]) -> None:
    pids = list(processes_below(running.pid))
    commands = [Path(f"/proc/{pid}/cmdline").read_text() for pid in pids]
    for expected in ("gcs_server", "raylet", "ray::"):  # Ray's parts and a worker were looked at
        assert any(expected in command for command in commands), expected
    listening = sockets_of(pids, listening=True)
    assert len(listening) > 3
    outside = {s for s in listening if not ipaddress.ip_address(s[1]).is_loopback}
    assert not outside
    talked_to = {s[3] for s in sockets_of(pids, listening=False)} - {"0.0.0.0", "::"}
    assert all(ipaddress.ip_address(remote).is_loopback for remote in talked_to)


def test_no_dashboard_and_no_usage_statistics(running: subprocess.Popen[str]) -> None:
    pids = list(processes_below(running.pid))
    assert 8265 not in {port for _, _, port, _ in sockets_of(pids, listening=True)}
    for pid in pids:
        command = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        if any(word.endswith("dashboard.py") for word in command):
            assert "--disable-frontend" in command
    # Workers write their titles over what they were given; they have it from the raylet.
    told = [
        Path(f"/proc/{pid}/environ").read_text()
        for pid in pids
        if Path(f"/proc/{pid}/exe").resolve().name in ("gcs_server", "raylet")
    ]
    assert len(told) == 2 and all("RAY_USAGE_STATS_ENABLED=0" in given for given in told)
    code = "from ray._common.usage import usage_lib; print(usage_lib.usage_stats_enabled())"
    variables = dict(v.split("=", 1) for v in told[0].split("\0") if "=" in v)
    ray = subprocess.run(
        [sys.executable, "-c", code], env=variables, capture_output=True, text=True
    )
    assert ray.stdout == "False\n"  # Ray's own reading of what its processes were given


@pytest.mark.parametrize("kind", ["SOCK_STREAM", "SOCK_DGRAM"])
@pytest.mark.parametrize(("family", "host"), [("AF_INET", "0.0.0.0"), ("AF_INET6", "::")])
def test_a_socket_on_all_interfaces_of_a_grandchild_would_be_found(
    kind: str, family: str, host: str
) -> None:
    code = (
        f"import socket; s = socket.socket(socket.{family}, socket.{kind}); s.bind(('{host}', 0))\n"
        f"if '{kind}' == 'SOCK_STREAM': s.listen()\n"
        "print(s.getsockname()[1], flush=True); input()"
    )
    if family == "AF_INET6" and not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    shell = subprocess.Popen(
        ["sh", "-c", f'{sys.executable} -c "$0"; true', code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert shell.stdout is not None and shell.stdin is not None
    port = int(shell.stdout.readline())
    found = sockets_of(list(processes_below(shell.pid)), listening=True)
    shell.communicate("\n")
    assert [(s[1], s[2]) for s in found] == [(host, port)]
