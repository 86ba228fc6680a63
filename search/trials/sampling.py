"""Samples of text from the weights that a search kept: by configuration the best, the median and
the worst, so that a reader sees what a difference in loss is in words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.common.formatting import one_line
from minigpt_search.model.generate import sample_text
from minigpt_search.model.training.checkpoint import load_model, tokenizer_of
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.records.samples import BEST, MEDIAN, WORST, Samples
from minigpt_search.search.results.configurations import Configuration
from minigpt_search.search.results.results import Results

PROMPTS = (
    "The president of the United States",
    "In the beginning of the",
    "The company said that",
)
TOKENS = 30
"""After each prompt. Six texts of 40 took 8 s at the quick preset's size, the tokenizer's and the
models' loading included, beside four other jobs on two cores (AMD EPYC, 2026-11-29)."""


def draw_samples(results: Results, folder: Path, root: Path) -> tuple[Samples, ...]:
    """What the models in the experiment's `folder` make of the PROMPTS, the best first. `root` has
    the files of GPT-2's tokenizer. Weights that are gone or damaged are said to be."""
    return tuple(_of(role, trial, folder, root) for role, trial in sampled_trials(results))


def sampled_trials(results: Results) -> Iterator[tuple[str, TrialRecord]]:
    """The trials whose models are asked, under their roles: of each configuration the seed nearest
    to its mean, of the best the one that stands for it. With two configurations there is no median,
    with one no worst."""
    best = results.winner
    if best is None:
        return
    yield BEST, best.trial
    others = [each for each in results.configurations if each.complete]
    others = sorted(others, key=_mean)
    others.remove(best.configuration)
    if len(others) > 1:
        yield MEDIAN, _nearest(others[(len(others) - 1) // 2])
    if others:
        yield WORST, _nearest(others[-1])


def _mean(configuration: Configuration) -> float:
    losses = [trial.final.val_loss_nats for trial in configuration.complete]
    return sum(losses) / len(losses)


def _nearest(configuration: Configuration) -> TrialRecord:
    mean = _mean(configuration)
    return min(configuration.complete, key=lambda t: abs(t.final.val_loss_nats - mean))


def _of(role: str, trial: TrialRecord, folder: Path, root: Path) -> Samples:
    kept = [folder / "rerun" / trial.trial_id / "final.pt"]
    kept += [folder / trial.checkpoint.path] if trial.checkpoint else []
    path = next((path for path in kept if path.is_file()), kept[-1])
    texts, missing = list[str](), ""
    try:
        model, _, content = load_model(path)
        tokenizer = tokenizer_of(content, path, root)
        for prompt in PROMPTS:
            text = sample_text(model, tokenizer, prompt, tokens=TOKENS)
            texts.append(one_line(text.removeprefix(prompt)))
    except UserError as error:
        # Not with its path, which is another on another machine.
        missing = "its weights are not kept" if not path.is_file() else "its weights can't be used"
        print(f"Warning    no sample of {trial.trial_id}: {one_line(error)}")
        texts = []
    return Samples(
        role=role, trial_id=trial.trial_id, prompts=PROMPTS, texts=tuple(texts), missing=missing
    )
