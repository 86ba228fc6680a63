"""How often the test split was looked at: what `search/rerun.py` says beside its score."""

from __future__ import annotations

import math
from pathlib import Path

from minigpt_search.model.records import CheckpointRef
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.ledger_records import RerunRecord
from minigpt_search.search.rerun import count_test_evaluations


def test_looks_are_counted_over_all_experiments_on_the_corpus(
    tmp_path: Path, stored_experiment: Experiment
) -> None:
    look = RerunRecord(
        trial_id="a",
        val_loss_nats=7.0,
        ledger_val_loss_nats=7.0,
        same_bits=True,
        same_machine=True,
        test_loss_nats=7.0,
        test_perplexity=math.exp(7.0),
        test_bits_per_byte=2.1,
        checkpoint=CheckpointRef(path="rerun/a/final.pt", sha256="00"),
        wall_seconds=1.0,
        ended_at="2026-01-01T00:00:00+00:00",
    )
    corpus = stored_experiment.corpus.content_hash
    for name, of, looks in (("a", corpus, 2), ("b", corpus, 1), ("c", "other", 1), ("d", "", 0)):
        folder = tmp_path / "experiments" / name
        stored_experiment.replace(name=name, content_hash=of).write(folder)
        for _ in range(looks):
            Ledger(folder / "ledger.jsonl").append(look)
    (folder / "experiment.json").write_text("{")
    assert count_test_evaluations(tmp_path, corpus) == 3
