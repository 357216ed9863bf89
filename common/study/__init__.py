'''A project's tables and figures as a study: a list of named pieces, run, launched or taken, and what is made of them.

A piece is a run of one of the project's verbs in `runs/<verb>/<name>`. The study's own verb names the pieces (the
paper's settings, in order of importance), has `gather` run or take them, and evaluates what is there. It runs no loop,
opens no run directory and keeps no state, so that killing it costs at most what the current piece has not checkpointed.
So it looks (projects/toy/study.py; a network is trained once a seed, and evaluated at two widths):

    """The paper's table 1: accuracy over widths, three seeds."""

    import dataclasses

    from common import app, config
    from common.study import pieces, statistics
    from common.study.pieces import Piece
    from projects.toy.config import EvaluateConfig, TrainConfig

    WIDTHS = (0.5, 1.0)
    SETTINGS = {"small": TrainConfig(epochs=1), "full": TrainConfig(epochs=20)}


    @dataclasses.dataclass(frozen=True, kw_only=True)
    class StudyConfig:
        """Which size, and what to do with the pieces."""

        scale: str = config.field("small", "small: a minute; full: the paper's", choices=tuple(SETTINGS))
        seeds: tuple[int, ...] = config.field((0, 1, 2), "of the trainings", minimum=0)
        pieces: str = pieces.field()


    def table(settings: StudyConfig) -> dict[float, list[Piece]]:
        """Returns the pieces of each width, a seed each."""
        training = Piece(settings.scale, "toy.train", SETTINGS[settings.scale])
        rows = {width: [] for width in WIDTHS}
        for seed, trained in zip(settings.seeds, pieces.for_seeds(training, settings.seeds), strict=True):
            for width in WIDTHS:
                evaluation = EvaluateConfig(checkpoint=str(trained.path), width=width)
                name = f"{settings.scale}_width{width:g}_seed{seed}"
                rows[width].append(Piece(name, "toy.evaluate", evaluation, needs=(trained,)))
        return rows


    def main(settings: StudyConfig, run: app.Run) -> dict:
        """Runs or takes the pieces; returns the accuracy of every width."""
        rows = table(settings)
        gathered = pieces.gather([piece for row in rows.values() for piece in row], run, settings)
        if gathered.is_partial:  # --pieces=list or --pieces=KEY: nothing to evaluate yet
            return gathered.summary()
        accuracies = {
            f"{width:g}": [gathered[piece].result["accuracy"] for piece in row if piece in gathered]
            for width, row in rows.items()
        }
        means = {width: statistics.over_seeds(values) for width, values in accuracies.items() if values}
        return {"accuracy": means, **gathered.summary()}


    if __name__ == "__main__":
        app.run(main, StudyConfig, transient=pieces.only_looks)

`python -m projects.toy.study` runs what is missing; `--pieces=take` evaluates what there is and says what is missing;
`--pieces=list` writes the missing ones as jobs and prints the `launch.run` command for them. What a piece left is a
`finished.Finished`: result, arrays, metrics, commits. A run directory of other settings than the piece's is refused
with the flag that differs, never taken. Old names stay: `Piece("mlp_coordinatewise_2_seed0", "levy_attack.attack",
...)` is `runs/levy_attack.attack/mlp_coordinatewise_2_seed0`, and `folder="levy_attack.effort"` puts it beside others
of its study. What is no verb of its own (a cell of a table, a stage of a training) is a `parts.part` or `parts.stage`;
`runs=run.path / "runs"` keeps the pieces of a small study inside of it.
'''
