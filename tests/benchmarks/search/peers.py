"""What Optuna, Ray Tune and W&B do by themselves where a search goes wrong: the README's table.

    python tests/benchmarks/search/peers.py     # a minute; W&B is tried where it is installed

Each part does it with the tool alone, as its documentation shows, and prints what was seen.
"""

from __future__ import annotations

import importlib.metadata
import os
import signal
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

RATES = [3e-4, 5e-4, 1e-3, 2e-3]
GRID = """
import optuna, os, signal, sys
optuna.logging.set_verbosity(optuna.logging.ERROR)

def objective(trial):
    rate = trial.suggest_categorical("lr", {rates})
    if sys.argv[2] == "kill" and trial.number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return rate

sampler = optuna.samplers.GridSampler({{"lr": {rates}}})
study = optuna.create_study(
    study_name="grid", storage=sys.argv[1], sampler=sampler, load_if_exists=True
)
study.optimize(objective, n_trials={count})
print([trial.state.name for trial in study.trials])
"""
EQUAL = """
import optuna, random
optuna.logging.set_verbosity(optuna.logging.ERROR)
chance = random.Random(0)
study = optuna.create_study(sampler=optuna.samplers.GridSampler({"name": ["a", "b", "c", "d"]}))

def objective(trial):
    trial.suggest_categorical("name", ["a", "b", "c", "d"])
    return 7.3 + chance.gauss(0, 0.03)  # all four are the same

study.optimize(objective, n_trials=4)
print(study.best_params, round(study.best_value, 4))
"""
STOPPED = """
import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler

ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")

def train(config):
    for epoch in range(1, 9):  # validation loss turns up from the second on
        tune.report({"loss": config["floor"] + 0.2 * epoch + 0.5 * (epoch < 2)})

results = tune.Tuner(
    train,
    param_space={"floor": tune.grid_search([1.0, 1.5, 1.2])},
    tune_config=tune.TuneConfig(
        scheduler=ASHAScheduler("training_iteration", "loss", "min", 8, 2, 2),
        max_concurrent_trials=1,
    ),
    run_config=tune.RunConfig(storage_path="STORAGE", verbose=0),
).fit()
best = results.get_best_result("loss", "min")
print("epochs:", [each.metrics["training_iteration"] for each in results])
print("best:", best.config, "after", best.metrics["training_iteration"], "of 8 epochs")
"""


def seen(code: str, *words: str) -> str:
    """The last lines that `code` prints in a process of its own."""
    run = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    if run.returncode == -signal.SIGKILL:
        return "killed"
    return "\n".join((run.stdout or run.stderr).strip().splitlines()[-2:])


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        storage = f"sqlite:///{folder}/study.db"
        code = GRID.format(rates=RATES, count=len(RATES))
        print(f"Optuna {importlib.metadata.version('optuna')}, a grid killed in its second trial")
        print(seen(code, storage, "kill"))
        print(seen(code, storage, "go on"))
        print("\nOptuna, four configurations that are the same")
        print(seen(EQUAL))
        print(f"\nRay Tune {importlib.metadata.version('ray')}, ASHA, validation loss turns up")
        print(seen(STOPPED.replace("STORAGE", folder)))
        if find_spec("wandb") is None:
            print("\nW&B is not installed")
            return
        print(f"\nW&B {importlib.metadata.version('wandb')}, a sweep without an account")
        sweep = Path(folder) / "sweep.yaml"
        sweep.write_text("program: train.py\nmethod: grid\nparameters: {lr: {values: [1, 2]}}\n")
        command = [sys.executable, "-m", "wandb", "sweep", str(sweep)]
        env = {**os.environ, "WANDB_MODE": "offline", "HOME": folder}
        run = subprocess.run(command, capture_output=True, text=True, env=env)
        print(run.stderr.strip().splitlines()[-1])


if __name__ == "__main__":
    main()
