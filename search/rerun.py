"""Train an experiment's best configuration again, compare, score the test split, keep the model.

    python search/rerun.py                 # the newest experiment
    python search/rerun.py NAME
    python search/rerun.py NAME --trial ID # another than the best; the report lists the ids

The search sees the validation split only. This is where test is looked at, and the ledger keeps
a record of each look; they are counted over all experiments on the corpus.
"""

from __future__ import annotations

import dataclasses
import datetime
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

if __name__ == "__main__":  # run as a file: import from the checkout, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1] / "src")

from minigpt_search.data.common.invocation import parse_first
from minigpt_search.search.cli.rerun_parser import rerun_parser

if __name__ == "__main__":  # --help needs nothing of what is imported below
    parse_first(rerun_parser().parse_args)

import torch
from torch import Tensor
from tqdm import tqdm

from minigpt_search.data.common.errors import UserError, run_command
from minigpt_search.data.common.formatting import counted
from minigpt_search.data.common.formatting import perplexity as shown_perplexity
from minigpt_search.data.common.invocation import command_line
from minigpt_search.data.common.paths import artifacts_root
from minigpt_search.data.common.screen import LOG, keep_going
from minigpt_search.data.corpus.corpus import Corpus, open_corpus, verify_corpus
from minigpt_search.model.generate import sample_text
from minigpt_search.model.hardware.device import best_device, unused_gpus, versions
from minigpt_search.model.model_card import ModelFacts, write_facts
from minigpt_search.model.records import COMPLETE, STOPPED, CheckpointRef, EpochRecord
from minigpt_search.model.scoring.document_losses import losses_by_document
from minigpt_search.model.scoring.evaluate import (
    bits_per_byte,
    evaluate,
    perplexity,
    scored_windows,
)
from minigpt_search.model.training.checkpoint import load_model, tokenizer_of
from minigpt_search.model.training.checkpoint_files import step_files
from minigpt_search.model.training.train import Hooks, Progress, TrainResult, train
from minigpt_search.search.answer.model_facts import model_facts
from minigpt_search.search.records.experiment import (
    find_experiment,
    only_driver,
    read_experiment,
)
from minigpt_search.search.records.ledger import Ledger, open_ledger
from minigpt_search.search.records.ledger_records import RerunRecord, TrialRecord
from minigpt_search.search.results.documents import on_other_text
from minigpt_search.search.results.labels import trial_label
from minigpt_search.search.results.results import Results
from minigpt_search.search.trials.sampling import draw_samples

EPOCH_LINES = 20
"""Epochs at most that a log has a line of."""
PROMPT = "The president of the United States"


def main(argv: Sequence[str] | None = None) -> int:
    args = rerun_parser().parse_args(argv)
    root = artifacts_root(args.out)
    folder = find_experiment(root, args.name)
    experiment = read_experiment(folder)
    with only_driver(folder):
        keep_going(folder / LOG)
        ledger = open_ledger(folder, args.skip_damaged)
        results = Results(experiment, ledger)
        best = _named(ledger, args.trial) if args.trial else results.winning_trial
        if best is None:
            mend = "see its report" if results.complete else "finish it with --resume first"
            raise UserError(f"{folder.name}: {results.why_no_winner}; {mend}")
        if experiment.machine.device == "cuda" and best_device() != "cuda":
            why = unused_gpus() or "there is no such device here"
            raise UserError(f"{folder.name} was trained on CUDA, and {why}")
        _say("verifying the corpus")
        verify_corpus(experiment.corpus_folder(folder))
        corpus = open_corpus(experiment.corpus_folder(folder))
        if corpus.content_hash != experiment.corpus.content_hash:
            raise UserError(f"{corpus.folder}: not the corpus that {folder.name} was trained on")
        label = trial_label(experiment, best.config, best.replicate)
        which = "" if args.trial else results.why_winning_trial
        print(f"Rerun      {folder.name}: {label}{f': {which}' if which else ''}", flush=True)
        if (missing := results.missing_trials) > 0:
            print(f"Warning    not run yet: {missing} of {counted(results.trials_so_far, 'trial')}")
        home = folder / "rerun" / best.trial_id
        result = _train(best, experiment.machine.device, corpus, home)
        if result.status != COMPLETE:
            print(f"The rerun {result.status}: {result.error}")
            return 1
        record = _score(best, result, corpus, home)
        _say("sampling")
        record = dataclasses.replace(record, samples=draw_samples(results, folder, root))
        ledger.append(record)
        evaluations = count_test_evaluations(root, experiment.corpus.content_hash)
        sample = _sample(folder / record.checkpoint.path, root)
        complete = len(ledger.complete())
        facts = model_facts(experiment, complete, best, record, evaluations, PROMPT, sample)
        _keep_facts(facts, home)
    _print(record, evaluations, sample, folder, root)
    # On a GPU sums may be taken in another order each time, and a pack's are rounded otherwise.
    expected = experiment.machine.device == "cpu" and record.same_machine and best.pack == 1
    return 1 if expected and not record.same_bits else 0


def _named(ledger: Ledger, trial_id: str) -> TrialRecord:
    """The complete trial of this id. Raises `UserError`, which says how any other ended."""
    trial = next((trial for trial in ledger.trials if trial.trial_id == trial_id), None)
    if trial is not None and trial.status == COMPLETE:
        return trial
    if trial is not None:
        raise UserError(f"--trial {trial_id}: {_ending(trial)}; there is no result to compare with")
    raise UserError(
        f"--trial {trial_id}: no trial of this id in {ledger.path}; the report lists them"
    )


def _ending(trial: TrialRecord) -> str:
    """How and where a trial without a result ended, and why."""
    epochs = trial.config.train.epochs
    epoch = min(len(trial.epochs) + 1, epochs)
    was = "was " * (trial.status == STOPPED)
    why = (trial.error or "no reason recorded").removeprefix(f"step {trial.steps}: ")
    return f"it {was}{trial.status} at step {trial.steps:,}, in epoch {epoch} of {epochs}: {why}"


def _say(phase: str) -> None:
    """What is done now, on standard error: each phase may take a minute."""
    print(phase, file=sys.stderr, flush=True)


def _train(best: TrialRecord, device: str, corpus: Corpus, home: Path) -> TrainResult:
    """The trial once more, from its own seed and with the threads it had."""
    assert best.device is not None
    torch.set_num_threads(best.device.threads)
    is_log = not sys.stderr.isatty()
    if is_log:
        _say("training")
    with tqdm(
        desc="training", unit=" steps", mininterval=0.5, file=sys.stderr, disable=is_log
    ) as bar:

        def show(progress: Progress) -> None:
            bar.total = progress.total_steps
            bar.set_postfix_str(f"loss {progress.train_loss_nats:.3f}", refresh=False)
            bar.update(progress.step - bar.n)

        def show_epoch(end: EpochRecord) -> None:
            every = -(-best.config.train.epochs // EPOCH_LINES)
            if is_log and end.epoch % every == 0:
                _say(
                    f"epoch {end.epoch} of {best.config.train.epochs}, validation loss "
                    f"{end.val_loss_nats:.4f} nats, training loss {end.train_loss_nats:.4f}"
                )

        hooks = Hooks(on_progress=show, on_epoch=show_epoch)
        result = train(
            best.config,
            corpus,
            device=device,
            checkpoint_dir=home,
            hooks=hooks,
            score_training=True,
        )
    for path in step_files(home):
        path.unlink()
    return result


def _score(best: TrialRecord, result: TrainResult, corpus: Corpus, home: Path) -> RerunRecord:
    """Compare with the ledger's record, and look at test."""
    assert result.checkpoint is not None
    _say("scoring the test split")
    model, config, _ = load_model(home / result.checkpoint.path)
    test, losses = corpus.dataset("test", config.model.seq_len), list[Tensor]()
    test_loss = evaluate(model, test, token_losses=losses)
    documents = corpus.documents("test")
    val_loss = result.epochs[-1].val_loss_nats
    return RerunRecord(
        trial_id=best.trial_id,
        val_loss_nats=val_loss,
        ledger_val_loss_nats=best.final.val_loss_nats,
        same_bits=val_loss == best.final.val_loss_nats,
        same_machine=result.device == best.device
        and versions() == best.versions
        and not best.threads_of_attempts,
        test_loss_nats=test_loss,
        test_perplexity=perplexity(test_loss),
        test_bits_per_byte=bits_per_byte(test_loss, corpus.bytes_per_token("test")),
        checkpoint=CheckpointRef(
            path=f"rerun/{home.name}/{result.checkpoint.path}", sha256=result.checkpoint.sha256
        ),
        wall_seconds=result.timing.total(),
        test_documents=losses_by_document(documents, scored_windows(test, None), losses)
        if documents
        else None,
        train_eval_loss_nats=result.train_eval_loss_nats,
        ended_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def count_test_evaluations(root: Path, corpus_hash: str) -> int:
    """How often a model was scored on the test split of this corpus, in all experiments of ROOT
    that can be read: to extend a search doesn't make its test split a fresh one."""
    count = 0
    for path in (root / "experiments").glob("*/experiment.json"):
        with suppress(UserError):
            if read_experiment(path.parent).corpus.content_hash == corpus_hash:
                count += len(Ledger(path.with_name("ledger.jsonl"), skip_damaged=True).reruns)
    return count


def _sample(model: Path, root: Path) -> str:
    """The prompt and what the model writes after it."""
    loaded, _, content = load_model(model)
    return sample_text(loaded, tokenizer_of(content, model, root), PROMPT, tokens=60)


def _keep_facts(facts: ModelFacts, home: Path) -> None:
    """Write them beside the model, for the card of an export; where they can't be, say so."""
    try:
        write_facts(facts, home)
    except OSError as error:
        print(f"Note       an export's card will have no losses: {home}: {error.strerror}")


def _print(record: RerunRecord, evaluations: int, sample: str, folder: Path, root: Path) -> None:
    """The comparison, the test score, the sample, and the commands that use the model."""
    difference = record.val_loss_nats - record.ledger_val_loss_nats
    verdict = "the same bits" if record.same_bits else f"different by {difference:+.2e} nats"
    machine = (
        "the same machine" if record.same_machine else "another device, other threads or versions"
    )
    model = folder / record.checkpoint.path
    print(
        f"Validation {record.val_loss_nats:.6f} nats; the ledger has "
        f"{record.ledger_val_loss_nats:.6f}: {verdict}, on {machine}\n"
        f"Training   {record.train_eval_loss_nats:.4f} nats without dropout, on as many windows of "
        "its training text\n"
        f"Test       {record.test_loss_nats:.4f} nats{_on_other_text(record)}, "
        f"perplexity {shown_perplexity(record.test_perplexity)}, "
        f"{record.test_bits_per_byte:.3f} bits per byte "
        f"(evaluation number {evaluations} on this test split)\n"
        f"Sample     {' '.join(sample.split())}\n"
        f"Model      {model}\n"
        f"Generate   {command_line('model/generate.py', str(model), PROMPT, root=root)}\n"
        f"Export     {command_line('model/export.py', str(model), 'exported', root=root)}"
    )


def _on_other_text(record: RerunRecord) -> str:
    """`, on other text of this kind 7.13 to 7.45 (150 documents; …)`, where documents are known."""
    found = on_other_text([record.test_documents] if record.test_documents else [])
    return f", {found}" if found else ""


if __name__ == "__main__":
    run_command(main)
