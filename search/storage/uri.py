"""`--storage URI` as text: what it may be, and the experiments in it. Nothing is opened here."""

from __future__ import annotations

from pathlib import PurePosixPath
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from minigpt_search.data.common.errors import UserError

ALLOWED = {"region", "scheme", "endpoint_override", "retry_limit_seconds", "anonymous"}
"""What may stand after the `?`. Everything else could be a key, and a URI is kept and printed."""
EXPERIMENTS = "/experiments/"


def is_uri(text: str) -> bool:
    """Whether `text` is a place, and not an experiment's name."""
    return "://" in text or text.startswith("/")


def check_uri(uri: str, flag: str = "--storage") -> str:
    """`uri` without a slash at its end. Raises `UserError` if it can't be one, or has a secret."""
    parts = urlsplit(uri)
    if "@" in parts.netloc:
        raise UserError(
            f"{flag}: a user or a key stands before the @ in it, and it would be kept and printed; "
            "give credentials by the environment (AWS_ACCESS_KEY_ID, ...) or the machine's role"
        )
    strange = sorted({key for key, _ in parse_qsl(parts.query, keep_blank_values=True)} - ALLOWED)
    if strange or parts.fragment:
        raise UserError(
            f"{flag}: {', '.join(strange) or '#'} in it; after the ? go only "
            f"{', '.join(sorted(ALLOWED))}, and credentials by the environment"
        )
    if not is_uri(uri) or (parts.scheme not in ("", "file") and not parts.netloc):
        raise UserError(
            f"{flag} {uri}: give a shared folder's absolute path, or a URI such as "
            "s3://BUCKET/FOLDER or gs://BUCKET/FOLDER"
        )
    if parts.scheme in ("", "file") and (parts.netloc or parts.query or ".." in uri.split("/")):
        raise UserError(f"{flag} {uri}: give the folder's absolute path, such as /shared/minigpt")
    return urlunsplit(parts._replace(path=parts.path.rstrip("/") or "/"))


def folder_of(uri: str) -> PurePosixPath | None:
    """The path of a folder that is mounted here; None for an object store."""
    parts = urlsplit(uri)
    return PurePosixPath(parts.path) if parts.scheme in ("", "file") else None


def experiment_key(name: str) -> str:
    """The folder of experiment `name` in the storage."""
    return f"experiments/{name}"


def experiment_uri(uri: str, name: str) -> str:
    """Where experiment `name` is: what `--resume` takes on another machine."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}{EXPERIMENTS}{name}"))


def split_experiment_uri(uri: str) -> tuple[str, str]:
    """The storage and the experiment's name. Raises `UserError` if there is no name in it."""
    parts = urlsplit(uri)
    home, found, name = parts.path.rstrip("/").rpartition(EXPERIMENTS)
    if not found or not name or "/" in name:
        raise UserError(
            f"--resume {uri}: give an experiment's name, or its place as its plan printed it "
            f"(STORAGE{EXPERIMENTS}NAME)"
        )
    return check_uri(urlunsplit(parts._replace(path=home)), "--resume"), name
