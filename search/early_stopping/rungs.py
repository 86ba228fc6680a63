"""`rungs.json` in a trial's folder: its rungs so far, and why it was stopped at the last.

The worker reads those of all other trials to decide, so that nothing is in memory which a kill
could lose.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from minigpt_search.data.common import checked_json
from minigpt_search.data.common.errors import UserError
from minigpt_search.data.common.files import atomic_file
from minigpt_search.model.config import RunConfig
from minigpt_search.model.records import STOPPED, RungRecord
from minigpt_search.search.early_stopping.rule import RungHistory, curve_step, why_stop
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.records.trial_folder import trial_folder

FILE = "rungs.json"


def read_rungs(folder: Path) -> RungHistory | None:
    """The rungs of the trial in `folder`; None if there are none, or the file is damaged."""
    try:
        return parse_rungs((folder / FILE).read_bytes())
    except FileNotFoundError:
        return None


def parse_rungs(content: bytes | None) -> RungHistory | None:
    """A file's content; None if there is none, or it is damaged."""
    try:
        raw = None if content is None else checked_json.unseal(checked_json.loads(content))
        return None if raw is None else checked_json.build(RungHistory, raw)
    except ValueError:
        return None


def write_rungs(folder: Path, scored: RungHistory) -> None:
    """Replace the file of the trial in `folder`."""
    content = json.dumps(checked_json.seal(dataclasses.asdict(scored)))
    with atomic_file(folder / FILE) as file:
        file.write(content.encode())


def all_scored(folder: Path, exclude: str) -> list[RungHistory]:
    """The trials of the experiment in `folder` that have rungs, but for the one of id `exclude`."""
    found = in_ledger(folder)
    for path in (folder / "checkpoints").glob(f"*/{FILE}"):
        scored = read_rungs(path.parent)
        if scored is not None:
            found[path.parent.name] = scored
    found.pop(exclude, None)
    return [scored for scored in found.values() if scored.rungs]


def in_ledger(folder: Path) -> dict[str, RungHistory]:
    """The trials of the ledger in `folder` by id: those taken over from another experiment are
    there only."""
    found: dict[str, RungHistory] = {}
    try:
        trials = Ledger(folder / "ledger.jsonl", skip_damaged=True).trials
    except UserError:
        trials = []
    for trial in trials:
        why = trial.error if trial.status == STOPPED else None
        found[trial.trial_id] = RungHistory(config=trial.config, rungs=trial.rungs, stopped=why)
    return found


def record_curve(record: TrialRecord) -> dict[int, float]:
    """Its losses at rungs and epochs' ends by `search.early_stopping.rule.curve_step`, as Optuna is
    told."""
    config, epochs = record.config, record.config.train.epochs
    at_epochs = {
        curve_step(config, end.epoch / epochs, end.tokens_seen): end.val_loss_nats
        for end in record.epochs
    }
    at_rungs = {
        curve_step(config, rung.share, rung.tokens_seen): rung.val_loss_nats
        for rung in record.rungs
    }
    return dict(sorted((at_rungs | at_epochs).items()))


@dataclass
class StoppingDecision:
    """Decides at each rung of one trial whether it goes on."""

    rule: str
    """One of `search.records.plan.STOPPERS`."""
    experiment_folder: Path
    trial_id: str
    config: RunConfig
    others: Callable[[str], list[RungHistory]] | None = None
    """The other trials' rungs, given this one's id; None: those in the experiment's folder."""
    wrote: Callable[[Path], None] = lambda path: None
    """Called with this trial's file when it was written."""
    reason: str | None = field(default=None, init=False)
    """Why it was stopped."""

    def stops(self, rung: RungRecord) -> bool:
        """Note the rung, and decide. A rung that a run comes to again, because it was killed before
        its next checkpoint, keeps its decision."""
        folder = trial_folder(self.experiment_folder, self.trial_id)
        own = read_rungs(folder) or RungHistory(config=self.config, rungs=())
        if any(known.step == rung.step for known in own.rungs):
            self.reason = own.stopped if own.rungs[-1].step == rung.step else None
            return self.reason is not None
        look = self.others or functools.partial(all_scored, self.experiment_folder)
        others = look(self.trial_id)
        self.reason = why_stop(self.rule, self.config, rung, others)
        rungs = (*own.rungs, rung)
        write_rungs(folder, RungHistory(config=self.config, rungs=rungs, stopped=self.reason))
        self.wrote(folder / FILE)
        return self.reason is not None
