"""Libraries that are not installed by default: the optional extras of pyproject.toml."""

from __future__ import annotations

import importlib.util

from minigpt_search.data.common.errors import UserError

EXTRAS = {
    "hub": "datasets",
    "html": "trafilatura",
    "cmaes": "cmaes",
    "wandb": "wandb",
    "mlflow": "mlflow",
    "trackio": "trackio",
}
"""The module that each extra is for; the rest of an extra comes with it."""


def is_installed(extra: str) -> bool:
    """Whether the extra's module can be found; it is not imported."""
    return importlib.util.find_spec(EXTRAS[extra]) is not None


def need_extra(extra: str, where: str) -> None:
    """Raise `UserError` if the extra is not installed.

    Args:
        where: the flag, or the source, that asks for it.
    """
    if not is_installed(extra):
        raise UserError(
            f'{where}: needs the library {EXTRAS[extra]}: pip install "minigpt-search[{extra}]", '
            f'in the checkout pip install -e ".[{extra}]"'
        )
