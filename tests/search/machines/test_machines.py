"""What a search is planned with on a cluster's nodes, and what of a command line goes there."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt_search.data.common.errors import UserError
from minigpt_search.search.cli.make_experiment import make_experiment
from minigpt_search.search.cli.parser import check_options, make_parser
from minigpt_search.search.machines.local import LocalMachines
from minigpt_search.search.machines.machines import Machines, Node
from minigpt_search.search.planning.calibration import processes_together
from minigpt_search.search.records.experiment import Experiment

LR = ("--grid", "lr")


def node(cpus: int, gpus: int = 0, precision: str = "bf16") -> Node:
    device = "cuda" if gpus else "cpu"
    return Node(
        cpus=cpus,
        gpus=gpus,
        hardware={
            "processor": "CPU",
            "cores": cpus,
            "memory_gb": 10.5,
            "gpus": ["GPU"] * gpus,
        },
        device=device,
        precisions={"cpu": "fp32", device: precision},
    )


def cluster(*nodes: Node) -> Machines:
    machines = LocalMachines(nodes)
    machines.address = "127.0.0.1:1"
    return machines


def plan(machines: Machines, *words: str) -> Experiment:
    args = make_parser().parse_args([*LR, *words])
    return make_experiment(args, machines.device(args.device), machines)


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(0, 3)), min_size=1, max_size=4),
    st.integers(1, 3),
    st.sampled_from([0, 0.25, 1 / 3, 0.5, 1, 2]),
)
def test_slots_are_as_many_as_can_be_placed_one_by_one(
    offers: list[tuple[int, int]], threads: int, gpus: float
) -> None:
    """Against placing trials until no node has room; a part of a GPU is on one GPU."""
    placed = 0
    for cpus, count in offers:
        left = [1.0] * count
        while cpus >= threads:
            if gpus > 1:
                free = [n for n, part in enumerate(left) if part == 1.0][: int(gpus)]
                if len(free) < gpus:
                    break
                left = [0.0 if n in free else part for n, part in enumerate(left)]
            elif gpus:
                free = [n for n, part in enumerate(left) if part >= gpus - 1e-9]
                if not free:
                    break
                left[free[0]] -= gpus
            cpus -= threads
            placed += 1
    assert cluster(*(node(*offer) for offer in offers)).slots(threads, gpus) == placed


@pytest.mark.parametrize(
    ("offers", "words", "concurrent", "threads"),
    [
        ([(2, 0), (2, 0), (3, 0)], (), 4, 1),  # four trials: two threads find room for three
        ([(2, 0), (2, 0), (3, 0)], ("--seeds", "5"), 7, 1),
        ([(4, 0), (4, 0)], (), 4, 2),
        ([(4, 0), (4, 0)], ("--cpus-per-trial", "3"), 2, 3),
        ([(8, 2), (8, 2)], (), 4, 4),
        ([(8, 2), (16, 4)], ("--seeds", "9"), 6, 4),
        ([(8, 2), (16, 4)], ("--seeds", "9", "--trials-per-gpu", "2"), 12, 2),
        ([(3, 2), (16, 4)], ("--seeds", "9", "--trials-per-gpu", "2"), 11, 1),  # processors
    ],
)
def test_trials_at_a_time_on_nodes(
    offers: list[tuple[int, int]], words: tuple[str, ...], concurrent: int, threads: int
) -> None:
    made = plan(cluster(*itertools.starmap(node, offers)), *words)
    assert (made.machine.max_concurrent, made.machine.threads_per_trial) == (concurrent, threads)


def test_hardware_of_several_nodes_adds_up() -> None:
    made = plan(cluster(node(4), node(2), node(2)))
    assert made.machine.hardware == {
        "processor": "3 x CPU",
        "cores": 8,
        "memory_gb": 31.5,
        "gpus": [],
        "nodes": 3,
    }
    assert processes_together(made.replace(max_concurrent=8)) == 3


def test_an_experiment_of_before_a_gpu_s_memory_was_kept_goes_on_as_it_was() -> None:
    """And of several nodes the least is kept."""
    old, sizes = node(4, 1), (24.0, 80.0)
    new = [
        dataclasses.replace(old, hardware={**old.hardware, "gpu_memory_gb": size}) for size in sizes
    ]
    assert cluster(*new, node(2)).hardware["gpu_memory_gb"] == 24.0
    begun = plan(LocalMachines([old]), "--trials-per-gpu", "2")
    assert LocalMachines(new[:1]).fit(begun) is begun
    again = LocalMachines(new[1:]).fit(plan(LocalMachines(new[:1])))
    assert again.machine.hardware["gpu_memory_gb"] == 80.0


def test_precision_is_what_all_nodes_have() -> None:
    assert cluster(node(2, 1), node(2, 1)).precision("cuda") == "bf16"
    assert cluster(node(2, 1), node(2, 1, "fp16")).precision("cuda") == "fp16"
    assert cluster(node(2, 1), node(2)).precision("cuda") == "bf16"
    assert cluster(node(2), node(2, precision="fp32")).precision("cpu") == "fp32"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--device", "cuda"), "no CUDA device on the cluster's nodes"),
        (("--max-concurrent", "5"), "--max-concurrent 5 with 1 threads each is more than the 4"),
    ],
)
def test_more_than_the_nodes_have_is_refused(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError) as caught:
        plan(cluster(node(2), node(2)), *words)
    assert message in str(caught.value)


TOO_OLD = "1 NVIDIA GPU here can't be used: the driver is too old"


def unused(machine: Node) -> Node:
    return dataclasses.replace(machine, hardware={**machine.hardware, "unused_gpus": TOO_OLD})


def test_gpus_that_can_t_be_used_are_named_and_kept() -> None:
    here = LocalMachines([unused(node(2))])
    assert plan(here).machine.hardware["unused_gpus"] == TOO_OLD
    with pytest.raises(UserError, match=f"no CUDA device here .{TOO_OLD}.; use --device cpu"):
        plan(here, "--device", "cuda")
    several = cluster(unused(node(2)), node(2), unused(node(2)))
    assert several.hardware["unused_gpus"] == TOO_OLD
    assert "unused_gpus" not in cluster(node(2), node(2)).hardware


def test_a_search_on_a_gpu_that_is_to_round_fp32_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    here = LocalMachines([node(4, 1)])
    plan(here, "--device", "cpu")
    with pytest.raises(UserError, match="NVIDIA_TF32_OVERRIDE=1"):
        plan(here)
    plan(cluster(node(4, 1)))  # the driver's own variables are not the nodes'


def test_an_experiment_goes_on_with_what_there_is() -> None:
    """On other machines: as many at a time as find room, but not more than was asked for."""
    begun = plan(cluster(node(2), node(2)), "--seeds", "3")
    assert begun.machine.max_concurrent == 4
    assert cluster(node(2), node(2)).fit(begun) is begun
    assert cluster(node(1)).fit(begun).machine.max_concurrent == 1
    assert cluster(*[node(8)] * 4).fit(begun).machine.max_concurrent == 12  # all of its trials
    capped = plan(cluster(node(2), node(2)), "--seeds", "3", "--max-concurrent", "2")
    assert cluster(*[node(8)] * 4).fit(capped).machine.max_concurrent == 2
    wide = plan(cluster(node(4)), "--cpus-per-trial", "4")
    with pytest.raises(UserError, match="has 4 processors, more than any node of the cluster has"):
        cluster(node(2), node(3)).fit(wide)
    on_gpus = plan(cluster(node(4, 1)))
    with pytest.raises(UserError, match="no CUDA device on the cluster"):
        cluster(node(4)).fit(on_gpus)


@pytest.mark.parametrize("address", ["auto", "10.0.0.1:6379"])
def test_an_address_needs_a_storage(address: str, tmp_path: Any) -> None:
    args = make_parser().parse_args([*LR, "--address", address])
    with pytest.raises(UserError, match="needs --storage URI, which all nodes reach"):
        check_options(args)
    check_options(make_parser().parse_args([*LR, "--address", address, "--storage", f"{tmp_path}"]))


@pytest.mark.parametrize("address", ["", "head", "http://head:8265", "a:b"])
def test_what_is_no_address_is_refused(address: str, tmp_path: Any) -> None:
    words = [*LR, "--address", address, "--storage", f"{tmp_path}"]
    with pytest.raises(UserError, match="give auto or HOST:PORT"):
        check_options(make_parser().parse_args(words))


def test_rays_client_is_refused_with_what_does_it(tmp_path: Any) -> None:
    words = [*LR, "--address", "ray://head.example:10001", "--storage", f"{tmp_path}"]
    with pytest.raises(UserError, match="submit the command to the head with `ray job submit`"):
        check_options(make_parser().parse_args(words))
