"""What differs between two machines' libraries."""

from __future__ import annotations

from minigpt_search.data.common.versions import version_differences, versions


def test_differences_are_those_of_either_side_by_name() -> None:
    found = {"python": "3.11.7", "tiktoken": "0.12", "numpy": "2.1"}
    wanted = {"python": "3.11.7", "numpy": "2.2", "selectolax": "1.0"}
    expected = [("numpy", "2.1", "2.2"), ("selectolax", None, "1.0"), ("tiktoken", "0.12", None)]
    assert version_differences(found, wanted) == expected
    assert version_differences(versions(), versions()) == []
