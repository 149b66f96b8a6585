"""The way on from a run: its config to read and copy, and the commands that use the run.

The idea: every command is complete, quoted for a POSIX shell, and names the run folder as the
report was asked for. `train again` repeats the overrides that the summary keeps; a run without
them is named by its task and seed, and the page says that the rest is in the config.
"""

import shlex

from seqloom.tracking.report.run_data import RunData
from seqloom.tracking.report.templating import Section, render


def next_commands(run: RunData) -> Section:
    """Evaluate, predict, resume, report, train again: each with a button that copies it."""
    folder = str(run.folder)
    overrides = run.summary.get("overrides")
    if isinstance(overrides, list):
        again = [str(override) for override in overrides]
    else:
        seed = run.summary.get("seed", run.config.get("seed"))
        again = [f"task={run.task}"] if run.task else []
        again += [f"seed={seed}"] if seed is not None else []
    commands = [
        ("Score it again, or on other data", ["seqloom", "evaluate", f"run={folder}"]),
        (
            "Predict, a line in, a line out",
            ["seqloom", "predict", f"run={folder}", "input=-", "output=-"],
        ),
        ("Go on training where it stopped", ["python", "train.py", f"resume={folder}"]),
        ("Write this page anew", ["seqloom", "report", f"runs={folder}"]),
        ("Train again from the start", ["python", "train.py", *again]),
    ]
    values = {
        "commands": [(words, shlex.join(command)) for words, command in commands],
        "has_overrides": isinstance(overrides, list),
    }
    return Section("Go on from here", render("commands.html", values), "commands")


def configuration(run: RunData) -> Section:
    """The whole resolved config, folded, with a button that copies it."""
    values = {"text": run.config_text, "why_missing": run.why_missing()}
    return Section("Config", render("config.html", values), "config")
