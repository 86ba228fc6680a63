"""A search while it runs, and one of whose trials fails.

What it listens on and starts is read from /proc: this machine only, and no dashboard.
"""

from __future__ import annotations

import ipaddress
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from minigpt_search.data.corpus.corpus import open_corpus
from minigpt_search.model.records import COMPLETE, FAILED
from minigpt_search.model.training.train import train
from minigpt_search.search.records.experiment import read_experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.trial_folder import trial_folder
from minigpt_search.search.results.labels import trial_label
from minigpt_search.search.trials.trial import Trial, grid_trials

SMALL = ("--corpus", "small", "--embed-dim", "16", "--epochs", "2", "--tokens-per-epoch", "4096")
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


def said_of(pid: int, file: str) -> list[str]:
    """A process' arguments or its environment; none of one that has ended."""
    try:
        return Path(f"/proc/{pid}/{file}").read_text().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a search was while it trained, and how it ended."""

    commands: list[list[str]]
    """Of its processes."""
    listening: set[Socket]
    connected: set[Socket]
    environments: list[dict[str, str]]
    """Of the gcs_server and the raylet: workers write their titles over what they were given, which
    they have from the raylet."""
    ended: subprocess.CompletedProcess[str]
    failing: Trial
    """Something is in the way of its weights."""


@pytest.fixture(scope="module")
def seen(command_of: Callable[..., list[str]], wait_for: Any, search_root: Path) -> Seen:
    """Of the experiment `running`."""
    command = command_of("search/run.py", "--grid", "lr", "--name", "running", *SMALL)
    driver = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    folder = search_root / "experiments" / "running"
    wait_for(driver, lambda: any(folder.glob("checkpoints/*/trial.json")))
    failing = grid_trials(read_experiment(folder))[-1]
    (trial_folder(folder, failing.trial_id) / "final.pt").mkdir(parents=True)
    pids = list(processes_below(driver.pid))
    commands = [said_of(pid, "cmdline") for pid in pids]
    listening, connected = sockets_of(pids, listening=True), sockets_of(pids, listening=False)
    environments = [
        said_of(pid, "environ")
        for pid in pids
        if Path(f"/proc/{pid}/exe").resolve().name in ("gcs_server", "raylet")
    ]
    assert driver.poll() is None  # all the while
    stdout, stderr = driver.communicate(timeout=200)
    return Seen(
        commands=commands,
        listening=listening,
        connected=connected,
        environments=[dict(v.split("=", 1) for v in e if "=" in v) for e in environments],
        ended=subprocess.CompletedProcess(command, driver.returncode, stdout, stderr),
        failing=failing,
    )


def test_a_running_search_listens_on_loopback_only(seen: Seen) -> None:
    for expected in ("gcs_server", "raylet", "ray::"):  # Ray's parts and a worker were looked at
        # One that is ending has no words any more.
        assert any(expected in command[0] for command in seen.commands if command), expected
    assert len(seen.listening) > 3
    assert all(ipaddress.ip_address(s[1]).is_loopback for s in seen.listening), seen.listening
    talked_to = {s[3] for s in seen.connected} - {"0.0.0.0", "::"}
    assert all(ipaddress.ip_address(remote).is_loopback for remote in talked_to)


def test_ray_runs_without_what_a_search_has_no_use_for(seen: Seen) -> None:
    started = {Path(word).name for command in seen.commands for word in command}
    assert {"gcs_server", "raylet"} <= started
    assert not started & {"monitor.py", "log_monitor.py", "dashboard.py"}
    assert 8265 not in {port for _, _, port, _ in seen.listening}  # the dashboard's


def test_no_usage_statistics(seen: Seen) -> None:
    told = seen.environments
    assert [variables["RAY_USAGE_STATS_ENABLED"] for variables in told] == ["0", "0"]
    code = "from ray._common.usage import usage_lib; print(usage_lib.usage_stats_enabled())"
    ray = subprocess.run([sys.executable, "-c", code], env=told[0], capture_output=True, text=True)
    assert ray.stdout == "False\n"  # Ray's own reading of what its processes were given


@pytest.mark.slow
@pytest.mark.usefixtures("threads")
def test_a_failed_trial_stops_no_other_and_is_tried_again_on_resume(
    seen: Seen, run_script: Callable[..., subprocess.CompletedProcess[str]], search_root: Path
) -> None:
    folder, done, trial = search_root / "experiments" / "running", seen.ended, seen.failing
    experiment, home = read_experiment(folder), trial_folder(folder, trial.trial_id)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    label = trial_label(experiment, trial.config, trial.replicate)
    assert f"Failed     {label}: IsADirectoryError" in done.stdout
    assert str(home / "error.log") in done.stdout
    assert "Traceback" in (home / "error.log").read_text()
    assert "search/run.py --resume running" in done.stdout
    ledger = Ledger(folder / "ledger.jsonl")
    assert [t.trial_id for t in ledger.trials if t.status == FAILED] == [trial.trial_id]
    assert len(ledger.complete()) == 3
    (home / "final.pt").rmdir()
    again = run_script("search/run.py", "--resume", "running")
    assert again.returncode == 0, again.stdout
    trials, corpus = Ledger(ledger.path).trials, open_corpus(experiment.corpus_folder(folder))
    assert {t.trial_id for t in trials} == {t.trial_id for t in grid_trials(experiment)}
    for record in trials:
        torch.set_num_threads(experiment.machine.threads_per_trial)
        alone = train(record.config, corpus)
        assert record.status == alone.status == COMPLETE
        assert [e.val_loss_nats for e in record.epochs] == [e.val_loss_nats for e in alone.epochs]


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
