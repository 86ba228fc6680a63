"""Make a corpus: text from any source to eight segments of GPT-2 tokens and a manifest.

python data/prepare.py                                   # the built-in corpus, 10M tokens
python data/prepare.py --source builtin:wikipedia-leads --tokens 100000   # in seconds
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":  # run as a file: the project's root on the path, not this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1] / "src")

from minigpt_search.data.common.errors import ArgumentParser, UserError, run_command
from minigpt_search.data.common.formatting import counted
from minigpt_search.data.common.invocation import command_line, program
from minigpt_search.data.common.paths import artifacts_root, check_writable
from minigpt_search.data.common.screen import keep_going
from minigpt_search.data.corpus.corpus import verify_corpus
from minigpt_search.data.corpus.manifest import read_manifest
from minigpt_search.data.corpus.spec import CorpusSpec
from minigpt_search.data.pipeline.build import prepare_corpus
from minigpt_search.data.pipeline.cluster import cluster_of
from minigpt_search.data.sources.resolve import split_weight

LEAST_FOR_FULL = 2_000_000
"""With fewer train tokens the warm-up of the `full` preset, a GPU's default, would be more than a
fifth of a run, or longer than it."""

DESCRIPTION = """\
Prepare a corpus: read, clean, drop duplicates, filter, encode, split by document, write segments.
A second call with the same options does nothing; an interrupted one leaves nothing unfinished.

sources (--source, may be repeated, the default is `builtin`):
  builtin            nine texts of Wikipedia, web, news and government, about 10M tokens
  builtin:NAME       one of them, for example builtin:wikitext-2
  FILE or FOLDER     text (.txt .md, source code, ...), rows (.jsonl .json .csv .tsv .parquet), web
                     pages (.html), a MediaWiki dump (.xml), nanoGPT's train.bin; each also as
                     .gz .bz2 .xz .zst; UTF-8, UTF-16 or cp1252. <|endoftext|> ends a document;
                     of folders, all such files, except hidden ones
  hub:OWNER/NAME     a Hugging Face data set, hub:OWNER/NAME@CONFIG for one of its configurations
Rows are the text of their column `text` (--text-column, --template); without one, chats (messages,
conversations) and instructions (instruction, prompt or question with its answer) are paragraphs.
Each may end in :WEIGHT, its share of the train tokens. Without weights all text is taken. With
weights and --tokens each source gives its share of N, or all it has if that is less; with weights
alone, the corpus is as large as the shares allow. Nothing is ever repeated.
"""
EXAMPLE = """\
example:
  PROGRAM --source enwiki.xml.bz2:2 --source my_notes/:1 --tokens 5000000 --name mix

a large corpus, on a Ray cluster (the same corpus to the byte; a killed run goes on where it was):
  PROGRAM --source enwiki.xml.bz2 --address auto --work /shared/work
"""


def make_parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    prog = shlex.join(program("data/prepare.py"))
    parser = ArgumentParser(
        prog=prog,
        description=DESCRIPTION,
        epilog=EXAMPLE.replace("PROGRAM", prog),
    )
    parser.add_argument("--source", action="append", metavar="SOURCE[:WEIGHT]", help="see above")
    parser.add_argument("--name", help="folder of the corpus (default: after the first source)")
    parser.add_argument("--tokens", type=int, metavar="N", help="at most N train tokens")
    parser.add_argument(
        "--eval-tokens",
        type=int,
        metavar="N",
        default=CorpusSpec.eval_tokens,
        help="at most N validation and N test tokens, and 5%% of the text (80000)",
    )
    parser.add_argument(
        "--segments", type=int, metavar="N", default=CorpusSpec.segments, help="files of train (8)"
    )
    parser.add_argument("--seed", type=int, default=CorpusSpec.seed, help="order and splits")
    parser.add_argument(
        "--text-column",
        default=CorpusSpec.text_column,
        metavar="COLUMN",
        help="that holds the text of rows (text)",
    )
    parser.add_argument(
        "--template",
        metavar="TEXT",
        help="the text of a row, with {COLUMN} for each column: '{question}\\n{answer}'",
    )
    parser.add_argument(
        "--bad-rows",
        metavar="refuse|skip",
        default=CorpusSpec.bad_rows,
        help="rows that can't be read: an error (default), or passed over and counted",
    )
    parser.add_argument(
        "--separator",
        metavar="TEXT",
        default=CorpusSpec.separator,
        help="ends a document in a file (<|endoftext|>; \\n is a line's end); `none`: nothing does",
    )
    parser.add_argument(
        "--filter",
        action="append",
        metavar="web|none",
        help="rules for web text: for all sources, or one for each; by default for built-in text, "
        "web pages, dumps and the hub, not for files",
    )
    parser.add_argument(
        "--duplicates",
        metavar="keep|exact|near",
        help="what goes as repetition: nothing, whole documents (default), near ones too (default "
        "with the rules for web text)",
    )
    parser.add_argument(
        "--tokenizer",
        metavar="NAME",
        default=CorpusSpec.tokenizer,
        help="gpt2 (default), byte, char, bpe:SIZE (learnt from the train split), or a "
        "tokenizer.json",
    )
    parser.add_argument("--validation", metavar="SOURCE", help="the validation text, and only that")
    parser.add_argument(
        "--validation-share", type=float, metavar="SHARE", help="of the text, 0.1 for a tenth"
    )
    parser.add_argument("--out", metavar="ROOT", help="default: $MINIGPT_HOME, else ./artifacts")
    parser.add_argument("--workers", type=int, metavar="N", help="processes (default: all cores)")
    parser.add_argument("--address", metavar="RAY", help="a Ray cluster: auto, HOST:PORT or local")
    parser.add_argument("--work", metavar="FOLDER", help="with --address: one that all nodes see")
    parser.add_argument("--quiet", action="store_true", help="no progress, no summary")
    parser.add_argument("--verify", action="store_true", help="hash the files of the corpus again")
    return parser


def default_name(source: str) -> str:
    """Make a folder's name of a source."""
    stem = Path(split_weight(source)[0]).name.split(".")[0]
    return re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-_") or "corpus"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    arguments = make_parser().parse_args(argv)
    sources = tuple(arguments.source or CorpusSpec.sources)
    spec = CorpusSpec(
        name=default_name(sources[0]) if arguments.name is None else arguments.name,
        sources=sources,
        tokens=arguments.tokens,
        eval_tokens=arguments.eval_tokens,
        segments=arguments.segments,
        seed=arguments.seed,
        text_column=arguments.text_column,
        template=arguments.template,
        bad_rows=arguments.bad_rows,
        separator=(
            None
            if arguments.separator == "none"
            else arguments.separator.replace("\\n", "\n").replace("\\t", "\t")
        ),
        filters=tuple(arguments.filter or ()),
        duplicates=arguments.duplicates,
        tokenizer=arguments.tokenizer,
        validation=arguments.validation,
        validation_share=arguments.validation_share,
    )
    if arguments.workers is not None and not 1 <= arguments.workers <= 1024:
        raise UserError(f"--workers {arguments.workers}: give a number from 1 to 1024")
    root = artifacts_root(arguments.out)
    if arguments.verify:
        manifest = verify_corpus(root / "corpus" / spec.name)
        print(f"corpus {spec.name}: {counted(len(manifest.files()), 'file')}, all as written")
        return 0
    check_writable(root)
    cluster = cluster_of(arguments.address, arguments.work, root)
    if cluster is not None:
        check_writable(cluster.work, "--work")
    keep_going()
    folder = prepare_corpus(spec, root, arguments.quiet, arguments.workers, cluster)
    if not arguments.quiet:
        small = read_manifest(folder).splits["train"].tokens < LEAST_FOR_FULL
        preset = ["--preset", "quick"] if small else []
        words = ["--grid", "lr", *preset, "--corpus", spec.name]
        print(f"search     {command_line('search/run.py', *words, root=root)}")
    return 0


if __name__ == "__main__":
    run_command(main)
