"""A mistake on the command line is one line that names the nearest right word."""

import shutil
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from seqloom.config import overrides
from seqloom.config.overrides import compose_config
from seqloom.config.runs import plain
from seqloom.errors import ConfigError

MISTAKES = {
    "trainer.max_epoch=3": "trainer.max_epochs=3",
    "optimiser.lr=3": "optimizer.lr=3",
    "lr=0.1": "optimizer.lr=0.1",
    "data.dropout=0.1": "model.dropout=0.1",
    "cell=lstn": "cell=lstm",
    "cel=gru": "cell=gru",
    "logger=[csv,wandbb]": "logger=wandb",
    "attention.num_heads=4": "attention=multihead",
    "logger.tensorboard.x=1": "logger=tensorboard",
    "seed=abc": "Integer",
    "data.too_long=dorp": "drop, truncate, error",
    "model.dropout=high": "Float",
    "trainer.devices=[1]": "int",
    "+trainer.foo=1": "trainer.foo=1",
    "~seed": "null",
    "seed": "key=value",
    "x=[1": "cannot be read",
    "cell=lstm,gru": "-m",
    "trainer.max_epochs.x=1": "trainer.max_epochs is a value",
    "trainer=null": "choose one of default",
}


@pytest.mark.parametrize(("wrong", "right"), MISTAKES.items())
def test_a_mistake_names_the_mend(wrong: str, right: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose_config(["task=translation", wrong])
    message = str(caught.value)
    assert right in message
    assert "\n" not in message
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("wrong", ["task=tranlation", "taks=translation"])
def test_a_misspelt_task_is_found(wrong: str) -> None:
    with pytest.raises(ConfigError, match=r"did you mean task=translation\?"):
        compose_config([wrong])


def test_a_task_must_be_chosen() -> None:
    with pytest.raises(ConfigError, match=r"write task=NAME, one of .*translation"):
        compose_config(["seed=3"])


def test_an_experiment_may_choose_the_task(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "conf"
    shutil.copytree(overrides.config_dir(), folder)
    monkeypatch.setattr(overrides, "config_dir", lambda: folder)
    (folder / "experiment").mkdir(exist_ok=True)
    choices = "defaults:\n- override /task: translation\n- override /data: multi30k\n"
    (folder / "experiment" / "closed.yaml").write_text(
        f"# @package _global_\n{choices}model: {{hidden_size: 7}}\n"
    )
    (folder / "experiment" / "open.yaml").write_text("# @package _global_\nseed: 3\n")
    cfg = compose_config(["experiment=closed"])
    assert (cfg.task.name, cfg.data.preset, cfg.model.hidden_size) == (
        "translation",
        "multi30k",
        7,
    )
    assert compose_config(["experiment=closed", "model.hidden_size=8"]).model.hidden_size == 8
    with pytest.raises(ConfigError, match=r"write task=NAME, one of .*translation"):
        compose_config(["experiment=open"])
    assert compose_config(["experiment=open", "task=translation"]).seed == 3


def test_the_first_mistake_is_told() -> None:
    with pytest.raises(ConfigError, match="there is no key seeed"):
        compose_config(["task=translation", "seeed=3", "model.dropuot=1"])


def test_values_are_set_in_their_order_and_typed() -> None:
    cfg = compose_config(
        ["task=translation", "seed=2", "seed=7", "trainer.devices=auto", "model.dropout=0"]
    )
    assert (cfg.seed, cfg.data.seed) == (7, 7)
    assert cfg.trainer.devices == "auto"
    assert isinstance(cfg.model.dropout, float)


def test_the_command_line_wins_over_debug_over_task() -> None:
    cfg = compose_config(["task=translation", "debug=limit"])
    assert (cfg.trainer.max_epochs, cfg.trainer.limit_val_batches) == (1, 2)
    cfg = compose_config(["task=translation", "debug=limit", "trainer.max_epochs=5"])
    assert cfg.trainer.max_epochs == 5


def test_loggers_are_chosen_by_name_or_list() -> None:
    def names(choice: str) -> list[str]:
        return list(compose_config(["task=translation", f"logger={choice}"]).logger)

    assert names("csv") == ["csv"]
    assert names("[csv,tensorboard]") == ["csv", "tensorboard"]
    assert names("none") == []


def test_a_sweep_checks_all_of_its_values() -> None:
    cfg = compose_config(["task=translation", "cell=gru,lstm", "seed=4,5"], sweep=True)
    assert cfg.seed == 4
    assert cfg.cell["_target_"].endswith("GRU")
    with pytest.raises(ConfigError, match="seed=x"):
        compose_config(["task=translation", "seed=4,x"], sweep=True)


def test_plain_holds_no_types_and_no_links() -> None:
    values = OmegaConf.to_container(plain(compose_config(["task=translation"])))
    assert isinstance(values, dict)
    assert type(values["data"]["too_long"]) is str
    assert values["model"]["cell"] == values["cell"]


def test_plain_names_what_is_missing() -> None:
    with pytest.raises(ConfigError, match="lr"):
        plain(compose_config(["task=translation", "optimizer.lr=???"]))


def test_a_users_cell_takes_options_of_its_own() -> None:
    chosen = ["task=parity", "cell=user", "cell.file=my_cell.py", "cell.name=MyCell"]
    cfg = compose_config([*chosen, "cell.options={leak: 0.3}", "cell.options.depth=2"])
    assert cfg.cell.options == {"leak": 0.3, "depth": 2}
    with pytest.raises(ConfigError, match=r"there is no key cell\.leak"):
        compose_config([*chosen, "cell.leak=0.3"])
    with pytest.raises(ConfigError, match=r"there is no key cell\.options"):
        compose_config(["task=parity", "cell.options.leak=0.3"])
