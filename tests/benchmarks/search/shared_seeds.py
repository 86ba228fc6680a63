"""How much of seeds' luck configurations share, from the ledgers of paired searches.

    P="--preset quick --seeds 10 --paired"
    python search/run.py --lr 5e-4,1e-3,2e-3 $P --name rates
    python search/run.py --lr 1e-3 --schedule cosine $P --name cosine
    python search/run.py --lr 1e-3 --embed-dim 64 $P --name narrow
    python tests/benchmarks/search/shared_seeds.py rates cosine narrow

For each two configurations, of all the searches named, the correlation of their losses over the
seeds that both have, with Fisher's 95% interval (1921: artanh r is normal with variance 1/(n - 3)),
the standard deviations of both, of their difference and what the latter would be with seeds of
their own. docs/noise.md has what was found.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
from pathlib import Path

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "src"))  # from the checkout

from minigpt_search.data.common.paths import artifacts_root
from minigpt_search.model.config import RunConfig
from minigpt_search.search.records.ledger import Ledger
from minigpt_search.search.results.configurations import by_configuration

LEAST = 4
"""Seeds in common: with fewer Fisher's interval has no width."""


def correlation(a: np.ndarray, b: np.ndarray) -> tuple[float, float, float]:
    """Of two series (n,), with the ends of its 95% interval."""
    r = float(np.corrcoef(a, b)[0, 1])
    reach = 1.959964 / math.sqrt(len(a) - 3)
    return r, math.tanh(math.atanh(r) - reach), math.tanh(math.atanh(r) + reach)


def label(config: RunConfig) -> str:
    train, model = config.train, config.model
    return f"lr={train.lr_peak:g} embed_dim={model.embed_dim} {train.schedule}"


def main() -> None:
    parser = argparse.ArgumentParser(description="correlation of losses with shared seeds")
    parser.add_argument("names", nargs="+", metavar="NAME", help="experiments with --paired")
    parser.add_argument("--out", metavar="FOLDER", help="$MINIGPT_HOME, or ./artifacts")
    args = parser.parse_args()
    home = artifacts_root(args.out) / "experiments"
    trials = [t for name in args.names for t in Ledger(home / name / "ledger.jsonl").complete()]
    found = {
        label(config): {t.config.train.seed: t.final.val_loss_nats for t in own}
        for config, own in by_configuration(trials).items()
    }
    for (one, first), (other, second) in itertools.combinations(found.items(), 2):
        shared = sorted(first.keys() & second.keys())
        if len(shared) < LEAST:
            continue
        a, b = (np.array([losses[seed] for seed in shared]) for losses in (first, second))
        r, low, high = correlation(a, b)
        apart, alone = (a - b).std(ddof=1), math.hypot(a.std(ddof=1), b.std(ddof=1))
        print(
            f"{one} | {other}: {len(shared)} seeds, correlation {r:.2f} ({low:.2f} to {high:.2f}); "
            f"sd {a.std(ddof=1):.4f}, {b.std(ddof=1):.4f}, of the difference {apart:.4f} "
            f"({alone:.4f} with seeds of their own)"
        )


if __name__ == "__main__":
    main()
