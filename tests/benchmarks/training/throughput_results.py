"""What `throughput.py` has measured, shape by shape: speeds, floors, whether the losses agree."""

from __future__ import annotations

import argparse
import math
import statistics
from typing import Any

from floor import best_of, floor_tokens_per_second
from peers import KINDS, precision_of
from turns import Answers

from minigpt_search.model.config import RunConfig

TOLERANCE_NATS = {"fp32": 1e-4, "bf16": 0.05, "fp16": 0.05}
"""How far a contender's first loss may be from the reference's."""
DROPOUT_NATS = 0.2
"""How far it may be from itself with dropout, and compiled if it is: an untrained model's loss is
that of a uniform prediction either way."""
Result = dict[str, Any]


def result_of(
    config: RunConfig,
    args: argparse.Namespace,
    answers: Answers,
    failures: dict[str, str],
    idle_shares: dict[str, float],
) -> Result:
    """What is known of one shape after some rounds."""
    if "products" not in answers:
        raise RuntimeError(failures["products"])
    tokens = config.train.batch_size * config.model.seq_len
    rates = best_of(answers["products"][1:])
    floor = floor_tokens_per_second(config.model, tokens, rates)
    contenders = [
        contender_result(name, config, answers, floor, args) | {"idle_share": idle_shares[name]}
        for name in args.names
        if name in answers
    ]
    return {
        "embed_dim": config.model.embed_dim,
        "contenders": contenders,
        "failures": dict(failures),
        "left_out": args.left_out,
        "floor_tokens_per_second": floor,
        "product_rates": rates,
        "baseline_memory_mb": answers["products"][0]["baseline_memory_mb"],
        "loss_differences_nats": loss_differences(contenders),
    }


def contender_result(
    name: str,
    config: RunConfig,
    answers: dict[str, list[dict[str, Any]]],
    floor: float,
    args: argparse.Namespace,
) -> dict[str, Any]:
    """One entry of the JSON's `contenders`."""
    tokens = args.steps * config.train.batch_size * config.model.seq_len

    def rates(name: str) -> list[float]:
        return [tokens / turn["seconds"] for turn in answers[name][1:]]

    own = rates(name)
    median = statistics.median(own)
    ratio = None
    if "ours" in answers:  # of turns that lay side by side; one may have ended early
        pairs = zip(rates("ours"), own, strict=False)
        ratio = statistics.median(ours / theirs for ours, theirs in pairs)
    return {
        "name": name,
        "embed_dim": config.model.embed_dim,
        "precision": precision_of(name, args.device),
        "compiled": KINDS[name].compile_mode is not None,
        "tokens_per_second_median": median,
        "tokens_per_second_spread": [min(own), max(own)],
        "tokens_per_second": own,
        "ours_over_this": ratio,
        "share_of_floor": median / floor,
        "peak_memory_mb": answers[name][-1]["peak_memory_mb"],
        "first_loss_nats": answers[name][0]["first_loss_nats"],
        "first_loss_with_dropout_nats": answers[name][0]["first_loss_with_dropout_nats"],
        "prepare_seconds": answers[name][0]["prepare_seconds"],
    }


def loss_differences(contenders: list[dict[str, Any]]) -> dict[str, float]:
    """For each precision the largest distance of a first loss from the reference: that of the first
    contender in fp32, or of the first at all if none is."""
    if not contenders:
        return {}
    in_fp32 = [contender for contender in contenders if contender["precision"] == "fp32"]
    reference = (in_fp32 or contenders)[0]["first_loss_nats"]
    distances: dict[str, list[float]] = {}
    for contender in contenders:
        distance = abs(contender["first_loss_nats"] - reference)
        # What is not a number would be lost in a maximum.
        distances.setdefault(contender["precision"], []).append(
            math.inf if math.isnan(distance) else distance
        )
    return {precision: max(those) for precision, those in distances.items()}


def faults(results: list[dict[str, Any]]) -> list[str]:
    """Contenders that failed, and losses that differ by more than rounding."""
    found = [reason for result in results for reason in result["failures"].values()]
    for result in results:
        for kind, distance in result["loss_differences_nats"].items():
            if distance > TOLERANCE_NATS[kind]:
                found.append(
                    f"width {result['embed_dim']}: first losses in {kind} differ by {distance:.2g} "
                    f"nats, more than {TOLERANCE_NATS[kind]:g}"
                )
        for contender in result["contenders"]:
            plain, timed = (contender[f"first_loss{w}_nats"] for w in ("", "_with_dropout"))
            if not abs(timed - plain) <= DROPOUT_NATS:
                found.append(
                    f"width {result['embed_dim']}: {contender['name']} begins at {timed:.3f} nats "
                    f"as it is timed, and at {plain:.3f} without dropout"
                )
    return found
