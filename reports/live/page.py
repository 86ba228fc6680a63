"""The live page itself: one file of HTML with its style and script inside, allowed by their hashes.

The script asks for `state.json` again and again and changes what changed; every name and value
gets in as text, never as HTML. As a file, without a server, the page loads a script beside it in
place of that, which calls it with the state.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import os
from pathlib import Path
from typing import Any

STATE_FILE = "live-state.js"
_FILES = Path(__file__).parent / "browser"


@functools.cache
def page_html() -> str:
    """The whole page."""
    text = _read("live.html")
    for name in ("live.css", "live.js"):
        text = text.replace(f"/*{name}*/", _read(name))
    return text


@functools.cache
def page_policy() -> str:
    """Its content security policy: this style, this script, answers of the same origin."""
    script = f"script-src {_hash_of('live.js')}; connect-src 'self'"
    return f"{_own()}; {script}; frame-ancestors 'none'"


def _own() -> str:
    style = _hash_of("live.css")
    return (
        f"default-src 'none'; style-src {style}; img-src data:; base-uri 'none'; form-action 'none'"
    )


def write_page(folder: Path, state: dict[str, Any]) -> Path:
    """Write the page that needs no server into `folder`, and its state beside it, each whole or not
    at all. Returns the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    policy = f"{_own()}; script-src {_hash_of('live.js')} file:"
    meta = f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    page = page_html().replace('<meta charset="utf-8">', f'<meta charset="utf-8">\n{meta}')
    # Not synchronised: two seconds later there is another.
    for name, content in (
        (STATE_FILE, f"told({json.dumps(state, allow_nan=False)});\n"),
        ("live.html", page),
    ):
        temporary = folder / f"{name}.tmp"
        temporary.write_text(content, encoding="utf-8")
        os.replace(temporary, folder / name)
    return folder / "live.html"


def _read(name: str) -> str:
    return (_FILES / name).read_text(encoding="utf-8")


def _hash_of(name: str) -> str:
    digest = hashlib.sha256(_read(name).encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
