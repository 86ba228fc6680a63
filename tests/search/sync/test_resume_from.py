"""An experiment in a storage, begun there and gone on with from its place alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from minigpt_search.data.common import checked_json
from minigpt_search.data.common.errors import UserError
from minigpt_search.data.corpus.corpus import open_corpus
from minigpt_search.search.records.experiment import Experiment, read_experiment
from minigpt_search.search.storage.corpus_copy import push_corpus
from minigpt_search.search.storage.folder import FolderStorage
from minigpt_search.search.storage.uri import experiment_uri
from minigpt_search.search.sync.resume_from import place_of, prepare_storage, resumed_name

HOME = "experiments/x"


def test_an_experiment_is_gone_on_with_from_its_place_alone(
    driver_folder: Path, storage: FolderStorage, tmp_path: Path, stored_experiment: Experiment
) -> None:
    place = experiment_uri(storage.uri, "x")
    assert place_of(stored_experiment) == place
    elsewhere = tmp_path / "elsewhere"
    assert resumed_name(elsewhere, place, None) == "x"
    assert read_experiment(elsewhere / HOME) == stored_experiment
    corpus = open_corpus(elsewhere / "corpus" / "small")
    assert corpus.content_hash == stored_experiment.corpus.content_hash
    assert resumed_name(elsewhere, "x", None) == "x"  # the plan here says where it is

    moved = tmp_path / "moved"
    storage.root.rename(moved)
    with pytest.raises(UserError, match=r"^--storage .*no such folder"):
        resumed_name(elsewhere, "x", None)
    resumed_name(elsewhere, "x", str(moved))
    assert read_experiment(elsewhere / HOME).storage.uri == str(moved)


def test_what_cannot_be_gone_on_with_is_refused(
    driver_folder: Path, storage: FolderStorage, tmp_path: Path, stored_experiment: Experiment
) -> None:
    with pytest.raises(UserError, match=r"^no experiment 'y' in .*; there are: x$"):
        resumed_name(tmp_path / "elsewhere", experiment_uri(storage.uri, "y"), None)
    place, plan = experiment_uri(storage.uri, "x"), f"{HOME}/experiment.json"
    namesake = tmp_path / "namesake"
    stored_experiment.replace(created_at="2026-01-01T00:00:00+00:00").write(namesake / HOME)
    with pytest.raises(UserError, match=r"is another experiment of that name; give another --out"):
        resumed_name(namesake, place, None)
    whole = storage.get_bytes(plan)
    assert whole is not None
    for damage in (whole[:-9], whole.replace(b'"seeds": 1', b'"seeds": 2'), b"[]"):
        storage.put_bytes(damage, plan)
        with pytest.raises(UserError, match=r"^--resume x: .*experiment.json is damaged"):
            resumed_name(driver_folder.parents[1], place, None)
        assert read_experiment(driver_folder) == stored_experiment  # the one here is as it was


def test_a_new_search_needs_a_name_and_a_corpus_of_its_own(
    driver_folder: Path, storage: FolderStorage, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"^--name x: is in the storage already; --resume "):
        prepare_storage(storage.uri, tmp_path / "new", "x", "small")
    prepare_storage(storage.uri, tmp_path / "new", "y", "small")
    assert open_corpus(tmp_path / "new" / "corpus" / "small").manifest.name == "small"
    manifest = tmp_path / "new" / "corpus" / "small" / "manifest.json"
    fields = json.loads(manifest.read_bytes()) | {"content_hash": "0" * 64}
    fields.pop(checked_json.KEY)
    manifest.write_text(json.dumps(checked_json.seal(fields)))
    with pytest.raises(UserError, match="its corpus small has another content"):
        prepare_storage(storage.uri, tmp_path / "new", "y", "small")


def test_a_corpus_that_broke_off_there_is_none_and_goes_up_again(
    search_root: Path, storage: FolderStorage, tmp_path: Path
) -> None:
    corpus = open_corpus(search_root / "corpus" / "small")
    push_corpus(storage, corpus)
    names = {path.name for path in corpus.folder.iterdir() if path.is_file()}
    assert {key.split("/")[-1] for key in storage.list("corpus/small")} == names
    storage.delete("corpus/small/val.pt")
    storage.put_bytes(b"short", "corpus/small/segment_03.pt")
    push_corpus(storage, corpus)
    for name in names:
        assert storage.get_bytes(f"corpus/small/{name}") == (corpus.folder / name).read_bytes()
    content = bytearray(storage.get_bytes("corpus/small/val.pt") or b"")
    content[-1] ^= 1
    storage.put_bytes(bytes(content), "corpus/small/val.pt")
    with pytest.raises(UserError, match=r"val.pt"):
        prepare_storage(storage.uri, tmp_path / "new", "y", "small")
    storage.delete("corpus/small/val.pt")
    with pytest.raises(UserError, match=r"^--storage .*: corpus small lacks its val.pt$"):
        prepare_storage(storage.uri, tmp_path / "new", "y", "small")
    assert not (tmp_path / "new" / "corpus" / "small").exists()
    assert not [p for p in (tmp_path / "new").rglob("*") if p.name.endswith((".part", ".lock"))]
