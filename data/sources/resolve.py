"""`--source` values to sources: what may be given, its weight, and who reads it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from minigpt_search.data.common.documents import Source
from minigpt_search.data.common.downloads import Downloads
from minigpt_search.data.common.errors import UserError
from minigpt_search.data.corpus.spec import NONE, WEB, CorpusSpec
from minigpt_search.data.sources.builtin import builtin_sources, check_builtin
from minigpt_search.data.sources.formats import KNOWN
from minigpt_search.data.sources.hub import check_hub, hub_source
from minigpt_search.data.sources.local_files import check_files, file_sources
from minigpt_search.data.sources.readers.rows import parse_template

WEB_FORMS = ("html_page", "wikitext")
"""The forms of text that go through the rules for web text by default, whoever's they are."""
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
    if spec.template is not None:
        parse_template(spec.template)
    for argument in spec.sources:
        _check(split_weight(argument)[0], "--source", spec)
    if spec.validation is not None:
        _check(spec.validation, "--validation", spec)


def _check(name: str, flag: str, spec: CorpusSpec) -> None:
    if name.startswith("builtin:"):
        check_builtin(name.partition(":")[2])
    elif name.startswith("hub:"):
        check_hub(name.removeprefix("hub:"), spec)
    elif name and Path(name).exists():
        check_files(Path(name), flag)
    elif name != "builtin":
        raise UserError(
            f"{flag} {name!r}: no such file or folder; give `builtin`, `hub:OWNER/NAME`, or "
            f"the path of a folder or of one of {KNOWN}"
        )


def resolve_sources(spec: CorpusSpec, downloads: Downloads, root: Path) -> list[Source]:
    """The sources to read, in order, that of the validation split last; `downloads` begins with
    what has to be downloaded whole. `root` is where the tokenizer's files are.

    `check_sources` has been called.

    Raises:
        UserError: a source that cannot be had.
    """
    sources: list[Source] = []
    for group, argument in enumerate(spec.sources):
        name, _ = split_weight(argument)
        sources += _resolve(name, group, "--source", spec, downloads, root)
    if spec.validation is not None:
        group = len(spec.sources)
        for source in _resolve(spec.validation, group, "--validation", spec, downloads, root):
            sources.append(replace(source, is_validation=True))
    return sources


def _resolve(
    name: str, group: int, flag: str, spec: CorpusSpec, downloads: Downloads, root: Path
) -> list[Source]:
    is_web = True
    if name == "builtin" or name.startswith("builtin:"):
        found = builtin_sources(name.partition(":")[2], group, downloads)
    elif name.startswith("hub:"):
        found = [hub_source(name.removeprefix("hub:"), group, spec, root)]
    else:
        found, is_web = file_sources(Path(name), group, spec, root, flag), False
    return [replace(source, filter=_filter(source, is_web, spec)) for source in found]


def _filter(source: Source, is_web: bool, spec: CorpusSpec) -> str:
    """The rules that a source goes through: what `--filter` says, or what its kind needs."""
    if len(spec.filters) == 1:
        return spec.filters[0]
    if source.group < len(spec.filters):
        return spec.filters[source.group]
    return WEB if is_web or source.form in WEB_FORMS else NONE
