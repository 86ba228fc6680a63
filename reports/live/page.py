"""The live page itself: one file of HTML with its style and script inside, allowed by their hashes.

The script asks for `state.json` again and again and changes what changed; every name and value
gets in as text, never as HTML.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from pathlib import Path

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
    script, style = _hash_of("live.js"), _hash_of("live.css")
    return (
        f"default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _read(name: str) -> str:
    return (_FILES / name).read_text(encoding="utf-8")


def _hash_of(name: str) -> str:
    digest = hashlib.sha256(_read(name).encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
