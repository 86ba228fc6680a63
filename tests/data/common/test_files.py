"""Files that are whole or not there, with several writers at once."""

from __future__ import annotations

from pathlib import Path

from minigpt_search.data.common.files import atomic_file


def test_two_writers_at_once_and_the_last_to_end_stays(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with atomic_file(path) as first:
        first.write(b"of the first")
        with atomic_file(path) as second:
            second.write(b"of the second")
        assert path.read_bytes() == b"of the second"
    assert path.read_bytes() == b"of the first"
    assert list(tmp_path.iterdir()) == [path]
