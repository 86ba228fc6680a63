"""The report of a search: Markdown, one self-contained HTML page, figures and tables.

    python reports/generate.py                 # of the newest experiment
    python reports/generate.py lr-quick        # of one by name

Reads the experiment's folder only (experiment.json and ledger.jsonl), in seconds, also while the
search is running. No torch, no Ray.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":  # the checkout in place of this folder, whose names are not for import
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from data.errors import ArgumentParser, UserError, run_command
from data.manifest import Manifest
from data.paths import artifacts_root
from reports.columns import one_line
from reports.findings import summary
from reports.page import Page, build_page, to_html, to_markdown
from reports.tables import as_text, experiments
from search.experiment import find_experiment, read_experiment
from search.ledger import open_ledger

BRIEF_ROWS = 12
"""More trials than this are not all printed on the terminal."""


def write_report(page: Page, folder: Path) -> list[Path]:
    """Write the report below `folder`, each file whole or not at all. Returns the files for
    readers: Markdown, HTML, and the folders of figures and tables."""
    figures = {f"{picture.name}.png": picture.png for picture in page.pictures}
    tables = {f"{t.name}.csv": t.frame.to_csv(index=False).encode() for t in page.tables}
    _write_all(folder / "figures", figures)
    _write_all(folder / "tables", tables)
    pages = {
        "report.md": to_markdown(page).encode(),
        "report.html": to_html(page).encode(),
    }
    for name, content in pages.items():
        _write(folder / name, content)
    # What an earlier report had and this one hasn't would be taken for its own.
    for path in [*(folder / "figures").glob("*.png"), *(folder / "tables").glob("*.csv")]:
        if path.name not in figures and path.name not in tables:
            path.unlink(missing_ok=True)
    return [folder / "report.html", folder / "report.md", folder / "figures", folder / "tables"]


def _write_all(folder: Path, contents: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        _write(folder / name, content)


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _parser() -> argparse.ArgumentParser:
    parser = ArgumentParser(
        description="Write the report of an experiment: report.html, report.md, figures, tables.",
        epilog="example: python reports/generate.py lr-quick",
    )
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="the experiment (default: the newest)"
    )
    parser.add_argument(
        "--skip-damaged", action="store_true", help="pass over damaged lines of the ledger"
    )
    parser.add_argument(
        "--out",
        metavar="ROOT",
        help="folder that holds experiments/ (default: MINIGPT_HOME or ./artifacts)",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns its exit status; raises `UserError` for what the user can mend."""
    options = _parser().parse_args(arguments)
    folder = find_experiment(artifacts_root(options.out), options.name)
    try:
        experiment = read_experiment(folder)
        ledger = open_ledger(folder, options.skip_damaged)
        page = build_page(experiment, ledger, options.out)
        paths = write_report(page, folder / "report")
    except OSError as error:
        raise UserError(f"{error.filename or folder}: {error.strerror}") from None
    except KeyError as error:
        raise UserError(
            f"{folder / 'experiment.json'}: the corpus manifest in it has no {error}"
        ) from None
    except UserError:
        raise
    except (TypeError, ValueError, AttributeError):
        # Whose fault? A manifest of another program's is the user's, anything else is a bug.
        Manifest.from_dict(experiment.corpus, f"{folder / 'experiment.json'}: corpus")
        raise
    print(one_line(summary(experiment, ledger)))
    table = experiments(experiment, ledger)
    if len(table) > BRIEF_ROWS:
        table = table.nsmallest(BRIEF_ROWS, "val_loss_nats")
        print(f"The best {BRIEF_ROWS} of {len(ledger.complete())} (all are in the report):")
    if len(table):
        print(f"\n{as_text(table)}\n")
    for path in paths:
        print(path)
    return 0


if __name__ == "__main__":
    run_command(main)
