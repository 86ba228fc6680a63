"""What `--storage` costs in requests, by how many trials have ended (`scaling.py --storage`).

An S3 server in this process counts them (moto). Its speed says nothing of a real one's: multiply
by a real one's time per request, 10 to 100 ms.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from scaling_trial import make_record

from minigpt_search.model.records import RungRecord
from minigpt_search.model.training.checkpoint_files import STEP_CHECKPOINTS_KEPT
from minigpt_search.search.early_stopping.rule import RungHistory
from minigpt_search.search.early_stopping.rungs import FILE as RUNGS_FILE
from minigpt_search.search.early_stopping.rungs import write_rungs
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.records.ledger_lines import encode
from minigpt_search.search.records.trial_folder import (
    STARTED_FILE,
    Start,
    note_start,
    trial_folder,
    write_outcome,
)
from minigpt_search.search.storage.base import Storage
from minigpt_search.search.storage.open import open_storage
from minigpt_search.search.sync.mirror import StorageMirror
from minigpt_search.search.sync.worker_files import SyncedWorkerFiles
from minigpt_search.search.trials.feasible import drawn
from minigpt_search.search.trials.trial import Trial, make_trial

UNDER_WAY = 64
"""Trials that run while the others have ended."""
Numbers = dict[str, Any]


class Requests:
    """Counts what a WSGI application is asked."""

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self.app, self.lock = app, threading.Lock()
        self.methods: Counter[str] = Counter()
        self.bytes = 0

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        listing = environ["REQUEST_METHOD"] == "GET" and "list-type" in environ["QUERY_STRING"]
        with self.lock:
            self.methods["LIST" if listing else environ["REQUEST_METHOD"]] += 1
            sent = environ.get("HTTP_X_AMZ_DECODED_CONTENT_LENGTH") or environ.get("CONTENT_LENGTH")
            self.bytes += int(sent or 0)
        return self.app(environ, start_response)

    def of(self, act: Callable[[], Any]) -> Numbers:
        """Requests by method of what `act` does, and the bytes it sends."""
        before, sent = self.methods.copy(), self.bytes
        act()
        return {**(self.methods - before), "sent": self.bytes - sent}


@contextmanager
def counted_s3() -> Iterator[tuple[Requests, str]]:
    """An S3 server on loopback, and the URI of a storage on it."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Silent(WSGIRequestHandler):
        def log(self, *_: Any, **__: Any) -> None: ...

    requests = Requests(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, requests, threaded=True, request_handler=Silent)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    os.environ.update({"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none"})
    options = {"region": "us-east-1", "scheme": "http"}
    options["endpoint_override"] = f"127.0.0.1:{server.server_port}"
    try:
        from pyarrow import fs

        fs.S3FileSystem(**options, allow_bucket_creation=True).create_dir("scaling")
        yield requests, f"s3://scaling/home?{urlencode(options)}"
    finally:
        server.shutdown()
        thread.join()


def measure_storage(experiment: Experiment, counts: Sequence[int], home: Path) -> list[Numbers]:
    """Requests at each number of ended trials."""
    trials = [make_trial(experiment, v, 0) for v in drawn(experiment, max(counts) + UNDER_WAY)]
    found = []
    for count in counts:
        with counted_s3() as (requests, uri):
            stored = experiment.replace(name=f"stored-{count}", uri=uri)
            folder = home / "experiments" / stored.name
            found.append({"trials": count} | _at(stored, trials, count, folder, requests))
            open_storage.cache_clear()
    return found


def _at(
    experiment: Experiment, trials: Sequence[Trial], count: int, folder: Path, requests: Requests
) -> dict[str, Numbers]:
    assert experiment.storage is not None
    storage = open_storage(experiment.storage)
    experiment.write(folder)
    ended, running = trials[:count], trials[count : count + UNDER_WAY]
    records = [make_record(experiment, trial, 20.0) for trial in ended]
    (folder / "ledger.jsonl").write_bytes(b"".join(map(encode, records)))
    mirror = StorageMirror(storage, experiment, folder)
    mirror.lease.take(experiment.name)
    mirror.push()
    for trial, record in zip(ended, records, strict=True):
        home = trial_folder(folder, trial.trial_id)
        _begin(home, trial)
        write_outcome(home, record)
        (home / "final.pt").write_bytes(b"weights")
    for trial in running:
        home = trial_folder(folder, trial.trial_id)
        _begin(home, trial)
        (home / "step_00000100.pt").write_bytes(b"weights")
    for path in (folder / "checkpoints").glob("*/*"):
        mirror.push_trial(path)
    shutil.rmtree(folder / "checkpoints")
    ledger = Ledger(folder / "ledger.jsonl")
    return {
        "driver: a beat": requests.of(lambda: (mirror.lease.heartbeat(), mirror.push())),
        "driver: a beat, more in the ledger": requests.of(lambda: _beat(mirror)),
        "driver: a trial ends": requests.of(lambda: mirror.fetch_trial(ended[-1].trial_id)),
        "driver: it resumes": requests.of(lambda: _resume(mirror, ledger)),
        "driver: it resumes elsewhere": requests.of(lambda: _elsewhere(mirror)),
        **_worker(storage, experiment, running, folder.with_name("node"), requests),
    }


def _begin(home: Path, trial: Trial) -> None:
    note_start(home, trial.values, trial.replicate, Start(session="one", from_step=0))
    rung = RungRecord(step=250, tokens_seen=1_000, schedule_tokens=4_000, val_loss_nats=8.0)
    write_rungs(home, RungHistory(config=trial.config, rungs=(rung,)))


def _beat(mirror: StorageMirror) -> None:
    mirror.lease.heartbeat()
    os.utime(mirror.folder / "ledger.jsonl")
    mirror.push()


def _resume(mirror: StorageMirror, ledger: Ledger) -> None:
    mirror.refresh(ledger)  # `fetch_all`'s
    mirror.refresh(ledger)  # before the sampler is made


def _elsewhere(mirror: StorageMirror) -> None:
    folder = mirror.folder.with_name("elsewhere") / mirror.experiment.name
    folder.mkdir(parents=True)
    StorageMirror(mirror.storage, mirror.experiment, folder).fetch_all(skip_damaged=False)


def _worker(
    storage: Storage,
    experiment: Experiment,
    trials: Sequence[Trial],
    node: Path,
    requests: Requests,
) -> dict[str, Numbers]:
    """A trial that is new; its places are new too, as in a worker's next trial."""
    trial = trials[0]
    home = trial_folder(node, trial.trial_id)
    with ExitStack() as held:
        place = SyncedWorkerFiles(storage, experiment, node, held)

        def start() -> None:
            place.begin([trial.trial_id])
            _begin(home, trial)
            for _ in range(2):  # that it starts, and from which step
                place.wrote(home / STARTED_FILE)

        def checkpoint(step: int) -> None:
            path = home / f"step_{step:08d}.pt"
            path.write_bytes(b"weights")
            place._put_checkpoint(path)

        def end() -> None:
            write_outcome(home, make_record(experiment, trial, 20.0))
            (home / "final.pt").write_bytes(b"weights")
            place.ended(trial.trial_id)

        found = {"worker: a trial starts": requests.of(start)}
        for step in range(STEP_CHECKPOINTS_KEPT):  # until each new one replaces an old one
            checkpoint(200 + step)
        found["worker: a checkpoint"] = requests.of(lambda: checkpoint(300))
        found["worker: a trial ends"] = requests.of(end)
        found["worker: its first rung"] = requests.of(lambda: place.scored(trial.trial_id))
        place.wrote(home / RUNGS_FILE)
        found["worker: its next rung"] = requests.of(lambda: place.scored(trial.trial_id))
        place.close()
        following = SyncedWorkerFiles(storage, experiment, node, held)
        found["worker: the next trial's first rung"] = requests.of(
            lambda: following.scored(trials[1].trial_id)
        )
    return found


def storage_lines(found: Sequence[dict[str, Any]]) -> list[str]:
    """A table in Markdown."""
    lines = [f"| requests, trials ended | {' | '.join(str(at['trials']) for at in found)} |"]
    lines.append("| --- |" + " --- |" * len(found))
    for name in found[0]:
        if name != "trials":
            lines.append(f"| {name} | " + " | ".join(_cell(at[name]) for at in found) + " |")
    return lines


def _cell(numbers: Numbers) -> str:
    words = [f"{count} {method}" for method, count in numbers.items() if method != "sent"]
    sent = numbers["sent"]
    return ", ".join(words) + (f"; {sent / 1e3:,.0f} kB sent" if sent > 10_000 else "")
