"""From the command line's options to an experiment: machine, presets, corpus, names."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import math
import sys
from pathlib import Path

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.corpus.corpus import Corpus, open_corpus, verify_corpus
from minigpt_search.data.corpus.spec import CorpusSpec
from minigpt_search.data.pipeline.build import prepare_corpus
from minigpt_search.model.hardware.device import versions
from minigpt_search.search.cli.budget_flags import parse_budget
from minigpt_search.search.cli.noise_flags import warm_starts
from minigpt_search.search.cli.space_flags import MOST_TRIALS, claims_plan, read_space
from minigpt_search.search.machines.gpu_share import gpus_of_trial
from minigpt_search.search.machines.local import LocalMachines
from minigpt_search.search.machines.machines import Machines
from minigpt_search.search.planning.disk import parse_size
from minigpt_search.search.records.experiment import Experiment, check_name
from minigpt_search.search.records.provenance import code_hashes, git_commit
from minigpt_search.search.space.axes import Value
from minigpt_search.search.space.claims_grid import CLAIMS
from minigpt_search.search.space.objective import parse_objectives
from minigpt_search.search.space.presets import PRESETS, default_preset
from minigpt_search.search.storage.uri import check_uri
from minigpt_search.search.trials.feasible import limited


def corpus_if_prepared(root: Path, name: str) -> Corpus | None:
    """The corpus called `name`, its files hashed again; None if it is the built-in one and not
    prepared yet.

    Raises `UserError` for any other that is not there, and for a damaged file.
    """
    folder = root / "corpus" / check_name(name, "--corpus")
    if (folder / "manifest.json").is_file():
        verify_corpus(folder)
        return open_corpus(folder)
    if name != CorpusSpec().name:
        raise UserError(
            f"--corpus {name}: not prepared in {folder.parent}; make it with "
            f"`python data/prepare.py --name {name} --source ...`"
        )
    return None


def prepare_builtin(root: Path) -> Corpus:
    """The built-in corpus, downloaded and prepared first."""
    return open_corpus(prepare_corpus(CorpusSpec(), root))


def make_experiment(
    args: argparse.Namespace, device: str, machines: Machines | None = None
) -> Experiment:
    """The experiment that the options ask for, still without its corpus, on this machine or on
    `machines`. Raises `UserError`."""
    machines = machines or LocalMachines()
    preset = args.preset or default_preset(device)[0]
    recipe = PRESETS[preset].replace(precision=machines.precision(device))
    cells: tuple[dict[str, Value], ...] | None = None
    if args.grid == CLAIMS:
        axes, base, cells = claims_plan(args, recipe)
        kinds: dict[str, str] = {}
    else:
        space = read_space(args, recipe)
        axes, base, kinds = dict(space.axes), space.base, dict(space.kinds)
    product = math.prod(map(len, axes.values())) if cells is None else len(cells)
    trials = args.seeds * (args.trials or (MOST_TRIALS if args.search else product))
    if (args.pack or "auto") != "auto":
        trials = -(-trials // int(args.pack))  # processes, not members
    if args.search is None and base.train.schedule == "wsd":
        trials = -(-trials // len(axes.get("epochs", (0,))))  # trunks
    concurrent, threads, gpus = _share(args, device, machines, trials)
    now = datetime.datetime.now(datetime.UTC)
    kind = args.search or (CLAIMS if cells else "-".join(axes)) or "one"
    made = Experiment(
        name=check_name(f"{kind}-{preset}-{now:%Y%m%d-%H%M%S}" if args.name is None else args.name),
        created_at=now.isoformat(timespec="seconds"),
        command=("search/run.py", *sys.argv[1:]),
        preset=preset,
        base=base,
        axes=axes,
        sampler=args.search,
        samples=args.trials or (MOST_TRIALS if args.search else None),
        seeds=args.seeds,
        base_seed=args.seed,
        corpus_hash="",
        corpus={},
        device=device,
        max_concurrent=concurrent,
        threads_per_trial=threads,
        gpus_per_trial=gpus,
        hardware=machines.hardware,
        versions=versions(),
        git_commit=git_commit(),
        checkpoint_every_seconds=args.checkpoint_every,
        code=code_hashes(),
        extends=args.extend,
        max_disk_bytes=None if args.max_disk is None else parse_size(args.max_disk),
        kinds=kinds,
        objectives=parse_objectives(args.objective),
        max_cost=args.max_cost,
        confirm=args.confirm,
        confirm_seeds=args.confirm_seeds,
        warm_starts=warm_starts(args),
        cells=cells,
        named_grid=args.grid if args.grid == CLAIMS else None,
        stopper=args.stop,
        budget_seconds=None if args.budget is None else parse_budget(args.budget),
        storage=None if args.storage is None else check_uri(args.storage),
        is_capped=args.max_concurrent is not None,
    )
    if made.has_branches and made.stopper is not None:
        raise UserError(
            f"--stop {made.stopper}: under --schedule wsd runs of several epochs share a trunk, "
            "which none of them can leave early; leave --stop out"
        )
    return made


def with_corpus(experiment: Experiment, corpus: Corpus) -> Experiment:
    """`experiment` on this corpus. Raises `UserError` where nothing is within its limits."""
    on_corpus = dataclasses.replace(
        experiment,
        corpus_hash=corpus.content_hash,
        corpus=corpus.manifest.to_dict(),
    )
    return limited(on_corpus)


def on_corpus(experiment: Experiment, corpus: Corpus | None) -> Experiment:
    """`experiment` on this corpus; for None, as planned before the built-in one is prepared."""
    return limited(experiment) if corpus is None else with_corpus(experiment, corpus)


def _share(
    args: argparse.Namespace, device: str, machines: Machines, trials: int
) -> tuple[int, int, float]:
    """Trials at a time, threads of each and GPUs of each.

    On a CPU one thread a trial and as many trials as cores: two trials of one thread trained 30%,
    20% and 3% more tokens a second than one of two threads, in batches of 4 and of 32 at width 128
    and at width 512 (tests/benchmarks/search/concurrency.py, 2-core AMD EPYC, bf16, 2026-11-22).
    Fewer trials than cores share them all: a second thread adds 44%, 59% and 81%.
    """
    cores = max(node.cpus for node in machines.nodes)
    if device == "cpu":
        gpus_of_trial(args.trials_per_gpu, args.gpus_per_trial, device)
        slots = machines.slots(args.cpus_per_trial or 1, 0)
        wanted = args.max_concurrent or min(trials, slots) or 1
        threads = args.cpus_per_trial or machines.threads(wanted, 0, cores)
        if machines.slots(threads, 0) < wanted:
            raise UserError(
                f"--max-concurrent {wanted} with {threads} threads each is more than the "
                f"{sum(node.cpus for node in machines.nodes)} cores here: they would slow each "
                "other manyfold"
            )
        return wanted, threads, 0.0
    gpus = gpus_of_trial(args.trials_per_gpu, args.gpus_per_trial, device)
    most = max(node.gpus for node in machines.nodes)
    if gpus > most:
        there = "here" if machines.address is None else "on a node at most"
        raise UserError(f"--gpus-per-trial {gpus:g}: there are {most} {there}")
    slots = machines.slots(args.cpus_per_trial or 1, gpus)
    wanted = args.max_concurrent or min(trials, slots) or 1
    return wanted, args.cpus_per_trial or machines.threads(wanted, gpus, min(4, cores)), gpus
