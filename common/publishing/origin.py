"""Where published numbers come from: the sentence below a table, and the refusal to publish from a changed tree.

A commit says what ran only if the working tree holds nothing else: files that are changed, or new and not ignored, are
named. A project's results folder is left out, since publishing itself writes there.
"""

import pathlib
import subprocess
from collections.abc import Mapping

from common.runs import provenance

Results = Mapping[str, Mapping]  # stem -> content of results/STEM.json
DIGITS = 10  # of a commit
NAMED = 8  # files that a refusal names


class ChangedTreeError(ValueError):
    """What would be published is not what a commit holds."""


def changed_files(results: pathlib.Path, root: pathlib.Path = provenance.ROOT) -> list[str] | None:
    """Returns the files of the working tree that HEAD does not hold as they are; None outside a checkout.

    Args:
      results: folder that does not count.
      root: of the checkout.
    """
    command = [
        "git",
        "-C",
        str(root),
        "status",
        "--porcelain",
        "-z",
        "--no-renames",
        "--untracked-files=all",
        "--",
        ".",
    ]
    if results.resolve().is_relative_to(root.resolve()):
        command.append(f":(exclude){results.resolve().relative_to(root.resolve()).as_posix()}")
    try:
        status = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    return [line[3:] for line in status.stdout.split("\0") if line] if status.returncode == 0 else None


def require_clean_tree(results: pathlib.Path, root: pathlib.Path = provenance.ROOT) -> None:
    """Checks that HEAD holds everything but a results folder.

    Raises:
      ChangedTreeError: names the files that differ.
    """
    names = changed_files(results, root)
    if names is None:
        raise ChangedTreeError(f"{root} is no git checkout: a published result names the commit that it comes from")
    if names:
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        raise ChangedTreeError(
            f"the working tree is not its commit: {', '.join(names[:NAMED])}{more}. A published result names the "
            "commit that it comes from: commit or remove these first, then measure and publish"
        )


def is_changed(record: Mapping) -> bool | None:
    """Returns whether a result or benchmark was measured from a changed tree; None where that was not recorded."""
    return record.get("provenance", record).get("dirty")


def measured_on(results: Results, *, show_commits: bool = True) -> str:
    """Returns "Measured on DEVICE, DAY, commit 0123456789." of published results, each device and day once."""
    sources: dict[str, dict[str, None]] = {}
    for result in results.values():
        stamp = result["provenance"]
        commits = stamp.get("piece_commits") or [str(stamp.get("commit"))]
        source = sources.setdefault(f"{stamp['device']}, {stamp['date'][:10]}", {})
        source.update({commit[:DIGITS]: None for commit in commits})
    texts = []
    for device, names in sources.items():
        noun = "commit" if len(names) == 1 else "commits"
        texts.append(f"{device}, {noun} {', '.join(names)}" if show_commits else device)
    return f"Measured on {'; '.join(texts)}."


def changed_note(records: Results) -> str:
    """Returns which results or benchmarks were measured from a changed tree, "" for none."""
    changed = [f"`{name}`" for name, record in records.items() if is_changed(record)]
    unrecorded = [f"`{name}`" for name, record in records.items() if is_changed(record) is None]
    sentences = []
    if changed:
        sentences.append(
            f"Measured from a changed tree, so that the commit alone does not say what ran: {', '.join(changed)}."
        )
    if unrecorded:
        sentences.append(f"Whether the tree was changed is not recorded: {', '.join(unrecorded)}.")
    return " ".join(sentences)


def missing_note(results: Results) -> str:
    """Returns which pieces of published results had not finished, "" for none."""
    keys_of = {name: result["provenance"].get("missing") for name, result in results.items()}
    texts = [f"of `{name}` {', '.join(f'`{key}`' for key in keys)}" for name, keys in keys_of.items() if keys]
    return f"Not measured, and not in the numbers: {'; '.join(texts)}." if texts else ""


def changed_mark(results: Results) -> str:
    """Returns the same in the few words that fit into a cell, " (measured from a changed tree)"."""
    marks = {}
    for state, words in ((True, "measured from a changed tree"), (None, "tree not recorded")):
        names = [name for name, result in results.items() if is_changed(result) is state]
        if names:
            marks[words] = "" if len(names) == len(results) else f": {', '.join(names)}"
    return f" ({'; '.join(words + names for words, names in marks.items())})" if marks else ""
