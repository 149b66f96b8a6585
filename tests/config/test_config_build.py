"""`build` makes what a config names, and nothing that a config should not name."""

from functools import partial

import pytest
import torch
from omegaconf import OmegaConf

from seqloom.config.build import build
from seqloom.config.overrides import compose_config
from seqloom.errors import ConfigError, SeqloomError

LINEAR = {"_target_": "torch.nn.Linear", "in_features": 2, "out_features": 3}


def test_a_part_is_made_with_further_parts_as_they_are() -> None:
    weights = [torch.nn.Parameter(torch.zeros(2))]
    optimizer = build(OmegaConf.create({"_target_": "torch.optim.SGD", "lr": 0.5}), params=weights)
    assert optimizer.param_groups[0]["params"][0] is weights[0]
    assert optimizer.defaults["lr"] == 0.5


def test_a_recipe_is_called_later() -> None:
    recipe = build(OmegaConf.create({**LINEAR, "_partial_": True}), bias=False)
    assert isinstance(recipe, partial)
    assert recipe().bias is None


def test_parts_inside_are_made_first() -> None:
    recipe = build(compose_config(["task=translation", "cell=gru"]).model)
    cell = recipe.keywords["cell"](input_size=2, hidden_size=3)
    assert type(cell).__name__ == "GRU"


def test_lists_arrive_as_python_lists() -> None:
    recipe = build(compose_config(["task=translation"]).optimizer)
    assert tuple(recipe.keywords["betas"]) == (0.9, 0.999)
    assert type(recipe.keywords["betas"]) in (list, tuple)


def test_an_absent_part_is_none() -> None:
    assert build(compose_config(["task=translation", "attention=none"]).attention) is None
    recipe = build(compose_config(["task=translation", "attention=none"]).model)
    assert recipe.keywords["attention"] is None


def test_choices_arrive_as_plain_words() -> None:
    recipe = build(compose_config(["task=translation"]).model)
    assert type(recipe.keywords["bridge"]) is str


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "subprocess.Popen",
        "torch.load",
        "torch.hub.load",
        "hydra.utils.get_method",
        "torchvision.models.resnet18",
        "seqloomx.Thing",
        "seqloom.entry.os.system",
        "seqloom.entry.Path",
        "seqloom.entry.train",
        "torch.nn.functional.relu",
        "torch.nn.modules.module.torch.load",
        "torch.nn.modules.module.OrderedDict",
        "lightning.pytorch.trainer.trainer.os.system",
        "torch.nn.NoSuchThing",
        "torch.nn.",
        "",
        3,
    ],
)
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_a_config_cannot_name_what_is_not_a_part(target: object, depth: int) -> None:
    node: dict[str, object] = {"_target_": target}
    for _ in range(depth):
        node = {**LINEAR, "device": [node]}
    with pytest.raises(ConfigError):
        build(OmegaConf.create(node))


@pytest.mark.parametrize("key", ["_args_", "_convert_", "_recursive_", "_anything_"])
def test_special_keys_are_refused(key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        build(OmegaConf.create({**LINEAR, key: ["x"]}))


def test_an_error_inside_keeps_its_words() -> None:
    batching = compose_config(["task=translation", "batching.max_tokens=5"]).batching
    with pytest.raises(SeqloomError, match=r"batching\.max_tokens=5"):
        build(batching)
