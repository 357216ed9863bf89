"""A dataclass as flags: what is accepted, what is refused in which words, and that a flagfile repeats it exactly."""

import dataclasses
import math

import hypothesis
import pytest
from absl import flags
from hypothesis import strategies as st

from common import config


@dataclasses.dataclass(frozen=True)
class Config:
    """One field of every kind."""

    checkpoint: str = config.field(config.REQUIRED, "weights to compress")
    epochs: int = config.field(10, "passes", minimum=1, maximum=1000)
    rate: float | None = config.field(None, "learning rate", exclusive_minimum=0)
    scale: float = config.field(1.0, "factor")
    sizes: tuple[int, ...] = config.field((1, 2), "sizes", minimum=1)
    pair: tuple[float, float] = config.field((0.5, 1.0), "two numbers")
    names: tuple[str, ...] = config.field((), "names")
    mode: str = config.field("fast", "mode", choices=("fast", "exact"))
    dark: bool = config.field(False, "dark or not")
    jobs: int = config.field(1, "threads", minimum=1, identity=False)
    even: int = config.field(2, "even", check=lambda value: None if value % 2 == 0 else "an even number")


def parse(*arguments: str) -> Config:
    return config.parse(["program", "--checkpoint=x", *arguments], Config)[0]


def test_values_have_their_types():
    actual = parse(
        "--epochs=3", "--rate", "1", "--sizes=4, 5", "--names=a,b", "--mode=exact", "--dark", "--pair=1,2e-3"
    )
    assert actual == Config(
        checkpoint="x", epochs=3, rate=1.0, sizes=(4, 5), names=("a", "b"), mode="exact", dark=True, pair=(1.0, 0.002)
    )
    assert type(actual.rate) is float and type(actual.pair[0]) is float
    assert parse("--dark", "--nodark").dark is False
    assert parse("--rate=1", "--rate=none").rate is None
    assert parse("--sizes=").sizes == ()


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--epochs=0", "flag --epochs=0: expected an integer of at least 1 and at most 1000"),
        ("--epochs=1.5", "flag --epochs=1.5: expected an integer of at least 1 and at most 1000"),
        ("--epochs=", "flag --epochs=: expected an integer of at least 1 and at most 1000"),
        ("--rate=0", "flag --rate=0: expected a number of more than 0, or none"),
        ("--scale=nan", "flag --scale=nan: expected a number"),
        ("--scale=none", "flag --scale=none: expected a number"),
        ("--sizes=3,x", "flag --sizes=3,x: expected any number of integers, separated by commas, each at least 1"),
        ("--sizes=3,0", "flag --sizes=3,0: expected any number of integers, separated by commas, each at least 1"),
        ("--pair=1", "flag --pair=1: expected 2 numbers, separated by commas"),
        ("--mode=slow", "flag --mode=slow: expected one of fast, exact"),
        ("--dark=maybe", "flag --dark=maybe: expected true or false"),
        ("--even=3", "flag --even=3: expected an even number"),
        ("--epoch=3", "Unknown command line flag 'epoch'. Did you mean: epochs ? (see --help)"),
        ("stray", "unexpected argument 'stray': flags are written --name=value (see --help)"),
        ("--flagfile=nowhere", "Unable to open flagfile: [Errno 2] No such file or directory: 'nowhere'"),
    ],
)
def test_refusal_is_one_line_that_names_value_and_remedy(argument, message):
    with pytest.raises(config.FlagError) as caught:
        parse(argument)
    assert str(caught.value) == message


def test_required_flag():
    with pytest.raises(config.FlagError, match="flag --checkpoint is required: weights to compress"):
        config.parse(["program"], Config)


def test_flags_of_absl_and_jax_stay_out():
    with pytest.raises(config.FlagError, match="Unknown command line flag 'logtostderr'"):
        parse("--logtostderr")
    assert "epochs" not in flags.FLAGS


def test_flagfile_and_later_flags_win(tmp_path):
    inner, outer = tmp_path / "inner.flags", tmp_path / "outer.flags"
    inner.write_text("# costs a minute\n--epochs=3\n--scale=2\n")
    outer.write_text(f"--flagfile={inner}\n--scale=3\n")
    actual = parse(f"--flagfile={outer}", "--epochs=5")
    assert (actual.epochs, actual.scale) == (5, 3.0)


one_line = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=8).map(str.strip)
word = one_line.filter(lambda text: text and "," not in text)


@hypothesis.given(
    checkpoint=one_line,
    rate=st.none() | st.floats(min_value=1e-300),
    scale=st.floats(allow_nan=False),
    sizes=st.lists(st.integers(1, 2**70)).map(tuple),
    names=st.lists(word).map(tuple),
    dark=st.booleans(),
    jobs=st.integers(1, 9),
)
def test_flagfile_repeats_a_config_exactly(tmp_path_factory, **values):
    original = Config(**values)
    path = tmp_path_factory.mktemp("flags") / "flags.txt"
    path.write_text(config.flags_text(original, "python -m projects.x.y"), encoding="utf-8")
    (repeated,) = config.parse(["program", f"--flagfile={path}"], Config)
    assert repeated == original
    assert config.config_hash(repeated) == config.config_hash(original)


def test_text_that_a_flagfile_could_not_repeat_is_refused():
    for text in (" x", "x ", "a\nb"):
        with pytest.raises(config.FlagError, match="in one line"):
            config.validate(Config(checkpoint=text))
    with pytest.raises(config.FlagError, match="no comma"):
        config.validate(Config(checkpoint="x", names=("a,b",)))


def test_hash_is_stable_and_about_what_is_computed():
    base = Config(checkpoint="x")
    # Written down once: run directories of earlier days are found again.
    assert config.config_hash(base) == "6a74fba753"
    assert config.config_hash(dataclasses.replace(base, jobs=7)) == config.config_hash(base)
    assert config.config_hash(dataclasses.replace(base, scale=1)) == config.config_hash(base)
    assert config.config_hash(dataclasses.replace(base, scale=2)) != config.config_hash(base)


def test_values_from_python_are_checked_too():
    assert config.validate(Config(checkpoint="x", rate=1)).rate == 1.0
    with pytest.raises(config.FlagError, match="flag --epochs=0: expected an integer of at least 1"):
        config.validate(Config(checkpoint="x", epochs=0))
    with pytest.raises(config.FlagError, match="--epochs=True"):
        config.validate(Config(checkpoint="x", epochs=True))
    with pytest.raises(config.FlagError, match="--scale=nan"):
        config.validate(Config(checkpoint="x", scale=math.nan))


def test_combination_refused_by_the_config_itself():
    @dataclasses.dataclass(frozen=True)
    class Pair:
        step: float | None = config.field(None, "step")
        qp: int | None = config.field(None, "qp")

        def __post_init__(self):
            if self.step is not None and self.qp is not None:
                raise ValueError("give --step or --qp, not both")

    with pytest.raises(config.FlagError, match="give --step or --qp, not both"):
        config.parse(["program", "--step=1", "--qp=2"], Pair)


def test_mistakes_of_the_author_are_told():
    @dataclasses.dataclass(frozen=True)
    class Missing:
        rate: float = config.field(None, "rate")

    @dataclasses.dataclass(frozen=True)
    class Strange:
        table: dict = config.field({}.__class__, "table")

    with pytest.raises(TypeError, match="make its type Optional"):
        config.define_flags(Missing, flags.FlagValues())
    with pytest.raises(TypeError, match="'table' has type"):
        config.define_flags(Strange, flags.FlagValues())


def test_help_names_every_flag_with_default_and_bounds():
    text = config.help_text(Config)
    assert "--checkpoint\n      weights to compress (a text; required)" in text
    assert "passes (an integer of at least 1 and at most 1000; default: 10)" in text
    assert "--[no]dark\n      dark or not (default: false)" in text
    assert "threads (an integer of at least 1; default: 1; a run may go on with another)" in text
    assert all(item.name in text for item in dataclasses.fields(Config))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Renamed:
    """A flag with a name of before, and one that is new."""

    model: str = config.field("mlp", "network", formerly="victim")
    width: float = config.field(1, "factor")


def test_a_former_name_is_taken_and_the_present_one_written():
    for argument in ("--victim=cnn", "--model=cnn"):
        assert config.parse(["program", argument], Renamed)[0] == Renamed(model="cnn")
    assert "victim" not in config.flags_text(Renamed())
    assert config.current_texts(Renamed, {"victim": "cnn", "gone": "3"}) == {
        "model": "cnn",
        "width": "1.0",
        "gone": "3",
    }


def test_a_flagfile_of_another_config_says_what_it_sets(tmp_path):
    path = tmp_path / "flags.txt"
    path.write_text("# a comment\n--victim=cnn\n--levels=3\n--flip=true\n")
    assert config.read_flagfile(path, Renamed) == {"model": "cnn"}
    path.write_text("--width=wide\n")
    with pytest.raises(config.FlagError, match=r"flags.txt: flag --width=wide: expected a number"):
        config.read_flagfile(path, Renamed)


def test_a_config_of_keywords_names_what_it_does_not_know():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Steps:
        steps: int = config.field(3, "of training", minimum=1)

    assert config.from_keywords(Steps, "train", steps=5) == Steps(steps=5)
    with pytest.raises(config.FlagError, match="stepz=5 is no flag of train; did you mean steps"):
        config.from_keywords(Steps, "train", stepz=5)
    with pytest.raises(config.FlagError, match="xy=1 is no flag of train; `--help` of train lists them"):
        config.from_keywords(Steps, "train", xy=1)
    with pytest.raises(config.FlagError, match="--steps=0"):
        config.from_keywords(Steps, "train", steps=0)


def test_what_a_flag_names_is_imported():
    assert config.imported("energy", "math:sqrt")(4) == 2
    for name in ("math:no_such_name", "no_such_module:f", "math"):
        with pytest.raises(config.FlagError, match=f"--energy={name}: expected MODULE:FUNCTION"):
            config.imported("energy", name)
