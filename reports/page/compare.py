"""`python reports/generate.py A B C`: several searches on one page.

What differs between them, the best of each with its interval and its distance from the best of
all, and the curves of those trials together. Where their tokenizers differ a loss a token is of
another piece of text in each: then all is in bits per byte (`reports/page/compare_scale.py`).
"""

from __future__ import annotations

import hashlib
import math
import statistics
from pathlib import Path
from typing import Any

import pandas as pd

from minigpt_search.data.common.formatting import one_line
from minigpt_search.data.common.invocation import recorded_command
from minigpt_search.reports.claims.evidence import Evidence
from minigpt_search.reports.figures.learning_curves import BITS as BITS_UNIT
from minigpt_search.reports.figures.learning_curves import NATS as NATS_UNIT
from minigpt_search.reports.figures.learning_curves import (
    bits_figures,
    gap_figure,
    learning_figures,
)
from minigpt_search.reports.figures.step_curves import step_figures
from minigpt_search.reports.page.compare_scale import (
    BITS,
    NATS,
    Scale,
    bits_per_nat,
    context,
    different_text,
    ladder_lengths,
    same_text,
    same_tokenizer,
    scale_cautions,
)
from minigpt_search.reports.page.ladder_section import equal_cost_section
from minigpt_search.reports.page.page import Page
from minigpt_search.reports.page.parts import Section, Table
from minigpt_search.search.answer.columns import show
from minigpt_search.search.answer.endings import not_run_yet
from minigpt_search.search.results.cost import trained_flop
from minigpt_search.search.results.results import Results
from minigpt_search.search.space.axes import AXES

LONGEST_NAME = 150
SPARE = (
    *("flop", "val_perplexity", "context", "vocab_size", "seeds", "total_seconds", "tokenizer"),
    *("configuration", NATS.interval, "behind"),
)
"""Columns of the table of the best that a narrow terminal does without, the first ones first."""


def comparison_folder(root: Path, names: list[str]) -> Path:
    """Where the comparison of experiments called `names` goes."""
    name = "+".join(names)
    if len(name) > LONGEST_NAME:
        name = f"{name[:100]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
    return root / "comparisons" / name


def compare_page(searches: list[Results]) -> Page:
    """The whole comparison."""
    scale = NATS if same_tokenizer(searches) else BITS
    best = _best_table(searches, scale)
    finished = best.dropna(subset=[scale.column])
    text = "No result yet."
    marked = None
    if len(finished) and not same_text(searches):
        different = "corpora" if scale is NATS else "text with different tokenizers"
        text = f"Trained on different {different}: there is no best among them."
    elif len(finished):
        marked = best[scale.column].tolist().index(finished[scale.column].min())
        row = show(best.loc[[marked], ["search", "configuration", scale.column]]).rows[0]
        text = f"Best: {row[1]} of {row[0]} {scale.phrase.format(row[2])}"
        if lengths := ladder_lengths(searches):
            marked = None
            text = f"No best among runs of different lengths: {lengths}."
    sections = [
        Section(
            title="The best of each",
            paragraphs=[
                "Losses are means over the finished seeds of the best configuration, fresh ones "
                "where it was confirmed, with 95% intervals; with one seed the interval is from "
                "the spread between the seeds of other configurations, or an assumed one.",
            ],
            tables=[
                Table(name="best", caption="Best configurations", frame=best, marked_row=marked)
            ],
        ),
        Section(
            title="Settings that differ",
            tables=[
                Table(
                    name="settings",
                    caption="What is not the same in all of them",
                    frame=_settings(searches),
                )
            ],
        ),
    ]
    sections.append(equal_cost_section(searches))
    epochs = _of_the_best(searches, "epochs_frame")
    if len(epochs):
        in_nats = scale is NATS
        curves = _of_the_best(searches, "curves_frame")
        if not curves["by_epoch"].all():
            figures = step_figures(curves, NATS_UNIT if in_nats else BITS_UNIT)
            figures += [gap_figure(epochs)] if in_nats and epochs["epoch"].max() > 1 else []
        elif in_nats:
            figures = [*learning_figures(epochs), gap_figure(epochs)]
        else:
            figures = bits_figures(epochs)
        sections.append(Section(title="Curves of the best", figures=figures))
    names = [one_line(each.experiment.name) for each in searches]
    return Page(
        title=" against ".join(names) if len(names) == 2 else ", ".join(names),
        begun="",
        summary=text,
        cautions=_cautions(searches),
        sections=[section for section in sections if section.filled],
    )


def _cautions(searches: list[Results]) -> list[str]:
    notes = []
    of_one_kind = same_tokenizer(searches)
    if not same_text(searches) and of_one_kind:
        notes.append(
            "They were trained on different corpora: their losses are not of the same text and "
            "can't be compared."
        )
    elif not same_text(searches):
        notes.append(
            "They have different tokenizers, and not the same text in "
            f"{' and '.join(different_text(searches))}: neither nats per token nor bits per byte "
            "can be compared. Prepare the same sources with each --tokenizer, without --tokens, "
            "which counts each one's own."
        )
    elif not of_one_kind:
        notes += scale_cautions(searches)
    if len({each.experiment.space.base.train.val_tokens for each in searches}) > 1:
        notes.append("They were scored on different amounts of the validation split.")
    unfinished = [one_line(each.experiment.name) for each in searches if not_run_yet(each)]
    if unfinished:
        notes.append(f"Not finished: {', '.join(unfinished)}.")
    return notes


def _best_table(searches: list[Results], scale: Scale) -> pd.DataFrame:
    rows = []
    winners = (each.winner for each in searches)
    found = [best.trials(best.configuration) if best else () for best in winners]
    means = [
        statistics.fmean([scale.measure(trial.final) for trial in trials]) if trials else math.inf
        for trials in found
    ]
    leader, lengths = found[means.index(min(means))], ladder_lengths(searches)
    for each, trials in zip(searches, found, strict=True):
        row: dict[str, Any] = {
            "search": one_line(each.experiment.name),
            "configuration": None,
            "tokenizer": one_line(each.experiment.corpus.tokenizer),
            "vocab_size": each.experiment.corpus.vocab_size,
        }
        if (best := each.winner) is not None:
            evidence = Evidence(each)
            nat = 1.0 if scale is NATS else bits_per_nat(each, "val")
            level = evidence.level(trials, scale.measure, nat).interval
            row |= {
                "configuration": best.configuration.label,
                "seeds": f"{len(trials)}{' fresh' * best.fresh}",
                "context": context(each, trials[0].config.model.seq_len),
                scale.column: level.mean,
                scale.interval: f"{level.low:.4f} to {level.high:.4f}",
                "val_perplexity": math.exp(level.mean) if scale is NATS else None,
                "flop": trained_flop(trials[0]),
                "total_seconds": trials[0].timing.total() / trials[0].pack,
            }
            if trials is not leader and same_text(searches) and not lengths:
                behind = evidence.difference(trials, leader, scale.measure, nat)
                row["behind"] = behind.interval.text("{:+.4f}")
                shared = {t.config.train.seed for t in trials} & {
                    t.config.train.seed for t in leader
                }
                if each.experiment.noise.paired and len(shared) > 1:
                    row["behind"] += f", paired: of the {len(shared)} seeds in common alone"
        rows.append(row)
    names = ["search", "configuration", "seeds", scale.column, scale.interval, "behind"]
    if scale is NATS:
        names.append("val_perplexity")
    else:
        names[2:2] = ["tokenizer", "vocab_size", "context"]
    return pd.DataFrame(rows, columns=[*names, "total_seconds", "flop"])


def narrow(best: pd.DataFrame) -> pd.DataFrame:
    """The table of the best for a terminal, which hasn't room for all of one in bits per byte."""
    in_bits = BITS.column in best
    return best.drop(columns=[BITS.interval, "flop"]) if in_bits else best


def _settings(searches: list[Results]) -> pd.DataFrame:
    """A row a setting with differing values, a column a search."""
    columns = [_described(each) for each in searches]
    names = list(dict.fromkeys(name for column in columns for name in column))
    keys = [f"search:{each.experiment.name}" for each in searches]
    rows = []
    for name in names:
        values = [column.get(name) for column in columns]
        if len(set(values)) > 1:
            rows.append({"setting": name, **dict(zip(keys, values, strict=True))})
    return pd.DataFrame(rows, columns=["setting", *keys])


def _described(results: Results) -> dict[str, str]:
    experiment = results.experiment
    machine, corpus = experiment.machine, experiment.corpus
    axes = {
        f"axis {name}": ", ".join(AXES[name].show(value) for value in values)
        for name, values in experiment.space.axes.items()
    }
    fixed = {
        field: "unset" if value is None else str(value)
        for section in experiment.space.base.to_dict().values()
        for field, value in section.items()
        if field not in {AXES[name].field for name in experiment.space.axes}
    }
    return {
        "command": recorded_command(experiment.command),
        "preset": experiment.preset,
        "sampler": experiment.plan.sampler or "grid",
        "trials finished": f"{len(results.complete)} of {results.trials_so_far}",
        "seeds": f"{experiment.noise.seeds}{', paired' * experiment.noise.paired}",
        "base seed": str(experiment.noise.base_seed),
        **axes,
        **fixed,
        "tokenizer": one_line(corpus.tokenizer),
        "corpus": f"{corpus.manifest.get('name')} {corpus.content_hash[:12]}",
        "device": f"{machine.device}, {machine.hardware.get('processor', 'unknown')}",
        "trials at a time": str(machine.max_concurrent),
        **{f"version of {name}": text for name, text in experiment.provenance.versions.items()},
        "commit": experiment.provenance.git_commit or "unknown",
    }


def _of_the_best(searches: list[Results], frame: str) -> pd.DataFrame:
    """The rows of each search's best trial in this frame of `Results`, under the search's name;
    with the columns of figures in bits per byte."""
    found = []
    for each in searches:
        name, best = each.experiment.name, each.winning_trial
        if best is not None:
            rows = getattr(each, frame)
            rows = rows[rows["trial_id"] == best.trial_id]
            rows = rows.assign(
                train_bits_per_byte=rows["train_loss_nats"] * bits_per_nat(each, "train"),
                bytes_seen=rows["tokens_seen"] * each.experiment.corpus.bytes_per_token("train"),
            )
            if "val_bits_per_byte" not in rows:  # an epoch's record has it
                rows["val_bits_per_byte"] = rows["val_loss_nats"] * bits_per_nat(each, "val")
            # By the search: the same trial may be in two of them.
            found.append(rows.assign(trial_id=name, trial=one_line(name), configuration=name))
    return pd.concat(found or [pd.DataFrame()], ignore_index=True)
