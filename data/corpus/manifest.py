"""What a corpus is made of: `manifest.json`, its schema, its only writer and its only reader.

The manifest is written last, so a corpus folder that holds one is finished. `reports/` reads it, so
nothing here imports torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from minigpt_search.data.common import checked_json
from minigpt_search.data.common.errors import UserError
from minigpt_search.data.common.files import atomic_file
from minigpt_search.data.corpus.spec import how_to_prepare

SCHEMA_VERSION = 3
"""Version 2 added the checksum; version 3 splits that are excerpts, and what each source lost."""
MANIFEST_FILE = "manifest.json"
SPLITS = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class SegmentFile:
    """One `.pt` file: a 1-D tensor of token ids, uint16, or uint32 where the vocabulary is larger
    (`data.tokenizers.base.token_dtype`)."""

    name: str
    tokens: int
    sha256: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class Split:
    """One of train, val and test."""

    documents: int
    tokens: int
    """The number of tokens, separators included."""
    bytes: int
    """The UTF-8 bytes of the documents' text, separators not included."""
    files: tuple[SegmentFile, ...]
    text_sha256: str = ""
    """A hash of what text it is, the same under any tokenizer; "" in a manifest of before."""
    largest_document: int = 0
    """The tokens of the document that has the most of it; 0 in a manifest of before."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Every count, hash, version, licence and time of one prepared corpus."""

    name: str
    content_hash: str
    """SHA-256 over the splits' token ids: the same whatever the folder, the time, the cores and the
    number of segments."""
    created_at: str
    """The time when it was finished, in ISO 8601, UTC."""
    options: dict[str, Any]
    """The fields of the `CorpusSpec` that made it."""
    tokenizer: dict[str, Any]
    """`Tokenizer.record` (`data/tokenizers/base.py`). Without a `kind` it is GPT-2's, of a corpus
    made when there was no other."""
    sources: list[dict[str, Any]]
    """The sources in reading order, each with its licence, attribution, counts, and what of it was
    dropped for which reason."""
    quality_rules: list[dict[str, Any]]
    """The rules in their order, each with the keys `rule`, `description`, `source`, `dropped`
    (documents), `share` (dropped of those judged)."""
    documents_in: int
    documents_kept: int
    retention: float
    """Share of the deduplicated documents that the quality filter kept, 0 to 1."""
    splits: dict[str, Split]
    storage_bytes: int
    """Sum of the segment files' sizes."""
    stage_seconds: dict[str, float]
    """Wall-clock seconds by stage."""
    versions: dict[str, str]
    cpu_seconds: dict[str, float] = field(default_factory=dict)
    """Processor seconds of work on the documents by kind, summed over the processes."""
    documents_sha256: str = ""
    """Of `documents.json` (`data/corpus/split_documents.py`); "" in a manifest of before."""
    notes: list[str] = field(default_factory=list)
    """What the user should know, for example that a source had fewer tokens than were asked for."""
    schema_version: int = SCHEMA_VERSION

    def __getitem__(self, key: str) -> Any:
        return self.to_dict()[key]

    def to_dict(self) -> dict[str, Any]:
        """The fields as dictionaries, lists, strings and numbers, as they stand in the file."""
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any], where: str = MANIFEST_FILE) -> Manifest:
        """Check and build a manifest; keys that this version does not know are ignored.

        Raises:
            UserError: a newer schema, a missing key, a wrong type, a file name with a path in it.
        """
        version = _typed(raw, "schema_version", int, where)
        if version > SCHEMA_VERSION:
            raise UserError(
                f"{where}: schema_version {version} is newer than this program's {SCHEMA_VERSION}: "
                "update the program"
            )
        known = {name: _typed(raw, name, kind, where) for name, kind in _FIELD_TYPES.items()}
        known["splits"] = {
            name: _split(_typed(known["splits"], name, dict, where), f"{where}: splits.{name}")
            for name in SPLITS
        }
        for source in known["sources"]:
            _check_present(source, _SOURCE_TYPES, f"{where}: sources")
        _check_present(known["tokenizer"], _TOKENIZER_TYPES, f"{where}: tokenizer")
        extra = {
            "notes": _typed({"notes": [], **raw}, "notes", list, where),
            "cpu_seconds": _typed({"cpu_seconds": {}, **raw}, "cpu_seconds", dict, where),
            "documents_sha256": _typed(
                {"documents_sha256": "", **raw}, "documents_sha256", str, where
            ),
        }
        return cls(**known, **extra, schema_version=version)

    def files(self) -> list[SegmentFile]:
        """Every segment file, in the order train, val, test."""
        return [file for name in SPLITS for file in self.splits[name].files]


_FIELD_TYPES: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "content_hash": str,
    "created_at": str,
    "options": dict,
    "tokenizer": dict,
    "sources": list,
    "quality_rules": list,
    "documents_in": int,
    "documents_kept": int,
    "retention": (int, float),
    "splits": dict,
    "storage_bytes": int,
    "stage_seconds": dict,
    "versions": dict,
}

_COUNTS = ("documents_in", "documents_kept", "tokens")
_SOURCE_TYPES = {"name": str, "kind": str, **dict.fromkeys(_COUNTS, int)}
_TOKENIZER_TYPES = {
    "name": str,
    "kind": str,
    "vocab_size": int,
    "separator_token": int,
    "files": dict,
}


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of the corpus in `folder`.

    Raises:
        UserError: there is none, it is damaged, or it does not follow the schema.
    """
    path = folder / MANIFEST_FILE
    try:
        raw = checked_json.loads(path.read_text(encoding="utf-8"))
        fields = checked_json.unseal(raw)
    except FileNotFoundError:
        raise UserError(
            f"{folder}: no {MANIFEST_FILE}, so this is not a finished corpus: "
            f"{how_to_prepare(folder.name, folder.absolute().parents[1])}"
        ) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise UserError(f"{path}: damaged ({error}): prepare the corpus again") from None
    manifest = Manifest.from_dict(fields, where=str(path))
    if manifest.schema_version > 1 and not checked_json.is_sealed(raw):
        raise UserError(f"{path}: its checksum is missing: prepare the corpus again")
    return manifest


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write `manifest.json` so that a kill at any moment leaves the old one or the new one."""
    text = json.dumps(checked_json.seal(manifest.to_dict()), indent=2, ensure_ascii=False)
    with atomic_file(folder / MANIFEST_FILE) as file:
        file.write(f"{text}\n".encode())


def _split(raw: dict[str, Any], where: str) -> Split:
    files = []
    for entry in _typed(raw, "files", list, where):
        if not isinstance(entry, dict):
            raise UserError(f"{where}: files must hold objects, not {type(entry).__name__}")
        types = {"name": str, "tokens": int, "sha256": str, "size_bytes": int}
        file = SegmentFile(**{key: _typed(entry, key, kind, where) for key, kind in types.items()})
        if file.name in ("", ".", "..") or any(mark in file.name for mark in "/\\:\0"):
            raise UserError(f"{where}: file name {file.name!r} must not lead out of the folder")
        files.append(file)
    counts = {key: _typed(raw, key, int, where) for key in ("documents", "tokens", "bytes")}
    if min(counts.values()) < 1 or sum(file.tokens for file in files) != counts["tokens"]:
        raise UserError(f"{where}: its counts contradict each other: prepare the corpus again")
    return Split(
        **counts,
        files=tuple(files),
        text_sha256=_typed({"text_sha256": "", **raw}, "text_sha256", str, where),
        largest_document=_typed({"largest_document": 0, **raw}, "largest_document", int, where),
    )


def _check_present(raw: Any, types: Mapping[str, type], where: str) -> None:
    """Raise `UserError` if `raw` is no object, or a key that it has is of another type."""
    if not isinstance(raw, dict):
        raise UserError(f"{where}: a {type(raw).__name__}, expected an object")
    for key in types.keys() & raw.keys():
        _typed(raw, key, types[key], where)


def _typed(raw: Mapping[str, Any], key: str, kind: type | tuple[type, ...], where: str) -> Any:
    """Return `raw[key]`. Raises `UserError` if it is missing or of another type; a bool is no
    number here."""
    if key not in raw:
        raise UserError(f"{where}: key {key!r} is missing: prepare the corpus again")
    value = raw[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        names = kind if isinstance(kind, tuple) else (kind,)
        expected = " or ".join(name.__name__ for name in names)
        raise UserError(f"{where}: {key!r} is a {type(value).__name__}, expected {expected}")
    return value
