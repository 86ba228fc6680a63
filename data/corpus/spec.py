"""What a corpus shall be: all that decides its tokens."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.common.invocation import command_line
from minigpt_search.data.common.paths import ANOTHER_ROOT

MOST_TOKENS = 10**12
"""The most tokens of a corpus: with more, a flag has a digit too many."""
WEB, NONE = "web", "none"
FILTERS = (WEB, NONE)
"""The rules for web text, or none: then nothing inside of a document changes."""
KEEP, EXACT, NEAR = "keep", "exact", "near"
DUPLICATES = (KEEP, EXACT, NEAR)
"""Nothing is dropped as repetition; documents that come again; near ones too."""
REFUSE, SKIP = "refuse", "skip"
BAD_ROWS = (REFUSE, SKIP)
"""A row that can't be read is an error, or is passed over and counted."""
MOST_VALIDATION = 0.5
"""The largest share of the text that may be for validation."""


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
    """The tokens wanted in the validation split, and in the test split, 4 bytes of text for each:
    0.65% of the built-in corpus, a standard error over documents of about 0.035 nats. Each gets at
    most 5% of the corpus."""
    segments: int = 8
    """The number of files of the train split; the recipe used 8."""
    seed: int = 0
    """It decides the order of the documents and which split each goes to."""
    text_column: str = "text"
    """The column of the text in sources of rows: .jsonl, .csv, .parquet, hub."""
    template: str | None = None
    """What makes a row's text, with `{COLUMN}` for a column; None: the text column, or what the
    columns of chats and instructions say."""
    bad_rows: str = "refuse"
    """What becomes of a row that can't be read: one of `BAD_ROWS`."""
    separator: str | None = "<|endoftext|>"
    """Where it stands in the text of a file, a document ends; None: it is text as any other."""
    filters: tuple[str, ...] = ()
    """Which rules sources go through, each one of `FILTERS`: one for all or one for each source;
    empty: as each kind of source needs."""
    duplicates: str | None = None
    """What is dropped as repetition, one of `DUPLICATES`; None: whole documents that come again,
    and near ones where the web rules are on."""
    tokenizer: str = "gpt2"
    """One of `gpt2`, `byte`, `char`, `bpe:SIZE`, or the path of a tokenizer.json."""
    validation: str | None = None
    """A source whose text alone is the validation split."""
    validation_share: float | None = None
    """The share of the text that is for validation; None: as `eval_tokens` says."""

    def __post_init__(self) -> None:
        choices: list[tuple[str, str, tuple[str, ...]]]
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
        if self.separator == "":
            raise UserError("--separator: must not be empty; `none` takes none")
        object.__setattr__(self, "filters", tuple(self.filters))
        choices = [("filter", each, FILTERS) for each in self.filters]
        choices.append(("bad-rows", self.bad_rows, BAD_ROWS))
        choices.append(("duplicates", self.duplicates or EXACT, DUPLICATES))
        for name, value, known in choices:
            if value not in known:
                raise UserError(f"--{name} {value}: give {', '.join(known[:-1])} or {known[-1]}")
        if len(self.filters) not in (0, 1, len(self.sources)):
            raise UserError(
                f"--filter: {len(self.filters)} of them for {len(self.sources)} sources: give one "
                "for all or one for each --source, in their order"
            )
        share = self.validation_share
        if share is not None and not 0 < share <= MOST_VALIDATION:
            raise UserError(f"--validation-share {share}: must be above 0, at most 0.5")
        if share is not None and self.validation is not None:
            raise UserError("--validation-share: --validation says what the validation text is")

    def options(self) -> dict[str, Any]:
        """The fields as they stand in the manifest."""
        return json.loads(json.dumps(asdict(self)))


def how_to_prepare(name: str, root: Path) -> str:
    """What to do where `root` has no corpus called `name`, for the end of a message."""
    words = [] if name == CorpusSpec.name else ["--name", name, "--source", "..."]
    command = command_line("data/prepare.py", *words, root=root)
    return f"make it with `{command}`, or {ANOTHER_ROOT}"
