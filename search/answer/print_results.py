"""What a search prints when it has ended."""

from __future__ import annotations

from pathlib import Path

from minigpt_search.data.common.invocation import command_line, needed_out
from minigpt_search.search.answer.answer import answer
from minigpt_search.search.answer.endings import endings
from minigpt_search.search.answer.front import front_sentence, front_table, limit_sentence
from minigpt_search.search.answer.ladder_answer import check_lines
from minigpt_search.search.answer.ladder_outcome import outcome_texts
from minigpt_search.search.answer.text_table import as_text
from minigpt_search.search.records.experiment import Experiment
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.results.results import Results


def print_results(experiment: Experiment, root: Path, ledger: Ledger) -> None:
    """Print the table, the answer, where the ledger is and what to run next."""
    results = Results(experiment, ledger)
    print()
    print(f"{endings(results)}\n")
    _print_front(results)
    print("".join(f"{line}\n" for line in check_lines(results)), end="")
    print("".join(f"Outcome    {text}\n" for text in outcome_texts(results)), end="")
    print("\n".join(answer(results, needed_out(root)).lines()) + "\n")
    name = experiment.name
    print(f"Ledger     {ledger.path}")
    print(f"Report     {command_line('reports/generate.py', name, root=root)}")
    print(f"Rerun      {command_line('search/rerun.py', name, root=root)}", flush=True)


def _print_front(results: Results) -> None:
    """The Pareto front where there are two objectives, and what --max-cost excludes."""
    if len(results.experiment.plan.objectives) > 1:
        print(front_sentence(results))
        if not (front := front_table(results)).empty:
            print(f"\n{as_text(front)}\n")
    if (sentence := limit_sentence(results)) is not None:
        print(f"{sentence}\n")
