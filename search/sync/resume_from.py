"""An experiment in a storage: begun there, and gone on with from any machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from minigpt_search.data.common import checked_json
from minigpt_search.data.common.errors import UserError
from minigpt_search.data.common.files import atomic_file
from minigpt_search.data.corpus.corpus import open_corpus
from minigpt_search.data.corpus.manifest import MANIFEST_FILE
from minigpt_search.search.records.experiment import (
    Experiment,
    check_name,
    find_experiment,
    read_experiment,
    replace_experiment,
)
from minigpt_search.search.storage.base import Storage, StorageError
from minigpt_search.search.storage.corpus_copy import fetch_corpus, whole_manifest
from minigpt_search.search.storage.open import check_storage, open_storage
from minigpt_search.search.storage.uri import (
    experiment_key,
    experiment_uri,
    is_uri,
    split_experiment_uri,
)
from minigpt_search.search.sync.mirror import Mirror, StorageMirror


def prepare_storage(uri: str, root: Path, name: str, corpus: str) -> None:
    """Before a search called `name` is planned: the storage can be written to, has no such
    experiment, and gives the corpus if this machine hasn't got it. Raises `UserError`."""
    storage = check_storage(uri, make=True)
    try:
        if storage.get_bytes(f"{experiment_key(name)}/experiment.json") is not None:
            raise UserError(
                f"--name {name}: is in the storage already; --resume {experiment_uri(uri, name)}, "
                "or take another name"
            )
        folder = root / "corpus" / check_name(corpus, "--corpus")
        fetch_corpus(storage, corpus, folder)
        if (folder / MANIFEST_FILE).is_file():  # else the built-in one, which is prepared later
            whole_manifest(storage, open_corpus(folder))
    except StorageError as error:
        raise UserError(f"--storage {error}") from None


def place_of(experiment: Experiment) -> str:
    """What `--resume` takes: with a storage on any machine, else where its folder is."""
    if experiment.storage.uri is None:
        return experiment.name
    return experiment_uri(experiment.storage.uri, experiment.name)


def resumed_name(root: Path, place: str, uri: str | None) -> str:
    """The name of the experiment to go on with; where it lives in a storage its plan and corpus are
    brought here.

    Args:
        place: a name, or the URI of an experiment in a storage.
        uri: the storage of a name that isn't here, or has moved.

    Raises `UserError` if there is no such experiment, or another of that name here.
    """
    name = place
    if is_uri(place):
        uri, name = split_experiment_uri(place)
    check_name(name, "--resume")
    if uri is None:
        uri = read_experiment(find_experiment(root, name)).storage.uri
    if uri is None:
        return name
    folder = root / "experiments" / name
    try:
        storage = check_storage(uri)
        _fetch_plan(storage, name, folder)
        experiment = read_experiment(folder)
        home = experiment.corpus_folder(folder)
        fetch_corpus(storage, experiment.corpus.name, home)
    except StorageError as error:
        raise UserError(f"--resume {place}: {error}") from None
    return name


def _fetch_plan(storage: Storage, name: str, folder: Path) -> None:
    """`experiment.json`: that of the storage, since another driver may have changed it."""
    content = storage.get_bytes(f"{experiment_key(name)}/experiment.json")
    here = read_experiment(folder) if (folder / "experiment.json").is_file() else None
    if content is None:
        if here is None or here.storage.uri != storage.uri:
            home = storage.list("experiments")
            there = sorted({key.split("/")[1] for key in home if key.endswith("/experiment.json")})
            raise UserError(
                f"no experiment {name!r} in {storage.uri}; there are: {', '.join(there) or 'none'}"
            )
        return  # killed before it was there
    try:
        created = checked_json.unseal(checked_json.loads(content)).get("created_at")
    except ValueError as error:
        raise UserError(
            f"--resume {name}: {experiment_uri(storage.uri, name)}/experiment.json is damaged "
            f"({error}): restore it from a copy"
        ) from None
    if here is not None and here.created_at != created:
        raise UserError(
            f"--resume {name}: {folder} is another experiment of that name; give another --out"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_file(folder / "experiment.json") as file:
        file.write(content)
    experiment = read_experiment(folder)
    if experiment.storage.uri != storage.uri:  # this machine reaches it by another name
        replace_experiment(folder, experiment.replace(uri=storage.uri))


@contextmanager
def mirror_of(experiment: Experiment, folder: Path, skip_damaged: bool) -> Iterator[Mirror]:
    """The mirror of the experiment in `folder`, whose lock is held, with what other machines have
    of it fetched. Raises `UserError` if another driver runs it."""
    if experiment.storage.uri is None:
        yield Mirror()
        return
    mirror = StorageMirror(open_storage(experiment.storage.uri), experiment, folder)
    try:
        try:
            mirror.take(open_corpus(experiment.corpus_folder(folder)))
            mirror.fetch_all(skip_damaged)
        except StorageError as error:
            raise UserError(f"--storage {error}") from None
        yield mirror
    finally:
        mirror.close()
