"""Configurations: what is refused, how they travel, and what names a trial."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt_search.data.common.errors import UserError
from minigpt_search.model.config import ModelConfig, RunConfig, TrainConfig, trial_id

REPOSITORY = Path(__file__).resolve().parents[2]

small_models = st.builds(
    lambda heads, width, **fields: ModelConfig(n_heads=heads, embed_dim=heads * width, **fields),
    heads=st.integers(1, 4),
    width=st.integers(1, 6),
    vocab_size=st.integers(1, 80),
    seq_len=st.integers(1, 20),
    n_layers=st.integers(1, 3),
    dropout=st.one_of(st.floats(0, 0.99), st.just(0)),
    tie_head=st.booleans(),
)
warmups = st.one_of(
    st.builds(lambda n: {"warmup_steps": n, "warmup_fraction": None}, st.integers(0, 10_000)),
    st.builds(
        lambda f: {"warmup_steps": None, "warmup_fraction": f},
        st.one_of(st.floats(0, 0.99), st.just(0)),
    ),
)
recipes = st.builds(
    lambda warmup, **fields: TrainConfig(**warmup, **fields),
    warmup=warmups,
    batch_size=st.integers(1, 1000),
    epochs=st.integers(1, 20),
    lr_peak=st.one_of(st.floats(1e-9, 1), st.just(1)),
    weight_decay=st.one_of(st.floats(0, 100), st.integers(0, 100)),
    beta1=st.one_of(st.floats(0, 0.99), st.just(0)),
    beta2=st.one_of(st.floats(0, 0.99), st.just(0)),
    grad_clip_norm=st.integers(1, 9),
    tokens_per_epoch=st.none() | st.integers(1, 10**9),
    precision=st.sampled_from(["fp32", "bf16", "fp16"]),
    schedule=st.sampled_from(["linear", "cosine", "wsd"]),
    decay_fraction=st.floats(0.01, 0.99),
    parametrization=st.sampled_from(["standard", "mup"]),
    mup_base_dim=st.integers(1, 512),
    seed=st.integers(0, 2**63 - 1),
)
runs = st.builds(RunConfig, model=small_models, train=recipes)


@given(config=runs)
def test_config_and_trial_id_survive_the_way_through_json(config: RunConfig) -> None:
    back = RunConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    assert back == config
    assert trial_id(back, "corpus") == trial_id(config, "corpus")


@pytest.mark.parametrize(
    "fields",
    [
        {"dropout": 0},
        {"lr_peak": 1},
        {"weight_decay": 0},
        {"beta1": 0},
        {"beta2": 0},
        {"grad_clip_norm": 2},
        {"warmup_fraction": 0, "warmup_steps": None},
    ],
)
def test_whole_numbers_and_floats_are_the_same_trial(fields: dict[str, int | None]) -> None:
    floats = {name: None if value is None else float(value) for name, value in fields.items()}
    whole, point = RunConfig().replace(**fields), RunConfig().replace(**floats)
    assert trial_id(whole, "corpus") == trial_id(point, "corpus")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"embed_dim": 130}, "embed_dim=130 is not divisible by n_heads=4: use a multiple of 4"),
        ({"seq_len": 0}, "seq_len=0: give a number from 1 to 1,000,000"),
        ({"dropout": 1.0}, "dropout=1.0: give a number from 0 up to 1"),
        ({"dropout": float("nan")}, "dropout=nan"),
        ({"lr_peak": 0.0}, "lr=0.0: give a rate above 0"),
        ({"lr_peak": float("inf")}, "lr=inf"),
        ({"epochs": 0}, "epochs=0"),
        ({"batch_size": -1}, "batch_size=-1"),
        ({"warmup_steps": -1}, "warmup_steps=-1: give 0 or more"),
        ({"warmup_fraction": 0.1}, "give exactly one of them"),
        ({"warmup_steps": None}, "give exactly one of them"),
        ({"warmup_steps": None, "warmup_fraction": 1.0}, "warmup_fraction=1.0"),
        ({"beta2": 1.0}, "beta2=1.0"),
        ({"weight_decay": -0.1}, "weight_decay=-0.1"),
        ({"grad_clip_norm": 0.0}, "grad_clip_norm=0.0"),
        ({"tokens_per_epoch": 0}, "tokens_per_epoch=0"),
        ({"precision": "fp8"}, "precision='fp8': give one of fp32, bf16, fp16"),
        ({"seed": -1}, "seed=-1"),
        ({"schedule": "step"}, "schedule='step': give one of linear, cosine, wsd"),
        ({"decay_fraction": 1.0}, "decay_fraction=1.0: give a number between 0 and 1"),
        ({"decay_fraction": 0.0}, "decay_fraction=0.0"),
        ({"parametrization": "ntk"}, "parametrization='ntk': give one of standard, mup"),
        ({"mup_base_dim": 0}, "mup_base_dim=0"),
    ],
)
def test_a_value_out_of_range_is_named_with_what_would_be_right(
    fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError) as caught:
        RunConfig().replace(**fields)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("model", {"heads": 4}),
        ("model", {"embed_dim": "128"}),
        ("model", {"embed_dim": 128.0}),
        ("model", {"tie_head": 1}),
        ("model", {"n_layers": True}),
        ("train", {"lr_peak": None}),
        ("train", {"precision": 32}),
        ("train", {"warmup_steps": 0.5}),
    ],
)
def test_unknown_and_mistyped_keys_are_refused(part: str, change: dict[str, Any]) -> None:
    raw = RunConfig().to_dict()
    raw[part] |= change
    with pytest.raises(UserError, match=f"config.{part}.*{next(iter(change))}"):
        RunConfig.from_dict(raw)


@pytest.mark.parametrize("raw", [None, [], {}, {"model": {}}, {"model": 1, "train": 2}])
def test_what_is_no_config_is_refused(raw: object) -> None:
    with pytest.raises(UserError, match="config"):
        RunConfig.from_dict(raw)


LATER = {
    "schedule": "wsd",
    "decay_fraction": 0.3,
    "parametrization": "mup",
    "mup_base_dim": 64,
}
"""Fields that the first ledgers lack, with another value than theirs."""


def test_fields_that_came_later_may_be_missing_and_then_change_no_id() -> None:
    raw = RunConfig().to_dict()
    for name in LATER:
        del raw["train"][name]
    assert RunConfig.from_dict(raw) == RunConfig()
    text = json.dumps([raw, "corpus"], sort_keys=True)  # as the first program made it
    first = hashlib.sha256(text.encode()).hexdigest()[:16]
    assert trial_id(RunConfig(), "corpus") == first


def test_the_committed_ledger_keeps_its_ids() -> None:
    folder = REPOSITORY / "docs" / "results" / "lr-quick"
    corpus_hash = json.loads((folder / "experiment.json").read_text())["corpus_hash"]
    for line in (folder / "ledger.jsonl").read_text().splitlines():
        raw = json.loads(line)
        if raw["record"] == "trial":
            assert trial_id(RunConfig.from_dict(raw["config"]), corpus_hash) == raw["trial_id"]


def test_every_missing_key_is_named() -> None:
    for part in ("model", "train"):
        for name in set(RunConfig().to_dict()[part]) - set(LATER):
            raw = RunConfig().to_dict()
            del raw[part][name]
            with pytest.raises(UserError, match=name):
                RunConfig.from_dict(raw)


def test_replace_reaches_both_parts_and_leaves_the_original() -> None:
    config = RunConfig()
    changed = config.replace(embed_dim=64, lr_peak=5e-4)
    assert (changed.model.embed_dim, changed.train.lr_peak) == (64, 5e-4)
    assert config == RunConfig()
    with pytest.raises(TypeError, match="width"):
        config.replace(width=64)


OTHER_VALUES: dict[str, Any] = {
    "tie_head": False,
    "precision": "bf16",
    "tokens_per_epoch": 1,
    "val_tokens": 1,
    "dropout": 0.2,
    "beta1": 0.5,
    "beta2": 0.5,
    "lr_peak": 2e-3,
    "embed_dim": 64,
    "n_heads": 2,
}


def test_trial_id_depends_on_every_field_and_on_the_corpus() -> None:
    config = RunConfig()
    seen = {trial_id(config, "corpus"), trial_id(config, "another")}
    names = [
        field.name for part in (ModelConfig, TrainConfig) for field in dataclasses.fields(part)
    ]
    names.remove("warmup_fraction")
    for name in LATER:  # two of them have an effect under another's value alone
        names.remove(name)
        assert trial_id(config.replace(**LATER), "corpus") != trial_id(
            config.replace(**LATER | {name: getattr(config.train, name)}), "corpus"
        )
    seen_before = trial_id(config, "corpus")
    assert trial_id(config.replace(decay_fraction=0.3, mup_base_dim=64), "corpus") == seen_before
    for name in names:
        part = config.model if hasattr(config.model, name) else config.train
        value = OTHER_VALUES[name] if name in OTHER_VALUES else getattr(part, name) + 1
        seen.add(trial_id(config.replace(**{name: value}), "corpus"))
    seen.add(trial_id(config.replace(warmup_steps=None, warmup_fraction=0.5), "corpus"))
    assert len(seen) == 2 + len(names) + 1


def test_trial_id_is_the_same_in_another_process_and_needs_no_torch() -> None:
    code = (
        "import sys; from minigpt_search.model.config import *; "
        "import minigpt_search.model.records; "
        "assert 'torch' not in sys.modules; print(trial_id(RunConfig(), 'corpus'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == trial_id(RunConfig(), "corpus")
