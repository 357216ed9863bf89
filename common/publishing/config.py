"""The flags of every verb that measures a project's tables; a project's config extends one of these.

@dataclasses.dataclass(frozen=True, kw_only=True)
class TablesConfig(StudyConfig):
    victims: tuple[str, ...] = config.field(("mlp",), "which networks are attacked")
"""

import dataclasses

from common import config as config_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class PageConfig:
    """How large, and whether the page is to show it."""

    scale: str = config_lib.field(
        "small",
        "small: about a minute, on embedded data; full: the settings behind the README",
        choices=("small", "full"),
    )
    publish: bool = config_lib.field(False, "put results and pictures into the project's results/; needs --scale=full")
    render_readme: bool = config_lib.field(False, "only write the published results into README.md")

    def __post_init__(self):
        if self.publish and self.scale != "full":
            raise ValueError(f"--publish with --scale={self.scale}: only --scale=full is published; add it")
        if self.publish and self.render_readme:
            raise ValueError("--render_readme measures nothing that --publish could publish: give one, then the other")


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyConfig(PageConfig):
    """The same of a study of several runs."""

    runs: str = config_lib.field(
        "runs", "folder of the runs: finished ones are taken from there, missing ones made there", identity=False
    )
    seeds: tuple[int, ...] = config_lib.field((0, 1, 2), "seeds of the study's runs", minimum=0)

    def __post_init__(self):
        super().__post_init__()
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"--seeds={','.join(map(str, self.seeds))}: expected at least one, each once")


def only_renders(settings: PageConfig) -> bool:
    """Returns whether a verb is to write its page and nothing else, anew every time: `transient` of `app.run`."""
    return settings.render_readme
