"""Synthetic experiments with numbers that can be checked by hand. No training anywhere."""

from __future__ import annotations

import math
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from minigpt_search.model.config import ModelConfig, RunConfig, TrainConfig, trial_id
from minigpt_search.model.records import (
    COMPLETE,
    DIVERGED,
    FAILED,
    CheckpointRef,
    Device,
    DocumentLosses,
    EpochRecord,
    Timing,
    TrialCurve,
)
from minigpt_search.reports.figures import (
    axis_plots,
    cost_plots,
    learning_curves,
    sampler_plots,
    speed_plots,
    step_curves,
)
from minigpt_search.reports.figures.report_figure import Drawing
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.ledger_records import BaselineRecord, RerunRecord, TrialRecord
from minigpt_search.search.records.plan import CorpusUse, MachineUse, Provenance
from minigpt_search.search.space.axes import apply_axes, grid_cells
from minigpt_search.search.space.claims_grid import claims_cells, lengths_for
from minigpt_search.search.space.presets import PRESETS
from minigpt_search.search.space.space import Space

VERSIONS = {"python": "3.11.9", "torch": "2.13.0", "ray": "2.60.0"}
# The recipe's 10,000,249 tokens over eight segments: 156,252 sequences of 64.
SEGMENT_TOKENS = (1_249_995,) * 7 + (1_250_284,)


def manifest(**changes: Any) -> dict[str, Any]:
    """A corpus manifest with the keys that reports read."""
    source = {
        "name": "wiki",
        "title": "Wikipedia articles",
        "kind": "wikipedia",
        "licence": "CC BY-SA 4.0",
        "attribution": "Wikipedia contributors",
        "documents_in": 1000,
        "documents_kept": 950,
        "tokens": 7_000_000,
    }
    news = source | {"name": "news", "title": "News", "kind": "web and news", "attribution": None}
    news |= {"licence": None, "documents_in": 3000, "documents_kept": 2900, "tokens": 3_128_249}
    train = [{"name": f"segment_{i:02}.pt", "tokens": n} for i, n in enumerate(SEGMENT_TOKENS)]
    held_out = {"documents": 25, "tokens": 64_000, "bytes": 300_000, "files": [{"tokens": 64_000}]}
    corpus = {
        "name": "builtin",
        "content_hash": "c0ffee",
        "tokenizer": {"name": "gpt2", "vocab_size": 50_257},
        "sources": [source, news],
        "documents_in": 4000,
        "documents_kept": 3850,
        "retention": 0.973,
        "splits": {
            "train": {
                "documents": 3800,
                "tokens": sum(SEGMENT_TOKENS),
                "bytes": 48_000_000,
                "files": train,
            },
            "val": held_out,
            "test": held_out,
        },
        "storage_bytes": 20_256_498,
    }
    return corpus | changes


def plan(axes: dict[str, tuple[float, ...]] | None = None, **changes: Any) -> Experiment:
    """An experiment over `axes`, by default two learning rates."""
    made = Experiment(
        name="lr-quick",
        created_at="2026-11-22T17:30:05+00:00",
        command=("search/run.py", "--grid", "lr"),
        preset="quick",
        space=Space(
            base=RunConfig(model=ModelConfig(), train=TrainConfig(epochs=3, warmup_steps=10)),
            axes={"lr": (3e-4, 1e-3)} if axes is None else axes,
        ),
        machine=MachineUse(
            device="cpu",
            hardware={"processor": "EPYC", "cores": 2, "memory_gb": 24.0, "gpus": []},
            max_concurrent=2,
            threads_per_trial=1,
            gpus_per_trial=0.0,
        ),
        corpus=CorpusUse(content_hash="c0ffee", manifest=manifest()),
        provenance=Provenance(versions=VERSIONS, git_commit="abc1234"),
    )
    return made.replace(**changes)


def epoch(number: int, val_loss: float, train_loss: float | None = None) -> EpochRecord:
    """An epoch of 100 steps in 5 s of training and 1 s of the rest."""
    return EpochRecord(
        epoch=number,
        train_loss_nats=val_loss + 0.125 if train_loss is None else train_loss,
        val_loss_nats=val_loss,
        val_perplexity=math.exp(val_loss),
        val_bits_per_byte=val_loss / math.log(2) / 4,
        lr_last=1e-3 / number,
        grad_norm_mean=0.5,
        tokens_seen=204_800 * number,
        wall_seconds=6.0 * number,
        steps_per_second=20.0,
        peak_memory_mb=500.0,
    )


def trial(
    experiment: Experiment,
    cell: dict[str, float],
    losses: Sequence[float],
    status: str = COMPLETE,
    **changes: Any,
) -> TrialRecord:
    """A trial of `cell` whose epochs ended with these validation losses."""
    replicate = changes.get("replicate", 0)
    config = apply_axes(experiment.space.base, cell).replace(seed=replicate)
    steps = 100 * len(losses)
    fields: dict[str, Any] = {
        "trial_id": trial_id(config, experiment.corpus.content_hash),
        "config": config,
        "replicate": replicate,
        "status": status,
        "epochs": tuple(epoch(i, loss) for i, loss in enumerate(losses, start=1)),
        "error": None,
        "steps": steps,
        "timing": Timing(
            startup_seconds=2.0,
            training_seconds=steps / 20,
            evaluation_seconds=1.0 * len(losses),
        ),
        "device": Device(kind="cpu", name="EPYC", threads=1),
        "versions": VERSIONS,
        "checkpoint": None,
        "attempts": 1,
        "ended_at": "2026-11-22T17:40:00+00:00",
    }
    return TrialRecord(**(fields | changes))


def rerun(record: TrialRecord, val_loss: float) -> RerunRecord:
    """A rerun of `record` that came to `val_loss`."""
    return RerunRecord(
        trial_id=record.trial_id,
        val_loss_nats=val_loss,
        ledger_val_loss_nats=record.final.val_loss_nats,
        same_bits=val_loss == record.final.val_loss_nats,
        same_machine=True,
        test_loss_nats=6.25,
        test_perplexity=math.exp(6.25),
        test_bits_per_byte=2.25,
        checkpoint=CheckpointRef(path="checkpoints/best.pt", sha256="00"),
        wall_seconds=30.0,
        ended_at="2026-11-22T18:00:00+00:00",
    )


class Builder:
    """Writes experiments below a temporary root, as `search/run.py` would."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.plan, self.trial, self.rerun, self.manifest = plan, trial, rerun, manifest
        self.curve, self.falling, self.counting = curve, falling, counting

    def write(
        self,
        experiment: Experiment,
        records: Sequence[TrialRecord | RerunRecord | BaselineRecord] = (),
    ) -> Ledger:
        folder = self.root / "experiments" / experiment.name
        shutil.rmtree(folder, ignore_errors=True)  # a second experiment in one test
        folder.mkdir(parents=True)
        experiment.write(folder)
        ledger = Ledger(folder / "ledger.jsonl")
        for record in records:
            ledger.append(record)
        return ledger

    def two_rates(self) -> tuple[Experiment, Ledger]:
        """Two learning rates, three epochs each; the higher one is best: 7, 6.5, 6."""
        experiment = plan()
        worse = trial(experiment, {"lr": 3e-4}, (8.0, 7.0, 7.5))
        better = trial(experiment, {"lr": 1e-3}, (7.0, 6.5, 6.0))
        return experiment, self.write(experiment, [better, worse])

    def mixed(self) -> tuple[Experiment, Ledger]:
        """One complete trial, and with lower losses one stopped, one diverged, one failed; a
        fifth has not run."""
        experiment = plan({"lr": (1e-4, 3e-4, 5e-4, 1e-3, 2e-3)})
        records = [
            trial(experiment, {"lr": 1e-4}, (7.5, 7.25, 7.125)),
            trial(experiment, {"lr": 3e-4}, (4.7777,), "stopped"),
            trial(experiment, {"lr": 5e-4}, (3.3333,), "diverged", error="not finite at step 140"),
            trial(experiment, {"lr": 1e-3}, (), "failed", error="worker\nlost", device=None),
        ]
        return experiment, self.write(experiment, records)

    def five_hundred(self, sampler: str | None) -> tuple[Experiment, Ledger]:
        """A long search's ledger: a grid of rates, widths, lengths and seeds over ten epochs, or
        what a sampler drew. One trial in 50 diverged, one failed; what derives from a loss is
        derived from it."""
        axes: dict[str, tuple[float, ...]] = {"lr": (1e-4, 3e-4, 5e-4, 1e-3, 2e-3)}
        if sampler is None:
            axes |= {"embed_dim": (32, 64, 128, 256), "seq_len": (32, 64, 128, 256, 512)}
            experiment = plan(axes, name="long", seeds=5, base=plan().space.base.replace(epochs=10))
            drawn = [(cell, seed) for cell in grid_cells(axes) for seed in range(5)]
        else:
            axes = {"lr": (1e-4, 1e-2), "epochs": (1, 20), "embed_dim": (32, 256)}
            experiment = plan(axes, name="long", sampler=sampler, samples=500)
            drawn = [(_drawn(random.Random(-number)), 0) for number in range(500)]
        records = [
            _long_record(experiment, number, cell, seed)
            for number, (cell, seed) in enumerate(drawn)
        ]
        return experiment, self.write(experiment, records)

    def tpe(self, trials: int) -> tuple[Experiment, Ledger]:
        """What a sampler drew over learning rate, epochs and width."""
        axes = {"lr": (1e-4, 1e-2), "epochs": (1, 20), "embed_dim": (32, 256)}
        experiment = plan(axes, name="tpe", sampler="tpe", samples=trials)
        drawn = [_drawn(random.Random(-number)) for number in range(trials)]
        records = [_long_record(experiment, 20 + n, cell, 0) for n, cell in enumerate(drawn)]
        return experiment, self.write(experiment, records)

    def claims(self, preset: str = "quick", seeds: int = 3) -> tuple[Experiment, Ledger]:
        """`--grid claims`, every trial finished: wider, longer and at 1e-3 is better; contexts of
        128 tokens help and of 256 don't; five epochs are the last that help; counting trigrams
        comes to 7.2 nats."""
        base = PRESETS[preset]
        cells = tuple(claims_cells(base))
        axes = {name: tuple(sorted({cell[name] for cell in cells})) for name in cells[0]}
        command = ("search/run.py", "--grid", "claims", "--preset", preset)
        experiment = plan(
            axes,
            name=f"claims-{preset}",
            preset=preset,
            base=base,
            cells=cells,
            seeds=seeds,
            command=command,
        )
        records = [
            _claims_record(experiment, cell, seed) for cell in cells for seed in range(seeds)
        ]
        return experiment, self.write(experiment, [counting(experiment), *records])


def counting(experiment: Experiment) -> BaselineRecord:
    """What counting scores on the text of the base configuration."""
    base = experiment.space.base
    return BaselineRecord(
        seq_len=base.model.seq_len,
        tokens_per_epoch=base.train.tokens_per_epoch,
        val_tokens=base.train.val_tokens,
        counted_tokens=109_952,
        scored_tokens=16_384,
        losses={"uniform": 10.825, "unigram": 7.7, "bigram": 7.3, "trigram": 7.2},
        documents={},
    )


def curve(losses: Sequence[float], norms: Sequence[float] | None = None) -> TrialCurve:
    """A step curve of these training losses, ten steps each, with steady gradients."""
    norms = [1.5] * len(losses) if norms is None else norms
    return TrialCurve(
        steps=tuple(10 * (place + 1) for place in range(len(losses))),
        train_loss_nats=tuple(losses),
        grad_norm=tuple(norms),
        grad_norm_max=tuple(2 * norm for norm in norms),
        lr=(1e-3,) * len(losses),
    )


def falling(start: float, end: float, noise: float, seed: int, points: int = 100) -> list[float]:
    """A training loss that falls evenly, with noise from point to point."""
    chance = random.Random(seed)
    fall = (start - end) / points
    return [start - fall * place + chance.gauss(0, noise) for place in range(points)]


def _claims_record(experiment: Experiment, cell: dict[str, float], seed: int) -> TrialRecord:
    epochs = int(cell["epochs"])
    end = 7.5 + 0.4 * abs(math.log10(cell["lr"] / 1e-3)) - 0.1 * math.log2(cell["embed_dim"] / 128)
    end += {64: 0.0, 128: -0.2, 256: 0.2}[int(cell["seq_len"])]
    most = lengths_for(experiment.space.base.train.epochs).longer[0]
    losses = []
    for number in range(1, epochs + 1):
        fallen = end - 0.3 * math.log2(min(number, most)) + 0.05 * max(0, number - most)
        losses.append(fallen + 0.01 * (seed - 1))
    return trial(
        experiment,
        cell,
        losses,
        replicate=seed,
        curve=curve(falling(10.8, losses[-1], 0.1, seed)),
        train_eval_loss_nats=losses[-1] - 0.03,
        val_documents=DocumentLosses(
            nats=tuple(100 * losses[-1] + n for n in range(-10, 11)),
            tokens=(100,) * 21,
            sources=(0,) * 21,
        ),
    )


def _drawn(chance: random.Random) -> dict[str, float]:
    lr = 10 ** chance.uniform(-4, -2)
    return {"lr": lr, "epochs": chance.randint(1, 20), "embed_dim": 32 * chance.randint(1, 8)}


def _long_record(
    experiment: Experiment, number: int, cell: dict[str, float], seed: int
) -> TrialRecord:
    """A valley over learning rate, lower for wider models, with a spread between seeds."""
    epochs = int(cell.get("epochs", experiment.space.base.train.epochs))
    floor = 5.5 + abs(math.log10(cell["lr"] / 1e-3)) - 0.2 * math.log2(cell["embed_dim"] / 32)
    floor += random.Random(number).gauss(0, 0.05)
    losses = [floor + 3 / epoch for epoch in range(1, epochs + 1)]
    if number % 50 == 7:
        error = "loss or gradient not finite at step 140"
        half = losses[: epochs // 2]
        return trial(experiment, cell, half, DIVERGED, replicate=seed, error=error)
    if number % 50 == 8:
        error = "its process was lost (started 3 times)"
        return trial(experiment, cell, (), FAILED, replicate=seed, error=error, device=None)
    return trial(experiment, cell, losses, replicate=seed)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures as empty files, for tests of what stands around them."""
    modules = (axis_plots, cost_plots, learning_curves, sampler_plots, speed_plots, step_curves)
    for module in modules:
        monkeypatch.setattr(module, "draw", lambda figure: Drawing(png=b"", svg=""))


@pytest.fixture
def build(tmp_path: Path) -> Builder:
    return Builder(tmp_path / "root")
