"""Holds an experiment's folder to `--max-disk` while trials end."""

from __future__ import annotations

import contextlib
import os
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from tqdm import tqdm

from minigpt_search.data.common.formatting import storage
from minigpt_search.model.records import COMPLETE, FAILED
from minigpt_search.search.planning.disk import at_a_time, running_bytes
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.results.configurations import without_seed
from minigpt_search.search.results.results import Results


class DiskLimit:
    """Holds an experiment's folder to its limit; does nothing where there is none."""

    def __init__(self, experiment: Experiment, folder: Path, ledger: Ledger) -> None:
        self.experiment, self.folder, self.ledger = experiment, folder, ledger
        self.warned = False

    def enforce(self) -> None:
        """To be called when the ledger has a new record. Says so once if nothing is left to
        delete and it is still too much."""
        limit = self.experiment.storage.max_disk_bytes
        if limit is None:
            return
        files = files_below(self.folder)
        over = self._expected_bytes(files) - limit
        for path in removable(self.experiment, self.ledger, self.folder, files):
            if over <= 0:
                return
            over -= files[path]
            path.unlink(missing_ok=True)
        if over > 0 and not self.warned:
            self.warned = True
            tqdm.write(
                f"Warning    --max-disk {storage(limit)}: {self.folder} may come to "
                f"{storage(limit + over)}; all that is left there is the best or unfinished",
                file=sys.stderr,
            )

    def _expected_bytes(self, files: Mapping[Path, int]) -> int:
        """What the folder holds, the running trials counted at the most that they may come to."""
        recorded = {trial.trial_id for trial in self.ledger.trials}
        home = self.folder / "checkpoints"
        running = sum(
            size
            for path, size in files.items()
            if path.parent.parent == home and path.parent.name not in recorded
        )
        left = Results(self.experiment, self.ledger).missing_trials
        most = running_bytes(self.experiment, min(at_a_time(self.experiment), left))
        return sum(files.values()) - running + max(running, most)


def removable(
    experiment: Experiment, ledger: Ledger, folder: Path, files: Iterable[Path]
) -> list[Path]:
    """Those of `files` that may go, in the order they should: checkpoints of trials without a
    result, then of complete ones from the worst to the best, but the winner's. The winner's other
    seeds go last: when more of them end another one may be the median. A failed trial may go on
    from its own."""
    best = Results(experiment, ledger).winning_trial
    done = sorted(ledger.complete(), key=lambda t: t.final.val_loss_nats, reverse=True)
    if best is not None:
        done.sort(key=lambda t: without_seed(t.config) == without_seed(best.config))
    useless = [t for t in ledger.trials if t.status not in (COMPLETE, FAILED)]
    home, found = folder / "checkpoints", defaultdict(list)
    for path in sorted(files):  # what lies there: no record can name a file elsewhere
        if path.suffix == ".pt" and path.parent.parent == home:
            found[path.parent.name].append(path)
    order = [trial.trial_id for trial in [*useless, *done] if trial is not best]
    return [path for trial_id in order for path in found[trial_id]]


def files_below(folder: Path) -> dict[Path, int]:
    """All files below `folder` with their bytes; links are not followed."""
    sizes = {}
    for home, _, names in os.walk(folder):
        for name in names:
            path = Path(home, name)
            with contextlib.suppress(OSError):  # it was deleted meanwhile
                sizes[path] = path.lstat().st_size
    return sizes
