"""Test examples of any task with attention, and of sentences the best, the worst, scores by length.

The idea: show where a model fails before telling how often. All scores are `text_scores`', all
marks `differences`'. The price: what is embedded is capped (20 examples, 6 best, 6 worst), and
only evenly spread sentences are scored where the test set is large; both are said on the page.
"""

from typing import Any

from seqloom.tracking.report.differences import marked, num_words
from seqloom.tracking.report.heat_map import heat_map
from seqloom.tracking.report.run_data import Attention, Prediction, RunData
from seqloom.tracking.report.templating import Section, compact, render, shorten
from seqloom.tracking.report.text_scores import (
    MAX_SCORED,
    Group,
    Scored,
    Scorer,
    length_bins,
    spread,
)

NUM_EXAMPLES = 20
NUM_OPEN = 3
NUM_EXTREMES = 6
MAX_CHARACTERS = 1000


def examples(run: RunData) -> Section | None:
    """Up to 20 test examples, first those whose attention was kept; none that `clips` shows.

    None where clips are all there is.
    """
    shown = {clip.index for clip in run.clips}
    attention = {picture.index: picture for picture in run.attention if picture.index not in shown}
    kept = [index for index in attention if 0 <= index < len(run.predictions)][:NUM_EXAMPLES]
    missing = NUM_EXAMPLES - len(kept)
    others = (i for i in spread(len(run.predictions), NUM_EXAMPLES) if i not in {*kept, *shown})
    chosen = kept + [index for index, _ in zip(others, range(missing), strict=False)]
    if shown and not chosen:
        return None
    scorer = Scorer(run)
    cards = []
    for number, index in enumerate(chosen):
        row = run.predictions[index]
        is_text = run.is_text
        card = _card(row, scorer.sentence_chrf(row.prediction, row.target) if is_text else None)
        card["attention"] = _picture(attention.get(index), f"attention-{number}")
        card["is_open"] = number < NUM_OPEN
        cards.append(card)
    values = _languages(run) | {
        "cards": cards,
        "num_predictions": len(run.predictions),
        "has_attention": any(p.index in shown or p.index in kept for p in run.attention),
        "why_missing": run.why_missing(),
        "file_exists": (run.folder / "predictions.jsonl").is_file(),
    }
    return Section("Examples", render("examples.html", values), "examples")


def sentence_scores(run: RunData) -> Section | None:
    """Scores by source length, then the best and worst sentences; None for tasks without text."""
    if not run.is_text or not run.predictions:
        return None
    scorer = Scorer(run)
    chosen = [run.predictions[index] for index in spread(len(run.predictions), MAX_SCORED)]
    scored = scorer.score(chosen)
    if run.clips:  # The source is a file: the words of its name say nothing.
        scored = [s._replace(length=num_words(s.prediction.target)) for s in scored]
    worst = sorted(scored, key=lambda s: (s.chrf, -s.length))[:NUM_EXTREMES]
    # Of many perfect sentences the long ones tell most; a small set is not shown twice.
    best = sorted(scored, key=lambda s: (-s.chrf, -s.length))[:NUM_EXTREMES]
    if len(scored) < 2 * NUM_EXTREMES:
        best = best[: (len(scored) + 1) // 2]
        worst = worst[: len(scored) // 2]
    values = _languages(run) | {
        "total": _group_row(scorer.group("all", scored)),
        "groups": [_group_row(group) for group in _by_length(scorer, scored)],
        "num_scored": len(scored),
        "num_predictions": len(run.predictions),
        "num_perfect": sum(s.prediction.prediction == s.prediction.target for s in scored),
        "note": scorer.note,
        "side": "target" if run.clips else "source",
        "best": [_card(s.prediction, s.chrf) for s in best],
        "worst": [_card(s.prediction, s.chrf) for s in worst],
    }
    return Section("Sentence by sentence", render("sentences.html", values), "sentences")


def _by_length(scorer: Scorer, scored: list[Scored]) -> list[Group]:
    groups = []
    for first, last in length_bins([s.length for s in scored]):
        inside = [s for s in scored if first <= s.length and (last is None or s.length <= last)]
        if inside:
            name = f"{first}+" if last is None else f"{first}\u2013{last}"
            groups.append(scorer.group(str(first) if first == last else name, inside))
    return groups


def _group_row(group: Group) -> dict[str, Any]:
    return {
        "name": group.name,
        "num": f"{group.num_sentences:,}",
        "chrf": f"{group.chrf:.2f}",
        "bleu": f"{group.bleu:.2f}",
        "ratio": "" if group.ratio is None else f"{group.ratio:.2f}",
    }


def _card(row: Prediction, chrf: float | None) -> dict[str, Any]:
    reference, prediction = marked(
        shorten(row.target, MAX_CHARACTERS), shorten(row.prediction, MAX_CHARACTERS)
    )
    return {
        "number": row.index + 1,
        "source": shorten(row.input, MAX_CHARACTERS),
        "reference": reference,
        "prediction": prediction,
        "chrf": None if chrf is None else f"{chrf:.1f}",
        "is_same": row.target == row.prediction,
        "score": None if row.score is None else compact(row.score),
        "attention": "",
    }


def _picture(attention: Attention | None, anchor: str) -> str:
    return "" if attention is None else heat_map(attention, anchor)


def _languages(run: RunData) -> dict[str, str]:
    return {
        side: str(run.setting("data", f"{side}_language") or "").replace("_", "-")
        for side in ("source", "target")
    }
