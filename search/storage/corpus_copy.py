"""A corpus up into the storage, and down again verified by hash."""

from __future__ import annotations

import json
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from minigpt_search.data.common import checked_json
from minigpt_search.data.common.errors import UserError
from minigpt_search.data.common.files import only_process
from minigpt_search.data.corpus.corpus import Corpus, files_beside, verify_corpus
from minigpt_search.data.corpus.manifest import MANIFEST_FILE, Manifest
from minigpt_search.search.storage.base import Storage, StorageError

AT_ONCE = 8
"""How many files travel at a time."""


def corpus_key(name: str) -> str:
    """The folder of corpus `name` in the storage."""
    return f"corpus/{name}"


def stored_manifest(storage: Storage, name: str) -> Manifest | None:
    """The manifest of a whole corpus in the storage; None if there is none, or it is damaged."""
    content = storage.get_bytes(f"{corpus_key(name)}/{MANIFEST_FILE}")
    try:
        raw = None if content is None else checked_json.unseal(checked_json.loads(content))
        return None if raw is None else Manifest.from_dict(raw)
    except ValueError:  # UserError too
        return None


def whole_manifest(storage: Storage, corpus: Corpus) -> Manifest | None:
    """`stored_manifest` of `corpus`. Raises `UserError` if it has another content there."""
    name = corpus.manifest.name
    there = stored_manifest(storage, name)
    if there is not None and there.content_hash != corpus.content_hash:
        raise UserError(
            f"--storage {storage.uri}: its corpus {name} has another content "
            f"({there.content_hash[:12]}, {corpus.content_hash[:12]} here): prepare this one under "
            "another --name"
        )
    return there


def push_corpus(storage: Storage, corpus: Corpus) -> None:
    """Put the files of `corpus` there, its manifest last, unless it is there already.

    Raises `UserError` if a corpus of that name with another content is.
    """
    there, name = whole_manifest(storage, corpus), corpus.manifest.name
    home = corpus_key(name)
    stored = {key: entry.size for key, entry in storage.list(home).items()}
    if (
        there is not None
        and all(stored.get(f"{home}/{file.name}") == file.size_bytes for file in there.files())
        and all(f"{home}/{kept}" in stored for kept in files_beside(there))
    ):
        return
    with ThreadPoolExecutor(AT_ONCE) as pool:
        files = _file_names(corpus.manifest)
        list(pool.map(lambda file: storage.put(corpus.folder / file, f"{home}/{file}"), files))
    storage.put(corpus.folder / MANIFEST_FILE, f"{home}/{MANIFEST_FILE}")


def fetch_corpus(
    storage: Storage, name: str, folder: Path, content_hash: str | None = None
) -> bool:
    """Make `folder` with the corpus `name`, every file hashed, where it isn't there with this
    content (None: with any); once, however many processes want it. False if the storage has none.

    After a kill at any moment the folder is whole or not there. Raises `UserError` if what came is
    damaged, `StorageError` if it can't be read.
    """
    if _is_there(folder, content_hash):
        return True
    folder.parent.mkdir(parents=True, exist_ok=True)
    with only_process(folder.parent / f".{folder.name}.fetch.lock", lambda: None):
        return _is_there(folder, content_hash) or _fetch(storage, name, folder)


def _fetch(storage: Storage, name: str, folder: Path) -> bool:
    manifest = stored_manifest(storage, name)
    if manifest is None:
        return False
    for left_over in folder.parent.glob(f".{folder.name}-*.part"):
        shutil.rmtree(left_over, ignore_errors=True)
    made = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-", suffix=".part"))
    try:
        names = [MANIFEST_FILE, *_file_names(manifest)]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            came = pool.map(lambda n: storage.get(f"{corpus_key(name)}/{n}", made / n), names)
            for file, whole in zip(names, came, strict=True):
                if not whole:
                    raise StorageError(storage.uri, f"corpus {name} lacks its {file}")
        verify_corpus(made)
        shutil.rmtree(folder, ignore_errors=True)
        made.chmod(0o755)
        made.rename(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return True


def _file_names(manifest: Manifest) -> list[str]:
    """The files of a corpus but its manifest."""
    return [*(file.name for file in manifest.files()), *files_beside(manifest)]


def _is_there(folder: Path, content_hash: str | None) -> bool:
    """Whether the corpus is there, by what its manifest says: the files of a folder that came from
    here were hashed."""
    try:
        found = str(json.loads((folder / MANIFEST_FILE).read_bytes())["content_hash"])
    except (OSError, ValueError, KeyError):
        return False
    return content_hash in (None, found)
