"""A Ray on this machine: when it does not come up."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import ray

from minigpt_search.data.ray.own_ray import scratches_of
from minigpt_search.search.cli.make_experiment import make_experiment
from minigpt_search.search.cli.parser import make_parser
from minigpt_search.search.machines.local_ray import MARK, local_ray
from minigpt_search.search.machines.machines import RayNotStarted


@pytest.mark.parametrize(
    ("fault", "raised", "message"),
    [
        (
            Exception("The current node timed out during startup. This could happen because …"),
            RayNotStarted,
            r"^Ray did not start \(The current node timed out during startup\)$",
        ),
        (OSError(28, "No space left on device"), OSError, "No space left"),
    ],
)
def test_a_ray_that_does_not_start_leaves_nothing(
    fault: Exception,
    raised: type[Exception],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(**options: object) -> None:
        assert os.environ[MARK] == str(tmp_path) and scratches_of(str(tmp_path), tmp_path)
        assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
        raise fault

    monkeypatch.setattr(ray, "init", fail)
    experiment = make_experiment(make_parser().parse_args(["--grid", "lr"]), "cpu")
    with pytest.raises(raised, match=message), local_ray(experiment, tmp_path):
        pytest.fail("there is no Ray")
    assert MARK not in os.environ and "RAY_AUTH_TOKEN" not in os.environ
    assert not scratches_of(str(tmp_path), tmp_path)
