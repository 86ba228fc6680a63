"""From the command line's options to an experiment: machine, presets, corpus, names."""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.corpus.corpus import Corpus, open_corpus, verify_corpus
from minigpt_search.data.corpus.spec import CorpusSpec, how_to_prepare
from minigpt_search.model.hardware.device import versions
from minigpt_search.search.cli.ladder_flags import asked_ladder, with_ladder_defaults
from minigpt_search.search.cli.search_flags import loggers, parse_budget, warm_starts
from minigpt_search.search.cli.space_flags import MOST_TRIALS, claims_space, read_space
from minigpt_search.search.ladder.layout import on_its_text
from minigpt_search.search.machines.gpu_share import gpus_of_trial
from minigpt_search.search.machines.local import LocalMachines
from minigpt_search.search.machines.machines import Machines
from minigpt_search.search.planning.disk import parse_size
from minigpt_search.search.records.experiment import Experiment, check_name
from minigpt_search.search.records.plan import (
    LATE,
    PAIRED,
    CorpusUse,
    MachineUse,
    Noise,
    Plan,
    Provenance,
    Reuse,
    StorageUse,
)
from minigpt_search.search.records.provenance import code_hashes, git_commit
from minigpt_search.search.space.claims_grid import CLAIMS
from minigpt_search.search.space.ladder_spec import LadderSpec
from minigpt_search.search.space.objective import parse_objectives
from minigpt_search.search.space.presets import PRESETS, default_preset
from minigpt_search.search.space.space import Space
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
            f"--corpus {name}: not prepared in {folder.parent}: {how_to_prepare(name, root)}"
        )
    return None


def prepare_builtin(root: Path) -> Corpus:
    """The built-in corpus, downloaded and prepared first."""
    from minigpt_search.data.pipeline.build import prepare_corpus  # most starts have no need of it

    return open_corpus(prepare_corpus(CorpusSpec(), root))


def make_experiment(
    args: argparse.Namespace, device: str, machines: Machines | None = None
) -> Experiment:
    """The experiment that the options ask for, still without its corpus, on this machine or on
    `machines`. Raises `UserError`."""
    machines = machines or LocalMachines()
    if args.ladder:
        with_ladder_defaults(args)
    preset = args.preset or default_preset(device)[0]
    space, ladder = _space(args, preset, machines.precision(device))
    seeds = args.seeds or 1  # a ladder's may come to more (`search/planning/ladder_size.py`)
    trials = seeds * (args.trials or (MOST_TRIALS if args.search else space.grid_size))
    if (args.pack or "auto") != "auto":
        trials = -(-trials // int(args.pack))  # processes, not members
    if args.search is None and space.base.train.schedule == "wsd":
        trials = -(-trials // len(space.axes.get("epochs", (0,))))  # trunks
    concurrent, threads, gpus = _share(args, device, machines, trials)
    now = datetime.datetime.now(datetime.UTC)
    kind = args.search or space.named_grid or "-".join(space.axes) or "one"
    made = Experiment(
        name=check_name(f"{kind}-{preset}-{now:%Y%m%d-%H%M%S}" if args.name is None else args.name),
        created_at=now.isoformat(timespec="seconds"),
        command=("search/run.py", *args.words),
        preset=preset,
        space=space,
        plan=Plan(
            sampler=args.search,
            samples=args.trials or (MOST_TRIALS if args.search else None),
            objectives=parse_objectives(args.objective),
            max_cost=args.max_cost,
            stopper=args.stop,
            budget_seconds=None if args.budget is None else parse_budget(args.budget),
        ),
        noise=Noise(
            seeds=seeds,
            base_seed=args.seed,
            paired=PAIRED if args.paired is None else args.paired,
            confirm=args.confirm,
            confirm_seeds=args.confirm_seeds,
            spending=LATE,
            delta_nats=args.delta,
        ),
        machine=MachineUse(
            device=device,
            hardware=machines.hardware,
            max_concurrent=concurrent,
            is_capped=args.max_concurrent is not None,
            threads_per_trial=threads,
            gpus_per_trial=gpus,
            checkpoint_every_seconds=args.checkpoint_every or MachineUse.checkpoint_every_seconds,
        ),
        storage=StorageUse(
            uri=None if args.storage is None else check_uri(args.storage),
            max_disk_bytes=None if args.max_disk is None else parse_size(args.max_disk),
            loggers=loggers(args),
        ),
        reuse=Reuse(extends=args.extend, warm_starts=warm_starts(args)),
        ladder=ladder,
        provenance=Provenance(versions=versions(), git_commit=git_commit(), code=code_hashes()),
    )
    if made.has_branches and made.plan.stopper is not None:
        raise UserError(
            f"--stop {made.plan.stopper}: under --schedule wsd runs of several epochs share a "
            "trunk, which none of them can leave early; leave --stop out"
        )
    return made


def _space(
    args: argparse.Namespace, preset: str, precision: str
) -> tuple[Space, LadderSpec | None]:
    recipe = PRESETS[preset].replace(precision=precision)
    if args.ladder:
        spec, space = asked_ladder(args, recipe)
        return space, spec
    return (claims_space if args.grid == CLAIMS else read_space)(args, recipe), None


def with_preset(args: argparse.Namespace, experiment: Experiment, preset: str) -> Experiment:
    """What the same options make with another preset, still without its corpus."""
    space, _ = _space(args, preset, experiment.space.base.train.precision)
    return experiment.replace(preset=preset, space=space)


def with_corpus(experiment: Experiment, corpus: Corpus) -> Experiment:
    """`experiment` on this corpus, its models of that vocabulary. Raises `UserError` where nothing
    is within its limits."""
    use = CorpusUse(content_hash=corpus.content_hash, manifest=corpus.manifest.to_dict())
    base = experiment.space.base.replace(vocab_size=corpus.vocab_size)
    return limited(on_its_text(experiment.replace(corpus=use, base=base)))


def on_corpus(experiment: Experiment, corpus: Corpus | None) -> Experiment:
    """`experiment` on this corpus; for None, as planned before the built-in one is prepared."""
    return limited(on_its_text(experiment)) if corpus is None else with_corpus(experiment, corpus)


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
            given = f"--max-concurrent {wanted} with {threads} threads each"
            if args.max_concurrent is None:
                given = f"--cpus-per-trial {threads}"
            raise UserError(
                f"{given} is more than the {sum(node.cpus for node in machines.nodes)} cores here: "
                "threads would slow each other manyfold"
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
