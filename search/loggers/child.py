"""The process in which a logger's library runs: takes messages from standard input, a JSON object
a line, until there are no more. `search.loggers.logger_process` starts it.

python -m minigpt_search.search.loggers.child mlflow
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from minigpt_search.search.loggers.runs import Destination, LoggedTrial, Runs, runs_of

LAST_SECONDS = 60.0
"""After the last message: an exit of a library that takes longer is cut, should the search that
would cut it be gone."""


def take(messages: Iterable[bytes], logger: str) -> None:
    """Do what the messages say; the first says of which experiment they are."""
    runs: Runs | None = None
    ended = Path()
    for line in messages:
        message = json.loads(line)
        if runs is None:
            folder = Path(message["folder"])
            runs = runs_of(logger, Destination(**{**message, "folder": folder}))
            ended = folder / "loggers" / f"{logger}.txt"
            continue
        _do(runs, message, ended)
    threading.Timer(LAST_SECONDS, os._exit, (1,)).start()
    if runs is not None:
        runs.close()


def _do(runs: Runs, message: dict[str, Any], ended: Path) -> None:
    if message["do"] == "begin":
        runs.begin(LoggedTrial(**message["trial"]))
    elif message["do"] == "log":
        runs.log(message["trial_id"], message["step"], message["values"])
    else:
        runs.end(message["trial_id"], message["status"], message["values"])
        with ended.open("a", encoding="utf-8") as file:  # a resumed search doesn't send it again
            file.write(f"{message['trial_id']} {message['ended_at']}\n")


def main() -> None:
    """Take messages to their end; where the library raises, say why on standard output."""
    # The library gets no message as its input, and what it prints goes to the log.
    messages = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="replace")
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    os.dup2(2, 1)
    os.nice(10)  # trials come first
    status = 0
    try:
        take(messages, sys.argv[1])
    except BaseException as error:  # noqa: BLE001 - whatever a library raises
        traceback.print_exc()
        print(f"{type(error).__name__}: {error}".splitlines()[0], file=answers, flush=True)
        status = 1
    sys.stderr.flush()
    os._exit(status)  # no hook of a library's at exit: its runs are finished


if __name__ == "__main__":
    main()
