"""The console script: `seqloom COMMAND key=value ...`, the same as `python -m seqloom`.

Every command is a line of `COMMANDS`: what it does, the keys it takes with their types and
defaults, and the function behind it, which is imported only when it is called. So help and mistakes
answer without torch. Refuses unknown commands and keys, naming the nearest right one.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import seqloom
from seqloom.entry import guarded, train
from seqloom.errors import ConfigError


@dataclass(frozen=True)
class Key:
    """A `key=value` that a command takes.

    Attributes:
        kind: what the value becomes.
        argument: what the function calls it.
        default: what it is when left out.
        without: what happens when it is left out and has no default; None: it must be given.
    """

    kind: Callable[[str], object]
    help: str
    argument: str
    default: object = None
    without: str | None = None

    @property
    def is_required(self) -> bool:
        return self.default is None and self.without is None


@dataclass(frozen=True)
class Command:
    """A command.

    Attributes:
        function: `module:name`, called with the keys as keyword arguments.
        groups: config groups of which settings are handed on as `overrides`; empty: none are.
    """

    help: str
    function: str
    keys: dict[str, Key] = field(default_factory=dict)
    groups: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()


def boolean(text: str) -> bool:
    """`true` or `false`."""
    return {"true": True, "false": False}[text.lower()]


def count(text: str) -> int:
    """A positive number."""
    if int(text) < 1:
        raise ValueError(text)
    return int(text)


def positive(text: str) -> float:
    """A number above 0 and not endless."""
    if not 0 < float(text) < float("inf"):
        raise ValueError(text)
    return float(text)


def power(text: str) -> float:
    """A number from 0 on and not endless."""
    if not 0 <= float(text) < float("inf"):
        raise ValueError(text)
    return float(text)


def table(text: str) -> str:
    """How runs are compared."""
    return {name: name for name in ("html", "markdown", "csv", "json", "latex")}[text]


def port(text: str) -> int:
    """The number of a port; 0 stands for a free one."""
    if not 0 <= int(text) <= 65535:
        raise ValueError(text)
    return int(text)


def form(text: str) -> str:
    """How answers are written."""
    return {"lines": "lines", "jsonl": "jsonl"}[text]


def on_error(text: str) -> str:
    """What a bad clip does."""
    return {"raise": "raise", "skip": "skip"}[text]


TYPES: dict[Callable[[str], object], str] = {
    Path: "a path",
    str: "text",
    boolean: "true or false",
    count: "a number from 1 on",
    positive: "a number above 0",
    power: "a number from 0 on",
    table: "html, markdown, csv, json or latex",
    port: "a number from 0 to 65535",
    form: "lines or jsonl",
    on_error: "raise or skip",
}
RUN = Key(Path, "folder of a run (outputs/TASK/DATE_TIME)", "run")

COMMANDS: dict[str, Command] = {
    "evaluate": Command(
        "score a run on its test split, or on other data",
        "seqloom.commands.evaluate:evaluate",
        {"run": RUN},
        groups=("data", "batching", "decoding", "precision", "trainer", "cell"),
        examples=("run=DIR decoding.beam_size=10", "run=DIR data=parallel_text data.root=DIR"),
    ),
    "predict": Command(
        "lines or clips in, answers out: translations, continuations, classes",
        "seqloom.commands.predict:predict",
        {
            "run": RUN,
            "input": Key(
                str,
                "a text file, a clip, a folder or 'pattern' of clips, - stdin",
                "input_path",
                "-",
            ),
            "output": Key(str, "a file, or - for standard output", "output_path", "-"),
            "n_best": Key(count, "outputs for each line", "num_best", 1),
            "suggest": Key(boolean, "next words with their probabilities", "suggest", False),
            "scores": Key(boolean, "write the score before each output", "with_scores", False),
            "timeline": Key(boolean, "classes of a clip while it plays", "timeline", False),
            "every_s": Key(positive, "seconds of a timeline", "every_s", without="1"),
            "fps": Key(
                positive, "frames a second of a timeline", "fps", without="as trained, or all"
            ),
            "format": Key(form, "of clips: lines, or an object each (jsonl)", "form", "lines"),
            "on_error": Key(on_error, "a bad clip: raise or skip", "on_error", "raise"),
        },
        groups=("decoding", "precision", "trainer", "cell"),
        examples=(
            "run=DIR",
            "run=DIR input=text.en output=text.de decoding=greedy",
            "run=DIR suggest=true n_best=5 scores=true",
            "run=DIR input=clips/ output=classes.tsv scores=true on_error=skip",
            "run=DIR input=long.mp4 timeline=true every_s=0.5 format=jsonl",
        ),
    ),
    "report": Command(
        "the page of a run, or the comparison of many as a page or a table",
        "seqloom.commands.report:report",
        {
            "runs": Key(str, "folders or 'patterns' of runs, by commas", "runs"),
            "format": Key(table, "html, markdown, csv, json or latex", "form", "html"),
            "output": Key(
                str, "a file, or - for standard output", "output", without="beside the runs, or -"
            ),
            "metric": Key(str, "what judges, such as test/bleu", "metric", without="the usual one"),
            "group_by": Key(
                str, "settings of a group, by commas", "group_by", without="all that differ"
            ),
            "pages": Key(boolean, "write the page of every run anew too", "pages", False),
            "watts": Key(
                power, "of a run, to estimate energy; 0: none", "watts", without="by its machine"
            ),
        },
        examples=(
            "runs=DIR",
            "runs=outputs/sweeps/translation/DATE_TIME metric=test/chrf group_by=cell",
            "runs='outputs/sweeps/*/*' format=latex output=table.tex",
        ),
    ),
    "reproduce": Command(
        "train a run again from what its folder holds, and compare the two bit for bit",
        "seqloom.commands.reproduce:reproduce",
        {
            "run": RUN,
            "output": Key(Path, "folder to train it in", "output", without="beside the run"),
            "cell.file": Key(str, "the file of your own cell", "cell_file", without="none"),
        },
        examples=("run=DIR", "run=DIR output=DIR2"),
    ),
    "sync": Command(
        "Weights & Biases: rebuild offline runs from their folders, and upload them",
        "seqloom.commands.sync:sync",
        {
            "runs": Key(Path, "folder of a run, or of many", "runs"),
            "rebuild": Key(boolean, "write every offline run anew", "rebuild", False),
            "upload": Key(boolean, "upload, where an account is configured", "upload", True),
        },
        examples=("runs=outputs", "runs=DIR rebuild=true upload=false"),
    ),
    "watch": Command(
        "follow runs while they work, in the terminal and on a page",
        "seqloom.commands.watch:watch",
        {
            "runs": Key(Path, "folder of a sweep, of a run, or of many", "runs"),
            "port": Key(port, "of the page; 0: a free one", "port", 8100),
            "terminal": Key(boolean, "show the table here", "terminal", True),
            "page": Key(boolean, "serve the page, to this machine only", "page", True),
            "every_s": Key(positive, "seconds between two looks", "every_s", 1.0),
            "until_done": Key(boolean, "end when nothing runs any more", "until_done", False),
        },
        examples=("runs=outputs/sweeps/translation/DATE_TIME", "runs=outputs page=false"),
    ),
    "tasks": Command("every task with its data sets", "seqloom.commands.tasks:tasks"),
    "doctor": Command("what this machine can do", "seqloom.commands.doctor:doctor"),
}


def main(arguments: list[str] | None = None) -> int:
    """Runs a command line (without the program's name); returns the exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    if not words or words[0] in ("--help", "-h", "help"):
        sys.stdout.write(_overview())
        return 0
    if words[0] == "--version":
        sys.stdout.write(f"seqloom {seqloom.__version__}\n")
        return 0
    if words[0] == "train":
        return train(words[1:])
    return guarded(lambda: _run(words[0], words[1:]))


def _run(name: str, words: list[str]) -> object:
    from seqloom.config.overrides import did_you_mean

    if name not in COMMANDS:
        mend = did_you_mean(name, [*COMMANDS, "train"], prefix="seqloom ")
        raise ConfigError(name, "there is no such command", mend)
    command = COMMANDS[name]
    if "--help" in words or "-h" in words:
        sys.stdout.write(_help(name, command))
        return 0
    values = _parse(name, command, words)
    module, _, function = command.function.partition(":")
    return getattr(importlib.import_module(module), function)(**values)


def _parse(name: str, command: Command, words: list[str]) -> dict[str, Any]:
    from seqloom.config.overrides import did_you_mean

    values: dict[str, Any] = {}
    overrides: list[str] = []
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or key.startswith("-"):
            raise ConfigError(word, "is not a setting", f"see seqloom {name} --help")
        if key in command.keys:
            values[command.keys[key].argument] = _convert(word, command.keys[key], text)
        elif key.partition(".")[0] in command.groups:
            overrides.append(word)
        else:
            mend = did_you_mean(key, [*command.keys, *command.groups], suffix=f"={text}")
            raise ConfigError(word, f"seqloom {name} has no such key", mend)
    for key, about in command.keys.items():
        if about.argument not in values and about.is_required:
            raise ConfigError(key, f"seqloom {name} needs it", f"write {key}=... ({about.help})")
        values.setdefault(about.argument, about.default)
    if command.groups:
        values["overrides"] = overrides
    return values


def _convert(word: str, key: Key, text: str) -> object:
    try:
        return key.kind(text)
    except (ValueError, KeyError):
        raise ConfigError(word, "does not fit", f"write {TYPES[key.kind]}") from None


def _overview() -> str:
    lines = ["Seqloom trains recurrent sequence models, and uses them.", "", "Commands:"]
    lines.append(f"  {'seqloom train':<20}train a model (the same as python train.py)")
    lines += [f"  {f'seqloom {name}':<20}{command.help}" for name, command in COMMANDS.items()]
    lines += ["", "Each has --help. Start with: seqloom train task=translation", ""]
    return "\n".join(lines)


def _help(name: str, command: Command) -> str:
    lines = [f"seqloom {name}: {command.help}", ""]
    for key, about in command.keys.items():
        default = f"default {about.without or about.default}".lower()
        default = "required" if about.is_required else default
        lines.append(f"  {key + '=':<14}{about.help} ({default})")
    if command.groups:
        lines.append(f"  {'GROUP.KEY=':<14}settings of {', '.join(command.groups)}")
    if command.examples:
        lines += ["", *(f"    seqloom {name} {example}" for example in command.examples)]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.exit(main())
