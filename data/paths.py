"""Where everything that a run makes goes: one folder, with a fixed layout below it.

    ROOT/downloads/            archives as fetched, verified by hash
    ROOT/corpus/NAME/          manifest.json, segment_00.pt ..., val.pt, test.pt
    ROOT/experiments/NAME/     experiment.json, ledger.jsonl, study.db, checkpoints/, report/

ROOT is `--out`, else the environment variable MINIGPT_HOME, else ./artifacts.
"""

from __future__ import annotations

import os
from pathlib import Path


def artifacts_root(out: str | None = None) -> Path:
    """The root folder as an absolute path. Nothing is created."""
    return Path(out or os.environ.get("MINIGPT_HOME") or "artifacts").expanduser().absolute()
