"""The page's script in Chromium, under the page's own policy: what it sorts, filters and folds.

The checks are a second script, whose hash is added to the policy; it leaves what it saw as text,
which `--dump-dom` prints. Skipped where there is no Chromium.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from minigpt_search.reports.page.page import build_page, to_html
from minigpt_search.search.results.results import Results

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.usefixtures("undrawn"),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium to drive"),
]

CHECKS = """
const seen = {}, table = document.querySelector("table.trials");
const head = name => table.querySelector(`th[data-name="${name}"]`);
const column = name => {
  const place = [...table.tHead.rows[0].cells].indexOf(head(name));
  return [...table.tBodies[0].rows].filter(row => row.checkVisibility())
    .map(row => row.cells[place].textContent.trim());
};
const type = text => {
  const input = table.closest(".scroll").previousElementSibling.querySelector("input");
  input.value = text;
  input.dispatchEvent(new Event("input"));
};
seen.shown = column("lr").length;
head("lr").querySelector("button").click();
seen.up = [head("lr").getAttribute("aria-sort"), column("lr")[0]];
head("lr").querySelector("button").click();
seen.down = [head("lr").getAttribute("aria-sort"), column("lr")[0]];
head("total_seconds").querySelector("button").click();
seen.fastest = column("total_seconds")[0];
head("total_seconds").querySelector("button").click();
seen.slowest = column("total_seconds")[0];
type("lr>=0.001 epochs>18");
seen.filtered = [column("lr"), column("epochs"), document.querySelector("output").textContent];
type("best");
seen.best = column("notes");
type("");
table.closest(".scroll").parentElement.querySelector("details.fold").open = true;
seen.all = column("lr").length;
const told = document.createElement("pre");
told.id = "seen";
told.textContent = JSON.stringify(seen);
document.body.append(told);
"""


def dumped(html: str, folder: Path) -> str:
    """The document as it is after its scripts ran."""
    path = folder / "page.html"
    path.write_text(html)
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += [f"--user-data-dir={folder / 'profile'}", path.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def with_script(html: str, script: str) -> str:
    """The page with a second script, which its policy allows too."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    html = html.replace("script-src ", f"script-src &#39;sha256-{digest}&#39; ")
    return html.replace("</body>", f"<script>{script}</script></body>")


def test_the_policy_lets_the_pages_script_run_and_no_other(build: Any, tmp_path: Path) -> None:
    html = to_html(build_page(Results(*build.two_rates())))
    foreign = "<script>document.title = 'taken over'</script></body>"
    dom = dumped(html.replace("</body>", foreign), tmp_path)
    assert "<button>Learning rate</button>" in dom
    assert "<title>taken over" not in dom


def test_trials_are_sorted_filtered_and_folded(build: Any, tmp_path: Path) -> None:
    results = Results(*build.tpe(80))
    frame = results.trials_frame
    frame = frame[frame["status"] == "complete"]
    dom = dumped(with_script(to_html(build_page(results)), CHECKS), tmp_path)
    found = re.search(r'<pre id="seen">(.*?)</pre>', dom, re.DOTALL)
    assert found is not None, dom[-2000:]
    seen = json.loads(found[1].replace("&gt;", ">").replace("&lt;", "<"))
    assert seen["shown"] == 50 and seen["all"] == len(frame)
    assert seen["up"] == ["ascending", f"{frame['lr'].min():.4g}"]
    assert seen["down"] == ["descending", f"{frame['lr'].max():.4g}"]
    # By the seconds, not by the text: 2.0 min is more than 110.0 s.
    seconds = frame["total_seconds"]
    assert (seen["fastest"], seen["slowest"]) == ("8.0 s", "2.0 min")
    assert seconds.min() == 8 and seconds.max() >= 120
    rows = frame[(frame["lr"] >= 0.001) & (frame["epochs"] > 18)]
    assert len(seen["filtered"][0]) == len(rows) > 0 and set(seen["filtered"][1]) <= {"19", "20"}
    assert seen["filtered"][2] == f"{len(rows)} of {len(frame)} rows"
    assert len(seen["best"]) == 1 and seen["best"][0].startswith("best")


FILTERS = """
const table = document.querySelector("table.trials");
const bar = table.closest(".scroll").previousElementSibling;
const input = bar.querySelector("input"), seen = {};
for (const text of ASKED) {
  input.value = text;
  input.dispatchEvent(new Event("input"));
  seen[text] = bar.querySelector("output").textContent;
}
const told = document.createElement("pre");
told.id = "seen";
told.textContent = JSON.stringify(seen);
document.body.append(told);
"""


def test_a_filter_compares_any_column_and_names_one_that_is_not_there(
    build: Any, tmp_path: Path
) -> None:
    """Six rows: names with digits, spaces around a sign, each sign."""
    experiment = build.plan({"beta1": (0.85, 0.9, 0.95), "lr": (3e-4, 1e-3)})
    cells = [{"beta1": beta1, "lr": lr} for beta1 in (0.85, 0.9, 0.95) for lr in (3e-4, 1e-3)]
    records = [build.trial(experiment, cell, (8.0, 7.0, 6.0)) for cell in cells]
    page = to_html(build_page(Results(experiment, build.write(experiment, records))))
    expected = {"beta1=0.9": 2, "beta1 >= 0.9": 4, "lr = 0.001": 3, "lr==0.001": 3}
    expected |= {"lr!=0.001 beta1!=0.9": 2, "lr < 0.001": 3, "lr=": 6, "lr =0.001 beta1= 0.9": 1}
    asked = json.dumps([*expected, "validation loss<7"])
    dom = dumped(with_script(page, FILTERS.replace("ASKED", asked)), tmp_path)
    found = re.search(r'<pre id="seen">(.*?)</pre>', dom, re.DOTALL)
    assert found is not None, dom[-2000:]
    seen = json.loads(unescape(found[1]))
    assert seen.pop("validation loss<7").startswith("no column 'loss'; there are beta1, lr, ")
    assert seen == {text: f"{rows} of 6 rows" for text, rows in expected.items()}


BREAKS = """
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const range = document.createRange(), broken = [];
while (walker.nextNode()) {
  const node = walker.currentNode;
  if (node.parentElement.closest("svg, script") || !node.parentElement.checkVisibility()) continue;
  for (const word of node.data.matchAll(/\\S+/g)) {
    range.setStart(node, word.index);
    range.setEnd(node, word.index + word[0].length);
    const lines = new Set([...range.getClientRects()].map(box => Math.round(box.top)));
    if (lines.size > 1) broken.push(word[0]);
  }
}
const told = document.createElement("pre");
told.id = "seen";
told.textContent = JSON.stringify([window.innerWidth, broken]);
document.body.append(told);
"""


def test_lines_break_between_words_on_a_phone(build: Any, tmp_path: Path) -> None:
    """In a column of a phone's width: a headless window is wider."""
    html = to_html(build_page(Results(*build.two_rates()), out="/a-path/on-disk"))
    page = with_script(html, BREAKS).replace("body {", "body { width: 390px;", 1)
    dom = dumped(page, tmp_path)
    found = re.search(r'<pre id="seen">(.*?)</pre>', dom, re.DOTALL)
    assert found is not None and json.loads(found[1])[1] == []
