"""The claims of the assignment's report, each put to the test by code, from a ledger alone.

A claim's test gives what was measured and a verdict, one of holds, doesn't hold, can't be told, not
run. Two rules run through all of them:

- Noise: `reports/claims/evidence.py` says how intervals are made; a claim whose interval lies on
  both sides of it can't be told.
- Scale: absolute numbers can be compared only when the assignment's recipe ran on 10 million
  tokens. Elsewhere they can't be told; claims about an order are tested at the size there is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from minigpt_search.data.common.formatting import counted
from minigpt_search.data.common.invocation import command_line
from minigpt_search.reports.claims import verdicts as claim_tests
from minigpt_search.reports.claims.evidence import NOT_RUN, UNTOLD, Evidence
from minigpt_search.reports.claims.verdicts import Finding
from minigpt_search.search.answer.commands import corpus_words

ARITHMETIC = "arithmetic"


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One claim and its test."""

    words: str
    """As the assignment's report has it."""
    test: str
    """What is compared; the epochs by their role: {baseline}, {extended}, {longer}; {run} is the
    baseline's with the word."""
    judge: Callable[[Evidence], Finding]
    absolute: bool = False
    """Whether it is about a number that depends on recipe and corpus."""


CLAIMS = (
    Claim(
        words="7.8M parameters, 82% of them in embeddings",
        test="count of the stated configuration",
        judge=claim_tests.parameters,
    ),
    Claim(
        words="Training longer (3 to 10 epochs) improves the model",
        test="{extended} epochs against {baseline}",
        judge=claim_tests.longer_training,
    ),
    Claim(
        words="Training longer (3 to 10 epochs) improves perplexity by 27.8%",
        test="{extended} epochs against {baseline}",
        judge=claim_tests.improvement,
        absolute=True,
    ),
    Claim(
        words="Final perplexity 238.59",
        test="{extended} epochs",
        judge=claim_tests.final_perplexity,
        absolute=True,
    ),
    Claim(
        words="210 times better than random guessing",
        test="vocabulary over perplexity after {extended} epochs",
        judge=claim_tests.better_than_guessing,
        absolute=True,
    ),
    Claim(
        words="Loss falls monotonically",
        test="training loss by epoch over {extended} epochs",
        judge=claim_tests.monotone,
    ),
    Claim(
        words="No overfitting",
        test="validation loss by epoch over {extended} epochs",
        judge=claim_tests.no_overfitting,
    ),
    Claim(
        words="A rate of 5e-4 converges slowly, 1e-3 faster",
        test="lr 1e-3 against 5e-4, {run}",
        judge=claim_tests.learning_rate,
    ),
    Claim(
        words="A width of 256 is better",
        test="embed_dim 256 against 128, {run}",
        judge=claim_tests.wider,
    ),
    Claim(
        words="A width of 256 brings perplexity to about 90",
        test="embed_dim 256, {extended} epochs",
        judge=claim_tests.wide_perplexity,
        absolute=True,
    ),
    Claim(
        words="A context of 128 to 256 is better",
        test="seq_len 128 and 256 against 64, {run}, the same number of sequences in a batch",
        judge=claim_tests.longer_context,
    ),
    Claim(
        words="15 to 20 epochs bring further gains",
        test="{longer} epochs against {extended}",
        judge=claim_tests.still_longer_training,
    ),
    Claim(
        words="15 to 20 epochs bring perplexity to about 180",
        test="{longer} epochs",
        judge=claim_tests.long_perplexity,
        absolute=True,
    ),
    Claim(
        words="Scaling laws expect a loss of about 5.5 for 7.8M parameters on 10M tokens",
        test="the laws below, with the claim's numbers",
        judge=claim_tests.scaling_law,
    ),
    Claim(
        words="10M tokens can be trained on within 12 GB",
        test="highest memory of a trial's process",
        judge=claim_tests.memory,
        absolute=True,
    ),
)


def claims_table(evidence: Evidence, out: str | None = None) -> pd.DataFrame:
    """Every claim, its test, what was measured, the verdict, at which size, and the command that
    would settle it. `out` is `--out` as it was given, for the commands."""
    lengths = evidence.lengths
    words = {
        "baseline": lengths.baseline,
        "run": counted(lengths.baseline, "epoch"),
        "extended": lengths.extended,
        "longer": " and ".join(map(str, lengths.longer)),
    }
    rows = []
    for claim in CLAIMS:
        finding = claim.judge(evidence)
        verdict = finding.verdict
        if claim.absolute and not evidence.as_claimed and verdict != NOT_RUN:
            verdict = UNTOLD
        is_open = verdict in (NOT_RUN, UNTOLD)
        rows.append(
            {
                "claim": claim.words,
                "test": claim.test.format(**words),
                "measured": finding.measured or None,
                "verdict": verdict,
                "scope": ARITHMETIC if finding.arithmetic else _scope(evidence, verdict),
                "settle": _command(claim, evidence, verdict, out) if is_open else None,
            }
        )
    return pd.DataFrame(rows)


def _scope(evidence: Evidence, verdict: str) -> str | None:
    if verdict == NOT_RUN:
        return None
    return "the assignment's size" if evidence.as_claimed else "at this size"


def _command(claim: Claim, evidence: Evidence, verdict: str, out: str | None) -> str:
    """What would settle an open claim: the claims' grid, on the whole corpus for absolute numbers,
    with more seeds where noise is in the way."""
    experiment = evidence.experiment
    start = ("search/run.py", "--grid", "claims", "--preset")
    if claim.absolute and not evidence.as_claimed:
        return command_line(*start, "full", "--seeds", "3", out=out)
    words = ["--seeds", str(max(3, 2 * experiment.noise.seeds))] if verdict == UNTOLD else []
    words += corpus_words(experiment)
    return command_line(*start, experiment.preset, *words, out=out)
