"""Where everything that a run makes goes: one folder, with a fixed layout below it.

    ROOT/downloads/            archives as fetched, verified by hash
    ROOT/work/                 shards of a corpus that `prepare.py --address local` is making
    ROOT/corpus/NAME/          manifest.json, segment_00.pt ..., val.pt, test.pt
    ROOT/experiments/NAME/     experiment.json, ledger.jsonl, study.db, checkpoints/, report/

ROOT is `--out`, else the environment variable MINIGPT_HOME, else ./artifacts.
"""

from __future__ import annotations

import os
from pathlib import Path

from minigpt_search.data.common.errors import UserError

ANOTHER_ROOT = "name another root with --out or MINIGPT_HOME"
"""What to do where something is not in ROOT, which is the working folder's unless it is named."""


def artifacts_root(out: str | None = None) -> Path:
    """The root folder as an absolute path; `out` is the value of `--out`. Nothing is created."""
    return Path(out or os.environ.get("MINIGPT_HOME") or "artifacts").expanduser().absolute()


def existing(root: Path) -> Path:
    """`root`, or the nearest folder above it that is there."""
    return next(path for path in (root, *root.parents) if path.exists())


def check_writable(root: Path, flag: str = "--out") -> None:
    """Raise `UserError` if nothing can be made in `root`, or `root` itself can't."""
    there = existing(root)
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"{flag} {root}: {there} is no folder that can be written to")
