"""What a loss is worth: beside what counting makes of the same text, and on other text."""

from __future__ import annotations

from typing import Any

import pandas as pd

from minigpt_search.data.common.formatting import counted
from minigpt_search.model.counting.baselines import BIGRAM
from minigpt_search.model.records import DocumentLosses
from minigpt_search.reports.page.parts import Section, Table
from minigpt_search.search.results.baselines import NAMES, baseline_of
from minigpt_search.search.results.configurations import mean_loss
from minigpt_search.search.results.documents import (
    LEAST_DOCUMENTS,
    OverDocuments,
    difference_over_documents,
    documents_of,
    level_over_documents,
    of_source,
)
from minigpt_search.search.results.results import Results

MOST_ROWS = 20
"""Configurations in the table, the best ones."""


def other_text_section(results: Results) -> Section:
    """What counting scores, and how far losses hold for other text; empty where nothing is
    known."""
    record, tables, paragraphs = results.baseline, [], []
    if record is not None:
        paragraphs = [
            f"Tables of counts of the {record.counted_tokens:,} tokens that the best trial saw "
            "(once each, however many epochs it took), with modified Kneser-Ney smoothing, are "
            "scored on the windows that trials are scored on."
        ]
        tables.append(
            Table(
                name="counting",
                caption="What counting scores on the same text, and how far the best configuration "
                "is above it (below: negative), with a 95% interval over documents",
                frame=counting_table(results),
            )
        )
    if results.on_other_text is not None:
        tables.append(
            Table(
                name="other_text",
                caption="Losses of these trained models for other text of this kind, with 95% "
                "intervals over documents (what another seed changes comes on top); how far each "
                "configuration is above the best and above a bigram table of the "
                f"same text, paired by document (the best {MOST_ROWS})",
                frame=configurations_on_other_text(results),
            )
        )
        if len(set(_documents(results)[0].sources)) > 1:
            tables.append(
                Table(
                    name="by_source",
                    caption="The best configuration's loss by source, and how far the next one is "
                    "above it there, with 95% intervals over documents",
                    frame=by_source(results),
                )
            )
    elif record is not None:
        why = _why_untold(results)
        paragraphs.append(f"How far losses hold for other text can't be told: {why}.")
    return Section(title="Other text, and counting", paragraphs=paragraphs, tables=tables)


def _why_untold(results: Results) -> str:
    """Why the winner's loss has no interval over documents."""
    documents, corpus = _documents(results), results.experiment.corpus
    if not documents:
        return (
            "no trial of the best configuration kept its losses by document, as where a corpus is "
            "of a version that did not keep which token is of which"
        )
    if any(each.tokens != documents[0].tokens for each in documents):
        return "its seeds were not scored on the same documents"
    seen, tokens = len(documents[0].tokens), sum(documents[0].tokens)
    there_are = int(corpus.manifest["splits"]["val"]["documents"])
    split = f"the split has {there_are:,}; --val-tokens says how much of it is scored"
    return (
        f"the {tokens:,} validation tokens that trials are scored on are of "
        f"{counted(seen, 'document')}, fewer than {LEAST_DOCUMENTS}"
        + (f" ({split})" if there_are > seen else "")
    )


def counting_table(results: Results) -> pd.DataFrame:
    """A row for each table of counts, with its loss and how far the winner is above it."""
    record, best = results.baseline, results.winner
    assert record is not None and best is not None
    mine, rows = _documents(results), []
    for name, words in NAMES.items():
        theirs = [record.documents[name]] if name in record.documents else []
        rows.append(
            {
                "baseline": words,
                "val_loss_nats": record.losses[name],
                "above": _difference(difference_over_documents(mine, theirs)),
            }
        )
    return pd.DataFrame(rows)


def configurations_on_other_text(results: Results) -> pd.DataFrame:
    """A row for each of the best configurations, the best first."""
    best = results.winner
    assert best is not None
    order = [best.configuration, *best.rivals]
    rows = []
    for each in order[:MOST_ROWS]:
        own = documents_of(best.trials(each))
        record = baseline_of(results.baselines, each.config)
        bigram = [record.documents[BIGRAM]] if record and BIGRAM in record.documents else []
        row: dict[str, Any] = {
            "configuration": each.label,
            "val_loss_nats": mean_loss(best.trials(each)),
            "other_text_interval": _level(level_over_documents(own)),
            "above_best": None
            if each is best.configuration
            else _difference(difference_over_documents(own, _documents(results))),
            "above_bigram": _difference(difference_over_documents(own, bigram)),
        }
        rows.append(row)
    return pd.DataFrame(rows)


def by_source(results: Results) -> pd.DataFrame:
    """A row for each source with validation text."""
    best, sources = results.winner, results.experiment.corpus.manifest.get("sources", [])
    assert best is not None
    mine = _documents(results)
    closest = documents_of(best.trials(best.rivals[0])) if best.rivals else []
    rows = []
    for source in sorted(set(mine[0].sources)):
        own = [of_source(each, source) for each in mine]
        theirs = [of_source(each, source) for each in closest]
        name = sources[source]["name"] if source < len(sources) else f"source {source + 1}"
        tokens = sum(own[0].tokens)
        rows.append(
            {
                "source": name,
                "documents": len(own[0].tokens),
                "share": tokens / sum(mine[0].tokens),
                "val_loss_nats": sum(map(_nats, own)) / len(own) / tokens,
                "other_text_interval": _level(level_over_documents(own)),
                "above_best": _difference(difference_over_documents(theirs, own)),
            }
        )
    return pd.DataFrame(rows)


def _documents(results: Results) -> list[DocumentLosses]:
    """The winner's losses by document."""
    assert results.winner is not None
    return documents_of(results.winner.trials(results.winner.configuration))


def _nats(losses: DocumentLosses) -> float:
    return sum(losses.nats)


def _level(found: OverDocuments | None) -> str | None:
    return None if found is None else f"{found.low:.3f} to {found.high:.3f}"


def _difference(found: OverDocuments | None) -> str | None:
    """`+0.123 [+0.100, +0.146]`, in nats."""
    return None if found is None else f"{found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"
