"""What a result may depend on beside config and data: versions, the machine, the code's commit.

The idea: ask cheaply and never fail. Versions are read from the installed packages' own records,
the machine from the system's files, the code from git with a few seconds' patience; no program that
somebody's git config names is run, and nothing is written. What cannot be told is null beside its
reason. Names of host and user are left out: a home folder is written $HOME.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

MAX_PATCH_BYTES = 1_000_000
MAX_UNTRACKED = 200
TIMEOUT_S = 5.0
CODE = Path(__file__).resolve().parents[1]

_SOURCES = (".py", ".yaml", ".yml", ".toml", ".sh", ".c", ".cpp", ".cu", ".ipynb")


def describe(code: Path = CODE) -> tuple[dict[str, Any], str | None]:
    """Versions, machine and commit as they are now, and the uncommitted changes of the code."""
    git, patch = describe_git(code)
    facts = {
        "python": platform.python_version(),
        "os": platform.platform(),
        "packages": packages(),
        "hardware": hardware(),
        "git": git,
    }
    return facts, patch


def differing(
    then: dict[str, Any], now: dict[str, Any], patches: tuple[str | None, str | None]
) -> list[tuple[str, str, str]]:
    """(name, then, now) of what differs between two descriptions and can change a number.

    Args:
        then: may lack parts, as one from another version or a damaged file; those are `unknown`.
        patches: the uncommitted changes then and now.
    """
    rows = [(name, _words(then.get(name)), _words(now.get(name))) for name in ("python", "os")]
    for part, names in (("hardware", ("cpu", "cores", "gpus")), ("git", ("commit", "untracked"))):
        before, after = _part(then, part), _part(now, part)
        rows += [(name, _words(before.get(name)), _words(after.get(name))) for name in names]
    rows.append(("uncommitted", _digest(patches[0]), _digest(patches[1])))
    before, after = _part(then, "packages"), _part(now, "packages")
    for name in sorted({**before, **after}):
        rows.append((name, before.get(name, "absent"), after.get(name, "absent")))
    return [row for row in rows if row[1] != row[2]]


def _part(facts: dict[str, Any], name: str) -> dict[str, Any]:
    found = facts.get(name)
    return found if isinstance(found, dict) else {}


def _words(value: object) -> str:
    if isinstance(value, list):
        words = ", ".join(_words(each) for each in value)
        return f"{len(value)}: {words}" if value else "none"
    if isinstance(value, dict):
        return " ".join(str(each) for each in value.values())
    return "unknown" if value is None else str(value)


def _digest(patch: str | None) -> str:
    if patch is None:
        return "none"
    digest = hashlib.sha256(patch.encode()).hexdigest()[:8]
    return f"{len(patch.splitlines())} lines of a patch ({digest})"


def packages() -> dict[str, str]:
    """Version by name of every installed package, sorted; the first found is what is imported."""
    found: dict[str, str] = {}
    for distribution in metadata.distributions():
        name = distribution.name
        if isinstance(name, str):  # One that was half removed has none.
            found.setdefault(name, distribution.version)
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def hardware() -> dict[str, Any]:
    """CPU model, cores (that the process may use, and of the machine), memory, GPUs."""
    return {
        "cpu": _cpu_model(),
        "cores": num_cores(),
        "machine_cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "gpus": _gpus(),
    }


def num_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def describe_git(code: Path) -> tuple[dict[str, Any], str | None]:
    """Commit, branch and whether anything is uncommitted of the repository that tracks `code`.

    All are null beside a reason (`why`) without git or such a repository. With them comes the
    patch, if any: `git diff HEAD`, binary files by name only; new source files are named in
    `untracked`.
    """
    git: dict[str, Any] = dict.fromkeys(("commit", "branch", "dirty", "patch", "why"))
    git["untracked"] = []
    if shutil.which("git") is None:
        return git | {"why": "git is not installed"}, None
    try:
        if not _git(code, "ls-files", "--", "."):
            return git | {"why": "the code is not in a repository"}, None
        git["commit"] = _git(code, "rev-parse", "HEAD").strip()
        git["branch"] = _git(code, "rev-parse", "--abbrev-ref", "HEAD").strip()
        # No program of somebody's git config is run.
        patch = _git(code, "diff", "HEAD", "--no-color", "--no-ext-diff", "--no-textconv")
        top = Path(_git(code, "rev-parse", "--show-toplevel").strip())
        others = _git(top, "ls-files", "--others", "--exclude-standard").splitlines()
    except subprocess.TimeoutExpired:
        return git | {"why": f"git took longer than {TIMEOUT_S:g} s"}, None
    except (subprocess.CalledProcessError, OSError) as error:
        said = str(getattr(error, "stderr", None) or error).strip().splitlines()
        return git | {"why": without_home(said[0] if said else "git failed")}, None
    untracked = [name for name in others if name.endswith(_SOURCES)]
    git["untracked"] = untracked[:MAX_UNTRACKED]
    git["dirty"] = bool(patch or untracked)
    if len(patch.encode()) > MAX_PATCH_BYTES:
        size = f"{len(patch.encode()):,} bytes of changes are more than {MAX_PATCH_BYTES:,}"
        return git | {"why": f"no patch was kept: {size}"}, None
    return git, patch or None


def _git(folder: Path, *words: str) -> str:
    """What git says in `folder`, which it does not write to."""
    outside = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(
        ["git", "-c", "core.fsmonitor=false", "-C", str(folder), *words],
        env=outside | {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
        capture_output=True,
        timeout=TIMEOUT_S,
        check=True,
        encoding="utf-8",
        errors="replace",
    )
    return done.stdout


def _cpu_lines() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _cpu_model() -> str:
    for line in _cpu_lines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _gpus() -> list[dict[str, Any]]:
    """Name, driver and memory of each GPU that NVIDIA's tool finds; [] without it."""
    query = ["--query-gpu=name,driver_version,memory.total", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(
            ["nvidia-smi", *query], capture_output=True, text=True, timeout=TIMEOUT_S, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [[cell.strip() for cell in line.split(",")] for line in said.splitlines()]
    return [
        {"name": row[0], "driver": row[1], "memory_bytes": int(row[2]) << 20}
        for row in rows
        if len(row) == 3 and row[2].isdigit()
    ]


def without_passwords(text: str) -> str:
    """The same with *** for every password inside a URL, up to its last @: better too much."""
    text = re.sub(r"(://[^/@\s:]*):\S+@", r"\1:***@", text)
    return re.sub(r"([?&]\w*password=)[^&\s'\"]+", r"\1***", text)


def without_home(text: str) -> str:
    """`text` with the home folder, which names a user, as $HOME."""
    home = os.path.expanduser("~")
    inside = re.compile(re.escape(home) + r"(?![\w.-])")
    return inside.sub("$HOME", text) if len(home) > 1 else text
