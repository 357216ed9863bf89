"""Explanations where the truth is known, as parts of the study: which noun a verb agrees with, where a digit sounds.

A piece is a run of `explain_text` or `explain_sound`, which trains a network of its own for each seed.
"""

from collections.abc import Mapping, Sequence

from common import app
from common.publishing.origin import Results
from common.study import pieces, statistics
from common.study.pieces import Piece
from projects.attribution import speech
from projects.attribution.explain_sound import ExplainSoundConfig
from projects.attribution.explain_text import ExplainTextConfig

PARTS = ("text", "sound")
SEEDS = (0, 1, 2)
SMALL_TEXT = {"width": 0.125, "blocks": 1, "sentences": 64, "epochs": 1, "count": 6, "tested": 8, "shown": 2}
SMALL_SOUND = {
    "width": 0.05, "epochs": 1, "batch_size": 5, "count": 6, "shown": 1, "compared": ("input_times_gradient", "random"),
}  # fmt: skip
LEVELS = ("trusted", "doubtful", "not usable")


def pieces_of(part: str, settings, run: app.Run) -> tuple[Piece, ...]:
    """Returns a run for each seed; with --scale=small one tiny network, in the run directory."""
    verb = f"attribution.explain_{part}"
    config, small = (ExplainTextConfig, SMALL_TEXT) if part == "text" else (ExplainSoundConfig, SMALL_SOUND)
    if settings.scale == "small":
        return (Piece("small", verb, config(**small), runs=str(run.path / "runs")),)
    more = {"compared": speech.METHODS} if part == "sound" else {}
    return pieces.for_seeds(Piece("study", verb, config(**more), runs=settings.runs), SEEDS)


def measure(part: str, settings, run: app.Run, page, stamp) -> dict[str, dict]:
    """Runs or takes the pieces of a part, writes its table, publishes; returns its result by name."""
    own = pieces_of(part, settings, run)
    gathered = pieces.gather(own, run, settings)
    finished = [piece for piece in own if piece in gathered]
    if gathered.is_partial or not finished:
        return {}
    combine = of_text if part == "text" else of_sound
    result = combine([gathered[piece].result for piece in finished])
    run.table(part, *table(result), TITLES[part])
    if settings.publish and run.is_main:
        picture = finished[0].path / "plots" / f"{PICTURES[part]}.png"
        page.write(part, result | {"provenance": gathered.provenance(stamp, *own)}, picture)
    return {part: result}


TITLES = {"text": "Relevance on the subject", "sound": "Relevance on the recording"}
CAPTIONS = {
    "text": "Generated sentences, each character on the colour of its relevance for the number of the verb",
    "sound": "Relevance by frame, above the frames that hold a recording",
}
PICTURES = {"text": "texts", "sound": "frames"}


def of_text(results: Sequence[Mapping]) -> dict:
    """Returns what the networks of several seeds say together."""
    names = results[0]["subject_share"]
    return {
        "part": "text", "networks": len(results), "chance": 0.5,
        "accuracy": [result["accuracy"]["attractors_1"] for result in results],
        "methods": {name: [result["subject_share"][name] for result in results] for name in names},
        **status(results),
    }  # fmt: skip


def of_sound(results: Sequence[Mapping]) -> dict:
    """Returns what the networks of several seeds say together; a method that one of them refuses is left out."""
    heard = [result["in_noise"] for result in results]
    refused = {name: why for one in heard for name, why in one["refused"].items()}
    names = [name for name in heard[0]["methods"] if name not in refused]
    return {
        "part": "sound", "networks": len(results), "chance": heard[0]["chance"],
        "accuracy": [one["accuracy"] for one in heard], "refused": refused,
        "methods": {name: [one["methods"][name] for one in heard] for name in names},
        **status(results),
    }  # fmt: skip


def status(results: Sequence[Mapping]) -> dict:
    """Returns the worst of the networks' statuses, with all reasons; {} where all are trusted."""
    own = [result["status"] for result in results if "status" in result]
    if not own:
        return {}
    level = max((one["level"] for one in own), key=LEVELS.index)
    return {"status": {"level": level, "reasons": [reason for one in own for reason in one["reasons"]]}}


def table(result: Mapping) -> tuple[list[str], list[list[str]]]:
    """Returns columns and rows, a method each, those that agree with the truth most first."""
    what = "subject" if result["part"] == "text" else "recording"
    columns = ["method", f"share on the {what}, mean of networks", "of each network", "than random"]
    rows = []
    for name, networks in sorted(result["methods"].items(), key=lambda item: -_mean(item[1])):
        random = result["methods"].get("random")
        beside = "" if random is None or name == "random" else _beside(networks, random)
        rows.append([name, _over(networks), "; ".join(map(_interval, networks)), beside])
    return columns, rows


def _mean(networks: Sequence[Mapping]) -> float:
    shares = [one["mean"] for one in networks if one["mean"] is not None]
    return sum(shares) / len(shares) if shares else -1.0


def _over(networks: Sequence[Mapping]) -> str:
    shares = [one["mean"] for one in networks]
    if None in shares:
        return "no relevance there"
    whole = statistics.over_seeds(shares)
    if whole.low is None or whole.high is None:
        return f"{whole.mean:.3f}"
    return f"{whole.mean:.3f} [{whole.low:.3f}, {whole.high:.3f}]"


def _interval(one: Mapping) -> str:
    if one["low"] is None:
        return "none" if one["mean"] is None else f"{one['mean']:.3f}"
    return f"{one['mean']:.3f} [{one['low']:.3f}, {one['high']:.3f}]"


def _beside(networks: Sequence[Mapping], random: Sequence[Mapping]) -> str:
    """ "more" or "less" where the intervals are apart in every network."""
    both = zip(networks, random, strict=True)
    pairs = [(one, other) for one, other in both if None not in (one["low"], other["low"])]
    if len(pairs) == len(networks) and all(one["low"] > other["high"] for one, other in pairs):
        return "more"
    if len(pairs) == len(networks) and all(one["high"] < other["low"] for one, other in pairs):
        return "less"
    return "not told apart in every network"


def sections(results: Results) -> list:
    """Returns what is measured, a table and what is not to be trusted, for each part."""
    parts: list = []
    for result in results.values():
        accuracy = ", ".join(f"{100 * one['share']:.1f} %" for one in result["accuracy"])
        right = "verbs behind one attractor" if result["part"] == "text" else "recordings in noise"
        parts += [
            f"{TITLES[result['part']]}: {result['networks']} networks, each trained from its own seed, {accuracy} of "
            f"the {right} right; by chance {result['chance']:.3f} would lie there. Intervals are 95 %: over sentences "
            "or recordings of each network, and over networks.",
            table(result),
            *(f"![{CAPTIONS[result['part']]}](results/{name})" for name in result.get("pictures", ())),
            *(f"Left out, {why}" for why in result.get("refused", {}).values()),
        ]
        if "status" in result:
            parts.append(f"**{result['status']['level']}**: {'; '.join(result['status']['reasons'])}")
    return parts
