"""The set-up of a browser never fails and never hangs; it says what it found, or why not."""

import sys

import install_browser
import pytest


@pytest.fixture
def bare_machine(monkeypatch, tmp_path):
    """No browser on the PATH, no rights, and nothing can be installed."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("SEQLOOM_CHROMIUM", raising=False)
    monkeypatch.setattr(
        install_browser, "PLAYWRIGHT", [sys.executable, "-c", "raise SystemExit(3)"]
    )
    return tmp_path


def make_browser(folder, *, code):
    path = folder / "chromium"
    path.write_text(f"#!/bin/sh\necho no network >&2\nexit {code}\n")
    path.chmod(0o755)
    return path


def test_install_browser_says_why_there_is_none(bare_machine, capsys):
    install_browser.main()
    said = capsys.readouterr().out
    assert said == "No browser, so its tests will be skipped: exit code 3\n"


def test_install_browser_finds_one_on_the_path_or_by_the_variable(
    bare_machine, monkeypatch, capsys
):
    path = make_browser(bare_machine, code=0)
    assert install_browser.find_browser() == str(path)
    install_browser.main()
    assert capsys.readouterr().out == f"A browser is there: {path}\n"
    other = bare_machine / "other"
    path.rename(other)
    assert install_browser.find_browser() is None
    monkeypatch.setenv("SEQLOOM_CHROMIUM", str(other))
    assert install_browser.find_browser() == str(other)


def test_install_browser_does_not_trust_a_name_that_does_not_start(bare_machine):
    path = make_browser(bare_machine, code=1)
    assert install_browser.find_browser() is None
    assert install_browser.run([str(path)]) == "no network"


def test_install_browser_gives_up_in_time():
    slow = [sys.executable, "-c", "import time; time.sleep(60)"]
    assert install_browser.run(slow, limit_s=0.2) == "no answer within 0 s"
    assert install_browser.run(["/no/such/program"]) is not None
