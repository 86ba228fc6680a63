"""The report of a search: Markdown, one self-contained HTML page, figures and tables.

    python reports/generate.py                 # of the newest experiment
    python reports/generate.py lr-quick        # of one by name
    python reports/generate.py A B C           # several searches compared, in comparisons/
    python reports/generate.py --watch         # a live page while the search runs
    python reports/generate.py --watch --file  # the report, written again as trials end

Reads the experiments' folders only (experiment.json and ledger.jsonl), in seconds, also while the
search is running. No torch, no Ray.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

if __name__ == "__main__":  # the checkout in place of this folder, whose names are not for import
    sys.path[0] = str(Path(__file__).resolve().parents[1] / "src")

from minigpt_search.data.common.invocation import needed_out, parse_first
from minigpt_search.reports.parser import check_watching, report_parser

if __name__ == "__main__":  # --help needs nothing of what is imported below
    parse_first(report_parser().parse_intermixed_args)

from minigpt_search.data.common.errors import UserError, run_command
from minigpt_search.data.common.files import atomic_file
from minigpt_search.data.common.formatting import one_line
from minigpt_search.data.common.paths import artifacts_root
from minigpt_search.data.common.screen import keep_going
from minigpt_search.data.corpus.manifest import Manifest
from minigpt_search.reports.claims.from_ladder import ladder_differences
from minigpt_search.reports.live.page import write_page
from minigpt_search.reports.live.serve import serve
from minigpt_search.reports.live.state import LiveState
from minigpt_search.reports.page.compare import SPARE, compare_page, comparison_folder, narrow
from minigpt_search.reports.page.findings import summary
from minigpt_search.reports.page.page import Page, build_page, to_html, to_markdown
from minigpt_search.reports.page.sections import ran_claims
from minigpt_search.reports.page.watch import watch
from minigpt_search.search.answer.endings import not_run_yet
from minigpt_search.search.answer.text_table import as_text, trials_table
from minigpt_search.search.records.experiment import Experiment, find_experiment, read_experiment
from minigpt_search.search.records.ledger import open_ledger
from minigpt_search.search.results.results import Results

BRIEF_ROWS = 12
"""More trials than this are not all printed on the terminal."""


def write_report(page: Page, folder: Path, refresh_seconds: int | None = None) -> list[Path]:
    """Write the report below `folder`, each file whole or not at all. Returns the files for
    readers: Markdown, HTML, and the folders of figures and tables. With `refresh_seconds` an open
    page loads itself again that often."""
    figures = {f"{figure.name}.png": figure.png for figure in page.figures}
    tables = {f"{t.name}.csv": t.file for t in page.tables}
    _write_all(folder / "figures", figures)
    _write_all(folder / "tables", tables)
    pages = {
        "report.md": to_markdown(page).encode(),
        "report.html": to_html(page, refresh_seconds).encode(),
    }
    _write_all(folder, pages)
    # What an earlier report had and this one hasn't would be taken for its own.
    for path in [*(folder / "figures").glob("*.png"), *(folder / "tables").glob("*.csv")]:
        if path.name not in figures and path.name not in tables:
            path.unlink(missing_ok=True)
    return [folder / "report.html", folder / "report.md", folder / "figures", folder / "tables"]


def _write_all(folder: Path, contents: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        with atomic_file(folder / name) as file:
            file.write(content)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns its exit status; raises `UserError` for what the user can mend."""
    options = report_parser().parse_intermixed_args(arguments)
    check_watching(options)
    names, root = options.names, artifacts_root(options.out)
    if not options.watch:  # which ends with its reader
        keep_going()
    if len(names) < 2:
        return _one(options, find_experiment(root, names[0] if names else None))
    if len(set(names)) < len(names):
        raise UserError(f"{' '.join(names)}: an experiment is named twice")
    with _mistakes(root):
        searches = [_read(find_experiment(root, name), options.skip_damaged) for name in names]
        page = compare_page(searches)
        paths = write_report(page, comparison_folder(root, names))
    print(one_line(page.summary))
    print(f"\n{as_text(narrow(page.tables[0].frame), SPARE)}\n")
    for path in paths:
        print(path)
    return 0


def _read(folder: Path, skip_damaged: bool) -> Results:
    return Results(read_experiment(folder), open_ledger(folder, skip_damaged))


def _one(options: argparse.Namespace, folder: Path) -> int:
    """The report of the experiment in `folder`, once or kept fresh, or its live page."""
    if options.watch and not options.file:
        return serve(folder, options)

    def write(refresh_seconds: int | None) -> bool:
        with _mistakes(folder):
            results = _read(folder, options.skip_damaged)
            with _whose_fault(results.experiment, folder):
                ladders = _ladders(options, folder, results)
                page = build_page(results, needed_out(folder.parents[1]), ladders)
            paths = write_report(page, folder / "report", refresh_seconds)
        if refresh_seconds is None:
            _print_summary(results, paths)
        else:
            print(one_line(summary(results)), flush=True)
        return not not_run_yet(results)

    if options.watch:
        state = LiveState(folder, needed_out(folder.parents[1]), options.skip_damaged)

        def look() -> None:
            with _mistakes(folder):
                write_page(folder / "report", state.now())

        print(folder / "report" / "live.html")
        watch(folder / "ledger.jsonl", write, look=look)
    else:
        write(None)
    return 0


def _ladders(options: argparse.Namespace, folder: Path, results: Results) -> list[Results]:
    """Those of `--ladder`. Raises `UserError` for what says nothing of this experiment's claims."""
    if options.ladder and not ran_claims(results.experiment):
        raise UserError(f"--ladder goes with a search of --grid claims: {folder.name} is none")
    found = []
    for name in options.ladder:
        ladder = _read(find_experiment(folder.parents[1], name), options.skip_damaged)
        if ladder.experiment.ladder is None:
            raise UserError(f"--ladder {name}: it is no ladder; run.py --ladder makes one")
        if ladder.experiment.corpus.different_text(results.experiment.corpus):
            raise UserError(f"--ladder {name}: its corpus is another one than {folder.name}'s")
        if apart := ladder_differences(ladder):
            raise UserError(f"--ladder {name}: not of the claims' recipe: {'; '.join(apart)}")
        found.append(ladder)
    return found


@contextmanager
def _mistakes(folder: Path) -> Iterator[None]:
    """The machine's refusal of a file as a `UserError`."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{error.filename or folder}: {error.strerror}") from None


@contextmanager
def _whose_fault(experiment: Experiment, folder: Path) -> Iterator[None]:
    """What a manifest of another program's breaks is the user's to mend, anything else a bug."""
    path = folder / "experiment.json"
    try:
        yield
    except UserError:
        raise
    except KeyError as error:
        raise UserError(f"{path}: the corpus manifest in it has no {error}") from None
    except (TypeError, ValueError, AttributeError):
        Manifest.from_dict(experiment.corpus.manifest, f"{path}: corpus")
        raise


def _print_summary(results: Results, paths: Sequence[Path]) -> None:
    """The answer, the best trials and where the report is."""
    print(one_line(summary(results)))
    table = trials_table(results)
    if len(table) > BRIEF_ROWS:
        table = table.nsmallest(BRIEF_ROWS, "val_loss_nats")
        print(f"The best {BRIEF_ROWS} of {len(results.complete)} (all are in the report):")
    if len(table):
        print(f"\n{as_text(table)}\n")
    for path in paths:
        print(path)


if __name__ == "__main__":
    run_command(main)
