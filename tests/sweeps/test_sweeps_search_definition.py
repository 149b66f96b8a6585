"""What makes a search the same search again: its space, wherever it stands, and no password."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from sweep_fakes import Started, jobs_told

from seqloom.config.paths import config_dir
from seqloom.runs.surroundings import without_passwords
from seqloom.sweeps.definition import Definition
from seqloom.sweeps.grid import combinations
from seqloom.sweeps.parameter import read_parameter
from seqloom.sweeps.record import SweepRecord

SEARCH = ("sweep=optuna", "sweep.num_trials=1", "hydra.sweep.dir=sweep")


def everything_in(folder: Path) -> str:
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".db"]
    return "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in files)


@pytest.mark.xdist_group("processes")
def test_a_changed_file_of_spaces_is_noticed(
    start: Started,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    conf = tmp_path / "conf"
    shutil.copytree(config_dir(), conf)
    monkeypatch.setattr("seqloom.sweeps.space.config_dir", lambda: conf)
    assert start(*SEARCH) == 0
    definition = Definition.read(Path("sweep"))
    assert definition is not None
    assert definition.space["optimizer.lr"] == "tag(log, interval(0.0003, 0.03))"
    general = conf / "sweep/spaces/general.yaml"
    text = general.read_text(encoding="utf-8")
    # A comment changes nothing.
    general.write_text("# Other words.\n" + text, encoding="utf-8")
    assert start(*SEARCH) == 0
    general.write_text(text.replace("0.0003, 0.03", "0.001, 0.03"), encoding="utf-8")
    capsys.readouterr()
    assert start(*SEARCH) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "it holds another sweep" in line
    assert (
        "optimizer.lr=tag(log, interval(0.001, 0.03)) instead of tag(log, interval(0.0003, 0.03))"
    ) in line
    # Without a folder's name it is a new search.
    without = SEARCH[:-1]
    assert start(*without) == 0
    general.write_text(text, encoding="utf-8")
    assert start(*without) == 0
    assert len(list(Path("outputs/sweeps/translation").iterdir())) == 2


@pytest.mark.xdist_group("processes")
@pytest.mark.filterwarnings("ignore:Query string argument")
def test_a_password_of_the_database_is_written_nowhere(
    start: Started, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # SQLite does not know the word, and ignores it.
    words = ["sweep=optuna", "sweep.num_trials=2", "sweep.study_name=mine"]
    url = f"sqlite:///{tmp_path}/study.db?password="
    assert start(*words, f"sweep.storage='{url}top-secret'") == 0
    # Another password opens the same search.
    assert start(*words, f"sweep.storage='{url}new-secret'") == 0
    (folder,) = Path("outputs/sweeps/translation").iterdir()
    assert len(jobs_told()) == 2
    assert "password=***" in SweepRecord.read(folder).command
    told = capfd.readouterr()
    assert "-secret" not in told.out + told.err + everything_in(tmp_path)


@pytest.mark.parametrize("values", ["shuffle(1,2,3,4,5)", "shuffle(range(1,6))"])
def test_a_shuffled_sweep_has_the_same_order_in_every_session(values: str) -> None:
    orders = {tuple(chosen for _, chosen in combinations([f"seed={values}"])) for _ in range(20)}
    (order,) = orders
    plain = tuple((f"seed={n}",) for n in range(1, 6))
    assert sorted(order) == list(plain)
    assert order != plain
    assert len({str(read_parameter(f"x={values}")) for _ in range(20)}) == 1


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("postgresql://me:pass@host:5432/db", "postgresql://me:***@host:5432/db"),
        ("mysql+pymysql://me:p/a@s:s@host/db", "mysql+pymysql://me:***@host/db"),
        (
            "mysql://:pass@host/db?x=1&ssl_password=pass",
            "mysql://:***@host/db?x=1&ssl_password=***",
        ),
        ("sqlite:///a/b.db", "sqlite:///a/b.db"),
        ("postgresql://me@host:5432/db", "postgresql://me@host:5432/db"),
        ("", ""),
    ],
)
def test_passwords_inside_urls_are_starred(url: str, kept: str) -> None:
    assert without_passwords(url) == kept
    assert Definition.of([], {"storage": url}).sweep == {"storage": kept}
