"""A Ray of our own: where its sockets are, and its token."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from minigpt_search.data.common.errors import UserError
from minigpt_search.data.ray import own_ray
from minigpt_search.data.ray.own_ray import (
    LONGEST_HOME,
    make_scratch,
    own_token,
    remove_scratches,
    scratches_of,
)

RAYS_OWN = "/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place for scratch folders."""
    monkeypatch.setattr(own_ray, "_homes", lambda root: [tmp_path])
    return tmp_path


def test_a_scratch_is_private_new_and_removed_by_its_owner(home: Path) -> None:
    a, again, b = (make_scratch(owner, home) for owner in ("a", "a", "ä/\udcff"))
    assert len({a, again, b}) == 3
    assert {path.stat().st_mode & 0o777 for path in (a, again, b)} == {0o700}
    assert sorted(scratches_of("a", home)) == sorted([a, again])
    assert scratches_of("ä/\udcff", home) == [b]
    remove_scratches("a", home)
    assert [path for path in (a, again, b) if path.exists()] == [b]


def test_what_another_user_put_there_is_left_alone(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    theirs, target = make_scratch("a", home), tmp_path_factory.mktemp("target")
    (target / "owner").write_text("a")
    (home / "minigpt-link").symlink_to(target)
    with monkeypatch.context() as patch:
        patch.setattr(os, "getuid", lambda: theirs.stat().st_uid + 1)
        assert scratches_of("a", home) == []
        remove_scratches("a", home)
    assert scratches_of("a", home) == [theirs]
    remove_scratches("a", home)
    assert (target / "owner").exists() and not theirs.exists()


def test_its_path_leaves_room_for_a_sockets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    longest = "/" + "x" * (LONGEST_HOME - 1)
    assert len(f"{longest}/minigpt-12345678{RAYS_OWN}") <= 103
    monkeypatch.setenv("TMPDIR", str(tmp_path / "a path that is far too long"))
    scratch = make_scratch("test of a long TMPDIR", tmp_path)
    assert len(f"{scratch}{RAYS_OWN}") <= 103
    remove_scratches("test of a long TMPDIR", tmp_path)
    assert not scratch.exists()


def test_nowhere_to_write_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_ray, "_homes", lambda root: [tmp_path / "none"])
    with pytest.raises(UserError, match=r"^TMPDIR: no folder for Ray's sockets \(tried .*none\)"):
        make_scratch("a", tmp_path)


def test_the_token_is_gone_afterwards_and_the_users_own_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    with own_token():
        made = os.environ["RAY_AUTH_TOKEN"]
        os.environ["RAY_AUTH_MODE"] = "token"  # as Ray does
    assert not {"RAY_AUTH_TOKEN", "RAY_AUTH_MODE"} & os.environ.keys()
    monkeypatch.setenv("RAY_AUTH_TOKEN", "a cluster's")
    with own_token():
        assert os.environ["RAY_AUTH_TOKEN"] == made != "a cluster's"
    assert os.environ["RAY_AUTH_TOKEN"] == "a cluster's"
