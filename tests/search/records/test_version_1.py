"""Experiments that the program wrote before `experiment.json` had sections."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from minigpt_search.data.common.checked_json import seal
from minigpt_search.data.common.errors import UserError
from minigpt_search.search.cli.extend import extended_arguments
from minigpt_search.search.cli.parser import make_parser
from minigpt_search.search.records.experiment import read_experiment, replace_experiment

RESULTS = Path(__file__).parents[3] / "docs" / "results"
OLD = ("claims-quick", "lr-confirm", "lr-quick")
RENAMED = {"storage": "uri", "corpus_hash": "content_hash", "corpus": "manifest"}


def old_fields(name: str) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads((RESULTS / name / "experiment.json").read_text())
    assert fields.pop("schema_version") == 1
    return fields


def same(read: Any, written: Any) -> bool:
    """Whether all that was written is read so; fields that came later may be there besides."""
    if isinstance(written, dict):
        return all(same(read[name], value) for name, value in written.items())
    return bool(read == written)


@pytest.mark.parametrize("name", OLD)
def test_every_field_of_version_1_is_in_its_section(name: str, tmp_path: Path) -> None:
    experiment = read_experiment(RESULTS / name)
    read = json.loads(json.dumps(dataclasses.asdict(experiment)))
    for section in [value for value in read.values() if isinstance(value, dict)]:
        read = section | read
    for field, value in old_fields(name).items():
        assert field == "crc32" or same(read[RENAMED.get(field, field)], value), field

    shutil.copytree(RESULTS / name, tmp_path / name)
    replace_experiment(tmp_path / name, experiment)
    assert json.loads((tmp_path / name / "experiment.json").read_text())["schema_version"] == 2
    assert read_experiment(tmp_path / name) == experiment


@pytest.mark.parametrize("words", [("--preset", "seed"), ("--preset=seed",)])
def test_the_preset_seed_is_full_and_can_be_extended(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    fields = old_fields("lr-quick")
    fields |= {"preset": "seed", "command": ["search/run.py", "--grid", "lr", *words]}
    folder = tmp_path / "experiments" / "old"
    folder.mkdir(parents=True)
    (folder / "experiment.json").write_text(json.dumps(seal({"schema_version": 1, **fields})))

    assert read_experiment(folder).preset == "full"
    args = extended_arguments(make_parser(), tmp_path, "old", ["--extend", "old", "--seeds", "2"])
    assert (args.grid, args.preset, args.seeds) == ("lr", "full", 2)


def test_unknown_fields_of_version_1_are_refused(tmp_path: Path) -> None:
    fields = {"schema_version": 1, **old_fields("lr-quick"), "momentum": 0.9}
    (tmp_path / "experiment.json").write_text(json.dumps(seal(fields)))
    with pytest.raises(UserError, match="momentum"):
        read_experiment(tmp_path)
