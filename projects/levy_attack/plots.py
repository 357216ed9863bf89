"""Pictures of trainings and attacks for the reports."""

from common import app, curves, metrics
from common.curves import plt


def draw_training(run: app.Run) -> None:
    """Loss and validation error over the steps of a victim's training."""
    _, rows = metrics.read(run.metrics.path)
    figure, axis = plt.subplots(figsize=(6, 3.4))
    axis.plot(*curves.series(rows, "cross_entropy"), color="#1f5f8b", linewidth=1)
    axis.set_xlabel("step")
    curves.set_log(axis)
    axis.set_ylabel("training cross entropy (nats)", color="#1f5f8b")
    errors = axis.twinx()
    steps, accuracies = curves.series(rows, "validation_accuracy")
    errors.plot(steps, 100 * (1 - accuracies), color="#c8553d", marker=".", linewidth=1)
    errors.set_ylim(0)
    errors.set_ylabel("validation error (%)", color="#c8553d")
    run.plot("training", figure, "Training loss (of augmented images) and error on the images kept apart.")
    plt.close(figure)
