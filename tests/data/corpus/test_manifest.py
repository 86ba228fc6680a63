"""The manifest's writer and reader."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.corpus.manifest import (
    Manifest,
    SegmentFile,
    Split,
    read_manifest,
    write_manifest,
)


def split(name: str) -> Split:
    file = SegmentFile(name=f"{name}.pt", tokens=10, sha256="0" * 64, size_bytes=99)
    return Split(documents=2, tokens=10, bytes=45, files=(file,))


@pytest.fixture
def manifest() -> Manifest:
    return Manifest(
        name="tiny",
        content_hash="ab",
        created_at="2026-11-22T12:00:00+00:00",
        options={"name": "tiny"},
        tokenizer={"name": "gpt2"},
        sources=[{"name": "a"}],
        quality_rules=[],
        documents_in=9,
        documents_kept=6,
        retention=1,
        splits={name: split(name) for name in ("train", "val", "test")},
        storage_bytes=297,
        stage_seconds={"write": 0.5},
        versions={"python": "3.11"},
    )


def damaged(folder: Path, manifest: Manifest, change: dict[str, Any]) -> Path:
    raw = {**manifest.to_dict(), "schema_version": 1, **change}  # 1 had no checksum
    (folder / "manifest.json").write_text(json.dumps(raw))
    return folder


def test_what_was_written_is_read(tmp_path: Path, manifest: Manifest) -> None:
    write_manifest(manifest, tmp_path)
    assert read_manifest(tmp_path) == manifest
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_unknown_keys_of_a_later_writer_are_ignored(tmp_path: Path, manifest: Manifest) -> None:
    old = dataclasses.replace(manifest, schema_version=1)
    assert read_manifest(damaged(tmp_path, manifest, {"colour": "blue"})) == old


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 4}, "newer than this program's 3"),
        ({"schema_version": True}, "'schema_version' is a bool"),
        ({"documents_in": "many"}, "'documents_in' is a str, expected int"),
        ({"schema_version": 2}, "its checksum is missing"),
        ({"splits": {}}, "key 'train' is missing"),
        ({"splits": {"train": []}}, "'train' is a list"),
    ],
)
def test_what_does_not_follow_the_schema_is_refused(
    tmp_path: Path, manifest: Manifest, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        read_manifest(damaged(tmp_path, manifest, change))


@pytest.mark.parametrize("name", ["../up.pt", "/etc/passwd", "a\\b.pt", "..", "", "c:x"])
def test_file_names_cannot_leave_the_folder(tmp_path: Path, manifest: Manifest, name: str) -> None:
    raw = manifest.to_dict()
    raw["splits"]["val"]["files"][0]["name"] = name
    with pytest.raises(UserError, match="must not lead out of the folder"):
        read_manifest(damaged(tmp_path, manifest, raw))


def test_missing_and_broken_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no manifest.json"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text('{"name": "ti')
    with pytest.raises(UserError, match=r"manifest.json: damaged"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text("[]")
    with pytest.raises(UserError, match="found a list"):
        read_manifest(tmp_path)


def test_reading_needs_no_torch() -> None:
    code = "import sys, minigpt_search.data.corpus.corpus; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
