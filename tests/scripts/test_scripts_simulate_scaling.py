"""The scaling model against schedules that can be worked out by hand, and its script."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import scaling_model as model

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
INSTANT = model.Link(float("inf"), 0.0)
FAST = model.Machines(8, INSTANT, INSTANT)
FREE = model.Costs()


def layer(name: str, part: str, seconds: float = 0.0, num_parameters: int = 0) -> model.Layer:
    """A layer that takes `seconds` forward for each row."""
    return model.Layer(name, part, 0.0, seconds, num_parameters, row_bytes=0.0)


def stack(part: str, num_layers: int, seconds: float) -> list[model.Layer]:
    return [layer(f"{part}.{i}", part, seconds) for i in range(num_layers)]


def test_a_ring_moves_twice_the_bytes_less_one_share() -> None:
    machines = model.Machines(4, model.Link(1e9, 0.0), model.Link(1e6, 0.0))
    assert machines.all_reduce_s(1e9, 1) == 0
    assert machines.all_reduce_s(1e9, 4) == pytest.approx(1.5)
    assert machines.all_reduce_s(1e6, 8) == pytest.approx(1.75)
    late = model.Machines(4, model.Link(float("inf"), 1e-3), INSTANT)
    assert late.all_reduce_s(1e9, 4) == pytest.approx(6e-3)


def test_data_parallel_hides_all_but_the_last_gradient() -> None:
    # Backward takes 2 s a layer; a reduction by two GPUs of 8e9 bytes takes 8 s / 4 = 2 s.
    layers = [layer(f"encoder.{i}", "encoder", 1.0, 1_000_000_000) for i in range(3)]
    machines = model.Machines(2, model.Link(4e9, 0.0), INSTANT)
    costs = model.Costs(gradient_bytes=8)
    assert machines.all_reduce_s(8e9, 2) == pytest.approx(2.0)
    assert model.data_parallel(layers, 1, 2, machines, costs) == pytest.approx(3 + 6 + 2)
    assert (
        model.data_parallel(layers, 1, 1, machines, costs) == model.one_gpu(layers, 1, costs) == 9
    )
    waiting = model.Costs(waiting=0.5)
    assert model.data_parallel(layers, 1, 2, FAST, waiting) == pytest.approx(1.5 * 9)


@pytest.mark.parametrize("num_chunks", [1, 2, 4, 16])
def test_a_wavefront_has_the_bubbles_of_its_textbook(num_chunks: int) -> None:
    """S equal stages and C chunks take (S + C - 1) / C stages' time, three times over."""
    layers = stack("encoder", 4, 1.0)
    placing = model.Placing(num_chunks=num_chunks)
    seconds = model.placement(layers, 1 / 4, 4, FAST, FREE, placing)
    assert seconds == pytest.approx(3 * (4 + num_chunks - 1) / num_chunks)


def test_input_feeding_leaves_the_decoder_no_wavefront() -> None:
    layers = stack("encoder", 2, 1.0) + stack("decoder", 2, 1.0)
    one = model.one_gpu(layers, 1, FREE)
    many, feeding = (
        model.placement(layers, 0.5, 2, FAST, FREE, model.Placing(1000, input_feeding=feeding))
        for feeding in (False, True)
    )
    assert one / many == pytest.approx(2, rel=0.01)
    assert one / feeding == pytest.approx(4 / 3, rel=0.01)


def test_the_hybrid_divides_the_output_by_rows() -> None:
    layers = [*stack("encoder", 4, 1.0), layer("output", "output", 8.0, 1000)]
    plain, split = (
        model.placement(layers, 1, 4, FAST, FREE, model.Placing(split_output=split))
        for split in (False, True)
    )
    assert plain - split == pytest.approx(3 * 8 * (4 - 1))


def test_fixed_steps_make_placement_faster_than_linear() -> None:
    layers = [model.Layer(f"encoder.{i}", "encoder", 1.0, 0.01, 0, 0.0) for i in range(4)]
    one = model.one_gpu(layers, 1, FREE)
    four = model.placement(layers, 1, 4, FAST, FREE, model.Placing(num_chunks=100))
    assert 4 * one / four > 4


def test_bad_groups_are_refused() -> None:
    with pytest.raises(ValueError, match="6 GPUs are no multiple of a group of 4"):
        model.placement(stack("encoder", 4, 1.0), 1, 6, FAST, FREE, model.Placing())


def simulate(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPTS / "simulate_scaling.py"), *words],
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_simulation_agrees_with_published_layers_on_gpus(tmp_path: Path) -> None:
    done = simulate(f"output={tmp_path}/found.json", f"plot={tmp_path}/plot.png")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert (tmp_path / "plot.png").stat().st_size > 1000
    rows = found["predictions"]
    assert [row["gpus"] for row in rows] == [1, 2, 4, 8, 16, 32, 64]
    for name in ("data_parallel", "placement", "wavefront", "hybrid"):
        speed_ups = [row[name] for row in rows]
        assert speed_ups[0] == pytest.approx(1)
        assert speed_ups == sorted(speed_ups)
    checks = {check["what"]: check for check in found["checks"]}
    # What the model covers: nothing of these was fitted but the time of one GPU.
    for name in ("TensorFlow NMT, 4 layers, 4 K40m", "TensorFlow NMT, 8 layers, 8 K40m"):
        assert checks[name]["predicted"] == pytest.approx(checks[name]["published"], rel=0.1)


def test_the_simulation_takes_times_from_a_file(tmp_path: Path) -> None:
    times = tmp_path / "times.json"
    times.write_text(
        json.dumps({"step_s": 0, "flops_per_s": 1e12, "output_flops_per_s": 1e12, "parameter_s": 0})
    )
    words = ("hidden=100", "words=1000", "layers=1", "length=10", "rows=10", "gpus=1")
    done = simulate(f"times={times}", *words)
    # By hand: 3 passes over 100 sentence steps of 2 multiplications each.
    encoder = 2 * 4 * 100 * 200
    decoder = 4 * 100 * 300
    output = 100 * 1000 + 3 * 100 * 100 + 2 * 100 * 10
    seconds = 3 * 100 * 2 * (encoder + decoder + output) / 1e12
    assert done.stdout.startswith(f"one GPU: {seconds * 1e3:.1f} ms an update")
    assert f"{200 / seconds:,.0f} tokens/s" in done.stdout


def test_the_simulation_refuses_what_it_does_not_know() -> None:
    for word, message in (
        ("gpu=2", "gpu: not known"),
        ("inside=rope", "rope: no link"),
        ("times=nowhere.json", "times=nowhere.json: "),
        ("gpus=6", "gpus=6: 6 GPUs are no multiple of a group of 4"),
        ("step_us=500", "the steps alone take"),
    ):
        done = simulate(word)
        assert done.returncode == 1
        assert message in done.stderr
