"""The claims of the recipe's report, each with the code that puts it to the test from a ledger.

There are three kinds, in this order: what its numbers say of each other needs no run; what it says
of an order (longer, wider is better) and of how training goes is tested at the size there is; its
absolute numbers can be compared at its recipe and size only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from minigpt_search.reports.claims import arithmetic, dynamics, numbers, orders
from minigpt_search.reports.claims.evidence import Evidence, Finding
from minigpt_search.reports.claims.overfitting import no_overfitting

ARITHMETIC, ORDER, NUMBER = "arithmetic", "at this size", "absolute"
KINDS = (ARITHMETIC, ORDER, NUMBER)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One claim and its test."""

    words: str
    """As the recipe's report has it."""
    test: str
    """What is compared; the epochs by their role: {baseline}, {extended}, {longer}; {run} is the
    baseline's with the word."""
    judge: Callable[[Evidence], Finding]
    kind: str
    """One of `KINDS`."""
    of_corpus: bool = False
    """Whether it is about a corpus alone: then recipe and size don't matter."""
    own_size: bool = False
    """Whether it is about another size than the recipe's, which its test looks at itself."""
    needs: str = ""
    """What it takes beside the whole built-in corpus, if anything."""
    settle: tuple[str, ...] = ()
    """The words of the command then."""


def _claim(kind: str, words: str, test: str, judge: Callable[[Evidence], Finding]) -> Claim:
    return Claim(words=words, test=test, judge=judge, kind=kind)


CLAIMS = (
    _claim(
        ARITHMETIC,
        "7.8M parameters, 82% of them in embeddings",
        "count of the stated configuration",
        arithmetic.parameters,
    ),
    _claim(
        ARITHMETIC,
        "10,000,249 tokens, 156,252 sequences, 4,883 batches an epoch, 8 files",
        "whole sequences of each file, of 64 tokens with a next one; batches of 32",
        arithmetic.dataset,
    ),
    _claim(
        ARITHMETIC,
        "21-22 it/s; 11 min for 3 epochs, 37.5 min for 10",
        "4,883 steps an epoch over these times",
        arithmetic.speed,
    ),
    _claim(
        ARITHMETIC,
        "Losses 6.49, 5.80, 5.68, 5.47; perplexities 661.25, 331.54 or 330.39, 294.39, 238.59",
        "exponentials",
        arithmetic.losses_and_perplexities,
    ),
    _claim(
        ARITHMETIC,
        "Improvements of 49.9%, 55.5% and 63.9% since epoch 1, of 27.8% over the baseline",
        "by its perplexities",
        arithmetic.improvements,
    ),
    _claim(
        ARITHMETIC,
        "The choice is reduced from 50,257 tokens to ~239",
        "perplexity as a number of choices",
        arithmetic.choices,
    ),
    _claim(
        ARITHMETIC,
        "Scaling laws expect a loss of about 5.5 for 7.8M parameters on 10M tokens",
        "the laws below, with the claim's numbers, however they are counted",
        arithmetic.scaling_law,
    ),
    _claim(
        ORDER,
        "Training longer (3 to 10 epochs) improves the model",
        "{extended} epochs against {baseline}",
        orders.longer_training,
    ),
    _claim(
        ORDER,
        "Still improving at epoch 10",
        "epoch {extended} against the one before, validation loss within each run",
        orders.still_improving,
    ),
    _claim(
        ORDER,
        "15 to 20 epochs bring further gains",
        "{longer} epochs against {extended}",
        orders.still_longer_training,
    ),
    _claim(
        ORDER,
        "A rate of 5e-4 converges slowly, 1e-3 faster",
        "lr 1e-3 against 5e-4, {run}",
        orders.learning_rate,
    ),
    _claim(
        ORDER,
        "A width of 256 is better",
        "embed_dim 256 against 128, {run}",
        orders.wider,
    ),
    _claim(
        ORDER,
        "A context of 128 to 256 is better",
        "seq_len 128 and 256 against 64, {run}, with half and a quarter of the sequences in a "
        "batch: as many tokens a step and as many steps",
        orders.longer_context,
    ),
    _claim(
        ORDER,
        "A context of 128 to 256 is better, even with fewer steps",
        "the same with as many sequences in a batch: half and a quarter of the steps",
        orders.longer_context_fewer_steps,
    ),
    _claim(
        ORDER,
        "Excellent for its size",
        "validation loss after {extended} epochs against a trigram table of the same text",
        orders.excellent_for_its_size,
    ),
    _claim(
        ORDER,
        "Loss falls monotonically",
        "training loss of each tenth of {extended} epochs against the tenth before, over runs",
        dynamics.monotone,
    ),
    _claim(
        ORDER,
        "No spikes",
        f"points of the training loss over {{extended}} epochs: none {dynamics.SPIKE_SDS:g} times "
        f"their noise above those before, no gradient {dynamics.NORM_SPIKE:g} times its neighbours",
        dynamics.no_spikes,
    ),
    _claim(
        ORDER,
        "Gradients neither vanish nor explode",
        f"global norms over {{extended}} epochs within {dynamics.NORM_RANGE:g} times their median",
        dynamics.steady_gradients,
    ),
    _claim(
        ORDER,
        "No overfitting",
        "over {extended} epochs validation doesn't rise by 0.01 nats, and ends within 10% of the "
        "perplexity of the text that was trained on",
        no_overfitting,
    ),
    Claim(
        words="97.3% of documents pass the filters",
        test="documents dropped, within 10% of 2.7%",
        judge=numbers.retention,
        kind=NUMBER,
        of_corpus=True,
        needs="on a corpus made with filters, such as the built-in one",
        settle=("--preset", "quick"),
    ),
    _claim(
        NUMBER,
        "Perplexity 330.39 after 3 epochs",
        "{run}",
        numbers.baseline_perplexity,
    ),
    _claim(
        NUMBER,
        "Final perplexity 238.59",
        "{extended} epochs",
        numbers.final_perplexity,
    ),
    _claim(
        NUMBER,
        "Perplexity 661, 332, 294 and 239 after epochs 1, 3, 5 and 10",
        "epochs of the run of {extended}",
        numbers.perplexity_by_epoch,
    ),
    _claim(
        NUMBER,
        "Perplexity falls by 63.9% over 10 epochs",
        "epoch {extended} against epoch 1 of the same run",
        numbers.fall_over_epochs,
    ),
    _claim(
        NUMBER,
        "Training longer (3 to 10 epochs) improves perplexity by 27.8%",
        "{extended} epochs against {baseline}",
        numbers.improvement,
    ),
    _claim(
        NUMBER,
        "210 times better than random guessing",
        "vocabulary over perplexity after {extended} epochs",
        numbers.better_than_guessing,
    ),
    _claim(
        NUMBER,
        "A width of 256 brings perplexity to about 90",
        "embed_dim 256, {extended} epochs",
        numbers.wide_perplexity,
    ),
    _claim(
        NUMBER,
        "15 to 20 epochs bring perplexity to about 180",
        "{longer} epochs",
        numbers.long_perplexity,
    ),
    Claim(
        words="All 475M tokens bring perplexity to about 120",
        test="10 epochs of 475M tokens",
        judge=numbers.all_tokens_perplexity,
        kind=NUMBER,
        own_size=True,
        needs="with 475M tokens of text as the corpus 475m",
        settle=("--preset", "full", "--corpus", "475m", "--seeds", "3"),
    ),
    Claim(
        words="21-22 it/s and 37.5 min on a Tesla T4",
        test="{extended} epochs on a Tesla T4",
        judge=numbers.speed,
        kind=NUMBER,
        needs="on a Tesla T4",
        settle=("--preset", "full"),
    ),
    _claim(
        NUMBER,
        "10M tokens can be trained on within 12 GB",
        "highest memory of a trial's process",
        numbers.memory,
    ),
)
