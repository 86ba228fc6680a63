"""The table of the claims: what was measured, the verdict, of which text and size, and what would
settle it.

A verdict is one of holds, doesn't hold, can't be told, not run. Two rules run through all of them:

- Noise: verdicts that come from noise are settled together, by Holm's procedure
  (`reports/claims/noise.py`), so that with a probability of 95% none of a table's is wrong.
- Text and size: nobody has the recipe's text, so every verdict from a run is one "on other
  text". Absolute numbers can't be told but at its recipe on as many tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from minigpt_search.data.common.formatting import counted
from minigpt_search.data.common.invocation import command_line
from minigpt_search.reports.claims import recipe
from minigpt_search.reports.claims.claims import ARITHMETIC, CLAIMS, NUMBER, Claim
from minigpt_search.reports.claims.evidence import Evidence, Finding
from minigpt_search.reports.claims.from_ladder import Expected
from minigpt_search.reports.claims.noise import FAILS, HOLDS, NOT_RUN, UNTOLD, holm, verdict_of
from minigpt_search.search.answer.commands import corpus_words

OTHER_TEXT = " on other text"
ASSUMED = "; the spread between seeds is assumed"


def claims_table(
    evidence: Evidence, out: str | None = None, expected: Sequence[Expected] = ()
) -> pd.DataFrame:
    """Every claim, its test, what was measured, the verdict, its p-value adjusted for the table, of
    which text and size, what ladders expect of it, and the command that would settle it. `out` is
    `--out` as it was given, for the commands."""
    at_size = evidence.at_size
    findings = [claim.judge(evidence) for claim in CLAIMS]
    comparable = [
        at_size or claim.kind != NUMBER or claim.of_corpus or claim.own_size for claim in CLAIMS
    ]
    verdicts, adjusted = settle(findings, comparable)
    words = _lengths(evidence)
    predicted = {each.claim: each.sentence for each in expected}
    rows = []
    for claim, finding, verdict, p in zip(CLAIMS, findings, verdicts, adjusted, strict=True):
        assumed = (
            evidence.spread_is_assumed and finding.claimed is not None and not finding.by_points
        )
        of_text = verdict in (HOLDS, FAILS) and claim.kind != ARITHMETIC
        rows.append(
            {
                "claim": claim.words,
                "test": claim.test.format(**words),
                "measured": (finding.measured + ASSUMED * assumed) or None,
                "verdict": verdict + OTHER_TEXT * of_text,
                "p_adjusted": None if finding.missing and verdict in (NOT_RUN, UNTOLD) else p,
                "scope": _scope(claim, evidence, verdict, at_size),
                **({"from_ladder": predicted.get(claim.words)} if predicted else {}),
                "settle": _command(claim, evidence, finding, verdict, out),
            }
        )
    return pd.DataFrame(rows)


def settle(findings: list[Finding], comparable: list[bool]) -> tuple[list[str], list[float | None]]:
    """The verdict on each finding, and the adjusted p-value of those from noise. What is not
    `comparable` with the recipe can't be told, and takes no part in the correction."""
    tested = [
        place
        for place, finding in enumerate(findings)
        if finding.claimed is not None and comparable[place]
    ]
    p_values = [claimed.p for place in tested if (claimed := findings[place].claimed)]
    adjusted: list[float | None] = [None] * len(findings)
    for place, p in zip(tested, holm(p_values), strict=True):
        adjusted[place] = p
    verdicts = [_verdict(*each) for each in zip(findings, comparable, adjusted, strict=True)]
    return verdicts, adjusted


def _verdict(finding: Finding, comparable: bool, adjusted: float | None) -> str:
    if finding.verdict == NOT_RUN:
        return NOT_RUN
    if not comparable:
        return UNTOLD
    if finding.claimed is None or adjusted is None:
        assert finding.verdict is not None
        return finding.verdict
    verdict = verdict_of(finding.claimed, adjusted)
    return (finding.missing or UNTOLD) if verdict == UNTOLD else verdict


def _lengths(evidence: Evidence) -> dict[str, object]:
    """The epochs of the tests by their role."""
    lengths = evidence.lengths
    return {
        "baseline": lengths.baseline,
        "run": counted(lengths.baseline, "epoch"),
        "extended": lengths.extended,
        "longer": " and ".join(map(str, lengths.longer)),
    }


def _scope(claim: Claim, evidence: Evidence, verdict: str, at_size: bool) -> str | None:
    """Of which text and which size a row is."""
    if claim.kind == ARITHMETIC:
        return ARITHMETIC
    if verdict == NOT_RUN:
        return None
    if claim.of_corpus:
        return recipe.corpus_name(evidence.experiment)
    size = "the recipe's size" if at_size else "this size"
    return f"{size}: {recipe.scope(evidence.experiment)}"


def _command(
    claim: Claim, evidence: Evidence, finding: Finding, verdict: str, out: str | None
) -> str | None:
    """What would settle an open claim: the claims' grid, on the whole corpus for absolute numbers,
    with more seeds where noise is in the way. None where no run would."""
    if verdict not in (NOT_RUN, UNTOLD) or claim.kind == ARITHMETIC:
        return None
    experiment = evidence.experiment
    start = ("search/run.py", "--grid", "claims")
    if claim.settle:
        return f"{claim.needs}: {command_line(*start, *claim.settle, out=out)}"
    if claim.kind == NUMBER and not evidence.at_size:
        return command_line(*start, "--preset", "full", "--seeds", "3", out=out)
    noisy = finding.claimed is not None and finding.missing is None
    seeds = max(3, 2 * experiment.noise.seeds) if noisy else experiment.noise.seeds
    words = ["--seeds", str(seeds)] if seeds > 1 else []
    words += corpus_words(experiment)
    return command_line(*start, "--preset", experiment.preset, *words, out=out)
