"""The plain loop that the harness is measured against: `model.training.train.train`, called in
turn.

Started by the benchmarks beside it; reads a trial a line on stdin and answers with a line each:

    python tests/benchmarks/search/plain_loop.py CORPUS_FOLDER THREADS
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # run as a file: import from the checkout, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[3] / "src")

from minigpt_search.model.config import RunConfig


class PlainLoop:
    """A process that trains what it is sent, one after the other, with `threads` threads.

    Use as a context; it starts with the thread count that the search gives its workers.
    """

    def __init__(self, corpus: Path, threads: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, str(corpus), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": str(threads)},
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        self.stdin, self.stdout = self.process.stdin, self.process.stdout

    def __enter__(self) -> PlainLoop:
        assert self.stdout.readline() == "ready\n", "the plain loop did not start"
        return self

    def __exit__(self, *error: object) -> None:
        self.stdin.close()
        self.process.wait(timeout=60)
        self.stdout.close()

    def send(self, config: RunConfig, folder: Path | None) -> None:
        """Have `config` trained, with its checkpoints in `folder`."""
        where = str(folder) if folder else None
        self.stdin.write(json.dumps({"config": config.to_dict(), "folder": where}) + "\n")
        self.stdin.flush()

    def receive(self) -> dict[str, Any]:
        """The result of the next trial: worker (its process), began, ended (seconds since 1970),
        timing (seconds), val_losses (nats, an epoch each) and steps_per_second of the last
        epoch."""
        line = self.stdout.readline()
        if not line:
            raise RuntimeError("a plain loop ended early; its error is above")
        return json.loads(line)


def main() -> None:
    """Train each trial that comes in."""
    import torch

    from minigpt_search.data.corpus.corpus import open_corpus
    from minigpt_search.model.training.train import train

    corpus, threads = Path(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(threads)
    print("ready", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        began = time.time()
        result = train(
            RunConfig.from_dict(asked["config"]),
            open_corpus(corpus),
            checkpoint_dir=Path(asked["folder"]) if asked["folder"] else None,
        )
        answer = {
            "worker": os.getpid(),
            "began": began,
            "ended": time.time(),
            "timing": vars(result.timing),
            "val_losses": [epoch.val_loss_nats for epoch in result.epochs],
            "steps_per_second": result.epochs[-1].steps_per_second,
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
