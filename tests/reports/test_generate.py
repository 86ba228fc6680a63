"""The command and its page: complete, self-contained, inert, atomic, light."""

from __future__ import annotations

import itertools
import os
import re
import struct
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt_search.data.common.errors import UserError
from minigpt_search.reports import generate
from minigpt_search.reports.page.page import build_page, markdown_text, to_html, to_markdown
from minigpt_search.search.results import frames
from minigpt_search.search.results import results as results_module
from minigpt_search.search.results.results import Results

ROOT = Path(generate.__file__).parents[1]


class Elements(HTMLParser):
    """Every start tag with its attributes, and the text outside of style."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._tag = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._tag = tag

    def handle_endtag(self, tag: str) -> None:
        self._tag = ""

    def handle_data(self, data: str) -> None:
        self.text += "" if self._tag in ("style", "script") else data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def report(build: Any, name: str = "lr-quick") -> Path:
    assert generate.main([name, "--out", str(build.root)]) == 0
    return build.root / "experiments" / name / "report"


@pytest.mark.usefixtures("undrawn")
def test_everything_is_written(build: Any, capsys: pytest.CaptureFixture[str]) -> None:
    build.two_rates()
    folder = report(build)
    printed = capsys.readouterr().out
    assert "lr=0.001" in printed
    assert str(folder / "report.html") in printed
    assert max(len(line) for line in printed.splitlines() if line.startswith("lr=")) <= 100
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    figures = ("loss_by_tokens", "loss_by_seconds", "perplexity_by_epoch", "generalisation_gap")
    figures += ("loss_against_lr", "throughput")
    tables = ("architecture", "recipe", "provenance", "training_data", "sources", "splits")
    assert names == {
        "report.html",
        "report.md",
        *(f"figures/{name}.png" for name in figures),
        *(f"tables/{name}.csv" for name in (*tables, "trials", "best_by_epoch")),
        "tables/rerun_commands.csv",
    }
    csv = (folder / "tables" / "trials.csv").read_text().splitlines()
    assert csv[0].startswith("trial_id,trial,lr,epochs,train_loss_nats,val_loss_nats")
    assert ",lr=0.001,0.001,3,6.125,6.0,403.428" in csv[2]


def test_the_page_is_self_contained(build: Any) -> None:
    build.two_rates()
    page = Elements((report(build) / "report.html").read_text())
    assert not [a for _, a in page.found if "src" in a]
    figures = page.named("svg")
    assert len(figures) == 6 and all(a["role"] == "img" and a["aria-label"] for a in figures)
    ids = {a.get("id") for a in page.named("h2")}
    assert {(a["href"] or "")[1:] for _, a in page.found if "href" in a} == ids
    assert page.named("script") == [{}] and not page.named("link") and not page.named("img")
    assert all(a.get("scope") in ("col", "row") for a in page.named("th"))
    assert len(page.named("caption")) == len(page.named("table"))
    assert "default-src 'none'" in str(page.named("meta"))


@pytest.mark.usefixtures("undrawn")
def test_names_are_inert(build: Any) -> None:
    evil = "<script>alert(1)</script>"
    source = build.manifest()["sources"][0] | {"title": evil, "attribution": f"{evil}\n# x"}
    source["licence"] = "a|b"
    corpus = build.manifest(sources=[source])
    experiment = build.plan(name=f"{evil}\n# x", manifest=corpus, command=(evil,))
    trial = build.trial(experiment, {"lr": 1e-3}, (), "failed", error=f"{evil} | a\nb")
    page = build_page(Results(experiment, build.write(build.plan(name="x"), [trial])))
    elements = Elements(to_html(page))
    assert len(elements.named("script")) == 1  # its own
    assert elements.text.count(evil) >= 4
    markdown = to_markdown(page)
    literal = [line for line in markdown.splitlines() if line.startswith("    ")]
    assert len(literal) == 1  # the command to go on, in a block of code
    assert not any("<" in line for line in markdown.splitlines() if line not in literal)
    assert "a\\|b" in markdown
    assert re.search(r"^# x", markdown, re.MULTILINE) is None


def unescaped_cells(row: str) -> list[str]:
    """How GitHub-flavoured Markdown cuts a table's row: at pipes without a backslash."""
    return re.findall(r"((?:\\.|[^\\|])*)\|", row)


@given(st.text())
def test_markdown_text_stays_in_its_cell(text: str) -> None:
    cell = markdown_text(text)
    assert len(f"{cell}|".splitlines()) == 1
    assert unescaped_cells(f"{cell}|") == [cell]
    assert "<" not in cell and ">" not in cell
    assert re.search(r"(?<!\\)(?:\\\\)*[`*\[\]]", cell) is None


@pytest.mark.usefixtures("undrawn")
def test_tables_of_markdown_have_even_rows(build: Any) -> None:
    experiment, ledger = build.mixed()
    ledger.append(build.rerun(ledger.best(), 7.125))
    lines = to_markdown(build_page(Results(experiment, ledger))).splitlines()
    for before, line in itertools.pairwise(lines):
        if before.startswith("|") and line.startswith("|"):
            assert len(unescaped_cells(before)) == len(unescaped_cells(line))


@pytest.mark.usefixtures("undrawn")
def test_losses_of_unfinished_trials_are_nowhere(build: Any) -> None:
    build.mixed()
    folder = report(build)
    texts = [Elements((folder / "report.html").read_text()).text]
    texts += [(folder / "report.md").read_text()]
    texts += [path.read_text() for path in (folder / "tables").iterdir()]
    for text in texts:
        assert "4.77" not in text
        assert "3.33" not in text
    assert "1 of 5 trials finished; 1 stopped; 1 diverged; 1 failed; 1 not run yet" in texts[0]
    assert "--resume lr-quick" in texts[0]


@pytest.mark.parametrize("ended", [[], ["diverged"], ["stopped", "failed"]])
def test_without_any_result(build: Any, ended: list[str]) -> None:
    experiment = build.plan()
    records = [
        build.trial(experiment, {"lr": lr}, (4.7777,), status)
        for lr, status in zip((3e-4, 1e-3), ended, strict=False)
    ]
    build.write(experiment, records)
    text = (report(build) / "report.md").read_text()
    assert "No result yet: 0 of 2 trials finished" in text
    assert "No trial has finished yet." in text
    assert "4.77" not in text
    assert "![" not in text


@pytest.mark.usefixtures("undrawn")
def test_cautions(build: Any) -> None:
    experiment, ledger = build.two_rates()
    page = build_page(Results(experiment, ledger))
    assert "upper edge of its grid" in page.cautions[0]
    assert "one seed each" in page.sections[0].lines["Loss"]
    ledger.append(build.rerun(ledger.best(), 6.0))
    ledger.append(build.rerun(ledger.best(), 6.0))
    assert "looked at twice" in build_page(Results(experiment, ledger)).cautions[-1]


@pytest.mark.usefixtures("undrawn")
def test_an_older_reports_figure_does_not_stay(build: Any) -> None:
    build.two_rates()
    stale = report(build) / "figures" / "loss_against_epochs.png"
    stale.write_bytes(b"of an earlier report")
    report(build)
    assert not stale.exists()


@pytest.mark.usefixtures("undrawn")
def test_a_failed_write_leaves_the_old_report(build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    build.two_rates()
    folder = report(build)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def no_space(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device", str(target))

    monkeypatch.setattr(os, "replace", no_space)
    with pytest.raises(UserError, match="No space left"):
        report(build)
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_manifest_without_a_key_is_named(build: Any) -> None:
    corpus = build.manifest()
    del corpus["splits"]
    build.write(build.plan(manifest=corpus))
    with pytest.raises(UserError, match="no 'splits'"):
        report(build)


@pytest.mark.parametrize("sampler", [False, True])
def test_the_command_needs_neither_torch_nor_ray(build: Any, sampler: bool) -> None:
    """Optuna only for a sampler's plots; and no terminal that knows more than ASCII."""
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    if sampler:
        build.tpe(trials=6)
    else:
        build.two_rates()
    code = (
        "import sys, runpy; sys.argv = ['reports/generate.py', '--out', sys.argv[1]]\n"
        "try:\n    runpy.run_path('reports/generate.py', run_name='__main__')\n"
        "except SystemExit as end:\n    assert end.code == 0, end.code\n"
        "heavy = {'torch', 'ray', 'transformers', 'sklearn'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        f"for_samplers = {{'optuna', 'matplotlib.pyplot'}} & set(sys.modules)\n"
        f"assert bool(for_samplers) is {sampler}, for_samplers\n"
    )
    command = [sys.executable, "-c", code, str(build.root)]
    subprocess.run(command, cwd=ROOT, check=True, env=os.environ | ascii_only)


def test_tables_need_no_matplotlib() -> None:
    code = "import sys, minigpt_search.reports.page.tables; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_a_users_mistake_is_one_line(run_here: Any, tmp_path: Path) -> None:
    ended = run_here("reports/generate.py", "nothing", "--out", str(tmp_path))
    ended.refused("no experiment 'nothing'")
    assert ended.err.startswith("error: ") and len(ended.err.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("sampler", [None, "tpe"])
def test_five_hundred_trials_are_all_there_and_stay_legible(build: Any, sampler: Any) -> None:
    _, ledger = build.five_hundred(sampler)
    folder = report(build, "long")
    page = Elements((folder / "report.html").read_text())
    rows = len(page.named("tr"))
    tables = [path.read_text().splitlines() for path in (folder / "tables").iterdir()]
    assert rows == sum(map(len, tables))  # each table's head and rows
    lines = {path.stem: path.read_text().count("\n") for path in (folder / "tables").iterdir()}
    assert lines["trials"] == 1 + len(ledger.complete()) == 481
    assert lines["without_result"] == 1 + 20
    for path in (folder / "figures").iterdir():
        width, height = struct.unpack(">2I", path.read_bytes()[16:24])  # PNG's header
        assert width < 1200 and height < 1200, path.name  # no legend of hundreds of lines
        assert path.stat().st_size < 300_000


def test_a_page_computes_the_winner_and_the_frames_once(
    build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: Counter[str] = Counter()

    def count(module: ModuleType, name: str) -> None:
        function = getattr(module, name)

        def counted(*arguments: Any) -> Any:
            calls[name] += 1
            return function(*arguments)

        monkeypatch.setattr(module, name, counted)

    computed = ("configurations_of", "choose", "find_winner")
    for name in computed:
        count(results_module, name)
    for name in ("trials_frame", "epochs_frame"):
        count(frames, name)
    results = Results(*build.two_rates())
    build_page(results)
    assert calls == dict.fromkeys((*computed, "trials_frame", "epochs_frame"), 1)
    assert results.winner is results.winner and results.trials_frame is results.trials_frame
