"""`--source` values to sources: what may be given, its weight, and who reads it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from minigpt_search.data.common.documents import Source
from minigpt_search.data.common.downloads import Downloads
from minigpt_search.data.common.errors import UserError
from minigpt_search.data.corpus.spec import CorpusSpec
from minigpt_search.data.sources.builtin import builtin_sources, check_builtin
from minigpt_search.data.sources.hub import check_hub, hub_source
from minigpt_search.data.sources.local_files import file_sources, files_by_format

_WEIGHT = re.compile(r"(?P<source>.+):(?P<weight>\d+(?:\.\d+)?)")


def split_weight(argument: str) -> tuple[str, float | None]:
    """Split `SOURCE:WEIGHT`; the weight is None where there is none. A file of that very name is a
    source without weight."""
    match = _WEIGHT.fullmatch(argument)
    if match is None or Path(argument).exists():
        return argument, None
    weight = float(match["weight"])
    if not weight:
        raise UserError(f"--source {argument}: the weight must be above 0")
    return match["source"], weight


def source_weights(spec: CorpusSpec) -> list[float] | None:
    """The weight of each `--source`, 1 where it has none; None if not one of them has a weight."""
    weights = [split_weight(argument)[1] for argument in spec.sources]
    if not any(weights):
        return None
    return [weight or 1.0 for weight in weights]


def check_sources(spec: CorpusSpec) -> None:
    """Check that there are such sources, as far as can be told without reading or downloading.

    Raises:
        UserError: naming the first that can't be had.
    """
    for argument in spec.sources:
        name, _ = split_weight(argument)
        if name.startswith("builtin:"):
            check_builtin(name.partition(":")[2])
        elif name.startswith("hub:"):
            check_hub(name.removeprefix("hub:"), spec)
        elif name and Path(name).exists():
            files_by_format(Path(name))
        elif name != "builtin":
            raise UserError(
                f"--source {name!r}: no such file or folder; give `builtin`, `hub:OWNER/NAME`, or "
                "the path of a .txt, .jsonl, .parquet, .html or MediaWiki .xml(.bz2) file or a "
                "folder of these"
            )


def resolve_sources(spec: CorpusSpec, downloads: Downloads) -> list[Source]:
    """The sources to read, in order; `downloads` begins with what has to be downloaded whole.

    `check_sources` has been called.

    Raises:
        UserError: a source that cannot be had.
    """
    sources: list[Source] = []
    for group, argument in enumerate(spec.sources):
        name, _ = split_weight(argument)
        own = _resolve(name, group, spec, downloads)
        chosen = spec.filters[group % len(spec.filters)] if spec.filters else None
        sources += [replace(s, filter=chosen or _default_filter(s)) for s in own]
    return sources


def _default_filter(source: Source) -> str:
    web = source.kind != "user" or source.form != "plain" or source.name.startswith("hub:")
    return "web" if web else "none"


def _resolve(name: str, group: int, spec: CorpusSpec, downloads: Downloads) -> list[Source]:
    if name == "builtin" or name.startswith("builtin:"):
        return builtin_sources(name.partition(":")[2], group, downloads)
    if name.startswith("hub:"):
        return [hub_source(name.removeprefix("hub:"), group, spec)]
    return file_sources(Path(name), group, spec.text_column)
