"""What became of each source, in lines for the screen; and where that is too little, why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, get_args

from minigpt_search.data.common.documents import Form, Source
from minigpt_search.data.common.errors import UserError
from minigpt_search.data.common.formatting import counted
from minigpt_search.data.corpus.spec import FILTERS, NONE, WEB, CorpusSpec
from minigpt_search.data.filtering.exact_duplicates import CHARACTERS_REMOVED, LINES_REMOVED
from minigpt_search.data.filtering.language import language_of
from minigpt_search.data.filtering.quality import RULES
from minigpt_search.data.splitting.repetition import EXACT_DUPLICATE, NEAR_DUPLICATE
from minigpt_search.data.splitting.splits import LEAST_BYTES

MOST_LOST = 0.5
"""A source that loses more of its documents than this gets a caution."""

DUPLICATE_REASONS = {EXACT_DUPLICATE, NEAR_DUPLICATE}
_KEPT = {
    **dict.fromkeys(get_args(Form), "kept as it is"),
    "html_page": "the text of web pages, without rules",
    "wikitext": "the prose of articles, without rules",
}

Entry = dict[str, Any]


def plan_line(spec: CorpusSpec, sources: Sequence[Source]) -> str:
    """What is going to be done with the sources."""
    names = {
        rules: ", ".join(dict.fromkeys(each.name for each in sources if each.filter == rules))
        for rules in FILTERS
    }
    parts = [f"rules for web text: {names[WEB]}"] if names[WEB] else []
    parts += [f"no rules: {names[NONE]}"] if names[NONE] else []
    return f"plan       {'; '.join(parts)} (--filter chooses); tokens: {spec.tokenizer}"


def source_line(entry: Entry) -> str:
    """What was read of a source, what is left, and what went for which reason, by its entry in the
    manifest."""
    parts = [
        f"{counted(entry['documents_in'], 'document')} read, {entry['documents_kept']:,} kept, "
        f"{entry['characters_kept']:,} of {entry['characters_in']:,} characters, "
        f"{entry['tokens']:,} tokens"
    ]
    if entry["dropped"]:
        parts.append(f"dropped {_reasons(entry['dropped'])}")
    if entry[LINES_REMOVED]:
        parts.append(
            f"{counted(entry[LINES_REMOVED], 'repeated line')} "
            f"({entry[CHARACTERS_REMOVED]:,} characters) removed in others"
        )
    if entry["passed_over"]:
        parts.append(f"not read {_reasons(entry['passed_over'])}")
    rules = "rules for web text" if entry["filter"] == WEB else _KEPT[entry["form"]]
    return f"{entry['name']} ({rules}): {'; '.join(parts)}"


def cautions(entries: Sequence[Entry], samples: dict[int, list[str]]) -> list[str]:
    """A line for each source of which more than half went. `samples` are texts that went, by the
    number of their source."""
    lines = []
    for number, entry in enumerate(entries):
        lost = entry["documents_in"] - entry["documents_kept"]
        if lost > MOST_LOST * entry["documents_in"]:
            why = _why(entry, samples.get(number, []))
            lines.append(f"caution: {entry['name']} loses {lost:,} of its documents: {why}")
    return lines


def check_each_source_gives(entries: Sequence[Entry], samples: dict[int, list[str]]) -> None:
    """Raise `UserError`, with the reason, for a source of which nothing is left."""
    for number, entry in enumerate(entries):
        if entry["documents_kept"]:
            continue
        if not entry["characters_in"]:
            raise UserError(f"--source {entry['name']}: no text in it{_passed_over(entry)}")
        raise UserError(
            f"--source {entry['name']}: none of its "
            f"{counted(entry['documents_in'], 'document')} is left: "
            f"{_why(entry, samples.get(number, []))}"
        )


def check_enough_text(entries: Sequence[Entry], size: int) -> None:
    """Raise `UserError` where all that is left, `size` bytes, is too little; it says what went."""
    if size >= LEAST_BYTES:
        return
    dropped: Counter[str] = Counter()
    for entry in entries:
        dropped.update(entry["dropped"])
    why = f" ({_reasons(dropped)} dropped)" if dropped else ""
    keep = ", or --duplicates keep" if dropped.keys() & DUPLICATE_REASONS else ""
    names = ", ".join(dict.fromkeys(entry["name"] for entry in entries))
    raise UserError(
        f"--source: {size:,} bytes of text are left of {names}{why}, too few for training, "
        f"validation and test: give at least {LEAST_BYTES:,}{keep}"
    )


def _passed_over(entry: Entry) -> str:
    return f" (not read: {_reasons(entry['passed_over'])})" if entry["passed_over"] else ""


def _why(entry: Entry, samples: Sequence[str]) -> str:
    rules = {rule.name for rule in RULES}
    why = _reasons(entry["dropped"])
    if not rules & entry["dropped"].keys():
        again = entry["dropped"].keys() & DUPLICATE_REASONS
        return f"{why}: its text came before (`--duplicates keep` keeps it)" if again else why
    language = language_of(samples)
    reads = "" if language in (None, "English") else f"; it reads as {language}"
    return f"{why}{reads}; these rules expect English web text: `--filter none` keeps all"


def _reasons(counts: dict[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count:,} {reason}" for reason, count in ordered)
