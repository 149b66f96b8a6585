"""A synthetic translation run folder, as close to a real one as the report can tell.

Seeded: the same folder for the same arguments. Sizes are arguments, so that tests can ask for one
prediction or for 100,000.
"""

import csv
import json
import math
import random
from pathlib import Path
from typing import Any

PAIRS = [
    ("a man", "ein Mann"),
    ("two children", "zwei Kinder"),
    ("an old woman", "eine alte Frau"),
    ("the brown dog", "der braune Hund"),
    ("a group of tourists", "eine Gruppe von Touristen"),
    ("plays", "spielt"),
    ("runs", "l\u00e4uft"),
    ("sits", "sitzt"),
    ("waits", "wartet"),
    ("on the beach", "am Strand"),
    ("in front of a red house", "vor einem roten Haus"),
    ("with a ball", "mit einem Ball"),
    ("near the river", "in der N\u00e4he des Flusses"),
    ("under the bridge", "unter der Br\u00fccke"),
    ("after the rain", "nach dem Regen"),
]
CONFIG = """\
seed: 1
deterministic: false
task:
  name: translation
  title: Translation
  monitor: val/loss
  mode: min
data:
  _target_: seqloom.data.parallel_text.ParallelText
  source_language: en
  target_language: de
  num_train: 20000
tokenizer:
  kind: bpe
  vocab_size: 4000
model:
  embedding_size: 256
  hidden_size: 256
  dropout: 0.2
optimizer:
  lr: 0.001
"""
BLEU_SIGNATURE = "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0"
CHRF_SIGNATURE = "nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:2.6.0"


def make_run(
    folder: Path, *, num_predictions: int = 300, num_attention: int = 20, num_steps: int = 3000
) -> Path:
    """Write a finished run into `folder` and answer it."""
    folder.mkdir(parents=True)
    rows = make_predictions(num_predictions)
    (folder / "config.yaml").write_text(CONFIG, encoding="utf-8")
    write_metrics(folder, num_steps)
    write_predictions(folder, rows)
    pictures = [make_attention(k, rows[k]) for k in range(min(num_attention, num_predictions))]
    (folder / "attention.json").write_text(json.dumps(pictures), encoding="utf-8")
    write_summary(folder, make_summary(num_steps))
    return folder


def make_predictions(num: int) -> list[dict[str, Any]]:
    """Sentences of a small grammar, some predicted wrongly: words lost, swapped, invented."""
    random_ = random.Random(7)
    rows = []
    for _ in range(num):
        subject, verb = random_.choice(PAIRS[:5]), random_.choice(PAIRS[5:9])
        parts = [subject, verb, *random_.sample(PAIRS[9:], random_.choice([0, 1, 1, 2, 2, 3, 5]))]
        target = " ".join(part[1] for part in parts) + "."
        words = target.split()
        for _ in range(random_.choice([0, 0, 0, 0, 1, 1, 2, 4])):
            place = random_.randrange(len(words))
            words[place : place + 1] = random_.choice([[], ["gro\u00dfen"], [words[place]] * 2])
            words = words or ["."]
        rows.append(
            {
                "input": " ".join(part[0] for part in parts).capitalize() + ".",
                "target": target[0].upper() + target[1:],
                "prediction": " ".join(words)[0].upper() + " ".join(words)[1:],
                "score": -round(random_.expovariate(2.5), 4),
            }
        )
    return rows


def make_attention(index: int, row: dict[str, Any]) -> dict[str, Any]:
    """A soft, wandering diagonal; every row sums to one."""
    inputs, outputs = pieces(row["input"]), pieces(row["prediction"])
    weights = []
    for t in range(len(outputs)):
        centre = t * len(inputs) / len(outputs) + math.sin(t)
        raw = [math.exp(-((s - centre) ** 2) / 1.2) + 0.004 for s in range(len(inputs))]
        weights.append([value / sum(raw) for value in raw])
    return {"index": index, "input_pieces": inputs, "output_pieces": outputs, "weights": weights}


def pieces(text: str) -> list[str]:
    """Something like BPE: words cut after 5 characters, a mark before each word, an end."""
    cut = [
        ("\u2581" if k == 0 else "") + word[k : k + 5]
        for word in text.split()
        for k in range(0, len(word), 5)
    ]
    return [*cut, "</s>"]


def write_predictions(folder: Path, rows: list[dict[str, Any]]) -> None:
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "predictions.jsonl").write_text("".join(lines), encoding="utf-8")


def write_summary(folder: Path, summary: dict[str, Any]) -> None:
    (folder / "summary.json").write_text(json.dumps(summary, indent=1), encoding="utf-8")


def make_summary(num_steps: int = 3000) -> dict[str, Any]:
    return {
        "task": "translation",
        "status": "finished",
        "metrics": {
            "test/loss": 1.4312,
            "test/perplexity": 4.184,
            "test/bleu": 71.2345,
            "test/chrf": 82.3456,
            "test/exact_match": 0.4123,
        },
        "signatures": {"test/bleu": BLEU_SIGNATURE, "test/chrf": CHRF_SIGNATURE},
        "best": {"monitor": "val/loss", "score": 1.402, "step": num_steps, "metrics": {}},
        "steps": num_steps,
        "epochs": 10,
        "seconds": 112.4,
        "throughput": {
            "train/target_tokens_per_s": 5234.5,
            "train/examples_per_s": 402.1,
            "train/padding_fraction": 0.043,
        },
        "parameters": 5234123,
        "peak_memory_bytes": 1_234_000_000,
        "versions": {
            "python": "3.11.9",
            "torch": "2.13.0",
            "lightning": "2.6.6",
            "seqloom": "0.1.0",
        },
        "seed": 1,
        "error": None,
    }


def write_metrics(folder: Path, num_steps: int) -> None:
    """Every 10 steps the training metrics, every tenth of the run a validation."""
    random_ = random.Random(3)
    columns = [
        *("step", "epoch", "seconds", "train/loss", "lr-Adam", "train/target_tokens_per_s"),
        *("train/source_padding", "train/target_padding", "train/grad_norm"),
        *("val/loss", "val/perplexity", "val/bleu", "val/chrf", "val/exact_match", "test/bleu"),
    ]
    with (folder / "metrics.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        for step in range(10, num_steps + 1, 10):
            part = step / num_steps
            at = {"step": step, "epoch": int(10 * part), "seconds": round(0.037 * step, 2)}
            loss = 1.3 + 5.0 * math.exp(-5 * part)
            rate = 0.001 * min(step / 300, 0.5 + 0.5 * math.cos(math.pi * part))
            train = {
                "train/loss": round(loss + random_.gauss(0, 0.18), 4),
                "lr-Adam": f"{rate:.3g}",
                "train/target_tokens_per_s": round(random_.gauss(5200, 180), 1),
                "train/grad_norm": round(abs(random_.gauss(1.1, 0.4)), 3),
            }
            writer.writerow(at | train)
            if step % max(10, num_steps // 100 * 10) == 0:
                held_out = loss + 0.1 + 0.15 * part
                score = 72 * (1 - math.exp(-4 * part))
                writer.writerow(
                    at
                    | {
                        "train/source_padding": 0.012,
                        "train/target_padding": 0.061,
                        "val/loss": round(held_out, 4),
                        "val/perplexity": round(math.exp(held_out), 3),
                        "val/bleu": round(score, 3),
                        "val/chrf": round(min(99, score * 1.12 + 4), 3),
                        "val/exact_match": round(0.42 * part, 4),
                    }
                )
        writer.writerow({"step": num_steps, "epoch": 10, "seconds": 112.4, "test/bleu": 71.2345})
