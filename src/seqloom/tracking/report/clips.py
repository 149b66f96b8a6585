"""Clips of the test split: their frames, what the model made of them, and when.

The idea: a classifier's answer grows while it watches, so beside the frames stands the probability
of the classes that matter after each frame; a captioner's words each stand over the frames that
they were read from. Pictures and videos travel inside the page.
The price: about 70 kB a clip, at most 3.2 MB of pictures and videos a page; videos beyond that are
named with their place in the run folder. Refuses runs that keep no clips.
"""

import base64
from pathlib import Path
from typing import Any

from markupsafe import Markup

from seqloom.tracking.report.captions import caption_strips
from seqloom.tracking.report.differences import marked
from seqloom.tracking.report.evidence import evidence_chart
from seqloom.tracking.report.kept_clips import Clip
from seqloom.tracking.report.run_data import Prediction, RunData
from seqloom.tracking.report.templating import Section, compact, render, shorten

MAX_CLIPS = 12
MAX_EMBEDDED_BYTES = 3_200_000  # of files; base64 makes a third more of them
MAX_VIDEO_BYTES = 2_000_000
MAX_SHEET_BYTES = 250_000  # so that the sheets of all clips always find room
MAX_CHARACTERS = 1000


def clips(run: RunData) -> Section | None:
    """Up to 12 clips, the hardest first; None for runs that read none."""
    topology = run.setting("task", "topology")
    if not run.clips and topology != "video_classifier":
        return None
    is_caption = topology == "encoder_decoder"
    ordered = _hardest_first(run)[:MAX_CLIPS]
    videos = _videos(ordered)
    cards = []
    for number, clip in enumerate(ordered):
        row = run.predictions[clip.index]
        card = _card(clip, row, is_caption, run.folder) | {"anchor": f"clip-{number}"}
        card["video"] = videos.get(clip.index)
        if is_caption:
            attention = next((a for a in run.attention if a.index == clip.index), None)
            card["picture"] = caption_strips(clip, attention, card["sheet"], card["anchor"])
        else:
            card["picture"] = evidence_chart(clip, row.target, row.prediction, card["anchor"])
        cards.append(card)
    values = {
        "groups": _groups(cards),
        "is_caption": is_caption,
        "num_predictions": len(run.predictions),
        "language": str(run.setting("data", "target_language") or "").replace("_", "-"),
        "file_exists": (run.folder / "clips" / "clips.json").is_file(),
        "why_missing": run.why_missing(),
    }
    return Section("Clips", render("clips.html", values), "clips")


def _hardest_first(run: RunData) -> list[Clip]:
    """Wrong ones, the highest score first, then right ones, the lowest score first."""

    def rank(clip: Clip) -> tuple[bool, float]:
        row = run.predictions[clip.index]
        score = row.score or 0.0
        is_right = row.prediction == row.target
        return is_right, score if is_right else -score

    return sorted((clip for clip in run.clips if _size(clip.sheet) <= MAX_SHEET_BYTES), key=rank)


def _groups(cards: list[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """(heading, cards) of what is wrong and of what is right, without empty ones."""
    wrong = [card for card in cards if not card["is_right"]]
    right = [card for card in cards if card["is_right"]]
    groups = [
        ("Hardest: wrong, the surest first", wrong),
        ("Right, the least sure first", right),
    ]
    return [group for group in groups if group[1]]


def _card(clip: Clip, row: Prediction, is_caption: bool, folder: Path) -> dict[str, Any]:
    target, prediction = (
        shorten(row.target, MAX_CHARACTERS),
        shorten(row.prediction, MAX_CHARACTERS),
    )
    reference, answer = marked(target, prediction) if is_caption else (target, prediction)
    times = [f"{clip.times_s[k]:.2f}" for k in clip.sheet_frames]
    return {
        "number": row.index + 1,
        "source": shorten(row.input, MAX_CHARACTERS),
        "name": shorten(row.input.rsplit("/", 1)[-1], 100),
        "reference": reference,
        "prediction": answer,
        "is_right": row.target == row.prediction,
        "score": None if row.score is None else compact(row.score),
        "chrf": None,
        "sheet": data_uri(clip.sheet, "image/jpeg"),
        "width": clip.cell[0] * min(clip.columns, len(times)),
        "height": clip.cell[1] * -(-len(times) // clip.columns),
        "times": times,
        "seconds": f"{clip.times_s[-1] - clip.times_s[0]:.2f}",
        "file": None if clip.video is None else f"clips/{clip.video.name}",
    }


def _videos(ordered: list[Clip]) -> dict[int, Markup]:
    """Data URIs by index, in the order of the page for as long as there is room."""
    room = MAX_EMBEDDED_BYTES - sum(_size(clip.sheet) for clip in ordered)
    found = {}
    for clip in ordered:
        num_bytes = 0 if clip.video is None else _size(clip.video)
        if clip.video is not None and num_bytes <= min(room, MAX_VIDEO_BYTES):
            found[clip.index] = data_uri(clip.video, "video/mp4")
            room -= num_bytes
    return found


def data_uri(path: Path, kind: str) -> Markup:
    """A file as an address that holds it."""
    return Markup(f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}")


def _size(path: Path) -> int:
    return path.stat().st_size
