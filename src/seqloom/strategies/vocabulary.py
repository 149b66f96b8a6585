"""A model whose vocabulary-sized weights lie in rows on several processes, and whole again.

The idea: a token embedding and an output layer over words become `layers.sharded_embedding` and
`layers.outputs.sharded` where they are: the class of a module changes, as under FSDP2, so whoever
holds the module has the new one. A weight that several of them share is cut once and stays shared.
A weight that a module of another kind reads too stays whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh

from seqloom.layers.embedding import TokenEmbedding
from seqloom.layers.outputs.categorical import Categorical
from seqloom.layers.outputs.sharded import ShardedCategorical
from seqloom.layers.sharded_embedding import RowShard, ShardedEmbedding

_SPLIT: dict[type[nn.Module], type[nn.Module]] = {
    TokenEmbedding: ShardedEmbedding,
    Categorical: ShardedCategorical,
}
_WHOLE = {split: whole for whole, split in _SPLIT.items()}


def split_vocabulary(model: nn.Module, mesh: DeviceMesh) -> dict[str, RowShard]:
    """Cuts what can be cut; returns the rows of each such parameter, by all of its names."""
    splittable = {id(weights): module for module, weights in _word_layers(model)}
    foreign = {
        id(parameter)
        for module in model.modules()
        if id(module) not in splittable
        for parameter in module.parameters(recurse=False)
    }
    parts: dict[int, nn.Parameter] = {}
    shards: dict[int, RowShard] = {}
    for module, weights in list(_word_layers(model)):
        own = dict(weights.named_parameters(recurse=False))
        if any(id(parameter) in foreign for parameter in own.values()):
            continue
        for name, parameter in own.items():
            if id(parameter) not in parts:
                shard = RowShard(mesh, len(parameter))
                part = nn.Parameter(shard.cut(parameter.detach()), parameter.requires_grad)
                parts[id(parameter)], shards[id(part)] = part, shard
            setattr(weights, name, parts[id(parameter)])
        shard = shards[id(weights.weight)]
        module.__class__ = _SPLIT[type(module)]
        module.shard = shard  # type: ignore[assignment]
    named = model.named_parameters(remove_duplicate=False)
    return {name: shards[id(parameter)] for name, parameter in named if id(parameter) in shards}


def make_whole(model: nn.Module, parameters: Mapping[str, Tensor]) -> None:
    """Gives a model whole parameters of these values, by any of their names, and its classes."""
    made: dict[int, nn.Parameter] = {}
    for path, module in list(model.named_modules()):
        for name, parameter in list(module.named_parameters(recurse=False)):
            if id(parameter) not in made:
                value = parameters[f"{path}.{name}" if path else name]
                made[id(parameter)] = nn.Parameter(value, parameter.requires_grad)
            setattr(module, name, made[id(parameter)])
        whole = _WHOLE.get(type(module))
        if whole is not None:
            module.__class__ = whole
            del module.shard


def _word_layers(model: nn.Module) -> Iterator[tuple[nn.Module, nn.Module]]:
    """Layers that can be cut, each with the module that has its weights."""
    for module in model.modules():
        if type(module) is TokenEmbedding:
            yield module, module
        elif type(module) is Categorical:
            yield module, module.projection
