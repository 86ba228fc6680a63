"""Whether a corpus that is there is the one that is asked for, of sources that are as they were."""

from __future__ import annotations

import hashlib
from pathlib import Path

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.corpus.corpus import open_corpus
from minigpt_search.data.corpus.manifest import MANIFEST_FILE, Manifest, read_manifest
from minigpt_search.data.corpus.spec import CorpusSpec
from minigpt_search.data.sources.local_files import file_sources
from minigpt_search.data.sources.resolve import split_weight
from minigpt_search.data.tokenizers.choose import load_tokenizer

FIRST_WITH_EXCERPTS = 3
"""The version of the manifest since which splits are as they are now."""
OTHERWISE = "choose another --name, or remove the folder to make it again"


def is_prepared(spec: CorpusSpec, root: Path, folder: Path, quiet: bool) -> bool:
    """Whether `folder` holds the corpus of `spec`.

    Raises:
        UserError: it holds another thing, or its sources have changed since.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    if not (folder / MANIFEST_FILE).exists():
        raise UserError(f"{folder}: is there but is no corpus: remove it or choose another --name")
    manifest = read_manifest(folder)
    if manifest.schema_version < FIRST_WITH_EXCERPTS:
        raise UserError(
            f"corpus {spec.name!r} in {folder} was made by an earlier version, with other splits: "
            f"a search takes it as it is; for those of now {OTHERWISE}"
        )
    made, wanted = manifest.options, spec.options()
    if made != wanted:
        differ = [key for key in wanted if made.get(key) != wanted[key]]
        raise UserError(
            f"corpus {spec.name!r} in {folder} was made with "
            f"{', '.join(f'{key}={made.get(key)!r}' for key in differ)}, this asks for "
            f"{', '.join(f'{key}={wanted[key]!r}' for key in differ)}: {OTHERWISE}"
        )
    open_corpus(folder)  # all files are there
    load_tokenizer(manifest.tokenizer, folder, root)
    missing = _check_sources(spec, root, manifest, folder)
    if not quiet:
        gone = f"; {', '.join(missing)} to compare with is not there any more" if missing else ""
        print(f"corpus {spec.name} is already prepared: {folder}{gone}")
    return True


def _check_sources(spec: CorpusSpec, root: Path, manifest: Manifest, folder: Path) -> list[str]:
    """Raise `UserError` where a file or the list of a folder's files is not what it was. Returns
    those that are not there any more."""
    arguments = [("--source", split_weight(each)[0]) for each in spec.sources]
    arguments += [("--validation", spec.validation)] if spec.validation is not None else []
    before = {(entry["name"], entry["sha256"]) for entry in manifest.sources}
    missing = []
    for group, (flag, name) in enumerate(arguments):
        if name == "builtin" or name.startswith(("builtin:", "hub:")):
            continue
        if not Path(name).exists():
            missing.append(name)
            continue
        now = {(s.name, s.sha256) for s in file_sources(Path(name), group, spec, root, flag)}
        if not now <= before:
            raise UserError(
                f"{flag} {name}: has changed since corpus {spec.name!r} in {folder} was made of "
                f"it: {OTHERWISE}"
            )
    file = Path(spec.tokenizer)
    was = manifest.tokenizer.get("source_sha256")
    if was and file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() != was:
        raise UserError(
            f"--tokenizer {file}: has changed since corpus {spec.name!r} in {folder} was made: "
            f"{OTHERWISE}"
        )
    return missing
