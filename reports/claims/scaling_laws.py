"""What published scaling laws expect of a model's loss, with their constants.

Each was fitted to other text with another tokenizer, to models mostly a thousand times larger: the
values are extrapolations, in nats per token.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from minigpt_search.model.config import RunConfig
from minigpt_search.model.model_size import parameter_count
from minigpt_search.reports.claims.recipe import CLAIMED_TOKENS

CLAIMED_PARAMETERS, CLAIMED_EMBEDDING_SHARE = 7.8e6, 0.82
CLAIMED_LOSS, CLAIMED_EPOCHS = 5.5, 10
"""The recipe's report: `expected loss ~5.5 for 7.8M params on 10M tokens`."""


@dataclass(frozen=True, kw_only=True)
class ScalingLaw:
    """A loss as a function of parameters N and training tokens D."""

    name: str
    source: str
    formula: str
    """With its constants, as people read it."""
    counts_embedding: bool
    """Whether N includes the embedding's parameters."""
    exponent_n: float
    exponent_d: float
    scale_n: float
    scale_d: float
    floor: float
    """The loss of text itself, in nats; 0 for Kaplan's form, which has none."""
    kaplan_form: bool

    def loss(self, parameters: float, tokens: float) -> float:
        """Nats per token."""
        if self.kaplan_form:
            of_model = (self.scale_n / parameters) ** (self.exponent_n / self.exponent_d)
            return (of_model + self.scale_d / tokens) ** self.exponent_d
        of_model = self.scale_n / parameters**self.exponent_n
        return self.floor + of_model + self.scale_d / tokens**self.exponent_d


LAWS = (
    ScalingLaw(
        name="Kaplan et al. 2020",
        source="arXiv 2001.08361, equation 1.5 and table 2",
        formula="((6.4e13/N)^(0.076/0.103) + 1.8e13/D)^0.103",
        counts_embedding=False,
        exponent_n=0.076,
        exponent_d=0.103,
        scale_n=6.4e13,
        scale_d=1.8e13,
        floor=0.0,
        kaplan_form=True,
    ),
    ScalingLaw(
        name="Hoffmann et al. 2022",
        source="arXiv 2203.15556, equation 10",
        formula="1.69 + 406.4/N^0.34 + 410.7/D^0.28",
        counts_embedding=True,
        exponent_n=0.34,
        exponent_d=0.28,
        scale_n=406.4,
        scale_d=410.7,
        floor=1.69,
        kaplan_form=False,
    ),
    ScalingLaw(
        name="Besiroglu et al. 2024",
        source="arXiv 2404.10102, refit of Hoffmann's",
        formula="1.8172 + 482.01/N^0.3478 + 2085.43/D^0.3658",
        counts_embedding=True,
        exponent_n=0.3478,
        exponent_d=0.3658,
        scale_n=482.01,
        scale_d=2085.43,
        floor=1.8172,
        kaplan_form=False,
    ),
)


def claimed_losses(law: ScalingLaw) -> list[float]:
    """What the law expects of the claim's own numbers, for each way to count: all parameters or
    those of the blocks alone, and of tokens each once or as often as they were seen."""
    blocks = CLAIMED_PARAMETERS * (1 - CLAIMED_EMBEDDING_SHARE)
    return [
        law.loss(parameters, CLAIMED_TOKENS * seen)
        for parameters in (CLAIMED_PARAMETERS, blocks)
        for seen in (1, CLAIMED_EPOCHS)
    ]


def expectations(config: RunConfig, epoch_tokens: int) -> pd.DataFrame:
    """Each law with each way to count, and what it expects of the claim's numbers and of one pass
    over `epoch_tokens` with the model of `config`."""
    model = config.model
    tables = (model.vocab_size * (1 if model.tie_head else 2) + model.seq_len) * model.embed_dim
    everything = parameter_count(model)
    rows = []
    for law in LAWS:
        losses = claimed_losses(law)
        for embedding, once, seen in ((True, *losses[:2]), (False, *losses[2:])):
            own = embedding == law.counts_embedding
            rows.append(
                {
                    "law": law.name,
                    "formula": law.formula,
                    "source": law.source,
                    "counted": ("all" if embedding else "without embeddings")
                    + (", as the law does" if own else ""),
                    "claim_loss_nats": once,
                    "claim_loss_seen_nats": seen,
                    "here_loss_nats": law.loss(
                        everything if embedding else everything - tables, epoch_tokens
                    ),
                }
            )
    return pd.DataFrame(rows)
