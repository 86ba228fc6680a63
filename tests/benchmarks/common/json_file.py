"""Results in a file that is the old or the new one at any moment, also on a full disk."""

from __future__ import annotations

import json
from pathlib import Path

from minigpt_search.data.common.files import atomic_file


def write_json(path: Path, content: object) -> None:
    """Replace `path`, for a run that is cut short again and again by what it has so far."""
    with atomic_file(path) as file:
        file.write((json.dumps(content, indent=1) + "\n").encode())
