"""What the trials of an experiment will take on this machine, by the speeds measured here."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence, Set
from pathlib import Path
from statistics import mean

from minigpt_search.data.corpus.corpus import Corpus
from minigpt_search.model.config import RunConfig
from minigpt_search.model.model_size import parameter_count
from minigpt_search.model.run_length import RunLength
from minigpt_search.model.training.curve import curve_plan
from minigpt_search.model.training.rungs import rung_steps
from minigpt_search.search.machines.machines import Machines
from minigpt_search.search.planning.calibration import Speed, Speeds, shape_key, speeds, write_cache
from minigpt_search.search.planning.prediction import (
    Work,
    rounds_seconds,
    search_seconds,
    work_seconds,
)
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.ledger_records import TrialRecord
from minigpt_search.search.records.plan import END_SECONDS, START_SECONDS
from minigpt_search.search.space.claims_grid import CLAIMS
from minigpt_search.search.trials.groups import shared_steps, trunk_groups
from minigpt_search.search.trials.trial import Trial

BUILTIN_VALIDATION_TOKENS = 260_000
"""Of the built-in corpus, for a plan made before it is prepared."""
WORKER_BYTES = 400e6
"""What a worker has beyond a process that trains one trial: Ray, and what a second trial in the
same process adds (2026-11-24, width 128: 528 MB measured, 745 and 960 MB after a worker's first
and second trial)."""
LEAST_SECONDS = 5.0
"""Of training, to tell a speed."""


class Estimator:
    """Seconds of trials and of the whole search."""

    def __init__(
        self,
        experiment: Experiment,
        speed_of: Speeds,
        validation_tokens: int,
        length: Callable[[Trial], RunLength],
    ) -> None:
        """`validation_tokens`: of the whole split; `length`: a trial's number of steps."""
        self.experiment, self.speed_of, self.length = experiment, speed_of, length
        self.validation_tokens = validation_tokens

    def work(self, trial: Trial) -> Work:
        train, length = trial.config.train, self.length(trial)
        rungs = rung_steps(train, length) if self.experiment.plan.stopper is not None else ()
        whole = (
            train.epochs
            + (self.experiment.space.named_grid == CLAIMS)
            + sum(step % length.steps_per_epoch != 0 for step in rungs)
        )
        scored = min(train.val_tokens or self.validation_tokens, self.validation_tokens)
        return Work(
            config=trial.config,
            training_tokens=length.total_tokens,
            scored_tokens=whole * scored + curve_plan(length, rungs).scored_tokens,
            parameters=parameter_count(trial.config.model),
            checkpoint_every_seconds=self.experiment.machine.checkpoint_every_seconds,
        )

    def seconds(self, trial: Trial) -> float:
        """Seconds that the trial's worker takes, to its end if nothing stops it."""
        return work_seconds(self.work(trial), self.speed_of(trial.config))

    def search(
        self, experiment: Experiment, trials: Sequence[Trial], taken: Set[RunConfig] = frozenset()
    ) -> float:
        """From the plan to the command's end; configurations that are `taken` from another
        experiment cost nothing. A sampler's trials are a sample of its space, gone through again
        and again until they are as many as it will try."""
        if experiment.ladder is not None:
            trials = _not_taken(trials, taken)
        elif experiment.plan.sampler is None:
            trials = [trial for trial in trials if trial.config not in taken]
        own = [self.seconds(trial) for trial in trials]
        if experiment.plan.sampler is not None:
            planned = max(0, experiment.planned_trials - len(taken)) // experiment.noise.seeds
            own = [experiment.noise.seeds * own[n % len(own)] for n in range(planned)]
        elif experiment.ladder is not None:
            return self._of_rungs(experiment, trials)
        elif experiment.has_branches:
            own = self._of_trunks(experiment, trials)
        elif experiment.machine.pack > 1:
            from minigpt_search.search.trials.groups import make_packs

            by_id = {trial.trial_id: s for trial, s in zip(trials, own, strict=True)}
            packs = make_packs(trials, experiment.machine.pack)
            own = [sum(by_id[member.trial_id] for member in pack) for pack in packs]
        return search_seconds(own, experiment.machine.max_concurrent)

    def _of_rungs(self, experiment: Experiment, trials: Sequence[Trial]) -> float:
        """Of a ladder, whose rungs come one after the other."""
        rungs: dict[int, list[float]] = defaultdict(list)
        for trial, seconds in zip(trials, self._own(experiment, trials), strict=True):
            rungs[trial.config.train.tokens_per_epoch or 0].append(seconds)
        workers = experiment.machine.max_concurrent
        return START_SECONDS + rounds_seconds(rungs.values(), workers) + END_SECONDS

    def _of_trunks(self, experiment: Experiment, trials: Sequence[Trial]) -> list[float]:
        """Seconds of each trunk with its branches, one after the other in one process."""
        seconds = self._own(experiment, trials)
        own = {trial.trial_id: s for trial, s in zip(trials, seconds, strict=True)}
        return [sum(own[trial.trial_id] for trial in group) for group in trunk_groups(trials)]

    def _own(self, experiment: Experiment, trials: Sequence[Trial]) -> list[float]:
        """Seconds of each trial without the part that it takes over from its trunk."""
        shared = shared_steps(experiment, trials, self.length)
        return [
            (1 - shared.get(trial.trial_id, 0) / self.length(trial).total_steps)
            * self.seconds(trial)
            for trial in trials
        ]


def _not_taken(trials: Sequence[Trial], taken: Set[RunConfig]) -> list[Trial]:
    """A ladder's trials without as many of each rung as are taken: the plan doesn't know at which
    rates they will be."""

    def rung(config: RunConfig) -> tuple[int | None, int]:
        return config.train.tokens_per_epoch, config.model.embed_dim

    left = Counter(map(rung, taken))
    rest = []
    for trial in trials:
        left[rung(trial.config)] -= 1
        if left[rung(trial.config)] < 0:
            rest.append(trial)
    return rest


def make_estimator(
    experiment: Experiment,
    trials: Sequence[Trial],
    corpus: Corpus | None,
    length: Callable[[Trial], RunLength],
    root: Path,
    machines: Machines,
) -> Estimator:
    """One with the speeds for these trials, measured on `machines` where ROOT doesn't know them."""
    tokens = corpus.manifest.splits["val"].tokens if corpus else BUILTIN_VALIDATION_TOKENS
    speed_of = speeds(experiment, [trial.config for trial in trials], root, machines)
    return Estimator(experiment, speed_of, tokens, length)


def keep_real_speeds(experiment: Experiment, ledger: Ledger, root: Path, before: Set[str]) -> None:
    """Let the next search know how fast this run's trials were: all but those of the ids
    `before`, and those that went without a kernel or a graph that others may have."""
    real: dict[str, list[Speed]] = defaultdict(list)
    for record in ledger.complete():
        own = record.trial_id not in before and record.taken_from is None
        if own and record.attempts == 1 and not record.notes:
            speed = _real_speed(experiment, record)
            if speed is not None:
                real[shape_key(record.config, experiment)].append(speed)
    write_cache(root, {key: _mean(own) for key, own in real.items()})


def _mean(own: Sequence[Speed]) -> Speed:
    return Speed(
        training=mean(speed.training for speed in own),
        scoring=mean(speed.scoring for speed in own),
        memory_mb=max(speed.memory_mb for speed in own),
    )


def _real_speed(experiment: Experiment, record: TrialRecord) -> Speed | None:
    """The speed that a trial had; None if it was too short to tell, or if its validation tokens
    aren't known here."""
    timing, train = record.timing, record.config.train
    if train.val_tokens is None or record.pack != experiment.machine.pack:
        return None
    if timing.training_seconds < LEAST_SECONDS or timing.evaluation_seconds <= 0:
        return None
    ends = {epoch.epoch * record.steps // len(record.epochs) for epoch in record.epochs}
    whole = ends.union(rung.step for rung in record.rungs)
    scored = (len(whole) + (record.train_eval_loss_nats is not None)) * train.val_tokens
    if (curve := record.curve) is not None:
        points = zip(curve.val_steps, curve.val_tokens, strict=True)
        scored += sum(tokens for step, tokens in points if step not in whole)
    ray = WORKER_BYTES / 1e6 if experiment.machine.device == "cpu" else 0
    return Speed(
        training=record.pack * record.final.tokens_seen / timing.training_seconds,
        scoring=record.pack * scored / timing.evaluation_seconds,
        memory_mb=record.final.peak_memory_mb - ray,
    )
