"""Claims as ladders of made-up losses expect them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest

from minigpt_search.data.common.errors import UserError
from minigpt_search.reports.claims.claims import CLAIMS
from minigpt_search.reports.claims.from_ladder import (
    _BETTER,
    _PERPLEXITIES,
    _RATES,
    LIKELY,
    UNLIKELY,
    Expected,
    _even_at,
    _loss,
    _Run,
    _verdict,
    expected_claims,
    ladder_differences,
)
from minigpt_search.reports.claims.noise import UNTOLD, Interval
from minigpt_search.reports.figures.all_figures import all_figures
from minigpt_search.reports.generate import main
from minigpt_search.reports.page.compare import compare_page
from minigpt_search.reports.page.ladder_section import equal_cost_section, ladder_section
from minigpt_search.reports.page.page import build_page
from minigpt_search.search.ladder.rounds import ladder_state
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.results.results import Results
from minigpt_search.search.space.ladder_spec import LadderSpec, ladder_space, target_on
from minigpt_search.search.space.presets import PRESETS
from minigpt_search.search.trials.trial import make_trial

RUNGS = (100_032, 400_000, 1_600_000)
MakeLadder = Callable[..., Results]


@pytest.fixture
def ladder(build: Any) -> MakeLadder:
    """`ladder(name, loss, epochs=3, widths=(128,), **fields)`: a ladder below the `full` preset
    whose trials came to `loss(tokens, width, log of rate over 1e-3)`, and a run of its target to
    this loss."""

    def make(
        name: str,
        loss: Callable[[float, float, float], float],
        epochs: int = 3,
        widths: tuple[int, ...] = (128,),
        rungs: tuple[int, ...] = RUNGS,
        target: float | None = None,
        **fields: Any,
    ) -> Results:
        base = PRESETS["full"].replace(epochs=epochs, **fields)
        spec = LadderSpec(rungs=rungs, rates=5, warmup_steps=base.train.warmup_steps)
        spec = dataclasses.replace(spec, whole=base.train.tokens_per_epoch is None)
        corpus = build.manifest()
        space = ladder_space(target_on(base, spec, corpus), widths, spec)
        experiment: Experiment = build.plan(name=name, preset="full", space=space, ladder=spec)
        records: list[Any] = []
        while due := ladder_state(experiment, records).due:
            for config, replicate in ((t.config, t.replicate) for t in _trials(experiment, due)):
                tokens = (config.train.tokens_per_epoch or 0) * epochs
                at = loss(tokens, config.model.embed_dim, math.log(config.train.lr_peak / 1e-3))
                cell = {
                    "tokens_per_epoch": config.train.tokens_per_epoch,
                    "embed_dim": config.model.embed_dim,
                    "lr": config.train.lr_peak,
                }
                losses = [at + 0.5] * (epochs - 1) + [at]
                made = build.trial(experiment, cell, losses, replicate=replicate)
                records.append(_seen(made, tokens))
        if target is not None:
            cell = {
                "tokens_per_epoch": space.base.train.tokens_per_epoch,
                "embed_dim": space.base.model.embed_dim,
                "lr": 1e-3,
            }
            made = build.trial(experiment, cell, [target] * epochs)
            records.append(_seen(made, cell["tokens_per_epoch"] * epochs))
        return Results(experiment, build.write(experiment, records))

    return make


def _seen(trial: Any, tokens: int) -> Any:
    """The trial with this number of tokens at its end."""
    *epochs, last = trial.epochs
    return dataclasses.replace(
        trial, epochs=(*epochs, dataclasses.replace(last, tokens_seen=tokens))
    )


def _trials(experiment: Experiment, due: Any) -> list[Any]:
    return [make_trial(experiment, *each) for each in due]


def falling(tokens: float, width: float, log_rate: float) -> float:
    """Losses with a best rate of 2e-3 everywhere: 5.80 nats after 30M tokens, 5.47 after 100M, as
    the recipe's report has them."""
    return 3.5 + 2.3 * (tokens / 3e7) ** -0.13 + 0.2 * (log_rate - math.log(2)) ** 2


def by_claim(expected: list[Expected]) -> dict[str, Expected]:
    return {each.claim: each for each in expected}


def test_their_words_are_those_of_the_table() -> None:
    known = {claim.words for claim in CLAIMS}
    named = {each[0] for each in (*_PERPLEXITIES, *_BETTER)} | {_RATES[0]}
    assert named <= known and len(named) == 9


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(1.1, 1.9, LIKELY), (0.9, 1.9, UNTOLD), (1.1, 2.1, UNTOLD), (2.1, 3, UNLIKELY)],
)
def test_a_verdict_takes_the_whole_interval(low: float, high: float, verdict: str) -> None:
    assert _verdict(Interval(mean=(low + high) / 2, low=low, high=high), 1.0, 2.0) == verdict


def test_a_ladder_of_three_epochs_speaks_of_what_takes_three(ladder: MakeLadder) -> None:
    results = ladder("three", falling)
    assert ladder_differences(results) == []
    found = by_claim(expected_claims([results]))
    assert set(found) == {"Perplexity 330.39 after 3 epochs", _RATES[0]}
    rate = found[_RATES[0]]
    assert rate.verdict == LIKELY and "above 0.00071" in rate.text  # the root of 5e-4 * 1e-3
    one = found["Perplexity 330.39 after 3 epochs"]
    prediction = results.ladder_prediction
    assert prediction is not None
    low, high = math.exp(prediction.loss.low), math.exp(prediction.loss.high)
    assert f"[{low:,.0f}, {high:,.0f}]" in one.text
    assert one.verdict in (LIKELY, UNTOLD) and low < 330 < high


def test_what_is_far_away_is_unlikely(ladder: MakeLadder) -> None:
    def low_rates(tokens: float, width: float, log_rate: float) -> float:
        return 1 + falling(tokens, width, log_rate + math.log(16))

    found = by_claim(expected_claims([ladder("far", low_rates)]))
    assert found["Perplexity 330.39 after 3 epochs"].verdict == UNLIKELY
    assert found[_RATES[0]].verdict == UNLIKELY


def test_two_ladders_and_widths_compare_runs(ladder: MakeLadder) -> None:
    def wider(tokens: float, width: float, log_rate: float) -> float:
        return falling(tokens, width, log_rate) + 3 * (width / 128) ** -0.8

    three = ladder("three", wider, widths=(64, 128, 256))
    ten = ladder("ten", falling, epochs=10)
    found = by_claim(expected_claims([three, ten]))
    assert {
        "A width of 256 is better",
        "Training longer (3 to 10 epochs) improves the model",
    } <= set(found)
    assert found["A width of 256 is better"].verdict == LIKELY
    assert "15 to 20 epochs bring further gains" not in found
    tokens = found["All 475M tokens bring perplexity to about 120"]
    assert "297 times the tokens of the largest rung" in tokens.text


def test_ladders_are_compared_at_equal_cost(ladder: MakeLadder) -> None:
    """Fewer epochs of more text are better here by 0.5 nats."""
    one = ladder("one", lambda t, w, r: falling(t, w, r) - 0.5, epochs=1, warmup_steps=100)
    three = ladder("three", falling, widths=(64, 128))
    section = equal_cost_section([one, three])
    [table] = section.tables
    frame = table.frame
    assert list(zip(frame["epochs"], frame["width"], strict=True)) == [(1, 128), (3, 64), (3, 128)]
    assert frame["run_tokens"].iloc[0] == frame["run_tokens"].iloc[2] < frame["run_tokens"].iloc[1]
    assert frame["notes"].tolist() == ["", "", ""]
    assert (
        "aside, three has warmup_steps 500 instead of 100, which is in it too"
        in (section.paragraphs[0])
    )
    assert "aside" not in equal_cost_section([three, three]).paragraphs[0]
    assert frame["lowest_loss"].iloc[2] - frame["lowest_loss"].iloc[0] == pytest.approx(
        0.5, abs=0.1
    )
    assert "Epochs and widths at equal cost" in [
        s.title for s in compare_page([one, three]).sections
    ]


@pytest.mark.parametrize(
    ("fields", "corpus", "said"),
    [
        ({}, {"content_hash": "dead"}, "other text."),
        (
            {},
            {"tokenizer": {"kind": "byte", "name": "byte", "vocab_size": 257}},
            "other text and other tokenizers.",
        ),
        ({"val_tokens": 512}, {}, "other validation tokens."),
    ],
)
def test_losses_of_something_else_are_not_put_beside_each_other(
    ladder: MakeLadder, build: Any, fields: Any, corpus: Any, said: str
) -> None:
    first, second = ladder("one", falling), ladder("two", falling, epochs=10, **fields)
    if corpus:
        own = {"content_hash": "dead", "manifest": build.manifest(**corpus)}
        second.experiment = second.experiment.replace(**own)
    section = equal_cost_section([first, second])
    assert section.tables == [] and section.paragraphs[0].endswith(f"the ladders have {said}")


def test_nothing_is_expected_of_runs_shorter_than_the_rungs(ladder: MakeLadder) -> None:
    """The target of the second is shorter than the first rung of the first."""
    ladders = [
        ladder("long", falling, rungs=(4_000_000, 6_000_000, 9_000_000)),
        ladder("short", falling, tokens_per_epoch=3_000_000),
    ]
    frame = equal_cost_section(ladders).tables[0].frame
    assert frame["lowest_loss"].isna().tolist() == [True, False]
    assert frame["lowest_loss_interval"].isna().tolist() == [True, False]
    assert frame["notes"].tolist() == [
        "none: shorter than its smallest rung of 12,000,000 tokens",
        "",
    ]
    assert frame["beyond"].iloc[1] == pytest.approx(9e6 / 4.8e6, rel=1e-3)
    assert _loss(ladders[:1], _Run(epochs=3)) is not None
    assert _loss(ladders[:1], _Run(epochs=3, tokens=3_000_000)) is None


def test_rungs_that_missed_their_own_predictions_say_nothing(ladder: MakeLadder) -> None:
    def cliff(tokens: float, width: float, log_rate: float) -> float:
        moved = -3.0 if tokens > 4e6 else 0.0
        return falling(tokens, width, log_rate - moved) + (2.0 if tokens > 4e6 else 0.0)

    results = ladder("cliff", cliff)
    assert results.ladder_prediction is not None
    [check] = results.ladder_prediction.checks
    assert not check.rate_held and not check.loss_held
    assert {each.verdict for each in expected_claims([results])} == {UNTOLD}


def test_a_warm_up_is_one_difference(ladder: MakeLadder) -> None:
    """In steps or as a share of them: what isn't given is no value. A truth value is none of a
    number."""
    usual = ladder("three", falling)
    share = ladder("share", falling, warmup_steps=None, warmup_fraction=0.05, tie_head=False)
    assert ladder_differences(share) == [
        "tie_head False instead of True",
        "warmup_fraction 0.05 instead of warmup_steps 500",
    ]
    said = equal_cost_section([share, usual]).paragraphs[0]
    assert "tie_head True instead of False, warmup_steps 500 instead of warmup_frac" in said


@pytest.mark.parametrize(("epochs", "said"), [(1, "(1 pass over"), (3, "(3 passes over")])
def test_passes_are_counted(ladder: MakeLadder, epochs: int, said: str) -> None:
    assert said in ladder_section(ladder("one", falling, epochs=epochs)).paragraphs[0]


@pytest.mark.usefixtures("undrawn")
def test_no_figure_asks_for_more_values_of_a_ladder(ladder: MakeLadder, build: Any) -> None:
    figures = all_figures(ladder("three", falling))
    against = [each.caption for each in figures if each.name.startswith("loss_against_")]
    assert len(against) == 3 and not any("asks for more" in each for each in against)
    usual = all_figures(Results(*build.two_rates()))
    assert any("asks for more" in each.caption for each in usual)


def test_another_recipe_says_nothing_and_why(ladder: MakeLadder) -> None:
    results = ladder("small", falling, batch_size=8)
    assert ladder_differences(results) == ["batch_size 8 instead of 32"]
    assert expected_claims([results]) == []
    section = next(s for s in build_page(results).sections if s.title == "The ladder")
    assert any("batch_size 8 instead of 32" in text for text in section.paragraphs)


def test_the_rate_between_two_of_equal_loss_is_where_the_valley_says(ladder: MakeLadder) -> None:
    prediction = ladder("three", falling).ladder_prediction
    assert prediction is not None
    assert _even_at(prediction, 5e-4, 1e-3) == pytest.approx(math.sqrt(5e-7), rel=0.01)


def test_the_report_of_claims_has_what_a_ladder_expects(build: Any, ladder: MakeLadder) -> None:
    build.claims("full")
    ladder("three", falling)
    ladder("other", falling, batch_size=8)
    out = ("--out", str(build.root))
    main(["claims-full", "--ladder", "three", *out])
    text = (build.root / "experiments" / "claims-full" / "report" / "report.md").read_text()
    assert "Predicted from the ladder" in text and text.count("predicted from the ladder: ") == 2
    for words, said in (
        (("three", "--ladder", "three"), "goes with a search of --grid claims"),
        (("claims-full", "--ladder", "claims-full"), "it is no ladder"),
        (("claims-full", "--ladder", "other"), "batch_size 8 instead of 32"),
        (("claims-full", "three", "--ladder", "three"), "one experiment"),
    ):
        with pytest.raises(UserError, match=said):
            main([*words, *out])
    main(["three", *out])
    page = (build.root / "experiments" / "three" / "report" / "report.md").read_text()
    assert "as this ladder expects them" in page


def test_a_rung_is_not_behind_a_target(ladder: MakeLadder) -> None:
    """Nor is it behind another search's run, where that had more training; two rungs of one length
    are compared."""
    rung = ladder("rung", falling)
    target = ladder("target", falling, target=5.5)
    page = compare_page([target, rung])
    assert page.summary == (
        "No best among runs of different lengths: of target it is the target of 30,000,384 tokens, "
        "of rung it is only a rung of 4,800,000 tokens."
    )
    table = page.tables[0]
    assert table.marked_row is None and table.frame["behind"].isna().all()
    other = compare_page([rung, ladder("other", lambda *cell: falling(*cell) + 0.5)])
    assert other.summary.startswith("Best: ") and other.tables[0].marked_row == 0
    assert other.tables[0].frame["behind"].iloc[1].startswith("+0.5")


def test_losses_on_other_validation_tokens_settle_no_claim(ladder: MakeLadder) -> None:
    three, ten = ladder("three", falling), ladder("ten", falling, epochs=10, val_tokens=512)
    longer = by_claim(expected_claims([three, ten]))[_BETTER[0][0]]
    assert longer.verdict == UNTOLD
    assert longer.text.endswith(" is scored on other validation tokens than 3 epochs of 10M tokens")
