"""From a command line to a command: composition, one line for every mistake, and exit codes.

Exit codes: 0 done, 1 a run that failed, 2 a wrong call, 130 interrupted. One run is composed here,
because a resumed run starts from its own config and because mistakes are explained; so is a sweep,
with a command and a folder for each job (`sweeps`). Other launchers and sweepers of Hydra's compose
and run by themselves. Torch is imported by the command, so a mistake costs a fraction of a second.
"""

from __future__ import annotations

import os
import sys
import textwrap
import traceback
from collections.abc import Callable
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import seqloom
from seqloom.commands.launchers import global_rank
from seqloom.commands.sweep import FOLDER_KEY, sweep
from seqloom.config.build import trust_file_of, trust_named_files
from seqloom.config.fit import check_fit
from seqloom.config.overrides import (
    CONFIG_NAME,
    HYDRA_VERSION_BASE,
    compose_config,
    did_you_mean,
    first_line,
    parse,
)
from seqloom.config.paths import config_dir, groups
from seqloom.config.runs import OF_SWEEPS, continue_config, plain, resume_config
from seqloom.config.store import register
from seqloom.errors import ConfigError, SeqloomError

HELP = """\
Seqloom trains recurrent sequence models; every part of an experiment is one word of the command
line.

    python train.py task=translation                          embedded data, CPU, about a minute
    python train.py task=translation cell=gru model.dropout=0.3 trainer.max_epochs=20
    python train.py task=translation data=multi30k data.root=DIR
    python train.py task=translation strategy=ddp trainer.devices=2
    python train.py -m task=translation cell=lstm,gru seed=1,2,3   one run for each combination
    python train.py -m task=translation sweep=optuna          search for good settings
    python train.py resume=outputs/translation/RUN            go on exactly where it stopped

GROUP=OPTION swaps a part, KEY=VALUE sets a value (optimizer.lr=0.002). `seqloom train` is the same
command.

Groups and their options:
{groups}

Flags:
  --cfg job        print the whole config of the run instead of starting it
  -m, --multirun   a run for each combination of comma-separated values
  --version        print the version
  --info           how Hydra composed the config (--info defaults-tree)

Every value has a comment in conf/. Errors exit with 2 (a wrong call) or 1 (a failed run).
"""

FLAGS = ("--help", "-h", "--version", "--multirun", "-m", "--run", "-r", "--resolve")
VALUE_FLAGS = ("--cfg", "-c", "--package", "-p", "--info", "-i", "--config-dir", "-cd")


def train(arguments: list[str]) -> int:
    """What `python train.py ARGUMENTS` and `seqloom train ARGUMENTS` do; returns the exit code."""
    # Flags first and settings last, in any order they came: Hydra's parser wants them so.
    arguments = sorted(arguments, key=_is_setting)
    if "--help" in arguments or "-h" in arguments:
        sys.stdout.write(HELP.format(groups=_list_groups()))
        return 0
    if "--version" in arguments:
        sys.stdout.write(f"seqloom {seqloom.__version__}\n")
        return 0
    return guarded(lambda: _compose_and_train(arguments))


def guarded(action: Callable[[], object]) -> int:
    """Runs `action`; answers its exit code (an int it returned, else 0). Every error becomes one
    line on stderr.

    An error that nobody expected keeps its traceback: in the log that a note on the error names,
        else on stderr.
    """
    try:
        result = action()
    except SeqloomError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except SystemExit as stopped:
        if stopped.code not in (130, 143):
            raise
        return _fail("interrupted", int(stopped.code))
    except BrokenPipeError:
        # The reader of our output has gone (`| head`); nothing is left to say, even while exiting.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        notes = getattr(error, "__notes__", [])
        if not notes:
            traceback.print_exc()
        reason = " ".join([f"{type(error).__name__}: {error}", *notes])
        return _fail(reason, 1)
    return result if isinstance(result, int) else 0


def _fail(reason: str, exit_code: int) -> int:
    sys.stderr.write(f"error: {' '.join(reason.split())}\n")
    return exit_code


def _compose_and_train(arguments: list[str]) -> None:
    settings = [text for text in arguments if _is_setting(text)]
    flags = arguments[: len(arguments) - len(settings)]
    _check_flags(flags)
    parsed = [parse(text) for text in settings]
    hydras = {o.key_or_group for o in parsed if o.is_hydra_override()}
    if flags in (["-m"], ["--multirun"]) and hydras <= {FOLDER_KEY}:
        _sweep(settings)
        return
    _check_single(parsed)
    if flags not in ([], ["--cfg", "job"]) or any(o.is_hydra_override() for o in parsed):
        _run_hydra(arguments, settings)
        return
    resumed = [o for o in parsed if o.key_or_group == "resume" and o.value() is not None]
    if resumed and resumed[-1].value() == "auto":
        composed = compose_config(settings)
        check_fit(composed, settings)
        cfg = continue_config(composed)
        trust_file_of(cfg)
    elif resumed:
        rest = [str(o.input_line) for o in parsed if o.key_or_group != "resume"]
        cfg = resume_config(Path(str(resumed[-1].value())), rest)
        trust_named_files(rest)
    else:
        cfg = compose_config(settings)
        check_fit(cfg, settings)
        trust_file_of(cfg)
    if flags:
        sys.stdout.write(OmegaConf.to_yaml(cfg))
    else:
        _train(plain(cfg), settings)


def _sweep(settings: list[str]) -> None:
    _refuse_ranks()
    cfg = compose_config(settings, sweep=True)
    check_fit(cfg, settings)
    sweep(cfg, settings)


def _refuse_ranks() -> None:
    if global_rank() is not None:
        raise ConfigError(
            "-m",
            "torchrun and srun start the processes of one run, not of a sweep",
            "start the sweep without them",
        )


def _check_single(parsed: list[Override]) -> None:
    """Refuses what only our own sweeps know."""
    for override in parsed:
        if override.key_or_group.partition(".")[0] in OF_SWEEPS:
            raise ConfigError(
                str(override.input_line),
                "it belongs to a sweep of Seqloom's own launcher",
                "write -m, and no other hydra/launcher or hydra/sweeper",
            )


def _run_hydra(arguments: list[str], settings: list[str]) -> None:
    """Hydra's own ways to compose: a sweep (`-m`), and what its other flags show."""
    if {"-m", "--multirun"} & set(arguments):
        _refuse_ranks()
        check_fit(compose_config(settings, sweep=True), settings)
    register()
    # Errors are raised to us instead of printed.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    command_line, started = sys.argv, []

    def job(cfg: DictConfig) -> object:
        started.append(True)
        # Lightning starts further processes by the command line as the user wrote it.
        sys.argv = command_line
        result = plain(cfg)
        trust_file_of(result)
        if HydraConfig.get().mode == RunMode.MULTIRUN:  # under another launcher than ours
            result.run_dir = result.run_dir or HydraConfig.get().runtime.output_dir
        return _train(result, list(HydraConfig.get().overrides.task))

    try:
        sys.argv = [command_line[0], *arguments]
        hydra.main(str(config_dir()), CONFIG_NAME, version_base=HYDRA_VERSION_BASE)(job)()
    except (HydraException, OmegaConfBaseException) as error:
        if started:
            raise
        raise ConfigError("config", first_line(error), "see --help") from error
    finally:
        sys.argv = command_line


def _train(cfg: DictConfig, overrides: list[str]) -> object:
    from seqloom.commands.train import train

    return train(cfg, overrides)


def _check_flags(flags: list[str]) -> None:
    before = ""
    for text in flags:
        flag = text.partition("=")[0]
        if not flag.startswith("-") and before not in VALUE_FLAGS:
            raise ConfigError(text, "is not a setting", "write key=value, or see --help")
        if flag.startswith("-") and flag not in (*FLAGS, *VALUE_FLAGS):
            known = [known for known in (*FLAGS, *VALUE_FLAGS) if known.startswith("--")]
            raise ConfigError(text, "there is no such flag", did_you_mean(flag, known))
        before = flag


def _is_setting(text: str) -> bool:
    return not text.startswith("-") and ("=" in text or text.startswith("~"))


def _list_groups() -> str:
    hang = " " * 15
    return "\n".join(
        textwrap.fill(f"  {group:<12} {', '.join(options)}", width=100, subsequent_indent=hang)
        for group, options in groups(config_dir()).items()
        if options
    )
