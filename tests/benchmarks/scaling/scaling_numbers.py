"""What `scaling.py` makes of its notes: numbers by ended trials, and tables of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import mean, median
from typing import Any

from scaling_meter import Meter

MARKS = (10, 100, 500, 1_000, 2_000, 5_000)
"""Numbers of ended trials at which memory is told."""
SAMPLERS = ("suggest", "tell")


def summary(
    meter: Meter, stamps: Sequence[dict[str, Any]], began: float, ended: float, slots: int
) -> dict[str, Any]:
    """
    Args:
        stamps: of each trial's worker, `scaling_trial.sleep_and_record`.
        began: of the search, in seconds since 1970; `ended` too.
    """
    first, last = min(s["entered"] for s in stamps), max(s["left"] for s in stamps)
    return {
        "search_seconds": ended - began,
        "start_seconds": first - began,
        "end_seconds": ended - last,
        "trials_a_minute": rate(stamps, slots),
        "busy": busy_share(stamps, slots),
        "workers": meter.workers,
        "idle_between_trials": idle(stamps),
        "report_seconds": report_costs(stamps),
        "windows": windows(meter),
        "memory_mb": {n: meter.moments[n - 1]["memory_mb"] for n in MARKS if n <= len(stamps)},
    }


def rate(stamps: Sequence[dict[str, Any]], slots: int) -> float:
    """Trials a minute once all slots have had their first, to the end of the last start."""
    ends = sorted(s["left"] for s in stamps)
    if len(ends) <= 2 * slots:
        return len(ends) / max(1e-9, ends[-1] - min(s["entered"] for s in stamps)) * 60
    counted = ends[slots:-slots]
    return (len(counted) - 1) / (counted[-1] - counted[0]) * 60


def busy_share(stamps: Sequence[dict[str, Any]], slots: int) -> float:
    """Share of the slots' time in which a trial ran, from when all had begun to the last start."""
    starts = sorted(s["entered"] for s in stamps)
    low, high = starts[min(slots, len(starts)) - 1], starts[-1]
    ran = sum(max(0.0, min(s["slept"], high) - max(s["began"], low)) for s in stamps)
    return ran / (slots * (high - low)) if high > low else 1.0


def idle(stamps: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Seconds that a worker waited for its next trial."""
    workers: dict[int, list[dict[str, Any]]] = {}
    for stamp in sorted(stamps, key=lambda s: s["entered"]):
        workers.setdefault(stamp["worker"], []).append(stamp)
    gaps = sorted(
        after["began"] - before["slept"]
        for own in workers.values()
        for before, after in pairwise(own)
    )
    if not gaps:
        return {}
    return {"median": median(gaps), "mean": mean(gaps), "p95": gaps[int(0.95 * len(gaps))]}


def report_costs(stamps: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Seconds that `tune.report` held a trial up."""
    costs = sorted(cost for stamp in stamps for cost in stamp["reports"])
    return {"median": median(costs), "p95": costs[int(0.95 * len(costs))]} if costs else {}


def windows(meter: Meter) -> list[dict[str, Any]]:
    """Means over each third of the trials, per trial: processor seconds of the driver and of Ray's
    own processes, and of each part its calls and seconds."""
    found, total = [], len(meter.moments)
    for low, high in pairwise(round(third * total / 3) for third in range(4)):
        first, last = meter.moments[low], meter.moments[high - 1]
        trials = high - 1 - low
        if trials < 1:
            continue
        parts = {}
        for part, calls in meter.calls.items():
            own = [call for call in calls if low < call[0] <= high - 1]
            parts[part] = {
                "calls": len(own) / trials,
                "seconds": sum(call[1] for call in own) / trials,
                "processor_seconds": sum(call[2] for call in own) / trials,
            }
        found.append(
            {
                "from": low + 1,
                "to": high,
                "seconds": (last["time"] - first["time"]) / trials,
                "driver": (last["driver"] - first["driver"]) / trials,
                "ray": (last["ray"] - first["ray"]) / trials,
                "parts": parts,
            }
        )
    return found


def report_lines(numbers: dict[str, Any]) -> list[str]:
    """Tables in Markdown."""
    n = numbers
    lines = [
        f"{n['trials']} trials of {n['seconds']:g} s on {n['slots']} slots, sampler {n['sampler']}"
        f": {n['search_seconds']:.0f} s ({n['start_seconds']:.0f} s to the first trial, "
        f"{n['end_seconds']:.1f} s after the last)",
        f"{n['trials_a_minute']:.0f} trials a minute; {n['workers']} workers started; slots busy "
        f"{n['busy']:.1%}; idle between two "
        + ", ".join(
            f"{name} {value * 1e3:.0f} ms" for name, value in n["idle_between_trials"].items()
        )
        + "; a report "
        + ", ".join(f"{name} {value * 1e3:.1f} ms" for name, value in n["report_seconds"].items()),
        "",
    ]
    spans = [f"{w['from']}-{w['to']}" for w in n["windows"]]
    lines += [f"| processor ms a trial, at trials | {' | '.join(spans)} |"]
    lines += ["| --- |" + " ---: |" * len(spans)]
    lines.append(row("the driver, all", [1e3 * w["driver"] for w in n["windows"]]))
    for part in n["windows"][0]["parts"]:
        own = [1e3 * w["parts"][part]["processor_seconds"] for w in n["windows"]]
        lines.append(row(f"- {part}", own))
    lines.append(row("Ray's GCS and raylet", [1e3 * w["ray"] for w in n["windows"]]))
    suggests = [1e3 * w["parts"]["suggest"]["seconds"] for w in n["windows"]]
    lines.append(row("suggest, wall ms a trial", suggests))
    appends = [1e3 * w["parts"]["append"]["seconds"] for w in n["windows"]]
    lines.append(row("append, wall ms a trial", appends))
    sampler = [sum(w["parts"][p]["processor_seconds"] for p in SAMPLERS) for w in n["windows"]]
    shares = [100 * own / w["driver"] for own, w in zip(sampler, n["windows"], strict=True)]
    lines.append(row("the sampler's share of the driver, %", shares))
    memory = ", ".join(f"{mb:.0f} at {count}" for count, mb in n["memory_mb"].items())
    return [*lines, "", f"the driver's memory, MB, by ended trials: {memory}"]


def row(name: str, values: Sequence[float]) -> str:
    return f"| {name} | " + " | ".join(f"{value:.1f}" for value in values) + " |"
