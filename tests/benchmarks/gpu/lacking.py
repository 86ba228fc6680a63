"""What parts of `gpu.sh` lack here, a line for each that lacks something: packages that it imports,
the prepared corpus, NVIDIA's checker. Imports none of it, and takes no time.

python tests/benchmarks/gpu/lacking.py search packs
python tests/benchmarks/gpu/lacking.py --quick search     # as a rehearsal needs it
"""

from __future__ import annotations

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "src"))  # import from the checkout

from racecheck import find_tool

from minigpt_search.data.common.paths import artifacts_root

ALL = ("torch", "numpy", "tqdm", "filelock")
THROUGHPUT = ("matplotlib", "safetensors")  # peers that are not there it leaves out itself
SEARCH = ("ray", "optuna", "sqlalchemy", "alembic", "colorlog", "msgpack", "jsonschema")
SEARCH += ("tensorboardX", "scipy", "pandas", "pyarrow", "psutil", "matplotlib", "jinja2")
PACKAGES = {
    "correctness": ("pytest",),
    "correctness-compiled": ("pytest",),
    "worker-tests": ("pytest", *SEARCH),
    "throughput": THROUGHPUT,
    "throughput-compiled": THROUGHPUT,
    "search": SEARCH,
}
"""By their names for import, those of a part besides `ALL`. `worker-tests` is a part of
correctness-compiled, which does without."""
CORPUS = ("long-run", "long-run-compiled", "throughput", "throughput-compiled", "search")
"""Parts that train on the built-in corpus, but for a rehearsal."""


def lacks(part: str, root: Path, *, quick: bool) -> list[str]:
    """What the part can't find; `root` is where corpora are."""
    found = [name for name in (*ALL, *PACKAGES.get(part, ())) if find_spec(name) is None]
    if not quick:
        corpus = root / "corpus" / "builtin"
        if part in CORPUS and not (corpus / "manifest.json").is_file():
            found.append(f"the corpus {corpus}")
        if part == "racecheck" and find_tool() is None:
            found.append("compute-sanitizer")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="+", metavar="PART")
    parser.add_argument("--quick", action="store_true", help="of a rehearsal")
    args = parser.parse_args()
    root = artifacts_root(None)
    for part in args.parts:
        if found := lacks(part, root, quick=args.quick):
            print(f"{part}: {', '.join(found)}")


if __name__ == "__main__":
    main()
