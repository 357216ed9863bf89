"""A verb that takes no time: for tests of sweeps and tables. `python -m tests.launch.light`."""

import dataclasses
import time

from common import app, config, files


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """The flags of the light verb."""

    a: int = config.field(0, "a number", minimum=0)
    b: str = config.field("x", "a text")
    source: str | None = config.field(None, "a file that must exist")
    output: str | None = config.field(None, "a file to write")
    sleep: float = config.field(
        0.0, "seconds to sleep, where nobody looks out for SIGTERM", minimum=0.0, identity=False
    )
    code: int = config.field(0, "exit with this code at once", minimum=0, identity=False)


def main(config: Config, run: app.Run) -> dict:
    """Returns what it was given, in numbers."""
    time.sleep(config.sleep)
    if config.code:
        raise SystemExit(config.code)
    if config.source:
        run.inputs(config.source)
    if config.output:
        files.write_atomically(config.output, config.b)
        run.outputs(config.output)
    return {"square": config.a**2, "third": config.a / 3, "b": config.b, "letters": len(config.b), "same": 7,
            "output": config.output}  # fmt: skip


if __name__ == "__main__":
    app.run(main, Config)
