"""A run's curve: where its points lie, and how they are taken without making the device wait.

Which steps have a point is settled by the run's length alone, before it begins, so that runs of one
length have the same. A point of training is what the steps since the point before come to: a copy
of the sums that are kept on the device anyway (`model/training/step_sums.py`), made there and read
when progress is told. Validation is scored about ten times: at epochs' ends and rungs that lie
near, on all windows; between them on a few, always the same. No torch here: plans need it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from minigpt_search.model.records import TrialCurve
from minigpt_search.model.run_length import RunLength

if TYPE_CHECKING:
    from torch import Tensor

POINTS = 100
"""Of training; a shorter run has one a step."""
VALIDATIONS = 10
SCORED_SHARE = 0.03
"""Validation tokens between epochs' ends and rungs, as a share of the run's training tokens. In
fp32 one takes half the time of a training token to two thirds (docs/results/claims-quick), so that
all together are at most 2% of the run."""
MOST_SCORED_TOKENS = 16_384
"""Of such a validation: its loss is then within some hundredths of a nat of the split's."""
Sums = tuple[float, float, float, float]
"""Loss times sequences, sequences, gradient norms and steps."""


@dataclass(frozen=True, kw_only=True)
class CurvePlan:
    """Where the points of a run lie."""

    steps: frozenset[int]
    """The optimizer steps after which training has a point."""
    val_steps: frozenset[int]
    """Those after which validation has one."""
    between: frozenset[int]
    """Those of `val_steps` that are neither an epoch's end nor a rung."""
    tokens_between: int
    """Validation tokens that are scored at each of them, and at the end once more."""

    @property
    def scored_tokens(self) -> int:
        """Validation tokens that all that takes, if the split has as many."""
        return (len(self.between) + 1) * self.tokens_between if self.between else 0


def curve_plan(length: RunLength, rungs: Iterable[int]) -> CurvePlan:
    """The plan of a run of this length, whose validation is scored at `rungs` too."""
    total = length.total_steps
    whole = {*range(length.steps_per_epoch, total + 1, length.steps_per_epoch), *rungs}
    val_steps = {_validation_step(number, whole, total) for number in range(1, VALIDATIONS + 1)}
    between = val_steps - whole
    tokens = int(SCORED_SHARE * length.total_tokens) // (len(between) + 1)
    if tokens < length.seq_len:  # not even one window
        between = set()
    return CurvePlan(
        steps=frozenset(-(-total * number // POINTS) for number in range(1, POINTS + 1)),
        val_steps=frozenset((val_steps & whole) | between),
        between=frozenset(between),
        tokens_between=min(tokens, MOST_SCORED_TOKENS),
    )


def _validation_step(number: int, whole: set[int], total: int) -> int:
    """The step of the validation of this number, of 1 to `VALIDATIONS` spread evenly over the run:
    the nearest of `whole`, if it is no farther than half of the way to the next."""

    def distance(step: int) -> int:
        return abs(VALIDATIONS * step - number * total)

    found = min(whole, key=distance)
    return found if 2 * distance(found) <= total else -(-total * number // VALIDATIONS)


@dataclass
class CurveSoFar:
    """The points of a run that were read. The fields' names are the checkpoint format's."""

    points: list[tuple[int, float, float, float, float]] = field(default_factory=list)
    """Step, training loss, mean and largest gradient norm, learning rate."""
    validations: list[tuple[int, float, int]] = field(default_factory=list)
    """Step, loss, tokens scored."""
    before: Sums = (0.0, 0.0, 0.0, 0.0)
    """The sums at the last point, less those at the start of the epoch under way: of a point in an
    earlier epoch they are negative."""
    few_val_loss_nats: float | None = None
    missing_steps: int = 0
    """These two as `TrialCurve` has them."""

    def record(self) -> TrialCurve:
        """The curve as the ledger has it."""
        steps, losses, norms, largest, lrs = _columns(self.points, 5)
        val_steps, val_losses, val_tokens = _columns(self.validations, 3)
        return TrialCurve(
            steps=steps,
            train_loss_nats=tuple(map(_rounded, losses)),
            grad_norm=tuple(map(_rounded, norms)),
            grad_norm_max=tuple(map(_rounded, largest)),
            lr=tuple(map(_rounded, lrs)),
            val_steps=val_steps,
            val_loss_nats=tuple(map(_rounded, val_losses)),
            val_tokens=val_tokens,
            few_val_loss_nats=None if (few := self.few_val_loss_nats) is None else _rounded(few),
            missing_steps=self.missing_steps,
        )


def _columns(rows: Sequence[tuple], count: int) -> list[tuple]:
    return list(zip(*rows, strict=True)) if rows else [()] * count


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


class CurveRecorder:
    """Takes the points of a run as it goes."""

    def __init__(self, so_far: CurveSoFar) -> None:
        self.so_far = so_far
        self._unread: list[tuple[int, float, Tensor]] = []
        """Step, learning rate and the sums' copy (5,) on the device."""

    def take(self, step: int, lr: float, sums: Tensor) -> None:
        """Note a point of training, with its copy of the sums (`StepSums.copy_sums`). The device is
        not waited for."""
        self._unread.append((step, lr, sums))

    def read(self, read_all: Callable[[Sequence[Tensor]], list[list[float]]], until: int) -> None:
        """Turn what was taken into numbers; `read_all` (`read_copies`) waits for the device. Points
        beyond step `until`, where the run diverged, and what is not finite there are left out."""
        unread, self._unread = self._unread, []
        if not unread:
            return
        copies = read_all([sums for _, _, sums in unread])
        for (step, lr, _), (*now, largest) in zip(unread, copies, strict=True):
            before = self.so_far.before
            loss, sequences, norms, steps = (a - b for a, b in zip(now, before, strict=True))
            point = (step, loss / sequences, norms / steps, largest, lr)
            if step <= until and all(map(math.isfinite, point)):
                self.so_far.points.append(point)
                self.so_far.before = (now[0], now[1], now[2], now[3])

    def begin_epoch(self, ended: Sums) -> None:
        """Note that the sums begin anew, after an epoch that came to `ended`. All points of it have
        been read."""
        loss, sequences, norms, steps = self.so_far.before
        self.so_far.before = (
            loss - ended[0],
            sequences - ended[1],
            norms - ended[2],
            steps - ended[3],
        )

    def note_few(self, loss: float) -> None:
        """Note the loss in nats at the end on the windows that are scored on the way."""
        self.so_far.few_val_loss_nats = loss if math.isfinite(loss) else None

    def note_validation(self, step: int, loss: float, tokens: int) -> None:
        """Note a validation's loss in nats. One that is not finite leaves no point, and an epoch's
        end that is a rung too leaves one."""
        known = self.so_far.validations
        if math.isfinite(loss) and (not known or known[-1][0] < step):
            known.append((step, loss, tokens))
