"""What several rooms' tests share."""

from __future__ import annotations

import hashlib
import importlib
import io
import os
import random
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from minigpt_search.data.common.errors import run_command
from minigpt_search.data.corpus.corpus import Corpus, open_corpus
from minigpt_search.data.corpus.manifest import Manifest, Split, write_manifest
from minigpt_search.data.corpus.spec import CorpusSpec
from minigpt_search.data.pipeline.build import prepare_corpus
from minigpt_search.data.splitting.segments import save_segment
from minigpt_search.data.tokenizers.base import token_dtype
from minigpt_search.data.tokenizers.choose import make_tokenizer
from minigpt_search.data.tokenizers.gpt2 import bpe_files

# The default run tries the same examples each time: what it finds is found before a change, not by
# whoever runs it next. MINIGPT_FUZZ=N looks further, at random.
with suppress(ImportError):  # the tests for a GPU do without, where there is no registry
    import hypothesis

    hypothesis.settings.register_profile("fixed", derandomize=True)
    if "MINIGPT_FUZZ" not in os.environ:
        hypothesis.settings.load_profile("fixed")

# The models of these tests are so small that a second thread does little but wait, and tests may
# run in several processes.
torch.set_num_threads(1)

WORDS = [
    *("the", "of", "and", "to", "that", "with", "river", "stone", "winter", "paper", "garden"),
    *("voice", "letter", "summer", "market", "bridge", "window", "doctor", "island", "captain"),
    *("history", "forest", "engine", "mirror", "silver", "number", "region", "council", "season"),
    *("teacher", "harbour", "village", "question", "reason", "science", "journey", "weather"),
]


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """The whole default run is shared out to a process for each core, four at most, if
    pytest-xdist is there; the tests of a file stay together. With `-n 0` it stays in this process,
    as do chosen files, other markers, `-k`, `-s` and `--pdb`, which a distributed run would cost
    its start or its screen."""
    option = config.option
    cores = os.cpu_count() or 1
    is_whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS and not option.keyword
    is_default = "not slow" in option.markexpr and option.capture != "no" and not option.usepdb
    is_worker = hasattr(config, "workerinput")  # which has its own part already
    is_free = getattr(option, "numprocesses", 0) is None  # 0: no pytest-xdist; a number: `-n`
    if is_whole and is_default and is_free and not is_worker and cores > 1:
        option.numprocesses, option.dist = min(4, cores), "loadfile"
        option.loadscopereorder = False  # to the order below


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Real searches wait much: first of all, others' tests run meanwhile, and none is left alone at
    the end."""
    items.sort(key=lambda item: "end_to_end" not in item.path.parts)


@pytest.fixture(scope="session")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root whose downloads are kept: MINIGPT_HOME if it is set, else one for this session.

    It holds the tokenizer's files, 0.6 MB to download the first time.
    """
    home = os.environ.get("MINIGPT_HOME")
    root = Path(home).absolute() if home else tmp_path_factory.mktemp("home")
    bpe_files(root)
    return root


@pytest.fixture
def root(tmp_path: Path, shared_home: Path) -> Path:
    """An empty root for one test, with the tokenizer's files at hand."""
    root = tmp_path / "root"
    root.mkdir()
    (root / "downloads").symlink_to(shared_home / "downloads", target_is_directory=True)
    return root


@pytest.fixture(scope="session")
def make_prose() -> Callable[..., str]:
    """`make_prose(number, sentences=20)`: text that meets the quality rules, another for each
    number."""

    def make(number: int, sentences: int = 20) -> str:
        chooser = random.Random(number)
        made = [
            " ".join(chooser.choices(WORDS, k=chooser.randint(8, 16))).capitalize() + "."
            for _ in range(sentences)
        ]
        return f"Chapter {number}\n\n" + "\n".join(
            " ".join(made[start : start + 5]) for start in range(0, sentences, 5)
        )

    return make


@pytest.fixture
def text_file(tmp_path: Path, make_prose: Callable[..., str]) -> Path:
    """60 documents of prose in one .txt file, about 20,000 tokens."""
    path = tmp_path / "stories.txt"
    path.write_text("\n<|endoftext|>\n".join(make_prose(number) for number in range(60)))
    return path


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str

    def refused(self, named: str) -> None:
        """It was one line that names what is wrong."""
        assert self.status == 2
        assert named in self.err


@pytest.fixture(scope="session")
def run_here() -> Callable[..., Ended]:
    """`run_here(script, *words)`: the script's `main` as its last line calls it, in this process,
    which has torch and Ray already: a process of its own takes two seconds to import them."""

    def run(script: str, *words: str) -> Ended:
        name = script.removesuffix(".py").replace("/", ".")
        main = importlib.import_module(f"minigpt_search.{name}").main
        out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
        with (
            pytest.MonkeyPatch.context() as patch,
            redirect_stdout(out),
            redirect_stderr(err),
            pytest.raises(SystemExit) as ended,
        ):
            patch.setattr(sys, "argv", [script, *words])
            run_command(main)
        assert isinstance(ended.value.code, int)
        return Ended(
            ended.value.code,
            *(stream.buffer.getvalue().decode() for stream in (out, err)),  # type: ignore[attr-defined]
        )

    return run


@pytest.fixture(scope="session")
def search_root(
    tmp_path_factory: pytest.TempPathFactory,
    shared_home: Path,
    make_prose: Callable[..., str],
) -> Path:
    """A root with the corpus `small`: about 9,000 training tokens of made prose."""
    root = tmp_path_factory.mktemp("search")
    (root / "downloads").symlink_to(shared_home / "downloads", target_is_directory=True)
    text = root / "prose.txt"
    text.write_text("\n<|endoftext|>\n".join(make_prose(number) for number in range(40)))
    spec = CorpusSpec(name="small", sources=(str(text),), eval_tokens=700)
    prepare_corpus(spec, root, quiet=True)
    return root


@pytest.fixture(scope="session")
def write_text_corpus(shared_home: Path) -> Callable[..., Corpus]:
    """`write_text_corpus(folder, choice, train, val=..., test=...)`: a corpus of these texts with
    the tokenizer that `--tokenizer` would make of `choice`, in one segment a split."""

    def write(folder: Path, choice: str, **texts: list[str]) -> Corpus:
        folder.mkdir(parents=True)
        tokenizer = make_tokenizer(choice, shared_home, lambda: iter(texts["train"]), folder)
        dtype, digest, splits = token_dtype(tokenizer.vocab_size), hashlib.sha256(), {}
        for name in ("train", "val", "test"):
            ids = [
                number
                for text in texts[name]
                for number in [*tokenizer.encode(text).tolist(), tokenizer.separator_token]
            ]
            tokens = np.array(ids, dtype)
            digest.update(tokens.tobytes())
            file = "segment_00.pt" if name == "train" else f"{name}.pt"
            splits[name] = Split(
                documents=len(texts[name]),
                tokens=len(ids),
                bytes=sum(len(text.encode()) for text in texts[name]),
                files=(save_segment(folder / file, tokens),),
            )
        manifest = Manifest(
            name=folder.name,
            content_hash=digest.hexdigest(),
            created_at="2026-11-29T00:00:00Z",
            options={},
            tokenizer=tokenizer.record(),
            sources=[],
            quality_rules=[],
            documents_in=3,
            documents_kept=3,
            retention=1.0,
            splits=splits,
            storage_bytes=0,
            stage_seconds={},
            versions={},
        )
        write_manifest(manifest, folder)
        return open_corpus(folder)

    return write


class _Sparse(io.FileIO):
    """Zeros in it take no room on the disk."""

    def write(self, content: bytes) -> int:  # type: ignore[override]
        if content == bytes(len(content)):
            self.seek(len(content), io.SEEK_CUR)
            return len(content)
        return super().write(content) or 0


@pytest.fixture(scope="session")
def huge_segments(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Eight segments of 2**26 tokens, 1.1 GB, of zeros: files that take a few kilobytes."""
    folder = tmp_path_factory.mktemp("huge")
    paths = [folder / f"segment_{number:02d}.pt" for number in range(8)]
    with _Sparse(paths[0], "w") as file:
        torch.save(torch.zeros(2**26, dtype=torch.uint16), file)
    for path in paths[1:]:
        path.hardlink_to(paths[0])
    return paths


@pytest.fixture(scope="session")
def own_memory() -> Callable[[], int]:
    """Bytes of this process' memory that are not pages of files (Linux)."""
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("needs Linux's /proc")

    def read() -> int:
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(fields["RssAnon"].split()[0]) * 1024

    return read
