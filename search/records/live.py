"""What is known of a search while it runs, in files that other processes read: `live/search.json`
and for each trial that trains `live/TRIAL.json` (`search/driver/live_curves.py`).

Each is replaced whole and never synchronised: after a power cut nobody needs it. When the search
ends they go; what a killed driver left tells how far it was. No torch, no Ray: reports read them.
"""

from __future__ import annotations

import datetime
import json
import os
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minigpt_search.data.common import checked_json
from minigpt_search.model.records import TrialCurve

FOLDER = "live"
"""In an experiment's folder."""
SEARCH_FILE = "search.json"
SOONEST_SECONDS = 1.0
"""Between two writes of the search's own file."""


@dataclass(frozen=True, kw_only=True)
class LiveSearch:
    """How far the whole search is: what the terminal's line says, for a reader elsewhere."""

    share: float
    """Of the work that is done, 0 to 1."""
    ends_at: str | None
    """When it is expected to end, UTC, ISO 8601; None while that can't be told."""
    speed: str
    """`35.1 steps/s`, or that it starts or is done."""
    written_at: str
    """UTC, ISO 8601."""


@dataclass(frozen=True, kw_only=True)
class LiveTrial:
    """A trial that trains, as its last report left it."""

    trial_id: str
    trial: str
    """Its label."""
    values: dict[str, Any]
    """The axes' values."""
    replicate: int
    epochs: int
    """Of the whole run."""
    first_report_at: str
    """UTC, ISO 8601."""
    reported_at: str
    """UTC, ISO 8601."""
    step: int = 0
    total_steps: int = 0
    epoch: int = 0
    """Epochs that are complete."""
    train_loss_nats: float | None = None
    val_loss_nats: float | None = None
    curve: TrialCurve = field(default_factory=TrialCurve)


class SearchFile:
    """Writes the search's own file, at most once a second."""

    def __init__(self, experiment_folder: Path) -> None:
        self.folder = experiment_folder / FOLDER
        self._written = -SOONEST_SECONDS

    def is_due(self) -> bool:
        """Whether `write` would not be too soon."""
        return time.monotonic() - self._written >= SOONEST_SECONDS

    def write(self, share: float, seconds_left: float | None, speed: str) -> None:
        """Where it can't be written a reader knows less; the search goes on."""
        self._written = time.monotonic()
        now = datetime.datetime.now(datetime.UTC)
        ends = None if seconds_left is None else now + datetime.timedelta(seconds=seconds_left)
        content = {
            "share": round(share, 5),
            "ends_at": ends and ends.isoformat(timespec="seconds"),
            "speed": speed,
            "written_at": now.isoformat(timespec="seconds"),
        }
        path = self.folder / SEARCH_FILE
        temporary = path.with_suffix(".tmp")
        with suppress(OSError, OverflowError):
            self.folder.mkdir(exist_ok=True)
            temporary.write_text(json.dumps(content), encoding="utf-8")
            os.replace(temporary, path)


def forget(experiment_folder: Path) -> None:
    """Take away what a killed driver left: its trials don't train now."""
    shutil.rmtree(experiment_folder / FOLDER, ignore_errors=True)


def read_search(experiment_folder: Path) -> LiveSearch | None:
    """The search's own file; None where there is none, or none that can be read."""
    return _read(experiment_folder / FOLDER / SEARCH_FILE, LiveSearch)


def read_trials(experiment_folder: Path) -> list[LiveTrial]:
    """The trials that train, in the order of their first reports; what can't be read is left out:
    the next report replaces it."""
    paths = (experiment_folder / FOLDER).glob("*.json")
    found = [_read(path, LiveTrial) for path in paths if path.name != SEARCH_FILE]
    known = [each for each in found if each is not None]
    return sorted(known, key=lambda each: (each.first_report_at, each.trial_id))


def _read(path: Path, kind: type[Any]) -> Any:
    try:
        fields = checked_json.loads(path.read_bytes())
        # A newer driver's file may have more; of half a file nothing is taken.
        names = kind.__dataclass_fields__
        made = checked_json.build(kind, {k: v for k, v in fields.items() if k in names})
        for name in ("first_report_at", "reported_at", "written_at", "ends_at"):
            if (text := getattr(made, name, None)) is not None:
                datetime.datetime.fromisoformat(text)
        return made
    except (OSError, ValueError, AttributeError):
        return None
