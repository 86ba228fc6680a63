"""The model that is sampled and exported where none is named."""

from __future__ import annotations

from pathlib import Path

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.common.invocation import command_line


def newest_model(root: Path) -> Path:
    """The model that a rerun kept last, of all experiments below `root`. Raises `UserError`."""
    models = list((root / "experiments").glob("*/rerun/*/final.pt"))
    if not models:
        rerun = command_line("search/rerun.py", root=root)
        raise UserError(f"no model in {root}: name a checkpoint, or keep a model with `{rerun}`")
    return max(models, key=lambda path: (path.stat().st_mtime, path))
