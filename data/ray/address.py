"""Addresses of Ray clusters, and the token that they ask for. Ray itself is not imported here."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

_TOKEN_NAMES = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"}
_ADDRESS = re.compile(r"\[?[\w.:-]+\]?:\d{1,5}")


def is_address(text: str) -> bool:
    """Whether `text` is `auto` or HOST:PORT."""
    return text == "auto" or _ADDRESS.fullmatch(text) is not None


def token_variables() -> dict[str, str]:
    """The environment variables that have Ray send the token that there is here, if there is one.

    A cluster asks for a token as soon as there is one on its head (ray 2.60), and whoever joins
    sends it only if told to.
    """
    in_file = False
    with suppress(RuntimeError):  # a user without a home
        in_file = Path("~/.ray/auth_token").expanduser().exists()
    return {"RAY_AUTH_MODE": "token"} if in_file or _TOKEN_NAMES & os.environ.keys() else {}
