"""Where a run came from: environment.json, a session for each time that it was started or resumed.

The one idea: what a result may depend on beside its config is written down while it is true, by a
thread beside the start, and never changed later: every installed package, the machine, the named
few environment variables, the command line, and the code's commit with its uncommitted changes
(uncommitted.patch). Each part that cannot be told is null beside its reason; nothing here can fail
or hold up a run. Left out, because runs are shared: names of host and user (a home folder is
written $HOME), passwords inside URLs, every other environment variable. Price: about 0.1 s of one
core while torch is imported, and git, which is given some seconds.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shlex
import sys
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from seqloom.runs.files import write_atomic
from seqloom.runs.surroundings import CODE, TIMEOUT_S, describe, without_home, without_passwords

NAME = "environment.json"
PATCH, PATCHES = "uncommitted.patch", "uncommitted*.patch"
# What decides how numbers are added up, and in how many threads.
NUMERIC = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "OMP_PROC_BIND",
    "KMP_AFFINITY",
    "MKL_CBWR",
    "ATEN_CPU_CAPABILITY",
    "ONEDNN_MAX_CPU_ISA",
    "CUBLAS_WORKSPACE_CONFIG",
    "NVIDIA_TF32_OVERRIDE",
    "PYTHONHASHSEED",
)
VARIABLES = (*NUMERIC, "CUDA_VISIBLE_DEVICES")

_log = logging.getLogger(__name__)


class Session:
    """One start of a run, recorded in `folder` by a thread from construction on.

    Args:
        overrides: the settings of its command line.
        code: a folder of the code, to find its commit.
    """

    def __init__(self, folder: Path, overrides: Sequence[str], *, code: Path = CODE) -> None:
        self._folder, self._code = folder, code
        # What the run itself changes in a moment is looked at before it does.
        self._facts: dict[str, Any] = {
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": command_line(overrides),
            "directory": without_home(os.getcwd()),
            "overrides": [without_passwords(without_home(text)) for text in overrides],
            "variables": {name: os.environ.get(name) for name in VARIABLES},
        }
        self._before = _read_bytes(folder / NAME)
        self._patches = set(folder.glob(PATCHES))
        self._thread = threading.Thread(target=self._record, name="provenance", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Returns when the session is recorded, or has taken too long."""
        self._thread.join(4 * TIMEOUT_S)

    def withdraw(self) -> None:
        """Leaves the record as it was before: the session was refused."""
        self.wait()
        for path in set(self._folder.glob(PATCHES)) - self._patches:
            path.unlink()
        if self._before is None:
            (self._folder / NAME).unlink(missing_ok=True)
        else:
            write_atomic(self._folder / NAME, self._before.decode("utf-8", "replace"))

    def _record(self) -> None:
        try:
            before = read_environment(self._folder) or {"sessions": []}
            facts, patch = describe(self._code)
            if patch is not None:
                number = len(before["sessions"]) + 1
                facts["git"]["patch"] = _kept_patch(self._folder, patch, number)
            sessions = [*before["sessions"], self._facts | facts]
            text = json.dumps({"sessions": sessions}, indent=2, ensure_ascii=False)
            write_atomic(self._folder / NAME, text + "\n")
        except OSError as error:
            _log.warning("%s was not written: %s", NAME, error)


def read_environment(folder: Path) -> dict[str, Any] | None:
    """`{"sessions": [...]}`, each session a mapping; None where the folder tells none."""
    text = _read_bytes(folder / NAME)
    try:
        found = json.loads(text or b"")
    except ValueError:
        return None
    sessions = found.get("sessions") if isinstance(found, dict) else None
    kept = [s for s in sessions if isinstance(s, dict)] if isinstance(sessions, list) else []
    return {"sessions": kept} if kept else None


def read_patch(folder: Path, session: dict[str, Any]) -> str | None:
    """The uncommitted changes that a session ran with; None where none were kept."""
    git = session.get("git")
    name = git.get("patch") if isinstance(git, dict) else None
    # Of a name from a file, only the last part is believed.
    text = _read_bytes(folder / Path(name).name) if isinstance(name, str) else None
    return None if text is None else text.decode("utf-8", "replace")


def command_line(overrides: Sequence[str]) -> str:
    """The command as one would type it again; a program that called us is not one."""
    program, words = sys.argv[0], sys.argv[1:]
    known = {"train.py": f"python {program}", "__main__.py": "python -m seqloom"}
    name = Path(program).name
    if name == "seqloom":
        start = name
    elif name in known and (name != "__main__.py" or Path(program).resolve().parent == CODE):
        start = known[name]
    else:
        start, words = "seqloom train", list(overrides)
    return without_home(" ".join([start, *(_word(word) for word in words)]))


def _kept_patch(folder: Path, patch: str, number: int) -> str:
    """Writes `patch` unless an earlier session had the same; returns the name of its file."""
    name = PATCH if not (folder / PATCH).exists() else f"uncommitted-{number}.patch"
    for path in sorted(folder.glob(PATCHES)):
        if _read_bytes(path) == patch.encode():
            return path.name
    write_atomic(folder / name, patch)
    return name


def _word(text: str) -> str:
    """A word as a shell reads it; double quotes where a home folder is to be filled in."""
    text = without_passwords(text)
    home = os.path.expanduser("~")
    if len(home) > 1 and home in text:
        return '"' + re.sub(r'(["\\`$])', r"\\\1", text) + '"'
    return shlex.quote(text)


def _read_bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
