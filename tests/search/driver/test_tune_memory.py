"""Tune's own trial objects are lighter after they ended, and work all the same."""

from __future__ import annotations

import pickle

from ray.tune.experiment import Trial

from minigpt_search.search.driver.tune_tweaks import DropTrialMetrics


def test_an_ended_trial_keeps_its_result_and_no_statistics() -> None:
    trial = Trial("not run", stub=True)
    for step in range(20):
        trial.update_last_result({"training_iteration": step} | dict.fromkeys("abcdefgh", 1.0))
    before = len(pickle.dumps([trial.metric_analysis, trial.metric_n_steps]))
    DropTrialMetrics().on_trial_complete(20, [trial], trial)
    assert len(pickle.dumps([trial.metric_analysis, trial.metric_n_steps])) < before / 50
    assert trial.last_result["a"] == 1.0
    assert trial.get_json_state()  # what Tune writes at the search's end
    trial.update_last_result({"training_iteration": 21, "a": 2.0})  # should one come late
    assert trial.metric_analysis["a"]["last"] == 2.0


def test_where_tune_has_them_elsewhere_they_stay() -> None:
    DropTrialMetrics().on_trial_complete(1, [], object())
