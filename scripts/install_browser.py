"""A Chromium for the tests in tests/browser: found, or installed where this machine can.

    python scripts/install_browser.py

Looks for SEQLOOM_CHROMIUM, then for a Chromium or Chrome on the PATH; installs one by the system's
packages (Debian and Ubuntu, as root), else the one that Playwright brings. Never fails: where none
can be had it says why, and those tests are skipped. The price: up to some minutes, once.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SYSTEM = (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", "chromium"])
PLAYWRIGHT = [sys.executable, "-m", "playwright", "install", "chromium-headless-shell"]
LIMIT_S = 300


def find_browser() -> str | None:
    """The path of a Chromium that starts, or None (Playwright's own is not looked for here)."""
    for name in (os.environ.get("SEQLOOM_CHROMIUM"), *NAMES):
        path = shutil.which(name) if name else None
        # On some systems the name is only a hint to install something else.
        if path and run([path, "--version"], limit_s=60) is None:
            return path
    return None


def run(command: list[str], *, limit_s: float = LIMIT_S) -> str | None:
    """None if the command ends well, else why not, in a line."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=limit_s,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {limit_s:.0f} s"
    except OSError as error:
        return str(error)
    if done.returncode == 0:
        return None
    lines = (done.stderr + done.stdout).strip().splitlines()
    return lines[-1] if lines else f"exit code {done.returncode}"


def main() -> None:
    if found := find_browser():
        print(f"A browser is there: {found}")
        return
    reasons = []
    if shutil.which("apt-get") and hasattr(os, "geteuid") and os.geteuid() == 0:
        failures = [failure for command in SYSTEM if (failure := run(command))]
        if found := find_browser():
            print(f"A browser was installed: {found}")
            return
        reasons += failures
    if (failure := run(PLAYWRIGHT)) is None:
        print("A browser was installed by Playwright.")
        return
    reasons.append(failure)
    print(f"No browser, so its tests will be skipped: {'; '.join(reasons)}")


if __name__ == "__main__":
    main()
