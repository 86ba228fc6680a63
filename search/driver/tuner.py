"""Runs what an experiment plans and its ledger lacks, on Ray Tune.

Ray executes, the ledger remembers: none of Ray's own state is read again. Each run gets a fresh
Tuner for the unfinished trials, and each trial goes on from its own newest checkpoint.
`search.machines.environment.prepare_environment` must have been called before this is imported.
"""

from __future__ import annotations

import functools
import math
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ray import tune
from ray.exceptions import RayError
from ray.tune.error import TuneError
from ray.tune.search import ConcurrencyLimiter
from tqdm import tqdm

from minigpt_search.model.records import FAILED
from minigpt_search.model.run_length import RunLength
from minigpt_search.search.driver.interruption import InterruptHandler, NoStorage
from minigpt_search.search.driver.live_curves import LiveCurves
from minigpt_search.search.driver.live_study import LiveStudy
from minigpt_search.search.driver.log_reports import LogReports
from minigpt_search.search.driver.progress import ProgressLine
from minigpt_search.search.driver.recorder import Recorder, collect_outcomes, drop_branches
from minigpt_search.search.driver.tensorboard import TensorBoardEvents
from minigpt_search.search.driver.tune_tweaks import (
    DropTrialMetrics,
    FifoWithoutPreemption,
    count_no_callbacks,
)
from minigpt_search.search.ladder.rounds import ladder_state
from minigpt_search.search.loggers.trial_logs import TrialLogs
from minigpt_search.search.machines.local import LocalMachines
from minigpt_search.search.machines.machines import (
    ClusterLost,
    Machines,
    Node,
    RayLost,
    RayNotStarted,
    RunningRay,
    slots_on,
)
from minigpt_search.search.planning.estimate import Estimator
from minigpt_search.search.records.clock import Clock
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.live import SearchFile
from minigpt_search.search.records.trial_folder import forget_outcome, read_started, trial_folder
from minigpt_search.search.results.configurations import configurations_of
from minigpt_search.search.results.confirm import confirmation_state, is_fresh
from minigpt_search.search.results.results import Results
from minigpt_search.search.samplers.budget_gate import BudgetGate, NoteClock
from minigpt_search.search.samplers.from_ledger import (
    begin_sampler,
    make_gate,
    missing_configurations,
)
from minigpt_search.search.sync.mirror import Mirror
from minigpt_search.search.trials.groups import make_packs, shared_steps, trunk_groups
from minigpt_search.search.trials.length import steps_flops
from minigpt_search.search.trials.trial import Trial, grid_trials, make_trial
from minigpt_search.search.worker.trainable import run_trials

CANNOT_GO_ON = (RayError, TuneError, RayLost, RayNotStarted, ClusterLost, NoStorage, OSError)
"""What ends a search, apart from Ctrl-C; the ledger is whole all the same."""
MAX_RAYS_LOST = 3
"""How often Ray is started again after it lost a process that it needs."""


class Search:
    """One run of a driver: trains every planned trial that the ledger lacks.

    A trial that failed before is tried again, once; one that failed for lack of memory is tried
    once more when all others have ended, alone on the device.
    """

    def __init__(
        self,
        experiment: Experiment,
        folder: Path,
        ledger: Ledger,
        length: Callable[[Trial], RunLength],
        clock: Clock,
        estimator: Estimator | None = None,
        mirror: Mirror | None = None,
        machines: Machines | None = None,
        logs: TrialLogs | None = None,
    ) -> None:
        """`ledger` grows as trials end. `length` gives a trial's number of steps, for the progress
        line; `estimator` its seconds, where a sampler has a budget; `mirror` is the storage's;
        `machines` are where trials run: this one by default; `logs` are the loggers', if any."""
        self.experiment, self.folder, self.ledger, self.length = experiment, folder, ledger, length
        self.clock, self.estimator, self.mirror = clock, estimator, mirror or Mirror()
        self.machines = machines or LocalMachines()
        self.logs = logs or TrialLogs(experiment, folder, ledger)
        self.session = uuid.uuid4().hex
        self.study = LiveStudy(experiment, folder, ledger)
        self.tried_alone: set[str] = set()
        self.held, self.rounds = ExitStack(), 0
        self.began: float | None = None
        """When its first line was shown, in seconds of `time.monotonic`."""
        self.here: RunningRay | None = None
        collect_outcomes(folder, ledger)
        self.failed_before = [record for record in ledger.trials if record.status == FAILED]
        for record in self.failed_before:
            self._forget_outcome(record.trial_id)

    def run(self) -> None:
        """Raises KeyboardInterrupt, or one of CANNOT_GO_ON."""
        try:
            with self.held:
                if self.experiment.ladder is None and self._missing() > 0:
                    self._run_round(self._of_the_search)
                while due := self._due():
                    self._drop_branches(due)
                    self._run_round(self._due)
                    if self._due() == due:  # nothing of it ended: another round would not either
                        break
                self._drop_branches(due)
        finally:
            self.study.stop()

    def _drop_branches(self, due: list[Trial]) -> None:
        drop_branches(self.experiment, self.folder, self.ledger, self.mirror, due)

    @contextmanager
    def _ray(self) -> Iterator[RunningRay]:
        """A Ray that stays for the next round, unless something went wrong here: a start and an
        end take seconds."""
        if self.here is None:
            self.study.start()
            self.here = self.held.enter_context(self.machines.ray(self.experiment, self.folder))
        try:
            yield self.here
        except BaseException:
            self._end_ray()
            raise

    def _end_ray(self) -> None:
        self.here = None
        self.held.close()

    def _of_the_search(self) -> list[Trial] | None:
        """Trials of the grid that are missing; None for what a sampler suggests."""
        if self.experiment.plan.sampler is not None:
            return None if self._missing() > 0 else []
        finished_ids = self._finished_ids()
        return [t for t in grid_trials(self.experiment) if t.trial_id not in finished_ids]

    def _due(self) -> list[Trial]:
        """What the present round of a ladder, or of `--confirm`, lacks."""
        if self.experiment.ladder is not None:
            ledger, finished = self.ledger, self._finished_ids()
            rung = ladder_state(self.experiment, ledger.trials, finished, ledger.predictions)
            return [make_trial(self.experiment, *each) for each in rung.due]
        found = configurations_of(self.experiment, self.ledger.trials)
        state = confirmation_state(self.experiment, found, self._finished_ids())
        due = state.due if state else ()
        return [make_trial(self.experiment, each.values, replicate) for each, replicate in due]

    def _run_round(self, missing: Callable[[], list[Trial] | None]) -> None:
        """Train what is missing, also where Ray is lost in between; at the end, alone, what
        failed for lack of memory."""
        for left in reversed(range(MAX_RAYS_LOST + 1)):
            try:
                trials = missing()
                if trials != []:
                    self._run_tune(trials)
                break
            except RayLost as lost:
                if left == 0:
                    raise
                tqdm.write(f"  {lost}: it is started again", file=sys.stderr)
        out_of_memory = self._take_out_of_memory_trials()
        if out_of_memory:
            self._end_ray()  # and with it whatever holds memory
            self._run_tune(out_of_memory, alone=True)
            self._end_ray()

    def _finished_ids(self) -> set[str]:
        """Ids of the trials that this run has no more to do with."""
        known = self.ledger.trials
        return {record.trial_id for record in known if record not in self.failed_before}

    def _missing(self) -> int:
        """Trials of the search itself."""
        searched = {t.trial_id for t in self.ledger.trials if not is_fresh(self.experiment, t)}
        return self.experiment.planned_trials - len(self._finished_ids() & searched)

    def _take_out_of_memory_trials(self) -> list[Trial]:
        """Those that failed for lack of memory in this run, their outcome forgotten."""
        finished_ids, trials = self._finished_ids(), []
        for record in self.ledger.trials:
            folder = trial_folder(self.folder, record.trial_id)
            started = read_started(folder)
            if record.trial_id in self.tried_alone:
                continue
            if record.is_out_of_memory and record.trial_id in finished_ids and started is not None:
                self.tried_alone.add(record.trial_id)
                trials.append(make_trial(self.experiment, started.values, started.replicate))
                self._forget_outcome(record.trial_id)
        return trials

    def _forget_outcome(self, trial_id: str) -> None:
        self.mirror.forget_outcome(trial_id)
        forget_outcome(trial_folder(self.folder, trial_id))

    def _run_tune(self, trials: list[Trial] | None, *, alone: bool = False) -> None:
        """Train these trials, or for None what a sampler suggests; `alone`: one at a time with the
        whole device for each."""
        experiment, folder, ledger = self.experiment, self.folder, self.ledger
        length = self.length
        ended = [record.config for record in ledger.trials if record.taken_from is None]
        shared = {} if alone or trials is None else shared_steps(experiment, trials, length, ended)
        work = {
            t.trial_id: steps_flops(t.config, length(t).total_steps - shared.get(t.trial_id, 0))
            for t in trials or ()
        }
        events = TensorBoardEvents(experiment, folder, ledger)
        live = LiveCurves(experiment, folder)
        gate = make_gate(experiment, folder, self.clock, self.estimator, self.length)
        planned = Results(experiment, ledger).trials_so_far
        self.began = time.monotonic() if self.began is None else self.began
        search_file = SearchFile(folder)
        progress = ProgressLine(
            experiment, ledger, work, planned, shared, self.clock, self.began, search_file
        )
        early_end = InterruptHandler(self.mirror.check)
        early_end.listen()  # what is lost while Ray starts is remembered for the first step
        try:
            with self._ray() as here:
                early_end.find_lost = here.find_lost
                recorder = Recorder(experiment, folder, ledger, self.mirror)
                noting = [NoteClock(self.clock), LogReports(self.logs), *filter(None, [gate])]
                shown = [events, live, progress]
                callbacks = [early_end, recorder, *shown, DropTrialMetrics(), *noting]
                tuner = self._make_tuner(trials, alone, here, callbacks, gate)
                early_end.listen()  # again: `ray.init` puts a handler of its own, which aborts
                count_no_callbacks()
                tuner.fit()
        finally:
            early_end.stop_listening()
            events.close()
            live.close()
            progress.close()

    def _make_tuner(
        self,
        trials: list[Trial] | None,
        alone: bool,
        here: RunningRay,
        callbacks: list[tune.Callback],
        gate: BudgetGate | None,
    ) -> tune.Tuner:
        experiment = self.experiment
        gpus = (
            min(1.0, math.ceil(experiment.machine.gpus_per_trial))
            if alone
            else experiment.machine.gpus_per_trial
        )
        # A grid's trials all wait for room on a cluster, so that new nodes get some too.
        unlimited = trials is None or (self.machines.address and not experiment.machine.is_capped)
        at_a_time = 1 if alone else None if unlimited else experiment.machine.max_concurrent
        self.rounds += 1
        options: dict[str, Any] = {}
        space: dict[str, Any] = {}
        together = experiment.noise.seeds
        if trials is not None:
            if experiment.has_branches and not alone:
                packs = trunk_groups(trials)
            else:
                packs = make_packs(trials, 1 if alone else experiment.machine.pack)
            cells = [[{"values": t.values, "replicate": t.replicate} for t in p] for p in packs]
            space["pack"] = tune.grid_search(cells)
            together = max(map(len, packs), default=1)
        else:
            self.mirror.refresh(self.ledger)
            known = experiment, self.ledger, self._finished_ids()
            sampler = begin_sampler(*known, self.folder, gate)
            limited = ConcurrencyLimiter(sampler, experiment.machine.max_concurrent)
            here.on_new_nodes(functools.partial(self._make_room, limited))
            options = {"search_alg": limited, "num_samples": missing_configurations(*known)}
        failures = 0 if alone else self.machines.failures_of(together)
        trainable = functools.partial(
            run_trials,
            experiment_folder=self.folder,
            session=self.session,
            uniform=math.log(experiment.space.base.model.vocab_size),
            alone=alone,
            storage=experiment.storage.uri,
        )
        return tune.Tuner(
            tune.with_resources(
                trainable, {"cpu": experiment.machine.threads_per_trial, "gpu": gpus}
            ),
            param_space=space,
            tune_config=tune.TuneConfig(
                max_concurrent_trials=at_a_time,
                scheduler=FifoWithoutPreemption(),
                reuse_actors=True,  # a fresh process costs 2 s a trial
                trial_dirname_creator=lambda trial: trial.trial_id,
                **options,
            ),
            run_config=tune.RunConfig(
                name=f"tune-{self.rounds}",
                storage_path=str(here.scratch),
                verbose=0,
                callbacks=callbacks,
                failure_config=tune.FailureConfig(max_failures=failures),
            ),
        )

    def _make_room(self, limited: ConcurrencyLimiter, nodes: Sequence[Node]) -> None:
        """Raise the number of a sampler's trials at a time as nodes join."""
        experiment = self.experiment
        room = slots_on(
            nodes, experiment.machine.threads_per_trial, experiment.machine.gpus_per_trial
        )
        if not experiment.machine.is_capped:
            limited.max_concurrent = max(1, room)
