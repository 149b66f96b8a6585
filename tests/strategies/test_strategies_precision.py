"""Precision: what is asked for is given or refused in a sentence; auto follows the measurement."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from seqloom.errors import ConfigError
from seqloom.strategies import precision

CPU = torch.device("cpu")


class BrokenKernel(nn.Module):
    """A recurrent kernel whose machine lacks the primitive."""

    def __init__(self, input_size: int, hidden_size: int, *, batch_first: bool) -> None:
        super().__init__()

    def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor, None]:
        raise RuntimeError("could not create a primitive\nsecond line")


@pytest.mark.parametrize(("speedup", "name"), [(6.0, "bf16"), (1.1, "fp32"), (0.4, "fp32")])
def test_auto_takes_bf16_only_where_it_is_faster(
    monkeypatch: pytest.MonkeyPatch, speedup: float, name: str
) -> None:
    monkeypatch.setattr(precision, "bf16_speedup", lambda device: speedup)
    chosen = precision.choose("auto", device=CPU, cell="none")
    assert chosen.name == name
    assert f"{speedup:.1f}" in chosen.reason


def test_a_missing_kernel_is_a_sentence_with_device_dtype_and_cell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(precision.RECURRENT_KERNELS, "LSTM", BrokenKernel)  # type: ignore[arg-type]
    with pytest.raises(ConfigError) as error:
        precision.choose("bf16", device=CPU, cell="LSTM")
    message = str(error.value)
    assert all(word in message for word in ("cpu", "bfloat16", "LSTM", "precision=fp32"))
    assert "\n" not in message
    assert precision.choose("auto", device=CPU, cell="LSTM").name == "fp32"


def test_fp32_needs_no_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(precision.RECURRENT_KERNELS, "LSTM", BrokenKernel)  # type: ignore[arg-type]
    chosen = precision.choose("fp32", device=CPU, cell="LSTM")
    assert (chosen.name, chosen.trainer_name) == ("fp32", "32-true")


def test_an_unknown_name_is_refused_with_the_choices() -> None:
    with pytest.raises(ConfigError, match="fp32, bf16, auto"):
        precision.choose("fp16", device=CPU, cell="LSTM")


@pytest.mark.parametrize("name", ["fp32", "bf16"])
def test_autocast_computes_products_in_the_chosen_precision(name: str) -> None:
    if name == "bf16" and precision.probe(device=CPU, cell="none") is not None:
        pytest.skip("this machine has no bf16 products")
    chosen = precision.Precision(name, "test")  # type: ignore[arg-type]
    with chosen.autocast(CPU):
        product = nn.Linear(4, 4)(torch.ones(1, 4))
    assert product.dtype == (torch.bfloat16 if name == "bf16" else torch.float32)


def test_the_measurement_is_a_positive_time() -> None:
    assert precision.matmul_seconds(torch.float32, CPU, shape=(8, 8, 8)) > 0
