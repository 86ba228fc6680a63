"""What a package has beside its code: licences, citation, types, and a site with every page."""

from __future__ import annotations

import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

import minigpt_search
from minigpt_search.data.common.package import package_folder
from minigpt_search.data.sources.builtin import BUILTIN

CHECKOUT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"\]\(([^)#\s]+)")


def pages_of(nav: Any) -> Iterator[str]:
    """The files that a navigation of mkdocs names."""
    if isinstance(nav, str):
        yield nav
    else:
        for part in nav.values() if isinstance(nav, dict) else nav:
            yield from pages_of(part)


def test_every_page_of_the_docs_is_in_the_site_and_linked_from_its_first() -> None:
    docs = CHECKOUT / "docs"
    there = {path.relative_to(docs).as_posix() for path in docs.rglob("*.md")}
    nav = yaml.safe_load((CHECKOUT / "mkdocs.yml").read_text())["nav"]
    assert sorted(pages_of(nav)) == sorted(there)
    links = set(re.findall(r"\]\(([^)#]+\.md)\)", (docs / "index.md").read_text()))
    assert links == there - {"index.md"}


def test_links_lead_to_files_and_out_of_the_site_they_are_text() -> None:
    hook = runpy.run_path(str(CHECKOUT / ".ci" / "docs_links.py"))["without_outer_links"]
    docs, outside = CHECKOUT / "docs", set()
    for page in [*docs.rglob("*.md"), *CHECKOUT.glob("*.md")]:
        text = page.read_text(encoding="utf-8")
        links = {link for link in LINK.findall(text) if "://" not in link}
        missing = {link for link in links if not (page.parent / link).exists()}
        assert not missing, (page, missing)
        if docs in page.parents:
            shown = LINK.findall(hook(text, page.relative_to(docs).as_posix()))
            outside |= links - set(shown)
            assert all(
                docs in (page.parent / link).resolve().parents for link in links & set(shown)
            )
    assert outside == {"../LICENSE-DATA.md"}


def test_the_licence_of_every_built_in_text_is_in_the_file() -> None:
    rows = (CHECKOUT / "LICENSE-DATA.md").read_text().splitlines()
    for name, source in BUILTIN.items():
        [row] = [row for row in rows if row.startswith(f"| `{name}` |")]
        for text in (source.title, source.url, source.licence, source.attribution):
            assert text in row
        assert f"{source.package.name} {source.package.version}" in row


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((CHECKOUT / "CITATION.cff").read_text())
    assert citation["version"] == minigpt_search.__version__
    assert citation["cff-version"] == "1.2.0" and citation["authors"]


def test_type_checkers_see_the_types() -> None:
    assert (package_folder() / "py.typed").is_file()
