"""Which trials are packed, how packs are asked for, and what a pack leaves behind."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.corpus.corpus import open_corpus
from minigpt_search.model.config import RunConfig
from minigpt_search.model.records import COMPLETE, FAILED
from minigpt_search.search.cli.make_experiment import make_experiment, with_corpus
from minigpt_search.search.cli.parser import check_options, make_parser
from minigpt_search.search.planning import choose_pack as packing
from minigpt_search.search.planning.choose_pack import choose_pack
from minigpt_search.search.planning.measure import ProbeProcess
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.trial_folder import read_outcome, read_started, trial_folder
from minigpt_search.search.trials.groups import make_packs
from minigpt_search.search.trials.trial import grid_trials
from minigpt_search.search.worker import trainable


def plan(*words: str) -> Experiment:
    args = make_parser().parse_args(words)
    check_options(args)
    return make_experiment(args, "cpu")


def test_packs_are_of_one_shape_even_and_hold_every_trial_once() -> None:
    trials = grid_trials(plan("--grid", "lr,embed_dim", "--seeds", "2"))
    packs = make_packs(trials, 3)
    assert sorted(t.trial_id for pack in packs for t in pack) == sorted(t.trial_id for t in trials)
    assert all(len({t.config.model.embed_dim for t in pack}) == 1 for pack in packs)
    assert [len(pack) for pack in packs] == 3 * [2, 3, 3]
    assert make_packs(trials, 1) == [
        [t] for width in (64, 128, 256) for t in trials if t.values["embed_dim"] == width
    ]


def test_by_itself_a_cpu_does_not_pack_and_a_number_is_taken_as_it_is() -> None:
    grid = plan("--grid", "lr")
    assert choose_pack(None, grid) == (1, None)
    assert choose_pack("3", grid) == (3, None)
    assert choose_pack("16", grid) == (4, None)
    assert choose_pack(None, plan("--search", "tpe", "--trials", "3")) == (1, None)


@pytest.mark.parametrize(
    ("rates", "chosen"),
    [
        ({1: 100.0, 2: 150.0, 4: 250.0}, 4),
        ({1: 100.0, 2: 150.0, 4: 120.0}, 2),
        ({1: 100.0, 2: 104.0, 4: 90.0}, 1),
        ({1: 100.0, 2: 200.0, 4: 205.0}, 2),
    ],
)
def test_auto_takes_the_fewest_that_are_nearly_as_fast_as_the_best(
    monkeypatch: pytest.MonkeyPatch, rates: dict[int, float], chosen: int
) -> None:
    monkeypatch.setattr(packing, "measure", lambda experiment, sizes: rates)
    alone = plan("--grid", "lr").replace(max_concurrent=1)
    size, reason = choose_pack("auto", alone)
    assert size == chosen
    assert reason is not None and "100 by 1, " in reason
    assert choose_pack("auto", alone.replace(max_concurrent=4)) == (1, None)


def test_packs_are_measured_up_to_what_memory_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = plan("--grid", "lr", "--embed-dim", "8", "--seq-len", "8")
    tiny = tiny.replace(base=tiny.space.base.replace(vocab_size=60, batch_size=2))
    monkeypatch.setattr(packing, "MEASURED_SECONDS", 0.05)
    rates = packing.measure(tiny, [1, 2])
    assert list(rates) == [1, 2] and min(rates.values()) > 0

    def prepare(probes: list[ProbeProcess], config: object, size: int, **_: object) -> None:
        if size == 4:
            raise ChildProcessError("a measuring process ended early; its message is above")

    monkeypatch.setattr(packing, "prepare", prepare)
    monkeypatch.setattr(packing, "measure_together", lambda *a: [{"tokens_per_second": 100.0}])
    assert packing.measure(tiny, [1, 2, 4, 8]) == {1: 100.0, 2: 100.0}
    with pytest.raises(ChildProcessError):  # not even one
        packing.measure(tiny, [4])

    def without_a_graph(probes: object, *_: object) -> list[dict[str, float]]:
        return [{"tokens_per_second": 100.0, "lacks_memory": True}]

    monkeypatch.setattr(packing, "measure_together", without_a_graph)
    assert packing.measure(tiny, [1, 2]) == {1: 100.0}  # alone it has to do


def test_of_the_trials_that_can_be_packed_those_with_most_memory_are_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    built: list[RunConfig] = []
    monkeypatch.setattr(packing, "ProbeProcess", lambda *_: nullcontext())
    monkeypatch.setattr(packing, "prepare", lambda probes, config, size, **_: built.append(config))
    monkeypatch.setattr(packing, "measure_together", lambda *a: [{"tokens_per_second": 100.0}])
    grid = plan("--grid", "lr", "--space", "n_layers=2,8", "--space", "batch_size=32,256")
    assert packing.measure(grid, [1, 2]) == {1: 100.0, 2: 100.0}
    assert [(c.model.n_layers, c.train.batch_size) for c in built] == [(8, 256)] * 2
    # Of the deepest there is one trial alone, which is in no pack.
    cells = [trial.values for trial in grid_trials(grid) if trial.values["n_layers"] == 2]
    deep = {"lr": 1e-3, "n_layers": 8, "batch_size": 256}
    packing.measure(grid.replace(cells=(*cells, deep)), [2])
    assert (built[-1].model.n_layers, built[-1].train.batch_size) == (2, 256)


def test_the_driver_never_touches_the_gpu_when_it_measures_packs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A context in the driver would hold some 500 MB of the GPU all search long."""

    def fail(*_: object) -> None:
        raise AssertionError("the driver has a CUDA context")

    for name in ("init", "_lazy_init", "synchronize", "mem_get_info"):
        monkeypatch.setattr(torch.cuda, name, fail)
    asked: list[dict[str, object]] = []

    class Child:
        def __init__(self, device: str, threads: int) -> None:
            assert device == "cuda"

        def __enter__(self) -> Child:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def ask(self, **request: object) -> None:
            asked.append(request)

        def answer(self) -> dict[str, float]:
            return {"reserved_bytes": 1e9, "tokens_per_second": 100.0}

    monkeypatch.setattr(packing, "ProbeProcess", Child)
    grid = plan("--grid", "lr", "--preset", "full").replace(device="cuda")
    assert packing.measure(grid, [1, 2]) == {1: 100.0, 2: 100.0}
    built = [request for request in asked if "config" in request]
    # A trial alone is compiled, a pack never is; each has its copies of the split.
    assert [(r["pack"], r["compiled"], r["sequences"]) for r in built] == [
        (1, True, 10_000_000 // 64),
        (2, False, 10_000_000 // 64),
    ]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--grid", "lr", "--pack", "0"), "--pack 0"),
        (("--grid", "lr", "--pack", "many"), "--pack many"),
        (("--search", "tpe", "--trials", "2", "--pack", "2"), "--pack goes with a grid"),
        (("--resume", "x", "--pack", "2"), "--pack"),
    ],
)
def test_what_cannot_be_packed_is_refused(words: tuple[str, ...], named: str) -> None:
    with pytest.raises(UserError, match=named):
        plan(*words)


def test_a_grid_without_two_trials_of_one_shape_is_refused() -> None:
    with pytest.raises(UserError, match="--pack 2: no two"):
        choose_pack("2", plan("--grid", "embed_dim"))


def test_a_member_s_fault_is_its_own_and_finished_members_are_left_out(
    search_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--grid", "lr", "--embed-dim", "16", "--corpus", "small", "--name", "fault")
    small = open_corpus(search_root / "corpus" / "small")
    asked = plan(*words)
    short = asked.space.base.replace(tokens_per_epoch=2048)
    experiment = with_corpus(asked.replace(base=short, pack=3), small)
    folder = search_root / "experiments" / "fault"
    experiment.write(folder)
    trials = grid_trials(experiment)[:3]
    homes = [trial_folder(folder, trial.trial_id) for trial in trials]
    homes[1].mkdir(parents=True)
    (homes[1] / "final.pt").mkdir()  # in the way of its weights
    reports: list[dict[str, object]] = []
    monkeypatch.setattr(trainable.tune, "report", reports.append)
    cells = [{"values": t.values, "replicate": t.replicate} for t in trials]
    trainable.run_trials({"pack": cells}, folder, session="a")
    outcomes = [read_outcome(home) for home in homes]
    assert [o.status for o in outcomes if o] == [COMPLETE, FAILED, COMPLETE]
    assert {r["member"] for r in reports if r["kind"] == "epoch"} == {t.trial_id for t in trials}
    (homes[1] / "final.pt").rmdir()
    (homes[1] / "outcome.json").unlink()
    trainable.run_trials({"pack": cells}, folder, session="a")
    assert read_outcome(homes[0]) == outcomes[0]
    again = read_outcome(homes[1])
    assert again is not None and (again.status, again.attempts, again.pack) == (COMPLETE, 2, 1)
    started = read_started(homes[0])
    assert started is not None and len(started.starts) == 1
