"""Explains which noun a verb agrees with: a character transformer on generated English, its texts in colours.

Trains the network, which takes minutes, or opens that of an earlier run by `--checkpoint`; measures the accuracy of the
verb's number on new sentences with attractors, and how much of the relevance lies on the subject.
"""

import dataclasses
import pathlib

import numpy as np

from common import app, config, models, weight_files
from common.study import statistics
from projects.attribution import agreement, characters, pictures, text

RIGHT = 0.9  # a network that is right less often need not look at the subject
DRAWN = 3  # sentences in the picture
CHANCE = 0.5  # right verbs of one that knows nothing
SEEDS = ("training", "accuracy", "relevance")  # of the sentences: each has draws of its own


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """The transformer and the sentences that it has seen."""

    width: float = config.field(1.0, "factor on the 64 features of the transformer", exclusive_minimum=0.0)
    blocks: int = config.field(2, "of the transformer", minimum=1)
    sentences: int = config.field(24_000, "to train on", minimum=1)
    seed: int = config.field(0, "of sentences, initial weights, their order and random relevance", minimum=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExplainTextConfig(NetworkConfig):
    """One network, a few methods, many sentences."""

    checkpoint: str | None = config.field(
        None, "run directory of an earlier run, whose network is explained (none: one is trained)"
    )
    epochs: int = config.field(2, "passes over the sentences", minimum=1)
    batch_size: int = config.field(32, "sentences a step", minimum=1)
    learning_rate: float = config.field(3e-3, "the highest", exclusive_minimum=0.0)
    methods: tuple[str, ...] = config.field(
        characters.METHODS, "how relevance is computed and compared", choices=characters.METHODS
    )
    epsilon: float = config.field(
        characters.EPSILON,
        "stabiliser of attnlrp and cp_lrp: at 0.01 or more relevance that cancels does not drown the rest",
        exclusive_minimum=0.0,
    )
    count: int = config.field(200, "new sentences with one attractor, on which relevance is measured", minimum=2)
    tested: int = config.field(1000, "new sentences on which accuracy is measured, by number of attractors", minimum=1)
    shown: int = config.field(8, "sentences in the report, with up to two attractors", minimum=1)
    cmap: str = config.field("bwr", "colour map of the texts: a name or a text such as 00f,80:fff,f00")
    level: float = config.field(1.0, "contrast of the colours", exclusive_minimum=0.0)

    def __post_init__(self):
        pictures.check_colormap(self.cmap)
        if not self.methods:
            raise config.FlagError(f"--methods: expected some of {', '.join(characters.METHODS)}")


def main(settings: ExplainTextConfig, run: app.Run) -> dict:
    """Trains or opens a network, explains it, and returns what goes to `result.json`."""
    params, trained = network_of(settings, run)
    network = characters.functions(characters.create(trained.seed, trained.width, trained.blocks))
    seen = {sentence.text for sentence in training_sentences(trained)}
    accuracy = measure_accuracy(network, params, settings, seen)
    relevance = {
        name: measure_relevance(name, network, params, new_sentences(settings, seen, settings.count, 1), settings)
        for name in settings.methods
    }
    tell(run, accuracy, relevance, settings.count)
    show(run, settings, network, params, seen)
    return {
        "values": models.count(params), "accuracy": accuracy, "subject_share": relevance,
        **doubts(accuracy),
    }  # fmt: skip


def network_of(settings: ExplainTextConfig, run: app.Run) -> tuple[dict, NetworkConfig]:
    """Returns weights, and the flags of the network that they belong to."""
    if settings.checkpoint is not None:
        folder = pathlib.Path(settings.checkpoint)
        run.inputs(folder / "model.safetensors", folder / "flags.txt")
        trained = NetworkConfig(**config.read_flagfile(folder / "flags.txt", NetworkConfig))
        module = characters.create(trained.seed, trained.width, trained.blocks)
        models.from_tree(module, weight_files.load_tree(folder / "model.safetensors"))
        return models.to_tree(module), trained
    module = characters.create(settings.seed, settings.width, settings.blocks)
    params = characters.train(
        module, run, training_sentences(settings), epochs=settings.epochs, batch_size=settings.batch_size,
        learning_rate=settings.learning_rate, seed=settings.seed,
    )  # fmt: skip
    if run.is_main:
        weight_files.save_tree(run.path / "model.safetensors", params)
    return params, settings


def training_sentences(trained: NetworkConfig) -> list[agreement.Sentence]:
    """Returns the sentences that a network was trained on."""
    return agreement.sentences(trained.sentences, [trained.seed, SEEDS.index("training")])


def new_sentences(settings, seen: set[str], count: int, attractors: int, use: str = "relevance"):
    """Returns sentences that the network has not seen, all of whose other nouns are attractors; of no attractors those
    with one other noun, of the subject's number: there are not enough with none."""
    seed = [settings.seed, SEEDS.index(use), attractors]
    others = "opposite" if attractors else "same"
    return agreement.sentences(count, seed, between=attractors or 1, others=others, without=seen)


def measure_accuracy(network, params, settings: ExplainTextConfig, seen: set[str]) -> dict:
    """Returns by number of attractors the share of right verbs, with its 95 % interval."""
    result = {}
    for attractors in range(agreement.MOST_BETWEEN + 1):
        tested = new_sentences(settings, seen, settings.tested, attractors, "accuracy")
        right = characters.right_endings(network, params, tested)
        low, high = statistics.share_interval(int(right.sum()), len(right))
        result[f"attractors_{attractors}"] = {"share": float(right.mean()), "low": low, "high": high}
    return result


def measure_relevance(name: str, network, params, sentences, settings: ExplainTextConfig) -> dict:
    """Returns the mean share of the subject, its interval, and what of the differences the relevance adds up to."""
    difference, relevance = characters.explain(name, network, params, sentences, settings.seed, settings.epsilon)
    if not np.isfinite(relevance).all():
        raise ValueError(f"--methods={name}: relevance is not finite; the network's weights are not")
    difference = np.where(difference == 0, np.inf, difference.astype(np.float64))
    ratio = relevance.sum(1, dtype=np.float64) / difference
    mass = np.abs(relevance).sum(1, dtype=np.float64) / np.abs(difference)
    net = characters.summary(characters.subject_shares(relevance, sentences, net=True))
    return characters.summary(characters.subject_shares(relevance, sentences)) | {
        "net": {bound: net[bound] for bound in ("mean", "low", "high")},
        "median_sum_over_difference": float(np.median(ratio)),
        "median_mass_over_difference": float(np.median(mass)),
    }


def tell(run: app.Run, accuracy: dict, relevance: dict, count: int) -> None:
    """Leaves the two tables of the report."""
    columns = ["attractors", "right verbs", "from", "to"]
    rows = [[name.removeprefix("attractors_"), *row.values()] for name, row in accuracy.items()]
    run.table("accuracy", columns, rows, "Right number of the verb, on new sentences", "95 % intervals.")
    columns = ["method", "on the subject", "from", "to", "net", "from", "to", "sum", "mass"]
    bounds = ("mean", "low", "high")
    rows = [
        [
            name,
            *(part[bound] for part in (row, row["net"]) for bound in bounds),
            *(row[f"median_{kind}_over_difference"] for kind in ("sum", "mass")),
        ]
        for name, row in relevance.items()
    ]
    note = (
        f"Mean over {count} new sentences with one attractor, and its 95 % interval: relevance in absolute values on "
        "the characters of the subject, of that on subject and attractor; all of it would be right. Net: added up over "
        "each noun before absolute values are taken. Sum, mass: of the relevance of all characters, and of its "
        "absolute values, over the difference of the logits, medians; a mass of many times the sum cancels, and says "
        "little."
    )
    run.table("relevance", columns, rows, "Relevance on the subject", note)


def show(run: app.Run, settings: ExplainTextConfig, network, params, seen: set[str]) -> None:
    """Leaves the coloured texts of the report."""
    each = -(-settings.shown // agreement.MOST_BETWEEN)
    shown = [
        sentence
        for attractors in range(1, agreement.MOST_BETWEEN + 1)
        for sentence in new_sentences(settings, seen, each, attractors)
    ][: settings.shown]
    tables, maps = {}, {}
    for name in settings.methods:
        difference, relevance = characters.explain(name, network, params, shown, settings.seed, settings.epsilon)
        maps[name] = relevance
        tables[name] = text.table(shown, relevance, difference, settings.cmap, settings.level)
    note = (
        "Relevance of each character for the logit of the singular's ending minus that of the plural's, behind the "
        "stem of the verb. Each text has its own scale."
    )
    pictures.draw_texts(run, shown[:DRAWN], maps, settings.cmap, settings.level)
    run.part("texts", text.page(tables, settings.cmap, settings.level), "What the verb hangs on", note)


def doubts(accuracy: dict) -> dict:
    """Returns a status for the result where the network is often wrong: then it need not look at the subject.

    One that may be at chance where a noun of the other number stands between cannot be explained at all.
    """
    share = min(row["share"] for row in accuracy.values())
    at_chance = [name for name, row in accuracy.items() if row["low"] <= CHANCE and name != "attractors_0"]
    if share >= RIGHT and not at_chance:
        return {}
    reason = f"{100 * share:.1f} % of the verbs are right, below {100 * RIGHT:.0f} %: it need not look at the subject"
    if at_chance:
        row = accuracy[at_chance[0]]
        reason = (
            f"{100 * row['share']:.1f} % of the verbs behind {at_chance[0].removeprefix('attractors_')} attractor(s) "
            f"are right, with 95 % from {100 * row['low']:.1f} % on, half by chance: there is nothing to explain"
        )
    level = "not usable" if at_chance else "doubtful"
    return {"status": {"level": level, "reasons": [f"{reason}; train more --sentences or --epochs"]}}


if __name__ == "__main__":
    app.run(main, ExplainTextConfig)
