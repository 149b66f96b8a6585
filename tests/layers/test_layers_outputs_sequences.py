"""CTC and CRF against sums over all paths and all sequences, written out."""

from itertools import groupby, product

import pytest
import torch

from seqloom.errors import ConfigError, DataError
from seqloom.layers.embedding import TokenEmbedding
from seqloom.layers.outputs import CRF, CTC
from seqloom.sequences import Padded

D, V = 4, 3
LENGTHS = [4, 1, 0, 3]


def readouts(lengths: list[int] = LENGTHS) -> Padded:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(len(lengths), max(lengths), D, generator=generator)
    return Padded(values, torch.tensor(lengths))


def ids(*rows: list[int]) -> Padded:
    return Padded.from_list([torch.tensor(row, dtype=torch.int64) for row in rows])


def crf() -> CRF:
    torch.manual_seed(0)
    layer = CRF(input_size=D, output_size=V)
    for parameter in (layer.start, layer.end, layer.transition):
        torch.nn.init.normal_(parameter)
    return layer


def scores_of_all(layer: CRF, emissions: torch.Tensor) -> dict[tuple[int, ...], torch.Tensor]:
    """The score of every sequence of tags over emissions [T, V], T >= 1."""
    scores = {}
    for tags in product(range(V), repeat=len(emissions)):
        total = layer.start[tags[0]] + layer.end[tags[-1]]
        for step, tag in enumerate(tags):
            total = total + emissions[step, tag]
            if step:
                total = total + layer.transition[tags[step - 1], tag]
        scores[tags] = total
    return scores


def test_crf_is_the_sum_over_all_sequences() -> None:
    layer, hidden = crf(), readouts()
    targets = Padded(torch.randint(0, V, (4, 4)), torch.tensor(LENGTHS))
    loss = layer.loss(hidden, targets)
    expected = torch.zeros(())
    for row, tags in zip(hidden.to_list(), targets.to_list(), strict=True):
        if len(tags):
            scores = scores_of_all(layer, layer.emission(row))
            everything = torch.stack(list(scores.values())).logsumexp(0)
            expected = expected + everything - scores[tuple(tags.tolist())]
    torch.testing.assert_close(loss.loss, expected)
    assert loss.num_tokens == sum(LENGTHS)
    parameters = list(layer.parameters())
    for one, other in zip(
        torch.autograd.grad(loss.loss, parameters),
        torch.autograd.grad(expected, parameters),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_crf_predicts_the_best_of_all_sequences() -> None:
    layer, hidden = crf(), readouts()
    predicted = layer.predict(hidden)
    assert torch.equal(predicted.lengths, hidden.lengths)
    for row, tags in zip(hidden.to_list(), predicted.to_list(), strict=True):
        if len(tags):
            with torch.no_grad():
                scores = scores_of_all(layer, layer.emission(row))
            assert tuple(tags.tolist()) == max(scores, key=lambda tags: float(scores[tags]))
    assert not predicted.values[1, 1:].any()


def test_crf_ignores_padding() -> None:
    layer, hidden = crf(), readouts()
    targets = Padded(torch.randint(0, V, (4, 4)), torch.tensor(LENGTHS))
    noisy = hidden.with_values(hidden.values.masked_fill(~hidden.mask().unsqueeze(2), 50.0))
    far = targets.with_values(targets.values.masked_fill(~targets.mask(), 99))
    torch.testing.assert_close(layer.loss(noisy, far).loss, layer.loss(hidden, targets).loss)
    assert torch.equal(layer.predict(noisy).values, layer.predict(hidden).values)


@pytest.mark.parametrize("shape", [(2, 0, D), (0, 3, D), (2, 3, D)])
def test_crf_of_nothing_is_no_loss(shape: tuple[int, ...]) -> None:
    lengths = torch.zeros(shape[0], dtype=torch.int64)
    hidden = Padded(torch.randn(shape), lengths)
    targets = Padded(torch.zeros(shape[:2], dtype=torch.int64), lengths)
    layer = crf()
    loss = layer.loss(hidden, targets)
    assert loss.loss.item() == loss.num_tokens == 0
    loss.loss.backward()
    assert layer.predict(hidden).values.shape == shape[:2]


def ctc(blank_id: int | None = 0) -> CTC:
    torch.manual_seed(0)
    return CTC(input_size=D, output_size=V, blank_id=blank_id)


def collapsed(path: tuple[int, ...], blank: int) -> tuple[int, ...]:
    return tuple(symbol for symbol, _ in groupby(path) if symbol != blank)


@pytest.mark.parametrize("blank_id", [0, None])
def test_ctc_is_the_sum_over_all_paths(blank_id: int | None) -> None:
    layer, hidden = ctc(blank_id), readouts()
    targets = ids([1, 1], [2], [], [1, 2, 1])
    loss = layer.loss(hidden, targets)
    expected = torch.zeros(())
    for row, target in zip(layer.log_probs(hidden).to_list(), targets.to_list(), strict=True):
        paths = [
            torch.stack([row[step, symbol] for step, symbol in enumerate(path)]).sum()
            for path in product(range(row.shape[1]), repeat=len(row))
            if path and collapsed(path, layer.blank_id) == tuple(target.tolist())
        ]
        if paths:
            expected = expected - torch.stack(paths).logsumexp(0)
    torch.testing.assert_close(loss.loss, expected)
    assert loss.num_tokens == 6
    (gradient,) = torch.autograd.grad(loss.loss, layer.projection.weight)
    (theirs,) = torch.autograd.grad(expected, layer.projection.weight)
    torch.testing.assert_close(gradient, theirs)


def test_ctc_predicts_the_collapsed_best_path() -> None:
    layer, hidden = ctc(), readouts([30, 1, 0, 17])
    predicted = layer.predict(hidden)
    log_probs = layer.log_probs(hidden).to_list()
    for row, found in zip(log_probs, predicted.to_list(), strict=True):
        assert tuple(found.tolist()) == collapsed(tuple(row.argmax(-1).tolist()), 0)
    assert predicted.max_length == int(predicted.lengths.max())
    noisy = hidden.with_values(hidden.values.masked_fill(~hidden.mask().unsqueeze(2), 9.0))
    assert torch.equal(layer.predict(noisy).values, predicted.values)


@pytest.mark.parametrize("shape", [(2, 0, D), (0, 3, D), (2, 3, D)])
def test_ctc_of_nothing_is_no_loss(shape: tuple[int, ...]) -> None:
    lengths = torch.zeros(shape[0], dtype=torch.int64)
    hidden = Padded(torch.randn(shape), lengths)
    targets = Padded(torch.zeros(shape[0], 2, dtype=torch.int64), lengths)
    layer = ctc()
    loss = layer.loss(hidden, targets)
    assert loss.loss.item() == loss.num_tokens == 0
    loss.loss.backward()
    assert layer.predict(hidden).lengths.tolist() == [0] * shape[0]


def test_ctc_learns_where_nothing_is_said_too() -> None:
    """A row of steps without ids is all blanks."""
    layer, hidden = ctc(), readouts([3])
    loss = layer.loss(hidden, Padded(torch.zeros(1, 0, dtype=torch.int64), torch.tensor([0])))
    torch.testing.assert_close(loss.loss, -layer.log_probs(hidden).values[0, :, 0].sum())


@pytest.mark.parametrize(
    ("targets", "instead"),
    [
        (ids([1, 1, 1], [1], [], [1]), "row 0 .* 4 steps, its target needs 5"),
        (ids([1], [1], [2], [1]), "row 2 .* 0 steps, its target needs 1"),
        (ids([1, 0], [1], [], [1]), "blank_id=null"),
    ],
)
def test_targets_without_a_path_are_named(targets: Padded, instead: str) -> None:
    with pytest.raises(DataError, match=instead):
        ctc().loss(readouts(), targets)


def test_what_cannot_be_is_said() -> None:
    embedding = TokenEmbedding(vocab_size=V, size=D)
    with pytest.raises(ConfigError, match="tie=none"):
        CRF(input_size=D, output_size=V, embedding=embedding)
    with pytest.raises(ConfigError, match="tie=none"):
        CTC(input_size=D, output_size=V, embedding=embedding, blank_id=None)
    with pytest.raises(ConfigError, match=r"0\.\.2"):
        CTC(input_size=D, output_size=V, blank_id=3)
    tied = CTC(input_size=D, output_size=V, embedding=embedding)
    assert tied.projection.weight is embedding.weight
    targets = ids([1], [1], [], [1])
    with pytest.raises(ConfigError, match="label_smoothing"):
        ctc().loss(readouts(), targets, smoothing=0.1)
    with pytest.raises(ConfigError, match="label_smoothing"):
        crf().loss(readouts(), Padded(torch.zeros(4, 4).long(), torch.tensor(LENGTHS)), smoothing=1)
