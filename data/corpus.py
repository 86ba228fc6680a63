"""The corpus as the other rooms see it: what is wanted, made once, opened many times.

spec = CorpusSpec(name="builtin", sources=("builtin",))
corpus = open_corpus(prepare_corpus(spec, artifacts_root()))
train = corpus.dataset("train", seq_len=64)
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.errors import UserError
from data.manifest import MANIFEST_FILE, SPLITS, Manifest, read_manifest
from data.tokenizer import VOCAB_SIZE

if TYPE_CHECKING:
    from data.cluster import Cluster
    from data.dataset import SegmentedTextDataset

MOST_TOKENS = 10**12
"""Of a corpus; beyond it a flag has a digit too many."""


@dataclass(frozen=True, kw_only=True)
class CorpusSpec:
    """What decides every token of a corpus. Cores, folders and time are no part of it."""

    name: str = "builtin"
    """Folder name below ROOT/corpus: letters, digits, `.`, `_`, `-`."""
    sources: tuple[str, ...] = ("builtin",)
    """As for `--source`: `builtin`, `builtin:NAME`, a file, a folder, `hub:OWNER/NAME[@CONFIG]`;
    each with an optional `:WEIGHT`, its share of the tokens; without any, all text is taken."""
    tokens: int | None = None
    """Upper limit of train tokens; None: all there are. The validation and test splits do not
    depend on it, so that corpora of several sizes can be compared."""
    eval_tokens: int = 80_000
    """Wanted tokens of the validation split, and of the test split: 0.8% of the built-in corpus,
    a standard error of about 0.01 nats. At most 5% of the corpus each."""
    segments: int = 8
    """Files of the train split; the assignment used 8."""
    seed: int = 0
    """Decides the order of documents and who goes to which split."""
    text_column: str = "text"
    """Column of the text in .jsonl, .parquet and hub sources."""
    quality_filter: bool = True
    """Drop documents by the rules in `data/quality.py`, which expect English prose."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", self.name):
            raise UserError(
                f"--name {self.name!r}: use 1 to 100 letters, digits, '.', '_' or '-', "
                "the first one a letter or digit"
            )
        object.__setattr__(self, "sources", tuple(self.sources))
        if not self.sources:
            raise UserError("--source: at least one source is needed, for example `builtin`")
        for name, tokens in (("tokens", self.tokens), ("eval-tokens", self.eval_tokens)):
            if tokens is not None and not 1 <= tokens <= MOST_TOKENS:
                raise UserError(f"--{name} {tokens}: must be at least 1, at most {MOST_TOKENS:,}")
        if not 0 <= self.seed < 2**63:
            raise UserError(f"--seed {self.seed}: must be 0 to 9,223,372,036,854,775,807")
        if not 1 <= self.segments <= 100:
            raise UserError(f"--segments {self.segments}: must be 1 to 100")
        if not self.text_column:
            raise UserError("--text-column: must not be empty")

    def options(self) -> dict[str, Any]:
        """The fields as they stand in the manifest."""
        return json.loads(json.dumps(asdict(self)))


class Corpus:
    """A finished corpus in a folder. Made by `open_corpus`."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest

    @property
    def content_hash(self) -> str:
        """SHA-256 (hexadecimal) over the token ids of all splits."""
        return self.manifest.content_hash

    def dataset(self, split: str, seq_len: int = 64) -> SegmentedTextDataset:
        """The windows of `seq_len` tokens of `split` ("train", "val" or "test")."""
        from data.dataset import SegmentedTextDataset  # torch takes a second to import

        files = [self.folder / file.name for file in self.manifest.splits[_known(split)].files]
        return SegmentedTextDataset(files, seq_len)

    def bytes_per_token(self, split: str) -> float:
        """UTF-8 bytes of the split's text for each of its tokens: nats a token divided by
        (this x ln 2) are bits a byte, which can be compared between tokenizers."""
        counts = self.manifest.splits[_known(split)]
        return counts.bytes / counts.tokens


def prepare_corpus(
    spec: CorpusSpec,
    root: Path,
    quiet: bool = False,
    workers: int | None = None,
    cluster: Cluster | None = None,
) -> Path:
    """The folder of the corpus that `spec` describes, made if it is not there yet.

    Args:
        spec: what the corpus is to hold.
        root: see `data/paths.py`; downloads and the corpus go below it.
        quiet: print nothing, draw no progress bars.
        workers: processes; None: one for each core that this process may use. The corpus does not
            depend on it.
        cluster: a Ray cluster to do the work, instead of processes of this machine. The corpus does
            not depend on it.

    Raises:
        UserError: a corpus of that name was made from another spec; or a source, the network or
            the disk failed.
    """
    from data.build import prepare  # the whole pipeline, needed only here

    return prepare(spec, root, quiet=quiet, workers=workers, cluster=cluster)


def open_corpus(folder: Path) -> Corpus:
    """The finished corpus in `folder`; its files are there and have the sizes they should have.

    Raises:
        UserError: no (valid) manifest, or a file that is missing or of another size.
    """
    manifest = read_manifest(folder)
    for file in manifest.files():
        path = folder / file.name
        if not path.is_file():
            raise UserError(
                f"{path}: segment file is missing: remove {folder} and prepare it again"
            )
        size = path.stat().st_size
        if size != file.size_bytes:
            raise UserError(
                f"{path}: damaged, {size:,} bytes where {MANIFEST_FILE} says "
                f"{file.size_bytes:,}: remove {folder} and prepare it again"
            )
    return Corpus(folder, manifest)


def verify_corpus(folder: Path) -> Manifest:
    """Hash every file again and compare; look at every token.

    Raises:
        UserError: naming the first damaged file.
    """
    from data.dataset import largest_token, open_segment  # torch takes a second to import

    corpus = open_corpus(folder)
    for file in corpus.manifest.files():
        with (folder / file.name).open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != file.sha256:
                raise UserError(
                    f"{folder / file.name}: damaged, its SHA-256 is not the one in "
                    f"{MANIFEST_FILE}: remove {folder} and prepare it again"
                )
        tokens = open_segment(folder / file.name)
        largest = largest_token(tokens)
        if len(tokens) != file.tokens or largest >= VOCAB_SIZE:
            raise UserError(
                f"{folder / file.name}: {len(tokens):,} tokens up to {largest}, expected "
                f"{file.tokens:,} below {VOCAB_SIZE}: remove {folder} and prepare it again"
            )
    return corpus.manifest


def _known(split: str) -> str:
    if split not in SPLITS:
        raise UserError(f"split {split!r}: must be one of {', '.join(SPLITS)}")
    return split
