"""What `--storage` and `--resume` take as a place."""

from __future__ import annotations

import pytest

from minigpt_search.data.common.errors import UserError
from minigpt_search.search.storage.uri import (
    check_uri,
    experiment_uri,
    folder_of,
    is_uri,
    split_experiment_uri,
)


@pytest.mark.parametrize(
    ("uri", "named"),
    [
        ("s3://KEY:SECRET@bucket/folder", "before the @"),
        ("s3://SECRET@bucket/folder", "before the @"),
        ("s3://bucket/folder?secret_key=SECRET", "secret_key"),
        ("s3://bucket/folder?access_key=SECRET&region=x", "access_key"),
        ("s3://bucket/folder?session_token=", "session_token"),
        ("s3://bucket/folder#SECRET", "#"),
        ("s3://", "absolute path"),
        ("s3:bucket/folder", "absolute path"),
        ("folder", "absolute path"),
        ("file://host/folder", "absolute path"),
        ("file:///folder?region=x", "absolute path"),
        ("/shared/../folder", "absolute path"),
        ("", "absolute path"),
    ],
)
def test_what_is_no_storage_is_refused_and_no_secret_is_shown(uri: str, named: str) -> None:
    with pytest.raises(UserError) as error:
        check_uri(uri)
    assert named in str(error.value) and "SECRET" not in str(error.value)


def test_a_uri_is_one_whatever_stands_at_its_end() -> None:
    assert check_uri("s3://bucket/folder//") == "s3://bucket/folder"
    assert check_uri("/shared/x/") == "/shared/x"
    assert check_uri("/") == "/"
    assert check_uri("s3://b/f/?region=x") == "s3://b/f?region=x"
    assert str(folder_of("/shared/x")) == str(folder_of("file:///shared/x")) == "/shared/x"
    assert folder_of("s3://bucket/folder") is None
    assert is_uri("s3://b") and is_uri("/x") and not is_uri("lr-quick-20261122-180000")


@pytest.mark.parametrize(
    "uri",
    [
        "s3://bucket/",
        "s3://bucket/folder",
        "s3://bucket/a/experiments/b?region=x&scheme=http",
        "/shared/x",
    ],
)
def test_an_experiment_is_found_by_its_place(uri: str) -> None:
    assert split_experiment_uri(experiment_uri(uri, "lr-1")) == (uri, "lr-1")


@pytest.mark.parametrize(
    "uri", ["s3://b/f", "s3://b/experiments/", "s3://b/f/experiments/a/b", "/experiments/x/y"]
)
def test_a_place_without_an_experiment_is_refused(uri: str) -> None:
    with pytest.raises(UserError, match=r"^--resume "):
        split_experiment_uri(uri)
