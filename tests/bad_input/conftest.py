"""A small home with all that a command reads, and commands run in this process as a shell would.

    python -m pytest tests/bad_input -s     # prints each bad input with what the command said

Every attempt checks what holds for any input: status 0 or 2, no traceback, no download; and for
status 2 one line on standard error, nothing on standard output, and no file made or changed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from minigpt_search.data.common import downloads as downloads_module
from minigpt_search.data.common.errors import UserError
from minigpt_search.data.corpus.corpus import open_corpus
from minigpt_search.data.corpus.spec import CorpusSpec
from minigpt_search.data.pipeline.build import prepare_corpus
from minigpt_search.model.config import RunConfig
from minigpt_search.model.network.gpt import GPT
from minigpt_search.model.records import COMPLETE, CheckpointRef, Device, EpochRecord, Timing
from minigpt_search.model.scoring.evaluate import bits_per_byte, perplexity
from minigpt_search.model.training.checkpoint import save_atomically
from minigpt_search.search import rerun
from minigpt_search.search import run as run_module
from minigpt_search.search.cli.make_experiment import make_experiment, with_corpus
from minigpt_search.search.cli.parser import check_options, make_parser
from minigpt_search.search.planning import calibration, choose_pack
from minigpt_search.search.planning.calibration import Speed
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.trials.trial import Trial, grid_trials

Run = Callable[..., Any]
"""Of `run_here`: gives status, out, err, and `refused(named)`."""
Attempt = Run
EXPERIMENT = "done"
SPEED = Speed(training=1000.0, scoring=3000.0, memory_mb=500.0)


@pytest.fixture(scope="session")
def prose(tmp_path_factory: pytest.TempPathFactory, make_prose: Callable[..., str]) -> Path:
    path = tmp_path_factory.mktemp("source") / "prose.txt"
    path.write_text("\n<|endoftext|>\n".join(make_prose(number) for number in range(40)))
    return path


@pytest.fixture(scope="session")
def template(
    tmp_path_factory: pytest.TempPathFactory, shared_home: Path, prose: Path
) -> Iterator[Path]:
    """A home with the corpora `small` and `tiny`, the experiments `done` (four records) and `begun`
    (none), and two checkpoints."""
    home = tmp_path_factory.mktemp("template")
    (home / "downloads").symlink_to(shared_home / "downloads", target_is_directory=True)
    spec = CorpusSpec(name="small", sources=(str(prose),), eval_tokens=700)
    prepare_corpus(spec, home, quiet=True, workers=1)
    one = dataclasses.replace(spec, name="tiny", tokens=300, eval_tokens=200, segments=1)
    prepare_corpus(one, home, quiet=True, workers=1)
    experiment = plan(home, "--grid", "lr", "--name", EXPERIMENT)
    folder = home / "experiments" / EXPERIMENT
    experiment.write(folder)
    calibration.write_cache(home, {calibration.shape_key(experiment.space.base, experiment): SPEED})
    ledger = Ledger(folder / "ledger.jsonl")
    for number, trial in enumerate(grid_trials(experiment)):
        ledger.append(record(trial, 7.0 + number / 8))
    plan(home, "--grid", "epochs", "--name", "begun").write(home / "experiments" / "begun")
    torch.manual_seed(0)
    for name, fields in (("final", {"embed_dim": 8}), ("tiny", {"embed_dim": 8, "vocab_size": 40})):
        config = RunConfig().replace(**fields, n_layers=1)
        content = {"config": config.to_dict(), "model": GPT(config.model).state_dict()}
        save_atomically(content, home / f"{name}.pt")
    yield home


def plan(home: Path, *words: str) -> Experiment:
    """The experiment of these words, on the corpus `small`."""
    args = make_parser().parse_args([*words, "--preset", "quick"])
    check_options(args)
    corpus = open_corpus(home / "corpus" / "small")
    return with_corpus(make_experiment(args, "cpu"), corpus)


def record(trial: Trial, loss: float) -> TrialRecord:
    """A complete trial whose last loss is this."""
    epoch = EpochRecord(
        epoch=1,
        train_loss_nats=loss + 0.25,
        val_loss_nats=loss,
        val_perplexity=perplexity(loss),
        val_bits_per_byte=bits_per_byte(loss, 4.5),
        lr_last=1e-5,
        grad_norm_mean=1.25,
        tokens_seen=9_000,
        wall_seconds=3.5,
        steps_per_second=12.5,
        peak_memory_mb=400.0,
    )
    return TrialRecord(
        trial_id=trial.trial_id,
        config=trial.config,
        replicate=trial.replicate,
        status=COMPLETE,
        epochs=(epoch,),
        error=None,
        steps=36,
        timing=Timing(training_seconds=3.0),
        device=Device(kind="cpu", name="a processor", threads=1),
        versions={"python": "3.11"},
        checkpoint=CheckpointRef(path=f"checkpoints/{trial.trial_id}/final.pt", sha256="0" * 64),
        attempts=1,
        ended_at="2026-01-01T00:00:00+00:00",
    )


@pytest.fixture
def home(template: Path, tmp_path: Path) -> Path:
    """A copy of the template that a test may damage."""
    return shutil.copytree(template, tmp_path / "home", symlinks=True)


@pytest.fixture
def attempt(home: Path, tmp_path: Path, run_here: Run) -> Iterator[Attempt]:
    """`attempt(script, *words)` with `home` as MINIGPT_HOME."""
    with attempts_in(home, tmp_path, run_here) as attempt:
        yield attempt


@pytest.fixture(scope="module")
def lasting_attempt(
    template: Path, tmp_path_factory: pytest.TempPathFactory, run_here: Run
) -> Iterator[Attempt]:
    """`attempt` on one copy of the template for all examples of a module."""
    folder = tmp_path_factory.mktemp("lasting")
    home = shutil.copytree(template, folder / "home", symlinks=True)
    (folder / "cwd").mkdir()
    with attempts_in(home, folder / "cwd", run_here) as attempt:
        yield attempt


@contextlib.contextmanager
def attempts_in(home: Path, cwd: Path, run_here: Run) -> Iterator[Attempt]:
    """Commands in this process: no GPU, no network, nothing measured and nothing trained."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(cwd)
        patch.setenv("MINIGPT_HOME", str(home))
        patch.setattr(torch.cuda, "is_available", lambda: False)
        patch.setattr(torch.cuda, "device_count", lambda: 0)
        patch.setattr(choose_pack, "measure", lambda plan, sizes: {1: 1000.0})
        patch.setattr(calibration, "measure", lambda plan, configs: [SPEED] * len(configs))
        patch.setattr(run_module, "_search", _must_not_happen)
        patch.setattr(rerun, "_train", _must_not_happen)
        downloads: list[object] = []

        def no_network(*arguments: object) -> None:
            downloads.append(arguments)
            raise UserError("there is no network in these tests")

        patch.setattr(downloads_module, "_run_pip", no_network)

        def attempt(script: str, *words: str, may_download: bool = False) -> Any:
            downloads.clear()
            before = listing(cwd, home)
            ended = run_here(script, *words)
            print(f"\n$ python {script} {shlex.join(words)}\n{ended.err or '(done)'}".rstrip())
            assert not downloads or may_download
            assert ended.status in (0, 2), ended
            assert "Traceback" not in ended.err
            if ended.status == 2:
                working = ("Measuring", "verifying the corpus")  # what it did before it knew
                said = [line for line in ended.err.splitlines() if not line.startswith(working)]
                assert len(said) == 1 and said[0].startswith("error: "), ended.err
                assert said[0].isprintable()
                assert ended.out == ""
                if len(said) == ended.err.count("\n"):  # else the speeds are kept
                    assert listing(cwd, home) == before
            return ended

        yield attempt


def _must_not_happen(*arguments: object) -> None:
    raise AssertionError("training began")


def listing(*roots: Path) -> dict[str, tuple[int, int] | None]:
    """Every file with its size and time of change, every folder."""
    found: dict[str, tuple[int, int] | None] = {}
    for root in roots:
        for folder, _, files in os.walk(root):
            found[folder] = None
            for name in files:
                status = os.lstat(os.path.join(folder, name))
                found[os.path.join(folder, name)] = status.st_size, status.st_mtime_ns
    return found
