"""What a corpus shall be: all that decides its tokens."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from typing import Any

from minigpt_search.data.common.errors import UserError

MOST_TOKENS = 10**12
"""The most tokens of a corpus: with more, a flag has a digit too many."""


@dataclass(frozen=True, kw_only=True)
class CorpusSpec:
    """What decides every token of a corpus. Cores, folders and time are no part of it."""

    name: str = "builtin"
    """The name of its folder below ROOT/corpus: letters, digits, `.`, `_`, `-`."""
    sources: tuple[str, ...] = ("builtin",)
    """The values of `--source`: `builtin`, `builtin:NAME`, a file, a folder or
    `hub:OWNER/NAME[@CONFIG]`, each with an optional `:WEIGHT`, its share of the tokens. Without any
    weight, all text is taken."""
    tokens: int | None = None
    """The upper limit of train tokens; None: all there are. The validation and test splits do not
    depend on it, so that corpora of several sizes can be compared."""
    eval_tokens: int = 80_000
    """The tokens wanted in the validation split, and in the test split: 0.8% of the built-in
    corpus, a standard error of about 0.01 nats. Each gets at most 5% of the corpus."""
    segments: int = 8
    """The number of files of the train split; the assignment used 8."""
    seed: int = 0
    """It decides the order of the documents and which split each goes to."""
    text_column: str = "text"
    """The column of the text in .jsonl, .parquet and hub sources."""
    quality_filter: bool = True
    """Whether to drop documents by the rules in `data/filtering/quality.py`, which expect English
    prose."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", self.name):
            raise UserError(
                f"--name {self.name!r}: use 1 to 100 letters, digits, '.', '_' or '-', "
                "the first one a letter or digit"
            )
        object.__setattr__(self, "sources", tuple(self.sources))
        if not self.sources:
            raise UserError("--source: at least one source is needed, for example `builtin`")
        for name, tokens in (("tokens", self.tokens), ("eval-tokens", self.eval_tokens)):
            if tokens is not None and not 1 <= tokens <= MOST_TOKENS:
                raise UserError(f"--{name} {tokens}: must be at least 1, at most {MOST_TOKENS:,}")
        if not 0 <= self.seed < 2**63:
            raise UserError(f"--seed {self.seed}: must be 0 to 9,223,372,036,854,775,807")
        if not 1 <= self.segments <= 100:
            raise UserError(f"--segments {self.segments}: must be 1 to 100")
        if not self.text_column:
            raise UserError("--text-column: must not be empty")

    def options(self) -> dict[str, Any]:
        """The fields as they stand in the manifest."""
        return json.loads(json.dumps(asdict(self)))
