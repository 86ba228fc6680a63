"""`--source`, `--validation` and `--filter` to sources."""

from __future__ import annotations

from pathlib import Path

import pytest

from minigpt_search.data.common.documents import Source
from minigpt_search.data.common.downloads import Downloads
from minigpt_search.data.common.errors import UserError
from minigpt_search.data.common.progress import Progress
from minigpt_search.data.corpus.spec import CorpusSpec
from minigpt_search.data.sources.resolve import check_sources, resolve_sources


def resolved(spec: CorpusSpec, root: Path) -> list[Source]:
    check_sources(spec)
    with Downloads(root / "downloads", Progress(quiet=True)) as downloads:
        return resolve_sources(spec, downloads, root)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    names = ("a.txt", "b.html", "c.xml", "d.jsonl")
    for name in names:
        (tmp_path / name).write_text("x")
    return {name: str(tmp_path / name) for name in names}


def test_filters(files: dict[str, str], tmp_path: Path) -> None:
    sources = tuple(files.values())

    def filters(*given: str) -> list[str]:
        spec = CorpusSpec(sources=sources, filters=given)
        return [source.filter for source in resolved(spec, tmp_path)]

    assert filters() == ["none", "web", "web", "none"]
    assert filters("web") == ["web"] * 4
    assert filters("none", "web", "none", "web") == ["none", "web", "none", "web"]
    with pytest.raises(UserError, match="--filter: 2 of them for 4 sources"):
        filters("none", "web")


def test_built_in_and_hub_are_web(shared_home: Path, tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    spec = CorpusSpec(sources=("builtin:wikipedia-leads", "hub:x/y"), tokens=10)
    assert [source.filter for source in resolved(spec, shared_home)] == ["web", "web"]


def test_validation_comes_last_as_its_own_group(files: dict[str, str], tmp_path: Path) -> None:
    spec = CorpusSpec(sources=(files["a.txt"], files["b.html"]), validation=files["d.jsonl"])
    found = resolved(spec, tmp_path)
    assert [source.group for source in found] == [0, 1, 2]
    assert [source.is_validation for source in found] == [False, False, True]
    with pytest.raises(UserError, match=r"--validation .*d.jsonl, line 1: not JSON"):
        list(found[-1].read())
    with pytest.raises(UserError, match="--validation 'nowhere': no such file or folder"):
        resolved(CorpusSpec(validation="nowhere"), tmp_path)


def test_a_source_can_be_read_again(files: dict[str, str], tmp_path: Path) -> None:
    Path(files["d.jsonl"]).write_text('{"text": ""}\n{"question": "a", "answer": "b"}\n')
    (source,) = resolved(CorpusSpec(sources=(files["d.jsonl"],)), tmp_path)
    for _ in range(2):
        assert list(source.read()) == ["a\n\nb"]
        assert source.passed_over == {"empty_row": 1} and len(source.notes) == 1


def test_wrong_templates_are_seen_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--template 'text': names no column"):
        check_sources(CorpusSpec(template="text"))
