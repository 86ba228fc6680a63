"""The figures of a sampler's search, with their words."""

from __future__ import annotations

from reports import optuna_figures
from reports.columns import counted
from reports.picture import Picture, png_of
from search.experiment import Experiment
from search.ledger import Ledger

MOST_LINES = 100
"""More in one figure hide each other."""


def sampler_pictures(experiment: Experiment, ledger: Ledger) -> list[Picture]:
    """Optuna's plots of the finished trials; none where they are too few to say anything."""
    trials = ledger.complete()
    losses = {trial.final.val_loss_nats for trial in trials}
    if len(trials) < optuna_figures.LEAST_TRIALS or len(losses) < 2 or not experiment.axes:
        return []
    study = optuna_figures.make_study(experiment.axes, trials)
    count = counted(len(trials), "finished trial")
    pictures = [
        Picture(
            name="slices",
            title="Validation loss against each axis",
            alt=f"Validation loss of {count} against each searched axis alone.",
            caption="Each dot is a trial, the darker the later it was tried. A trend in one panel "
            "is an axis that matters by itself; dots that crowd together show where the sampler "
            "came to look.",
            png=png_of(optuna_figures.slices(study)),
        )
    ]
    if len(experiment.axes) < 2:
        return pictures
    # The lowest last, so that no other line lies over it.
    best = sorted(trials, key=lambda trial: -trial.final.val_loss_nats)[-MOST_LINES:]
    all_or_best = f"the best {len(best)} of {count}" if len(best) < len(trials) else count
    drawn, shares = optuna_figures.importances(study)
    first, second = list(shares)[:2]
    pictures += [
        Picture(
            name="parallel_coordinates",
            title="Settings and loss, trial by trial",
            alt=f"Parallel coordinates of {all_or_best}: loss and the value of each axis.",
            caption=f"Of {all_or_best}. A line is a trial, from its loss on the left through its "
            "settings; the darker, the lower the loss. Where dark lines run together lies the "
            "region that works.",
            png=png_of(
                optuna_figures.parallel_coordinates(
                    optuna_figures.make_study(experiment.axes, best)
                )
            ),
        ),
        Picture(
            name="importances",
            title="What matters",
            alt="Importance of each axis: "
            + ", ".join(f"{name} {share:.2f}" for name, share in shares.items())
            + ".",
            caption=f"How much of the difference between good and bad trials each axis explains "
            f"(PED-ANOVA): most of it {first}. It is about the range that was searched, and trials "
            "that a sampler placed.",
            png=png_of(drawn),
        ),
        Picture(
            name="contour",
            title=f"Loss over {first} and {second}",
            alt=f"Contour of validation loss over {first} and {second} with {count} as dots.",
            caption="The two axes that matter most; dots are trials, and between them the loss is "
            "interpolated, not measured. Darker is lower.",
            png=png_of(optuna_figures.contour(study, (first, second))),
        ),
    ]
    return pictures
