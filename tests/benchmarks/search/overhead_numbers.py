"""What `overhead.py` makes of its stamps: parts of the start-up, of the end, and what lies between.

All times are in seconds since 1970. Durations leave out what the alternation stopped.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable
from typing import Any

Lasted = Callable[[float, float], float]
"""Seconds between two moments without the pauses of a side: `alternation.Side.lasted`."""


def by_worker(harness: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The trials of each process, in order."""
    workers: dict[int, list[dict[str, Any]]] = {}
    for trial in sorted(harness, key=lambda trial: trial["began"]):
        workers.setdefault(trial["worker"], []).append(trial)
    return list(workers.values())


def seconds_of(stamp: list[float]) -> float:
    """Seconds between a stamp's two times."""
    return stamp[1] - stamp[0]


def start_up(
    stamps: dict[str, Any], harness: list[dict[str, Any]], lasted: Lasted
) -> dict[str, float]:
    """Seconds from the command to the first step, part by part (workers: their mean)."""
    firsts = [lane[0] for lane in by_worker(harness)]
    command, ready = stamps["command"][0], stamps["ray_init"][1]
    entering = statistics.mean(lasted(ready, t["entered"]) for t in firsts)
    building = statistics.mean(
        lasted(t["entered"], t["began"]) + t["timing"]["startup_seconds"] for t in firsts
    )
    parts = {
        "Python and imports": stamps["imported"] - command,
        "verifying the corpus": seconds_of(stamps["verify_corpus"]),
        "measuring the cost": seconds_of(stamps["measure_cost"]),
        "importing Ray and Tune": seconds_of(stamps["import_ray"]),
        "ray.init": seconds_of(stamps["ray_init"]),
        "first workers": entering,
        "building the model": building,
    }
    whole = ready - command + entering + building
    return parts | {"the rest": whole - sum(parts.values()), "together": whole}


def wind_up(stamps: dict[str, Any], lasted: Lasted) -> dict[str, float]:
    """Seconds from the last record in the ledger to the command's end, part by part."""
    shutdown, run_search = stamps["ray_shutdown"], stamps["run_search"]
    recorded, ended = stamps["trial_ends"][-1][0], stamps["command"][1]
    return {
        "ending Tune": lasted(recorded, shutdown[0]),
        "ending Ray": lasted(shutdown[0], run_search[1]),
        "printing the table": lasted(run_search[1], stamps["table"][1]),
        "writing study.db": lasted(stamps["table"][1], stamps["returned"]),
        "ending Python": lasted(stamps["returned"], ended),
        "together": lasted(recorded, ended),
    }


def comparison(
    stamps: dict[str, Any],
    harness: list[dict[str, Any]],
    plain: list[dict[str, Any]],
    lasted: Lasted,
    plain_lasted: Lasted,
) -> dict[str, float]:
    """The trials in the harness and plainly, and what lies between. Where there are several
    workers, their mean."""
    workers = by_worker(harness)
    (first, cpu_first), (last, cpu_last) = stamps["trial_ends"][0], stamps["trial_ends"][-1]
    gaps = [
        lasted(earlier["trained"], later["began"])
        for lane in workers
        for earlier, later in itertools.pairwise(lane)
    ]
    loops = by_worker(plain)
    in_plain = statistics.mean(plain_lasted(t[0]["began"], t[-1]["ended"]) for t in loops)
    in_harness = statistics.mean(lasted(t[0]["began"], t[-1]["left"]) for t in workers)
    whole = in_harness + lasted(last, stamps["command"][1])
    reports = [seconds for trial in harness for seconds in trial["reports"]]
    one_by_one = [
        lasted(a["began"], a["trained"]) / plain_lasted(b["began"], b["ended"])
        for a, b in zip(harness, plain, strict=True)
    ]
    return {
        "trial_seconds": in_plain * len(loops) / len(plain),
        "trials_plain_seconds": in_plain,
        "trials_harness_seconds": in_harness,
        "trial_over_plain": [ratio - 1 for ratio in one_by_one],
        "between_trials_seconds": statistics.median(gaps) if gaps else 0.0,
        "reports_per_trial": len(reports) / len(harness),
        "report_seconds_median": statistics.median(reports),
        "reports_share": statistics.median(reports) * len(reports) / len(workers) / in_harness,
        "driver_and_ray_cores": (cpu_last - cpu_first) / lasted(first, last),
        "trials_over_plain": in_harness / in_plain - 1,
        "after_start_up_over_plain": whole / in_plain - 1,
        "after_start_up_harness_seconds": whole,
    }


def report_lines(numbers: dict[str, Any]) -> list[str]:
    """Three tables in Markdown; of several rounds the mean, and of the ratios each."""
    rounds = numbers["rounds"]

    def mean(name: str) -> float:
        return statistics.mean(r[name] for r in rounds)

    def parts(name: str) -> list[str]:
        mean_of = {part: statistics.mean(r[name][part] for r in rounds) for part in rounds[0][name]}
        return [f"| {part} | {seconds:.2f} |" for part, seconds in mean_of.items()]

    def ratio(name: str) -> str:
        each = ", ".join(f"{r[name]:+.2%}" for r in rounds)
        geometric = statistics.geometric_mean(1 + r[name] for r in rounds) - 1
        return f"**{geometric:+.2%}** ({each})"

    of_trials = [ratio for r in rounds for ratio in r["trial_over_plain"]]
    return [
        f"{numbers['processor']}: {numbers['concurrent']} at a time, threads each: "
        f"{numbers['threads']}; trials of {numbers['tokens_per_trial']:,} tokens, "
        f"{mean('trial_seconds'):.1f} s each in the plain loop; {len(rounds)} rounds, in turns of "
        f"{numbers['slice_seconds']:g} s",
        "",
        "| Start-up | Seconds |",
        "| --- | ---: |",
        *parts("start_up_seconds"),
        "",
        "| Wind-up | Seconds |",
        "| --- | ---: |",
        *parts("wind_up_seconds"),
        "",
        "| Between them | |",
        "| --- | ---: |",
        f"| from one trial to the next | {mean('between_trials_seconds') * 1e3:.0f} ms |",
        f"| reports of a trial | {mean('reports_per_trial'):.0f} |",
        f"| a report, median | {mean('report_seconds_median') * 1e3:.1f} ms |",
        f"| all reports, share of the trials | {mean('reports_share'):.2%} |",
        f"| processor time of driver and Ray | {mean('driver_and_ray_cores'):.3f} cores |",
        f"| a trial, over the same in the plain loop, each | "
        f"{', '.join(f'{ratio:+.1%}' for ratio in of_trials)} |",
        "",
        "| Total | Seconds | Over the plain loop |",
        "| --- | ---: | ---: |",
        f"| plain loop | {mean('trials_plain_seconds'):.2f} | |",
        f"| harness, its trials | {mean('trials_harness_seconds'):.2f} "
        f"| {ratio('trials_over_plain')} |",
        f"| harness, all after the start-up | {mean('after_start_up_harness_seconds'):.2f} "
        f"| {ratio('after_start_up_over_plain')} |",
    ]
