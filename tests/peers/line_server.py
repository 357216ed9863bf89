"""The request loop that both peer servers share: one JSON object a line in, one a line out. Standard library only.

A request is {"command": name, ...arguments}; the answer {"ok": true, ...results} or {"ok": false, "error": sentence}.
"""

import json
import os
import sys
import time


def serve(commands: dict) -> None:
    """Answers requests until standard input closes; `commands` maps a name to a function that returns a dict."""
    # What a peer's compiled code prints must not land among the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        try:
            request = json.loads(line)
            name = request.pop("command")
            if name not in commands:
                raise ValueError(f"command {name!r}: expected one of {', '.join(sorted(commands))}")
            answer = {"ok": True, **commands[name](**request)}
        except Exception as error:  # the caller decides what a failure means
            answer = {"ok": False, "error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def timed(call, repeats: int):
    """Returns (the last result, a list of seconds a call took)."""
    seconds = []
    result = None
    for _ in range(repeats):
        start = time.perf_counter()
        result = call()
        seconds.append(time.perf_counter() - start)
    return result, seconds
