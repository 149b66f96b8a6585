"""The way on from a run: its config to read and copy, and the commands that use the run.

The idea: every command is complete, quoted for a POSIX shell, and names the run folder as the
report was asked for. `train again` repeats the overrides that the summary keeps; a run without
them is named by its task and seed, and the page says that the rest is in the config.
"""

import shlex

from seqloom.runs import next_limit
from seqloom.tracking.report.run_data import RunData
from seqloom.tracking.report.templating import Section, render


def next_commands(run: RunData) -> Section:
    """Evaluate, predict, resume, report, train again: each with a button that copies it."""
    folder = str(run.folder)
    overrides = run.summary.get("overrides")
    has_overrides = False
    if isinstance(overrides, list) and overrides:
        has_overrides = True
        # Its own folder is taken.
        again = [text for text in map(str, overrides) if not text.startswith("run_dir=")]
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
        (
            "Go on training where it stopped",
            ["python", "train.py", f"resume={folder}", *_next_limit(run)],
        ),
        ("Write this page anew", ["seqloom", "report", f"runs={folder}"]),
        ("Train again from the start", ["python", "train.py", *again]),
    ]
    values = {
        "commands": [(words, shlex.join(command)) for words, command in commands],
        "has_overrides": has_overrides,
    }
    return Section("Go on from here", render("commands.html", values), "commands")


def _next_limit(run: RunData) -> list[str]:
    """The setting without which a resume would train no further, where a limit ended training."""
    try:
        limit = next_limit(
            run.config["trainer"],
            steps=run.summary["steps"],
            epochs=run.summary["epochs"],
            seconds=run.summary["seconds"],
        )
    except (KeyError, TypeError):
        return []
    return [] if limit is None else [limit]


def configuration(run: RunData) -> Section:
    """The whole resolved config, folded, with a button that copies it."""
    values = {"text": run.config_text, "why_missing": run.why_missing()}
    return Section("Config", render("config.html", values), "config")
