"""Documents through shards and back, and their stages against a preparation on one machine."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minigpt_search.data.common.documents import Document, RawDocument
from minigpt_search.data.common.errors import UserError
from minigpt_search.data.common.package import package_folder
from minigpt_search.data.corpus.corpus import open_corpus
from minigpt_search.data.corpus.spec import CorpusSpec
from minigpt_search.data.filtering.exact_duplicates import (
    FirstSeen,
    RepeatFilter,
    digest,
    without_repeats,
)
from minigpt_search.data.filtering.treatment import treatment_of
from minigpt_search.data.pipeline import ray_tasks, shards
from minigpt_search.data.pipeline.build import prepare_corpus
from minigpt_search.data.pipeline.cluster import Cluster, cluster_of
from minigpt_search.data.pipeline.shard_stages import ShardStage

RAW_DOCUMENTS = st.builds(
    RawDocument,
    st.integers(0, 9),
    st.sampled_from(["plain", "news", "html_page"]),
    st.text(max_size=40) | st.binary(max_size=40) | st.just("\ud800 half a pair"),
    st.integers(0, 2**40),
)


@settings(max_examples=50, deadline=None)
@given(documents=st.lists(RAW_DOCUMENTS, max_size=12), shard_bytes=st.integers(1, 100))
def test_raw_documents_come_back_in_order(documents: list[RawDocument], shard_bytes: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        count = shards.write_raw_shards(iter(documents), folder, shard_bytes)
        paths = [shards.shard_file(folder, shards.RAW, number) for number in range(count)]
        assert sorted(folder.iterdir()) == paths
        parts = [list(shards.read_raw_shard(path)) for path in paths]
    assert [each for part in parts for each in part] == documents
    for part in parts:
        assert part
        assert sum(len(each.text) for each in part[:-1]) < shard_bytes


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.integers(0, 12), max_size=9), max_size=12))
def test_first_seen_against_a_set(batches: list[list[int]]) -> None:
    first, known = FirstSeen(), set()
    for batch in batches:
        expected = []
        for value in batch:
            expected.append(value not in known)
            known.add(value)
        assert first.is_new(np.array(batch, np.uint64)).tolist() == expected


def one_by_one(documents: Sequence[Document]) -> tuple[list[Document], list[str]]:
    """The rule for repeats, as plainly as it can be said."""
    texts: set[str] = set()
    paragraphs: set[str] = set()
    kept, dropped = [], []
    for source, text, number in documents:
        if not text or text in texts:
            dropped.append("exact_duplicate" if text else "empty")
            continue
        texts.add(text)
        lines: list[str] = []
        for line in text.split("\n"):
            if len(line) >= 80 and line in paragraphs:
                continue
            if len(line) >= 80:
                paragraphs.add(line)
            lines.append(line)
        if not "\n".join(lines).strip():
            dropped.append("repeated_paragraphs")
        else:
            kept.append(Document(source, "\n".join(lines).strip(), number))
    return kept, dropped


LINES = st.sampled_from(["a", "b", "c" * 79, "d" * 80, "e" * 90, "f" * 81, "é" * 80])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(LINES, max_size=5).map("\n".join), max_size=12), st.integers(1, 5))
def test_repeats_against_the_plain_rule(texts: list[str], batch: int) -> None:
    documents = [Document(0, text) for text in texts]
    repeats = RepeatFilter(range(9))
    kept, dropped = [], []
    for start in range(0, len(documents), batch):
        part = documents[start : start + batch]
        digests = digest(part)
        decisions = repeats.decide(digests)
        new, reasons, _ = without_repeats(part, digests, decisions, {0})
        kept += new
        dropped += [reason for _, reason in reasons.elements()]
    expected, reasons_expected = one_by_one(documents)
    assert kept == expected
    assert sorted(dropped) == sorted(reasons_expected)


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stages run here, in an order of their own, instead of on a Ray cluster."""

    @contextmanager
    def no_session(cluster: Cluster, workers: int | None) -> Iterator[None]:
        yield

    def run(stage: ShardStage, numbers: Sequence[int], workers: int | None) -> Iterator[int]:
        mixed = random.Random(0).sample(numbers, len(numbers))
        for count, number in enumerate(mixed, start=1):
            row = ray_tasks.run_on_shard(
                {"shard": number}, stage=stage, wanted=ray_tasks.versions()
            )
            if row["error"]:
                raise UserError(row["error"])
            yield count

    monkeypatch.setattr(ray_tasks, "ray_session", no_session)
    monkeypatch.setattr(ray_tasks, "check_nodes", lambda folder: None)
    monkeypatch.setattr(ray_tasks, "map_shards", run)


@pytest.fixture
def dirty(tmp_path: Path, make_prose: Callable[..., str]) -> Path:
    """A folder of texts in three formats: repeated, nearly repeated, empty, dirty, not prose."""
    folder = tmp_path / "dirty"
    folder.mkdir()
    texts = [make_prose(number) for number in range(60)]
    texts += [texts[3], texts[4].replace("Chapter", "Section"), texts[5].replace(" the ", " a ")]
    texts += ["", "\u200b", "#1\n#2", texts[7].replace(" ", "\u00a0\u200b ")]
    (folder / "many.txt").write_text("\n<|endoftext|>\n".join(texts))
    for number in range(5):
        page = "".join(f"<p>{line}</p>" for line in make_prose(90 + number // 2).split("\n"))
        (folder / f"page-{number}.html").write_text(f"<html><body>{page}</body></html>")
    return folder


def same_corpus(first: dict[str, Any], other: dict[str, Any]) -> bool:
    times = {"created_at", "stage_seconds", "cpu_seconds", "name", "options"}
    return all(first[key] == other[key] for key in first if key not in times)


@pytest.mark.parametrize("shard_bytes", [1, 9_000, 10**9])
def test_shards_of_any_size_make_the_same_corpus(
    root: Path, dirty: Path, in_this_process: None, shard_bytes: int
) -> None:
    plain = prepare_corpus(CorpusSpec(name="plain", sources=(str(dirty),)), root, True, 1)
    cluster = Cluster(address="local", work=root / "work", shard_bytes=shard_bytes)
    spec = CorpusSpec(name="sharded", sources=(str(dirty),))
    sharded = prepare_corpus(spec, root, True, None, cluster)
    made = [open_corpus(folder).manifest.to_dict() for folder in (plain, sharded)]
    assert made[0]["sources"][0]["dropped"]["exact_duplicate"] >= 1
    assert same_corpus(*made)
    assert not (root / "work").exists()


def test_what_was_finished_is_not_made_again(
    root: Path, dirty: Path, in_this_process: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster(address="local", work=root / "work", shard_bytes=9_000)
    spec = CorpusSpec(name="sharded", sources=(str(dirty),))
    made: list[str] = []
    save = shards.save_arrays

    def saving(path: Path, arrays: shards.Arrays, last: int) -> None:
        if len(made) == last:
            raise KeyboardInterrupt
        made.append(path.name)
        save(path, arrays)

    limits = [3, 11, 25, 10**9]
    for last in limits:
        for module in ("shards", "shard_stages", "sharded"):
            monkeypatch.setattr(
                f"minigpt_search.data.pipeline.{module}.save_arrays",
                lambda p, a, n=last: saving(p, a, n),
            )
        if last < limits[-1]:
            with pytest.raises(KeyboardInterrupt):
                prepare_corpus(spec, root, True, None, cluster)
    sharded = prepare_corpus(spec, root, True, None, cluster)
    again = [name for name in set(made) if made.count(name) > 1]
    assert all(name.startswith("raw") for name in again)  # until all are written: reading is cheap
    assert len(made) > limits[2]
    plain = prepare_corpus(CorpusSpec(name="plain", sources=(str(dirty),)), root, True, 1)
    assert same_corpus(*(open_corpus(each).manifest.to_dict() for each in (plain, sharded)))


def test_a_damaged_shard_is_named_and_made_again(
    root: Path, dirty: Path, in_this_process: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster(address="local", work=root / "work", shard_bytes=9_000)
    spec = CorpusSpec(name="sharded", sources=(str(dirty),))

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("minigpt_search.data.pipeline.sharded._append", stop)
        with pytest.raises(KeyboardInterrupt):
            prepare_corpus(spec, root, True, None, cluster)
    (folder,) = cluster.folder("sharded").iterdir()
    path = shards.shard_file(folder, shards.ANNOTATED, 1)
    with zipfile.ZipFile(path) as archive:
        position = archive.getinfo("tokens.npy").header_offset + 500
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(UserError, match=r"annotated-00001.npz: damaged \(BadZipFile\), removed"):
        prepare_corpus(spec, root, True, None, cluster)
    sharded = prepare_corpus(spec, root, True, None, cluster)
    plain = prepare_corpus(CorpusSpec(name="plain", sources=(str(dirty),)), root, True, 1)
    assert open_corpus(plain).content_hash == open_corpus(sharded).content_hash


def test_a_shard_that_kills_its_process_each_time_ends_the_preparation(tmp_path: Path) -> None:
    path = tmp_path / "tries-cleaned-00000"
    for _ in range(ray_tasks.MOST_TRIES):
        with pytest.raises(KeyboardInterrupt), ray_tasks._limited_tries(path):
            raise KeyboardInterrupt  # as little as a kill does it get past this
    with (
        pytest.raises(UserError, match="its process was lost 10 times"),
        ray_tasks._limited_tries(path),
    ):
        pass


@pytest.mark.parametrize(
    ("address", "work", "message"),
    [
        (None, "w", "--work w: only with --address"),
        ("auto", None, "--address auto: needs --work, a folder that all nodes see"),
        ("ray://host:10001", "w", "--address ray://host:10001: a preparation reads its sources"),
        ("host", "w", "--address host: give auto, HOST:PORT or local"),
        ("http://host:1", "w", "--address http://host:1: give auto, HOST:PORT or local"),
    ],
)
def test_mistakes_are_named(
    tmp_path: Path, address: str | None, work: str | None, message: str
) -> None:
    with pytest.raises(UserError) as caught:
        cluster_of(address, work, tmp_path)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--address", "127.0.0.1:1", "--work", "{}/w"], "127.0.0.1:1: no Ray cluster there"),
        (
            ["--address", "local", "--work", "/dev/null/w"],
            "/dev/null is no folder",
        ),
    ],
)
def test_no_such_cluster_or_folder_is_one_line(
    root: Path, text_file: Path, words: list[str], message: str
) -> None:
    command = [sys.executable, str(package_folder() / "data" / "prepare.py"), "--quiet"]
    command += ["--source", str(text_file), "--out", str(root)]
    command += [word.format(root) for word in words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (root / "corpus").exists()


def test_a_node_with_other_libraries_says_so(tmp_path: Path) -> None:
    nothing = treatment_of(CorpusSpec(), [])
    stage = ShardStage(name="cleaned", folder=tmp_path, root=tmp_path, seed=0, treatment=nothing)
    wanted = {**ray_tasks.versions(), "numpy": "1.0"}
    done = ray_tasks.run_on_shard({"shard": 0}, stage=stage, wanted=wanted)
    assert re.search(r"node \S+ has numpy \S+ where this machine has 1\.0", done["error"])
