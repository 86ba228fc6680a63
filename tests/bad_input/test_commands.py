"""Every kind of bad input for every command: one line, status 2, nothing written or downloaded."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from minigpt_search.data.common.checked_json import seal, unseal
from minigpt_search.data.corpus.manifest import MANIFEST_FILE
from minigpt_search.data.splitting.segments import save_segment
from minigpt_search.model.records import DIVERGED, FAILED, STOPPED
from minigpt_search.model.training.checkpoint import FORMAT, load, save_atomically
from minigpt_search.search.machines import machines
from minigpt_search.search.records.ledger import Ledger

RUN, RERUN = "search/run.py", "search/rerun.py"
REPORT = "reports/generate.py"
GENERATE, EXPORT = "model/generate.py", "model/export.py"
PREPARE = "data/prepare.py"
LR = ("--grid", "lr", "--corpus", "small")
TPE = ("--search", "tpe", "--corpus", "small", "--trials", "3")
HEADS = (*TPE, "--grid", "embed_dim,n_heads")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ((), "nothing to search: give --grid lr"),
        (("extra",), "unrecognized arguments: extra"),
        (("--frobnicate",), "unrecognized arguments: --frobnicate"),
        (("line\nbreak\x1b[31m",), r"unrecognized arguments: line\nbreak\x1b[31m"),
        (("--grid",), "--grid: expected one argument"),
        (("--grid", "rate"), "--grid 'rate': no such axis; there are lr, epochs"),
        (("--grid", ""), "--grid '': no such axis"),
        (("--grid", "lr,lr"), "--grid lr,lr: an axis is named twice"),
        (("--grid", "momentum"), "--grid 'momentum': no such axis"),
        ((*LR, "--lr", "fast"), "--lr fast: 'fast' is no number"),
        ((*LR, "--lr", ""), "--lr : '' is no number"),
        ((*LR, "--lr", "1e-3,,2e-3"), "'' is no number"),
        ((*LR, "--lr", "1e-3,1e-3"), "1e-3 is there twice"),
        ((*LR, "--lr", "10"), "lr=10.0: give a rate above 0, at most 1"),
        ((*LR, "--lr", "-1"), "lr=-1.0: give a rate above 0"),
        ((*LR, "--lr", "0"), "lr=0.0"),
        ((*LR, "--lr", "nan"), "lr=nan"),
        ((*LR, "--lr", "inf,1e-3"), "lr=inf"),
        ((*LR, "--lr", "9" * 5000), "lr=inf"),
        ((*LR, "--epochs", "0"), "epochs=0: give a number from 1"),
        ((*LR, "--epochs", "-3"), "epochs=-3"),
        ((*LR, "--epochs", "2.5"), "'2.5' is no number; give whole numbers"),
        ((*LR, "--epochs", "1000000"), "epochs=1000000"),
        ((*LR, "--embed-dim", "130"), "embed_dim=130 is not divisible by n_heads=4"),
        ((*LR, "--embed-dim", "130,128,66"), "n_heads=4: use a multiple of 4; embed_dim=66 is"),
        ((*LR, "--embed-dim", "0"), "embed_dim=0"),
        ((*LR, "--embed-dim", "1000000"), "embed_dim=1000000"),
        ((*LR, "--seq-len", "0"), "seq_len=0"),
        ((*LR, "--seq-len", "5000"), "seq_len=5000: the validation split is shorter"),
        (
            ("--grid", "lr", "--corpus", "tiny", "--preset", "full"),
            "batch_size=32: an epoch has only 4 sequences",
        ),
        ((*LR, "--preset", "full"), "warmup_steps=500: the whole run has"),
        ((*LR, "--preset", "huge"), "--preset: invalid choice: 'huge'"),
        ((*LR, "--preset", "seed"), "--preset: the preset seed is called full now"),
        ((*LR, "--seeds", "0"), "--seeds 0: give 1 or more"),
        ((*LR, "--seeds", "x"), "--seeds: invalid int value: 'x'"),
        ((*LR, "--seeds", "1000000000"), "make 4,000,000,000 trials: at most 10,000"),
        ((*LR, "--seed", "-1"), "--seed -1"),
        ((*LR, "--trials", "5"), "--trials goes with --search"),
        (("--search", "tpe"), "--search needs --trials"),
        (("--search", "grid", "--trials", "3"), "--search: invalid choice: 'grid'"),
        ((*TPE[:-1], "0"), "--trials 0"),
        ((*TPE[:-1], "1000000000000"), "at most 10,000"),
        ((*TPE, "--lr", "1e-2,1e-4"), "--lr with --search: give low,high"),
        ((*LR, "--space", ""), "--space : give AXIS=low:high"),
        ((*LR, "--space", "dropout"), "--space dropout: give AXIS=low:high, AXIS=v1,v2"),
        ((*LR, "--space", "momentum=0.9"), "--space momentum=0.9: no such axis; there are lr"),
        ((*LR, "--space", "dropout="), "--space dropout=: '' is no number"),
        ((*LR, "--space", "dropout=a,b"), "--space dropout=a,b: 'a' is no number"),
        ((*LR, "--space", "dropout=0.1,0.1"), "--space dropout=0.1,0.1: 0.1 is there twice"),
        ((*LR, "--space", "dropout=1.5"), "dropout=1.5: give a number from 0"),
        ((*LR, "--space", "dropout=0:0.2"), "a range goes with --search; give a grid's values"),
        ((*LR, "--space", "lr=1e-3", "--lr", "1e-3"), "lr is given twice"),
        ((*LR, "--space", "beta1=0.9", "--space", "beta1=0.8"), "beta1 is given twice"),
        ((*LR, "--space", "tie_head=maybe"), "'maybe' is none of true, false"),
        ((*LR, "--space", "n_heads=3"), "embed_dim=128 is not divisible by n_heads=3"),
        ((*LR, "--space", "n_heads=0"), "n_heads=0"),
        (("--grid", "n_heads", "--space", "n_heads=3,4", *LR[2:]), "not divisible by n_heads=3"),
        (
            ("--grid", "n_heads,embed_dim", "--space", "n_heads=3,5", "--embed-dim", "8", *LR[2:]),
            "embed_dim=8 is not divisible by n_heads=3",
        ),
        ((*LR, "--space", "batch_size=2.5"), "'2.5' is no number; give whole numbers"),
        ((*LR, "--space", "warmup_fraction=1"), "warmup_fraction=1.0"),
        ((*TPE, "--space", "lr=1e-2:1e-4"), "--space lr=1e-2:1e-4: give the lower end first"),
        ((*TPE, "--space", "lr=nan:1"), "give the lower end first"),
        ((*TPE, "--space", "lr=1e-4:1:2:3"), "a range is low:high, low:high:log"),
        ((*TPE, "--space", "lr=1e-4:1e-2:ln"), "a range is low:high, low:high:log"),
        ((*TPE, "--space", "lr=1e-4:"), "'' is no number"),
        ((*TPE, "--space", "lr=1e-4,1e-3:1"), "'1e-4 1e-3' is no number"),
        ((*TPE, "--space", "dropout=0:0.2:log"), "a logarithmic range begins above 0"),
        ((*TPE, "--space", "dropout=0.1:1"), "dropout=1.0"),
        ((*TPE, "--space", "tie_head=false:true"), "tie_head has no range; give tie_head=true,fal"),
        ((*TPE, "--space", "embed_dim=32:256:log"), "must be a multiple of 4 for the heads"),
        ((*TPE, "--space", "embed_dim=30:60"), "embed_dim=30 is not divisible by n_heads=4"),
        (
            (*TPE, "--space", "embed_dim=32:256", "--space", "n_heads=3:5"),
            "begin and end at a multiple of 60",
        ),
        ((*TPE, "--space", "n_heads=3:9"), "no two widths from 32 to 256 are a multiple of 2520"),
        (
            (*HEADS, "--space", "embed_dim=16,20", "--space", "n_heads=3,7"),
            "no number of heads divides any width",
        ),
        ((*TPE, "--grid", "tie_head"), "--trials 3: there are only 2 configurations"),
        (
            (*HEADS, "--space", "embed_dim=16,24", "--space", "n_heads=3,5"),
            "--trials 3: there are only 1 configurations",
        ),
        (
            ("--search", "cmaes", *TPE[2:], "--space", "embed_dim=16,32"),
            "--search cmaes: it takes ranges only, and embed_dim has choices",
        ),
        (
            ("--search", "cmaes", *TPE[2:], "--objective", "val_loss,cost"),
            "--objective val_loss,cost: cmaes has one objective",
        ),
        ((*LR, "--objective", ""), "--objective : give val_loss"),
        ((*LR, "--objective", "loss"), "--objective loss: give val_loss"),
        ((*LR, "--objective", "flop"), "--objective flop: give val_loss"),
        ((*LR, "--objective", "val_loss,val_loss"), "--objective val_loss,val_loss: give"),
        ((*LR, "--objective", "val_loss,flop,params"), "val_loss with one cost"),
        ((*LR, "--max-cost", ""), "--max-cost : give a number above 0 with its unit"),
        ((*LR, "--max-cost", "30"), "--max-cost 30: give a number above 0 with its unit"),
        ((*LR, "--max-cost", "0s"), "--max-cost 0s"),
        ((*LR, "--max-cost", "-5flop"), "--max-cost: expected one argument"),
        ((*LR, "--max-cost=-5flop"), "--max-cost -5flop: give a number above 0"),
        ((*LR, "--max-cost", "nanflop"), "--max-cost nanflop"),
        ((*LR, "--max-cost", "1e999flop"), "--max-cost 1e999flop"),
        ((*LR, "--max-cost", "9" * 5000 + "s"), "--max-cost 999"),
        ((*LR, "--max-cost", "5parsec"), "--max-cost 5parsec"),
        ((*LR, "--max-cost", "1Mparam"), "1Mparam: every configuration of lr costs more; the ch"),
        ((*TPE, "--max-cost", "1flop"), "--max-cost 1flop: every configuration of lr, epochs, em"),
        (
            (*TPE, "--grid", "embed_dim", "--max-cost", "3Mparam"),
            "there are only 1 configurations to try within --max-cost 3Mparam",
        ),
        ((*TPE, "--pack", "2"), "--pack goes with a grid"),
        ((*LR, "--max-concurrent", "0"), "--max-concurrent 0"),
        ((*LR, "--max-concurrent", "1000"), "--max-concurrent 1000 with 1 threads each is more"),
        ((*LR, "--cpus-per-trial", "1000"), "--cpus-per-trial 1000 is more than the"),
        ((*LR, "--device", "cuda"), "--device cuda: torch sees no CUDA device here"),
        ((*LR, "--device", "tpu"), "--device: invalid choice: 'tpu'"),
        ((*LR, "--gpus-per-trial", "2"), "--gpus-per-trial 2: these trials train on the CPU"),
        ((*LR, "--gpus-per-trial", "nan"), "--gpus-per-trial nan"),
        ((*LR, "--gpus-per-trial", "-1"), "--gpus-per-trial -1"),
        ((*LR, "--trials-per-gpu", "2"), "--trials-per-gpu 2: these trials train on the CPU"),
        ((*LR, "--pack", "0"), "--pack 0"),
        ((*LR, "--pack", "1" * 5000), "--pack 111"),
        (("--grid", "epochs", "--corpus", "small", "--pack", "2"), "no two of these trials"),
        ((*LR, "--name", "a/b"), "--name 'a/b': use letters"),
        ((*LR, "--name", "../up"), "--name '../up'"),
        ((*LR, "--name", ""), "--name ''"),
        ((*LR, "--name", "two\nlines"), r"--name 'two\nlines'"),
        ((*LR, "--name", "done"), "--name done: exists"),
        (("--grid", "lr", "--corpus", "none"), "--corpus none: not prepared"),
        (("--grid", "lr", "--corpus", "../corpus/small"), "--corpus '../corpus/small'"),
        (("--grid", "lr", "--corpus", "x" * 5000), "--corpus 'xxx"),
        (("--resume", "never"), "no experiment 'never'"),
        (("--config", "none.toml"), "--config none.toml: can't be read"),
        (("--config", "HOME"), "can't be read (Is a directory)"),
        (("--config", "HOME/calibration.json"), "no TOML"),
        (("--config", "HOME/final.pt"), "no TOML"),
        (("--config", ""), "--config ."),
        (("--resume", "../done"), "--resume '../done': use letters"),
        (("--resume", ""), "--resume '': use letters"),
        (("--resume", "done", "--lr", "1e-3"), "leave out --lr"),
        ((*LR, "--skip-damaged"), "--skip-damaged goes with --resume"),
        ((*LR, "--stop", "soon"), "--stop: invalid choice: 'soon'"),
        (("--grid", "lr", "--stop", "asha", "--pack", "2"), "--stop goes without --pack 2"),
        ((*LR, "--tokens-per-epoch", "0"), "--tokens-per-epoch 0: give 1 or more"),
        ((*LR, "--tokens-per-epoch", "100"), "an epoch has only 1 sequences"),
        ((*LR, "--val-tokens", "-1"), "--val-tokens -1: give 1 or more"),
        ((*LR, "--budget", "30"), "--budget 30: give a time with its unit"),
        ((*LR, "--budget", "1s"), "of 100 steps and more take about"),
        (("--search", "tpe", "--budget", "9s", "--corpus", "small"), "hardly a trial fits"),
        ((*LR, "--out", "x" * 5000), "File name too long"),
    ],
)
def test_search(attempt: Any, home: Path, words: tuple[str, ...], named: str) -> None:
    attempt(RUN, *(word.replace("HOME", str(home)) for word in words)).refused(named)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--source", "nowhere.txt"), "--source 'nowhere.txt': no such file or folder"),
        (("--source", ""), "--source '': no such file"),
        (("--source", "PROSE:0"), "the weight must be above 0"),
        (("--source", "builtin:latin"), "--source builtin:latin: the names are"),
        (("--source", "hub:"), "--source hub:: give hub:OWNER/NAME"),
        (("--source", "hub:x/y"), "--source hub:x/y: needs --tokens"),
        (("--source", "PROSE", "--tokens", "0"), "--tokens 0"),
        (("--source", "PROSE", "--tokens", "-5"), "--tokens -5"),
        (("--source", "PROSE", "--tokens", "many"), "--tokens: invalid int value: 'many'"),
        (("--source", "PROSE", "--tokens", "1" + "0" * 30), "--tokens 1000"),
        (("--source", "PROSE", "--tokens", "5"), "too little text: train has 5 tokens"),
        (("--source", "PROSE", "--eval-tokens", "0"), "--eval-tokens 0"),
        (("--source", "PROSE", "--segments", "0"), "--segments 0"),
        (("--source", "PROSE", "--segments", "101"), "--segments 101"),
        (("--source", "PROSE", "--seed", "-1"), "--seed -1"),
        (("--source", "PROSE", "--seed", "1" * 100), "--seed 111"),
        (("--source", "PROSE", "--workers", "0"), "--workers 0"),
        (("--source", "PROSE", "--workers", "-2"), "--workers -2"),
        (("--source", "PROSE", "--text-column", ""), "--text-column"),
        (("--source", "PROSE", "--name", "../up"), "--name '../up'"),
        (("--source", "PROSE", "--name", ""), "--name ''"),
        (("--source", "PROSE", "--name", "small"), "corpus 'small' in"),
        (("--verify", "--name", "absent"), "no manifest.json"),
        (("extra",), "unrecognized arguments: extra"),
        (("--source", "FILE/bad.jsonl"), "bad.jsonl, line 2: not JSON"),
        (("--source", "FILE/deep.jsonl"), "deep.jsonl, line 1: not JSON"),
        (("--source", "FILE/number.jsonl"), "column 'text' holds a int, not text"),
        (("--source", "FILE/list.jsonl"), "expected an object, found a list"),
        (("--source", "FILE/column.jsonl"), "no column 'text'; there are 'body'"),
        (("--source", "FILE/half.jsonl"), "29 bytes of text are left of half.jsonl"),
        (("--source", "PROSE", "--filter", "all"), "--filter all: give web or none"),
        (("--source", "PROSE", *("--filter", "web") * 3), "--filter: 3 of them for 1 sources"),
        (("--source", "PROSE", "--duplicates", "no"), "--duplicates no: give keep, exact or near"),
        (("--source", "PROSE", "--bad-rows", "no"), "--bad-rows no: give refuse or skip"),
        (("--source", "PROSE", "--separator", ""), "--separator: must not be empty"),
        (("--source", "PROSE", "--validation", "absent.txt"), "--validation 'absent.txt'"),
        (("--source", "PROSE", "--validation-share", "0.9"), "--validation-share 0.9"),
        (("--source", "PROSE", "--tokenizer", "bpe:2"), "--tokenizer bpe:2"),
        (("--source", "PROSE", "--tokenizer", "absent"), "--tokenizer absent"),
        (("--source", "PROSE", "--template", "{open"), "--template"),
        (("--source", "FILE/empty.txt"), "no text in it"),
        (("--source", "FILE/zeros.txt"), "zeros.txt: byte 0 is NUL: a binary file, not text"),
        (("--source", "FILE/bad.parquet"), "bad.parquet: not a valid parquet file"),
        (("--source", "FILE/cut.xml"), "cut.xml: not well-formed XML"),
        (("--source", "FILE/bad.xml.bz2"), "bad.xml.bz2: cannot be read"),
        (("--source", "FILE/a.pdf"), "a.pdf: its ending says none of .txt, .md"),
        (("--source", "FILE/a.zip"), "a.zip: an archive of files: unpack it"),
        (("--source", "FILE/cyrillic.txt"), "cyrillic.txt, line 2, byte 6: 0xcc is not UTF-8"),
        (("--source", "FILE/cut.txt.gz"), "cut.txt.gz: cannot be read"),
        (("--source", "FILE/cut.csv"), "cut.csv, line 2: not a row of a table"),
        (("--source", "FILE/list.json"), "list.json, line 1: expected an object, found a int"),
        (("--source", "FILE/train.bin"), "train.bin: meta.pkl beside it"),
        (("--source", "PROSE", "--validation", "FILE/no.txt"), "--validation '"),
        (("--source", "PROSE", "--template", "{a.b!r}"), "--template '{a.b!r}': only a column"),
        (("--source", "FILE"), "--source"),
    ],
)
def test_prepare(
    attempt: Any, prose: Path, tmp_path: Path, words: tuple[str, ...], named: str
) -> None:
    files = tmp_path / "files"
    files.mkdir()
    for name, content in BAD_SOURCES.items():
        (files / name).write_bytes(content)
    words = tuple(w.replace("PROSE", str(prose)).replace("FILE", str(files)) for w in words)
    more = () if "--workers" in words else ("--workers", "1")
    attempt(PREPARE, *words, "--quiet", *more).refused(named)


BAD_SOURCES = {
    "bad.jsonl": b'{"text": "a"}\n{"text" "b"}\n',
    "deep.jsonl": b"[" * 100_000 + b"\n",
    "number.jsonl": b'{"text": 5}\n',
    "list.jsonl": b"[1]\n",
    "column.jsonl": b'{"body": "x"}\n',
    "half.jsonl": b'{"text": "half a pair \\ud800 of surrogates"}\n',
    "cyrillic.txt": "first\n\u041c\u0438\u0440 \u043c\u0438\u0440\u0443".encode("cp1251"),
    "cut.txt.gz": gzip.compress(b"some text " * 100)[:-9],
    "cut.csv": b'text,id\n"never closed,1\n',
    "list.json": b"[1, 2]",
    "train.bin": bytes(100),
    "meta.pkl": b"",
    "a.zip": b"PK",
    "empty.txt": b"",
    "zeros.txt": bytes(1000),
    "bad.parquet": b"PAR1junk",
    "cut.xml": b"<mediawiki><page>",
    "bad.xml.bz2": b"BZhjunk",
    "a.pdf": b"%PDF",
}


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ((), "no model in HOME"),
        (("x" * 5000,), "no model in HOME"),
        (("nowhere.pt",), "nowhere.pt: no such file"),
        (("HOME",), "a folder; give a checkpoint"),
        (("x" * 5000 + ".pt",), "File name too long"),
        (("HOME/final.pt", "x", "--tokens", "0"), "--tokens 0"),
        (("HOME/final.pt", "x", "--tokens", "x"), "--tokens: invalid int value: 'x'"),
        (("HOME/final.pt", "x", "--temperature", "-1"), "--temperature -1"),
        (("HOME/final.pt", "x", "--temperature", "nan"), "--temperature nan"),
        (("HOME/final.pt", "x", "--top-k", "0"), "--top-k 0"),
        (("HOME/final.pt", "x", "--top-p", "1.5"), "--top-p 1.5"),
        (("HOME/final.pt", "x", "--seed", "-1"), "--seed -1"),
        (("HOME/final.pt", "x", "y"), "unrecognized arguments: y"),
        (("HOME/tiny.pt", "x"), "a model of 40 tokens"),
    ],
)
def test_generate(attempt: Any, home: Path, words: tuple[str, ...], named: str) -> None:
    done = attempt(GENERATE, *(word.replace("HOME", str(home)) for word in words))
    done.refused(named.replace("HOME", str(home)))


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ((), "the following arguments are required: folder"),
        (("HOME/final.pt",), "looks like a checkpoint"),
        (("exported",), "no model in HOME"),
        (("nowhere.pt", "exported"), "nowhere.pt: no such file"),
        (("HOME/final.pt", "HOME"), "exists and is not empty"),
        (("HOME/final.pt", "HOME/final.pt"), "exists and is not empty"),
        (("HOME/final.pt", "HOME/final.pt/x"), "cannot be written"),
        (("HOME/final.pt", "x" * 5000), "File name too long"),
        (("HOME/tiny.pt", "exported"), "a model of 40 tokens"),
    ],
)
def test_export(attempt: Any, home: Path, words: tuple[str, ...], named: str) -> None:
    done = attempt(EXPORT, *(word.replace("HOME", str(home)) for word in words))
    done.refused(named.replace("HOME", str(home)))


@pytest.mark.parametrize("script", [RERUN, REPORT])
@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("never",), "no experiment 'never'"),
        (("../done",), "'../done'"),
        (("",), "''"),
        (("--fast",), "unrecognized arguments: --fast"),
        (("done", "--out", "nowhere"), "no experiment 'done'"),
        (("--out", "nowhere"), "begin with"),
        (("--out", "x" * 5000), "File name too long"),
    ],
)
def test_rerun_and_report(attempt: Any, script: str, words: tuple[str, ...], named: str) -> None:
    attempt(script, *words).refused(named)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ((RERUN, "done", "begun"), "unrecognized arguments: begun"),
        ((RERUN, "done", "--trial", "nothing"), "--trial nothing: no trial"),
        ((REPORT, "done", "done"), "done done: an experiment is named twice"),
        ((REPORT, "done", "begun", "--watch"), "--watch is for one experiment"),
        ((REPORT, "done", "never"), "no experiment 'never'"),
    ],
)
def test_one_or_several_experiments(attempt: Any, words: tuple[str, ...], named: str) -> None:
    attempt(*words).refused(named)


@pytest.mark.parametrize("status", [DIVERGED, STOPPED, FAILED])
def test_rerun_of_a_trial_without_a_result_says_how_it_ended(
    attempt: Any, home: Path, status: str
) -> None:
    ledger = Ledger(home / "experiments" / "done" / "ledger.jsonl")
    ended = dataclasses.replace(ledger.trials[0], status=status, epochs=(), error="the reason")
    ledger.append(ended)
    how = {STOPPED: "was stopped"}.get(status, status)
    attempt(RERUN, "done", "--trial", ended.trial_id).refused(
        f"it {how} at step 36, in epoch 1 of 1: the reason; there is no result"
    )


def test_rerun_without_a_complete_trial(attempt: Any) -> None:
    attempt(RERUN, "begun").refused("begun: no trial is complete")


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def flip_third(path: Path) -> None:
    """A bit in the middle of the third line."""
    first, second, third, *_ = path.read_bytes().splitlines(keepends=True)
    flip(path, len(first) + len(second) + len(third) // 2)


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def change(path: Path, **fields: object) -> None:
    """Other fields, with a checksum that is right."""
    path.write_text(json.dumps(seal({**unseal(json.loads(path.read_bytes())), **fields})))


CORPUS_DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "missing segment": (lambda c: (c / "segment_03.pt").unlink(), "segment_03.pt: segment file is"),
    "cut segment": (lambda c: cut(c / "segment_03.pt", 900), "segment_03.pt: damaged, 900 bytes"),
    "flipped bit": (lambda c: flip(c / "segment_03.pt", 900), "segment_03.pt: damaged, its SHA"),
    "folder for a file": (lambda c: as_folder(c / "val.pt"), "val.pt: segment file is missing"),
    "cut manifest": (lambda c: cut(c / MANIFEST_FILE, 500), "manifest.json: damaged"),
    "empty manifest": (lambda c: cut(c / MANIFEST_FILE, 0), "manifest.json: damaged"),
    "newer manifest": (
        lambda c: change(c / MANIFEST_FILE, schema_version=99),
        "schema_version 99 is newer than this program's",
    ),
    "another number": (
        lambda c: (c / MANIFEST_FILE).write_text(
            (c / MANIFEST_FILE).read_text().replace('"documents_in": ', '"documents_in": 1')
        ),
        "manifest.json: damaged (its checksum",
    ),
    "tokens beyond the vocabulary": (lambda c: strange_tokens(c), "up to 60000, expected"),
}


def as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def strange_tokens(corpus: Path) -> None:
    """A segment with an id that GPT-2's encoding hasn't, under a manifest that says it is right."""
    raw = unseal(json.loads((corpus / MANIFEST_FILE).read_bytes()))
    file = raw["splits"]["train"]["files"][0]
    tokens = torch.zeros(file["tokens"], dtype=torch.int32).numpy().astype("uint16")
    tokens[7] = 60_000
    made = save_segment(corpus / file["name"], tokens)
    file["sha256"], file["size_bytes"] = made.sha256, made.size_bytes
    change(corpus / MANIFEST_FILE, splits=raw["splits"])


@pytest.mark.parametrize("kind", CORPUS_DAMAGE)
@pytest.mark.parametrize(
    "command",
    [
        (RUN, *LR),
        (RUN, "--resume", "done"),
        (RERUN, "done"),
        (PREPARE, "--name", "small", "--verify"),
    ],
)
def test_damaged_corpus(attempt: Any, home: Path, command: tuple[str, ...], kind: str) -> None:
    damage, named = CORPUS_DAMAGE[kind]
    damage(home / "corpus" / "small")
    attempt(*command).refused(named)


EXPERIMENT_DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "cut": (lambda e: cut(e / "experiment.json", 700), "experiment.json can't be read"),
    "empty": (lambda e: cut(e / "experiment.json", 0), "experiment.json can't be read"),
    "another number": (
        lambda e: (e / "experiment.json").write_text(
            (e / "experiment.json").read_text().replace('"seeds": 1', '"seeds": 2')
        ),
        "its checksum is not",
    ),
    "newer": (lambda e: change(e / "experiment.json", schema_version=99), "schema version 99"),
    "an axis of another program": (
        lambda e: change_space(e / "experiment.json", axes={"momentum": [0.9]}),
        "axis 'momentum'",
    ),
    "dropout 1.5": (lambda e: dropout(e / "experiment.json"), "dropout=1.5: give a number from 0"),
    "a ledger that is a folder": (lambda e: as_folder(e / "ledger.jsonl"), "ledger.jsonl"),
    "a damaged line": (lambda e: flip_third(e / "ledger.jsonl"), "line 3 is damaged"),
    "a newer line": (lambda e: newer_line(e / "ledger.jsonl"), "schema version 9, this program"),
    "a line of another program": (
        lambda e: (e / "ledger.jsonl").write_text('{"a": 1}\n'),
        "line 1 is damaged",
    ),
}


def dropout(path: Path) -> None:
    base = json.loads(path.read_bytes())["space"]["base"]
    base["model"]["dropout"] = 1.5
    change_space(path, base=base)


def change_space(path: Path, **fields: object) -> None:
    change(path, space=json.loads(path.read_bytes())["space"] | fields)


def newer_line(path: Path) -> None:
    raw = unseal(json.loads(path.read_bytes().splitlines()[0])) | {"schema_version": 9}
    path.write_text(json.dumps(seal(raw)) + "\n")


@pytest.mark.parametrize("kind", EXPERIMENT_DAMAGE)
@pytest.mark.parametrize("command", [(RUN, "--resume", "done"), (RERUN, "done"), (REPORT, "done")])
def test_damaged_experiment(attempt: Any, home: Path, command: tuple[str, ...], kind: str) -> None:
    damage, named = EXPERIMENT_DAMAGE[kind]
    damage(home / "experiments" / "done")
    attempt(*command).refused(named)


class Trap:
    """Unpickled carelessly, it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.path),)


def with_trap(path: Path, trap: Path) -> None:
    """A checkpoint's own archive whose pickle is another."""
    whole = zipfile.ZipFile(path)
    members = {name: whole.read(name) for name in whole.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(
                name, pickle.dumps(Trap(trap), protocol=2) if name.endswith("data.pkl") else content
            )


def changed(path: Path, **fields: object) -> None:
    save_atomically({**load(path), **fields}, path)


def other_model(path: Path, **fields: object) -> None:
    config: dict[str, Any] = load(path)["config"]
    config["model"].update(fields)
    changed(path, config=config)


def not_finite(path: Path) -> None:
    model = load(path)["model"]
    model["norm.weight"][3] = float("nan")
    changed(path, model=model)


CHECKPOINT_DAMAGE: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "empty": (lambda p, t: p.write_bytes(b""), "damaged, or not a checkpoint"),
    "text": (lambda p, t: p.write_text("hello"), "damaged, or not a checkpoint"),
    "cut": (lambda p, t: cut(p, 50_000), "damaged, or not a checkpoint"),
    "flipped bit": (lambda p, t: flip(p, 50_000), "damaged, or not a checkpoint"),
    "another program's": (lambda p, t: torch.save({"model": {}}, p), FORMAT),
    "code in a pickle": (lambda p, t: p.write_bytes(pickle.dumps(Trap(t))), "damaged, or not"),
    "code by torch.save": (
        lambda p, t: torch.save({"format": FORMAT, "model": Trap(t)}, p),
        "damaged, or not",
    ),
    "code in its archive": (with_trap, "damaged, or not"),
    "no weights": (lambda p, t: changed(p, model={}), "its weights don't fit"),
    "no configuration": (lambda p, t: changed(p, config=None), "config: expected an object"),
    "dropout 1.5": (lambda p, t: other_model(p, dropout=1.5), "dropout=1.5"),
    "heads": (lambda p, t: other_model(p, n_heads=3), "not divisible by n_heads=3"),
    "a model of 10^12 weights": (
        lambda p, t: other_model(p, vocab_size=1_000_000, embed_dim=1_000_000),
        "numbers where 14,0",
    ),
    "another width": (lambda p, t: other_model(p, embed_dim=16), "its weights don't fit"),
    "NaN": (lambda p, t: not_finite(p), "not all finite numbers"),
}


@pytest.mark.parametrize("kind", CHECKPOINT_DAMAGE)
@pytest.mark.parametrize("command", [(GENERATE, "Once"), (EXPORT, "exported")])
def test_damaged_checkpoint(
    attempt: Any, home: Path, tmp_path: Path, command: tuple[str, str], kind: str
) -> None:
    damage, named = CHECKPOINT_DAMAGE[kind]
    damage(home / "final.pt", tmp_path / "executed")
    script, word = command
    attempt(script, str(home / "final.pt"), word).refused(named)
    assert not (tmp_path / "executed").exists()


def test_code_in_a_segment_is_not_executed(home: Path, tmp_path: Path, attempt: Any) -> None:
    folder = home / "corpus" / "small"
    raw = unseal(json.loads((folder / MANIFEST_FILE).read_bytes()))
    torch.save(Trap(tmp_path / "executed"), folder / "val.pt")
    content = (folder / "val.pt").read_bytes()
    file = raw["splits"]["val"]["files"][0]
    file["sha256"], file["size_bytes"] = hashlib.sha256(content).hexdigest(), len(content)
    change(folder / MANIFEST_FILE, splits=raw["splits"])
    attempt(RUN, *LR).refused("val.pt: damaged segment")
    assert not (tmp_path / "executed").exists()


def test_more_gpus_than_there_are(attempt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = {"processor": "p", "cores": 2, "memory_gb": 8.0, "gpus": ["one GPU"]}
    for name, value in (
        ("best_device", "cuda"),
        ("best_precision", "bf16"),
        ("hardware", machine),
    ):
        monkeypatch.setattr(machines, name, lambda *_, value=value: value)
    attempt(RUN, *LR, "--preset", "quick", "--gpus-per-trial", "2").refused(
        "--gpus-per-trial 2: there are 1 here"
    )
    attempt(RUN, *LR, "--trials-per-gpu", "x").refused("--trials-per-gpu x: give a number")
    attempt(RUN, *LR, "--trials-per-gpu", "2", "--gpus-per-trial", "1").refused("give one of them")


def test_no_space_for_the_checkpoints(attempt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10**8))
    attempt(RUN, *LR).refused("weights take about 601.7 MB, and 100.0 MB are free")
