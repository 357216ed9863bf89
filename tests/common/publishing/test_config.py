"""The flags that verbs of tables share."""

import dataclasses

import pytest

from common import config, publishing


@dataclasses.dataclass(frozen=True, kw_only=True)
class TablesConfig(publishing.StudyConfig):
    victims: tuple[str, ...] = config.field(("mlp",), "which networks")


def parse(*flags: str) -> TablesConfig:
    return config.parse(["tables", *flags], TablesConfig)[0]


def test_a_project_adds_its_flags_to_those_of_all():
    settings = parse("--victims=a,b", "--scale=full", "--publish", "--seeds=3,1", "--runs=elsewhere")
    assert settings == TablesConfig(victims=("a", "b"), scale="full", publish=True, seeds=(3, 1), runs="elsewhere")
    assert list(config.fields(TablesConfig)) == ["scale", "publish", "render_readme", "runs", "seeds", "victims"]
    assert config.config_hash(parse("--runs=elsewhere")) == config.config_hash(parse()) != config.config_hash(settings)
    assert publishing.only_renders(parse("--render_readme")) and not publishing.only_renders(parse())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--publish"], "--publish with --scale=small"),
        (["--publish", "--scale=full", "--render_readme"], "give one, then the other"),
        (["--seeds="], "at least one"),
        (["--seeds=1,1"], "each once"),
        (["--seeds=-1"], "at least 0"),
    ],
)
def test_what_cannot_be_met_is_refused(flags, message):
    with pytest.raises(config.FlagError, match=message):
        parse(*flags)
