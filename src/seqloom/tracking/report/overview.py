"""The head of the page: what ran, how it ended, its scores with signatures, and its costs.

The idea: the scores that judge a run stand first and large, each with the signature that makes it
comparable; everything else is a fact in a grid, left out where the run does not tell it.
"""

from typing import Any

from markupsafe import Markup

from seqloom.runs.provenance import read_environment
from seqloom.tracking.report.run_data import RunData
from seqloom.tracking.report.templating import compact, duration, metric, render, size

HEADLINES = (
    "bleu",
    "chrf",
    "exact_match",
    "accuracy",
    "frame_accuracy",
    "f1",
    "wer",
    "cer",
    "perplexity",
)
NAMES = {
    "bleu": "BLEU",
    "chrf": "chrF",
    "exact_match": "Exact match",
    "f1": "F1",
    "wer": "WER",
    "cer": "CER",
    "nll": "NLL",
    "mse": "MSE",
    "mae": "MAE",
}
STATUS = {
    "finished": ("\u2713", "finished"),
    "failed": ("\u2715", "failed"),
    "interrupted": ("\u2225", "interrupted"),
    "running": ("\u25b6", "still running when this page was written"),
    "unknown": ("?", "status unknown: there is no readable summary.json"),
}
PADDING = ("train/source_padding", "train/target_padding", "train/padding_fraction")


def overview_html(run: RunData) -> Markup:
    """The head of the page. Never missing: a run without a summary gets a head that says so."""
    symbol, words = STATUS.get(run.status, ("?", run.status))
    return render(
        "overview.html",
        {
            "name": run.folder.resolve().name,
            "title": _title(run),
            "status": run.status if run.status in STATUS else "unknown",
            "symbol": symbol,
            "words": words,
            "error": run.summary.get("error"),
            "headlines": _headlines(run),
            "no_scores": run.why_missing(),
            "facts": _facts(run),
            "versions": run.section("versions"),
            "places": _places(run),
            "problems": run.problems,
        },
    )


def _title(run: RunData) -> str:
    title = str(run.setting("task", "title") or run.task or "Run").rstrip(".")
    source = run.setting("data", "source_language")
    target = run.setting("data", "target_language")
    title = title[:1].upper() + title[1:]
    return f"{title}, {source} \u2192 {target}" if source and target else title


def _headlines(run: RunData) -> list[dict[str, str]]:
    """The test metrics, the field's usual ones first, losses last; with signature where known."""
    scores = {n: v for n, v in run.section("metrics").items() if n.startswith("test/")}

    def rank(name: str) -> tuple[int, str]:
        base = name.removeprefix("test/")
        return (HEADLINES.index(base) if base in HEADLINES else len(HEADLINES), name)

    signatures = run.section("signatures")
    return [
        {
            "name": metric_title(name),
            "value": metric(scores[name], name),
            "signature": str(signatures.get(name, "")),
        }
        for name in sorted(scores, key=rank)
    ]


def metric_title(name: str) -> str:
    """`test/exact_match` as a person writes it: `Exact match`."""
    base = name.rsplit("/", 1)[-1]
    return NAMES.get(base, base.replace("_", " ").capitalize())


def _facts(run: RunData) -> list[tuple[str, str]]:
    """(name, value) of what the run tells of its size, costs and settings."""
    summary = run.summary
    facts: list[tuple[str, str | None]] = [
        ("Parameters", _format(summary.get("parameters"), compact)),
        ("Training time", _format(summary.get("seconds"), duration)),
        ("Steps", _format(summary.get("steps"), compact)),
        ("Epochs", _format(summary.get("epochs"), compact)),
        ("Peak memory", _format(summary.get("peak_memory_bytes"), size)),
        ("Seed", _format(summary.get("seed", run.config.get("seed")), compact)),
    ]
    throughput = run.section("throughput")
    for name, value in throughput.items():
        if name.endswith("_per_s"):
            words = name.removeprefix("train/").removesuffix("_per_s").replace("_", " ")
            facts.append(
                (f"{words.capitalize()} per second", _format(value, lambda v: f"{v:,.0f}"))
            )
    for name in PADDING:
        logged = [point.value for point in run.metrics.get(name, [])[-1:]]
        value = throughput.get(
            name, run.section("metrics").get(name, logged[0] if logged else None)
        )
        words = name.removeprefix("train/").removesuffix("_fraction").replace("_", " ")
        facts.append((words.capitalize(), _format(value, lambda v: f"{100 * v:.1f} %")))
    best = run.section("best")
    monitor, step = str(best.get("monitor", "")), _format(best.get("step"), compact)
    if monitor:
        facts.append((f"Best {monitor}", metric(best.get("score"), monitor)))
        facts.append(("Best at step", step))
    return [(name, value) for name, value in facts if value is not None]


def _places(run: RunData) -> list[tuple[str, str]]:
    """(name, value) of where the run was started, and how often it was resumed."""
    sessions = (read_environment(run.folder) or {"sessions": []})["sessions"]
    if not sessions:
        return []
    first = sessions[0]
    git, machine = (
        part if isinstance(part, dict) else {} for part in (first.get("git"), first.get("hardware"))
    )
    commit = git.get("commit") and f"{str(git['commit'])[:12]} on {git.get('branch')}"
    changes = ", with uncommitted changes" if git.get("dirty") else ""
    gpus = machine.get("gpus")
    names = [str(gpu.get("name")) for gpu in gpus if isinstance(gpu, dict)] if gpus else []
    cores = _format(machine.get("cores"), lambda v: f"{v} cores")
    memory = _format(machine.get("memory_bytes"), size)
    hardware = [str(part) for part in (machine.get("cpu"), cores, memory, *names) if part]
    places = {
        "Commit": f"{commit}{changes}" if commit else git.get("why"),
        "Machine": ", ".join(hardware),
        "Command": first.get("command"),
        "In folder": first.get("directory"),
        "Resumed": _times(len(sessions) - 1),
    }
    return [(name, str(value)) for name, value in places.items() if value]


def _times(count: int) -> str:
    return {0: "", 1: "once"}.get(count, f"{count} times")


def _format(value: Any, form: Any) -> str | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and value == value:
        return str(form(value))
    return None if value is None else str(value)
