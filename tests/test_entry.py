"""The command line as a user meets it: help, mistakes, exit codes; all of it without torch."""

import io
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from seqloom import __main__ as console
from seqloom import entry
from seqloom.config.overrides import compose_config
from seqloom.config.runs import plain
from seqloom.errors import ConfigError, DataError

ROOT = Path(__file__).resolve().parents[1]
PROBE = """
import sys
from seqloom.{module} import {function}
sys.argv = ["{program}", *sys.argv[1:]]
code = {function}(sys.argv[1:])
loaded = {{"torch", "lightning", "wandb"}} & set(sys.modules)
sys.exit(f"imported {{loaded}}" if loaded else code)
"""


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A program in a process of its own, which fails when it imports something heavy."""
    module, function = ("entry", "train") if program == "train.py" else ("__main__", "main")
    code = PROBE.format(module=module, function=function, program=program)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


def fails(capsys: pytest.CaptureFixture[str], code: int) -> str:
    """The one line on stderr of a call that answered `code`."""
    assert code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("error: ")
    return line


def test_the_script_answers_without_torch() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", str(ROOT / "train.py"), "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    assert "task=translation" in done.stdout
    modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "seqloom.entry" in modules
    assert not modules & {"torch", "lightning", "numpy"}


@pytest.mark.parametrize(
    ("program", "arguments", "code", "words"),
    [
        ("train.py", ["--help"], 0, "attention    bahdanau, concat"),
        ("train.py", ["--version"], 0, "seqloom 0."),
        ("train.py", ["task=translation", "--cfg", "job", "seed=41"], 0, "seed: 41"),
        ("train.py", ["task=translation", "trainer.max_epoch=3"], 2, "trainer.max_epochs=3"),
        ("train.py", ["task=tranlation"], 2, "task=translation"),
        ("train.py", ["-m", "task=translation", "cell=lstm,gur"], 2, "cell=gru"),
        ("seqloom", ["train", "task=tranlation"], 2, "task=translation"),
        ("seqloom", ["predict", "--help"], 0, "input="),
        ("seqloom", ["predct"], 2, "seqloom predict"),
        ("seqloom", ["tasks"], 0, "task=translation"),
    ],
)
def test_answers_come_without_torch(
    program: str, arguments: Sequence[str], code: int, words: str
) -> None:
    done = run(program, *arguments)
    assert done.returncode == code, done.stderr
    assert words in (done.stderr if code else done.stdout)
    assert len(done.stderr.splitlines()) == (1 if code else 0)


def test_help_lists_every_group_and_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.train(["--help"]) == 0
    text = capsys.readouterr().out
    for file in (ROOT / "conf").glob("*/*.yaml"):
        assert file.stem in text
        assert file.parent.name in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["task=translation", "--mutirun"], "--multirun"),
        (["task=translation", "foo"], "write key=value"),
        (["task=translation", "seed=abc"], "Integer"),
        ([], "write task=NAME, one of adding"),
        (["resume=/no/such/run"], "there is no such folder"),
        (["-m", "task=translation", "seed=1,x"], "seed=x"),
    ],
)
def test_a_wrong_training_call_is_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert words in fails(capsys, entry.train(arguments))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["evalute"], "seqloom evaluate"),
        (["predict"], "write run="),
        (["predict", "run=x", "n_bst=3"], "n_best=3"),
        (["predict", "run=x", "n_best=0"], "a number from 1 on"),
        (["predict", "run=x", "scores=maybe"], "true or false"),
        (["predict", "run=x", "--fast"], "predict --help"),
        (["evaluate", "run=x", "model.dropout=1"], "has no such key"),
        (["tasks", "x=1"], "has no such key"),
    ],
)
def test_a_wrong_command_is_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert words in fails(capsys, console.main(arguments))


@pytest.mark.parametrize("name", console.COMMANDS)
def test_every_command_has_help_and_takes_its_keys(
    capsys: pytest.CaptureFixture[str], name: str
) -> None:
    import importlib
    import inspect

    assert console.main([name, "--help"]) == 0
    assert f"seqloom {name}" in capsys.readouterr().out
    command = console.COMMANDS[name]
    module, _, function = command.function.partition(":")
    signature = inspect.signature(getattr(importlib.import_module(module), function))
    arguments = {key.argument: None for key in command.keys.values()}
    signature.bind(**arguments, **({"overrides": None} if command.groups else {}))


def test_keys_arrive_with_their_types(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, object] = {}

    class Module:
        @staticmethod
        def predict(
            run: Path,
            *,
            input_path: str,
            output_path: str,
            num_best: int,
            with_scores: bool,
            suggest: bool,
            timeline: bool,
            every_s: float | None,
            fps: float | None,
            form: str,
            on_error: str,
            overrides: list[str],
        ) -> None:
            seen.update(run=run, input=input_path, output=output_path, num_best=num_best)
            seen.update(with_scores=with_scores, suggest=suggest, overrides=overrides)

    monkeypatch.setattr(console.importlib, "import_module", lambda name: Module)
    words = ["run=a", "n_best=5", "scores=true", "decoding.beam_size=9", "decoding=beam"]
    assert console.main(["predict", *words]) == 0
    assert seen == {
        "run": Path("a"),
        "input": "-",
        "output": "-",
        "num_best": 5,
        "with_scores": True,
        "suggest": False,
        "overrides": ["decoding.beam_size=9", "decoding=beam"],
    }


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (ConfigError("a=1", "is wrong", "write a=2"), 2, "a=1: is wrong; write a=2"),
        (DataError("train.de:17", "is empty", "mend it"), 1, "train.de:17"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (SystemExit(143), 143, "interrupted"),
    ],
)
def test_errors_become_lines_and_exit_codes(
    capsys: pytest.CaptureFixture[str], error: BaseException, code: int, words: str
) -> None:
    def action() -> None:
        raise error

    assert entry.guarded(action) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


def test_an_unexpected_error_keeps_its_traceback_somewhere(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def bare() -> None:
        raise RuntimeError("two\nlines")

    def logged() -> None:
        error = RuntimeError("two\nlines")
        error.add_note("(the traceback is in outputs/x/train.log)")
        raise error

    assert entry.guarded(bare) == 1
    assert "Traceback" in capsys.readouterr().err
    assert entry.guarded(logged) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "RuntimeError: two lines (the traceback is in outputs/x/train.log)" in line


def test_training_gets_the_plain_config(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(entry, "_train", lambda *given: seen.append(given))
    assert entry.train(["trainer.max_epochs=2", "task=translation"]) == 0
    ((cfg, overrides),) = seen
    assert overrides == ["trainer.max_epochs=2", "task=translation"]
    assert cfg.trainer.max_epochs == 2
    assert type(cfg.task.mode) is str


def test_resuming_gets_the_config_of_the_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = plain(compose_config(["task=translation", "attention=multihead", "seed=8"]))
    from omegaconf import OmegaConf

    (tmp_path / "config.yaml").write_text(yaml.safe_dump(OmegaConf.to_container(cfg)))
    seen = []
    monkeypatch.setattr(entry, "_train", lambda cfg, overrides: seen.append(cfg))
    assert entry.train([f"resume={tmp_path}", "attention.num_heads=2"]) == 0
    assert (seen[0].seed, seen[0].model.attention.num_heads) == (8, 2)
    assert entry.train([f"resume={tmp_path}", "cell=gru"]) == 2
    assert "a run keeps its parts" in capsys.readouterr().err
    assert entry.train(["--cfg", "job", f"resume={tmp_path}"]) == 0
    assert yaml.safe_load(io.StringIO(capsys.readouterr().out))["seed"] == 8
