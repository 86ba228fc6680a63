"""The tables that say what was run, on what: architecture, recipe, data set, machine."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from minigpt_search.data.common.formatting import counted, day_and_time, one_line, storage
from minigpt_search.data.common.invocation import recorded_command
from minigpt_search.model.config import RunConfig, TrainConfig
from minigpt_search.model.model_size import parameter_count, parameter_table
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.records.plan import Noise
from minigpt_search.search.space.axes import AXES, CHOICES
from minigpt_search.search.space.objective import counted_length


def architecture(config: RunConfig) -> pd.DataFrame:
    """Component, specification, parameters, share of all; the last row is the total."""
    model, total = config.model, parameter_count(config.model)
    head = "tied head" if model.tie_head else "untied head"
    rows = [
        *parameter_table(config.model),
        ("Total", f"{model.n_layers} blocks, pre-norm, dropout {model.dropout:g}, {head}", total),
    ]
    frame = pd.DataFrame(rows, columns=["component", "specification", "parameters"])
    return frame.assign(share=frame["parameters"] / total)


def recipe(experiment: Experiment) -> pd.DataFrame:
    """How every trial was trained; an axis of the search shows all its values."""
    train, noise = experiment.space.base.train, experiment.noise
    rows = {
        "Loss": "cross-entropy of the next token",
        "Optimizer": f"AdamW (β₁ = {_axis(experiment, 'beta1')}, β₂ = "
        f"{_axis(experiment, 'beta2')}, weight decay {_axis(experiment, 'weight_decay')} on "
        "matrices only)",
        "Learning rate": f"{_axis(experiment, 'lr')}, linear warm-up, then {_schedule(train)}",
        "Warm-up": _warmup(experiment),
        **_parametrization(train),
        "Epochs": _axis(experiment, "epochs"),
        "Context length": f"{_axis(experiment, 'seq_len')} tokens",
        "Batch": _batch(experiment),
        "Gradient clipping": f"to a global norm of {train.grad_clip_norm:g}",
        "Dropout": _axis(experiment, "dropout"),
        "Precision": f"{train.precision} (losses summed in fp32)",
        "Validation": "after each epoch, on "
        + (f"{train.val_tokens:,} tokens" if train.val_tokens else "the whole split"),
        "Seeds": f"{noise.seeds} for each configuration{_confirmed(noise)}, from base seed "
        f"{noise.base_seed}{', the same for every configuration (paired)' * noise.paired}",
    }
    return _settings(rows)


def _confirmed(noise: Noise) -> str:
    if noise.confirm is None:
        return ""
    return f", up to {noise.confirm_seeds} fresh ones for the best {noise.confirm}"


def _axis(experiment: Experiment, name: str) -> str:
    values = experiment.space.axes.get(name)
    if values is None:
        return AXES[name].show(AXES[name].value(experiment.space.base))
    if experiment.ladder is not None and name == "lr":
        return "placed rung by rung"
    if experiment.plan.sampler is not None and experiment.space.kind(name) != CHOICES:
        return f"{min(values):g} to {max(values):g} (searched by {experiment.plan.sampler})"
    by = f" by {experiment.plan.sampler}" if experiment.plan.sampler is not None else ""
    shown = ", ".join(map(AXES[name].show, values))
    return shown + f" (searched{by})" * (len(values) > 1)


def _schedule(train: TrainConfig) -> str:
    if train.schedule == "wsd":
        return f"constant, then linear decay to 0 over the last {train.decay_fraction:.3g} of steps"
    return "a cosine to a tenth" if train.schedule == "cosine" else "linear decay to 0"


def _parametrization(train: TrainConfig) -> dict[str, str]:
    if train.parametrization == "standard":
        return {}
    return {"Parametrization": f"muP, standard at width {train.mup_base_dim}"}


def _warmup(experiment: Experiment) -> str:
    train = experiment.space.base.train
    of = "an epoch's steps" if train.schedule == "wsd" else "all steps"
    if "warmup_fraction" in experiment.space.axes:
        return f"{_axis(experiment, 'warmup_fraction')} of {of}"
    if "warmup_steps" in experiment.space.axes:
        return f"{_axis(experiment, 'warmup_steps')} steps"
    if train.warmup_fraction is not None:
        return f"{train.warmup_fraction:.3g} of {of}"
    return f"{train.warmup_steps:,} steps"


def _batch(experiment: Experiment) -> str:
    size, length = experiment.space.base.train.batch_size, experiment.space.base.model.seq_len
    if "seq_len" in experiment.space.axes or "batch_size" in experiment.space.axes:
        return f"{_axis(experiment, 'batch_size')} sequences"
    return f"{size} sequences of {length} tokens = {size * length:,} tokens"


def provenance(experiment: Experiment, trials: Sequence[TrialRecord] = ()) -> pd.DataFrame:
    """What is needed to run it again: command, machine, versions, commit, corpus; the threads of
    these `trials`, in the order they ended, where not all had the same; and what they went
    without."""
    machine, hardware = experiment.machine, experiment.machine.hardware
    processor = f"{hardware.get('processor', 'unknown')}, {hardware.get('cores', 'unknown')} cores"
    gpus = f"{machine.gpus_per_trial:g} GPU" if machine.device == "cuda" else "no GPU"
    packs = f" packs of up to {machine.pack} trials" if machine.pack > 1 else ""
    threads = _threads(experiment, trials)  # where these changed, so may have the others
    rows = {
        "Command": recorded_command(experiment.command),
        "Preset": experiment.preset,
        "Begun": day_and_time(experiment.created_at),
        "Processor": processor,
        "Memory": f"{hardware['memory_gb']:g} GB" if "memory_gb" in hardware else "unknown",
        "GPUs": _plain(hardware.get("gpus")),
        "Trials ran on": f"{machine.device}, {machine.max_concurrent}{packs} at a time, "
        f"{counted(machine.threads_per_trial, 'thread')} and {gpus} each"
        + (" at the end" if threads else ""),
        **threads,
        **_lacks(hardware, trials),
        **_limit(experiment),
        "Versions": _plain(experiment.provenance.versions),
        "Commit": experiment.provenance.git_commit or "unknown (not a checkout)",
        "Corpus": f"{experiment.corpus.name}, SHA-256 {experiment.corpus.content_hash}",
    }
    return _settings(rows)


def _lacks(hardware: Mapping[str, Any], trials: Sequence[TrialRecord]) -> dict[str, str]:
    """A row where a GPU couldn't be used, or not as it should."""
    noted = Counter(note for trial in trials for note in trial.notes)
    texts = [f"{note} ({counted(n, 'trial')})" for note, n in noted.items()]
    if "unused_gpus" in hardware:
        texts.insert(0, str(hardware["unused_gpus"]))
    return {"Went without": "; ".join(map(one_line, texts))} if texts else {}


def _threads(experiment: Experiment, trials: Sequence[TrialRecord]) -> dict[str, str]:
    """A row where a resume changed the threads: on a CPU they alter a loss' last bits."""
    had = [
        trial.threads_of_attempts or (trial.device.threads,)
        for trial in trials
        if trial.device is not None
    ]
    if len(set(had)) < 2 and all(len(threads) == 1 for threads in had):
        return {}
    texts, first = [], 1
    for threads, group in itertools.groupby(had):
        last = first + len(list(group)) - 1
        which = f"trial {first}" if first == last else f"trials {first} to {last}"
        texts.append(f"{which} with {', then '.join(map(str, threads))}")
        first = last + 1
    note = "; the last bits of a loss depend on them" if experiment.machine.device == "cpu" else ""
    return {"Threads": f"by the order of their ends, {', '.join(texts)}{note}"}


def _limit(experiment: Experiment) -> dict[str, str]:
    limit = experiment.storage.max_disk_bytes
    if limit is None:
        return {}
    return {"Disk": f"held to {storage(limit)}: weights of trials but the best may be gone"}


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {text}" for name, text in value.items()) or "unknown"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_plain, value)) or "none"
    return str(value) if value else "none"


def sources(corpus: Mapping[str, Any]) -> pd.DataFrame:
    """Each source's documents, retention and tokens, from the manifest; the last row is the
    total. Retention is the share of documents that all of the preparation kept."""
    frame = pd.DataFrame(
        [
            {
                "source": source.get("title") or source["name"],
                "kind": source["kind"],
                "licence": source["licence"],
                "documents_in": source["documents_in"],
                "documents_kept": source["documents_kept"],
                "tokens": source["tokens"],
            }
            for source in corpus["sources"]
        ]
    )
    counts = frame[["documents_in", "documents_kept", "tokens"]].sum()
    total = pd.DataFrame([{"source": "Total", "kind": "", "licence": "", **counts.to_dict()}])
    frame = pd.concat([frame, total], ignore_index=True)
    retention = frame["documents_kept"] / frame["documents_in"].where(frame["documents_in"] > 0)
    frame.insert(5, "retention", retention)
    return frame


def splits(corpus: Mapping[str, Any]) -> pd.DataFrame:
    """Documents, tokens, bytes of text and files of train, validation and test."""
    titles = {"train": "Training", "val": "Validation", "test": "Test"}
    return pd.DataFrame(
        [
            {
                "split": titles[name],
                "documents": corpus["splits"][name]["documents"],
                "tokens": corpus["splits"][name]["tokens"],
                "text_bytes": corpus["splits"][name]["bytes"],
                "files": len(corpus["splits"][name]["files"]),
            }
            for name in titles
        ]
    )


def training_data(experiment: Experiment) -> pd.DataFrame:
    """The recipe's data set table: sequences, batches an epoch and storage of the base
    configuration, and what share of the corpus an epoch is."""
    corpus, config = experiment.corpus.manifest, experiment.space.base
    train = corpus["splits"]["train"]
    epoch = counted_length(config, corpus)
    length, size = config.model.seq_len, config.train.batch_size
    limited = epoch.sequences < epoch.sequences_available
    per_token = experiment.corpus.bytes_per_token("train")
    used = "limited, " if limited else ""
    rows = {
        "Training tokens in the corpus": f"{train['tokens']:,}",
        "Training sequences in the corpus": f"{epoch.sequences_available:,} ({length} tokens each)",
        "Tokens trained an epoch": f"{epoch.tokens_per_epoch:,} "
        f"({used}{epoch.tokens_per_epoch / max(1, train['tokens']):.1%} of the training split)",
        "Sequences an epoch": f"{epoch.sequences:,}",
        "Batches an epoch": f"{epoch.steps_per_epoch:,} (batch size {size})",
        "Quality filter": f"{corpus['retention']:.1%} of documents kept",
        "Tokenizer": f"{one_line(experiment.corpus.tokenizer)}, "
        f"{experiment.corpus.vocab_size:,} entries, {per_token:.2f} bytes a token",
        "Storage": f"{len(train['files'])} segmented PyTorch files, "
        f"{storage(corpus['storage_bytes'])} with validation and test",
    }
    return _settings(rows).rename(columns={"setting": "metric"})


def attributions(corpus: Mapping[str, Any]) -> list[str]:
    """One line a source that asks for attribution."""
    return [
        one_line(f"{source.get('title') or source['name']}: {source['attribution']}")
        for source in corpus["sources"]
        if source.get("attribution")
    ]


def _settings(rows: Mapping[str, str]) -> pd.DataFrame:
    return pd.DataFrame(list(rows.items()), columns=["setting", "value"])
