"""Where everything that a run makes goes: one folder, with a fixed layout below it.

    ROOT/downloads/            archives as fetched, verified by hash
    ROOT/work/                 shards of a corpus that `prepare.py --address local` is making
    ROOT/corpus/NAME/          manifest.json, segment_00.pt ..., val.pt, test.pt
    ROOT/experiments/NAME/     experiment.json, ledger.jsonl, study.db, checkpoints/, report/

ROOT is `--out`, else the environment variable MINIGPT_HOME, else ./artifacts.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from minigpt_search.data.common.errors import UserError

ANOTHER_ROOT = "name another root with --out or MINIGPT_HOME"
"""What to do where something is not in ROOT, which is the working folder's unless it is named."""


def artifacts_root(out: str | None = None) -> Path:
    """The root folder as an absolute path; `out` is the value of `--out`. Nothing is created.

    Raises `UserError` for a relative one where the working folder is gone.
    """
    root = Path(out or os.environ.get("MINIGPT_HOME") or "artifacts").expanduser()
    try:
        return root.absolute()
    except FileNotFoundError:
        raise UserError(f"{root}: the working folder is gone; change to another") from None


def ensure_temporary_folder(root: Path) -> None:
    """Where no temporary folder can be written to (a read-only file system but for `root`), have
    this process and those that it starts use one in `root`.

    Raises `UserError` if that can't be made either.
    """
    try:
        tempfile.gettempdir()
        return
    except FileNotFoundError:
        folder = root / "tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        raise UserError(
            f"TMPDIR: no temporary folder can be written to, nor one be made in {root}; set it to "
            "one that can"
        ) from None
    os.environ["TMPDIR"] = str(folder)


def existing(root: Path) -> Path:
    """`root`, or the nearest folder above it that is there."""
    return next(path for path in (root, *root.parents) if path.exists())


def check_writable(root: Path, flag: str = "--out") -> None:
    """Raise `UserError` if nothing can be made in `root`, or `root` itself can't."""
    there = existing(root)
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"{flag} {root}: {there} is no folder that can be written to")
