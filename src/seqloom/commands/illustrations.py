"""What a run leaves of single test examples for its report: attention, and clips as they were seen.

Texts are the first of the test split; of clips the hardest ones and some right ones are chosen.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from seqloom.data.spec import VideoSide
from seqloom.learners import Learner
from seqloom.learners.answers import ClipEvidence
from seqloom.metrics.prediction import Prediction
from seqloom.runs import RunFolder, write_atomic
from seqloom.tracking.clips import ClipPicture, choose_clips, write_clips

NUM_TEXTS = 20


def write_illustrations(
    folder: RunFolder, learner: Learner, predictions: Sequence[Prediction]
) -> None:
    """attention.json, of a model with attention, and clips/, of one that reads clips.

    Args:
        learner: on the device to compute on, in evaluation mode.
        predictions: of the test split, in its order.
    """
    places = list(range(len(predictions)))[:NUM_TEXTS]
    if isinstance(learner.spec.source, VideoSide):
        places = choose_clips(predictions)
        pictures = (
            _picture(place, seen)
            for place in places
            for seen in learner.evidence([predictions[place].input])
        )
        write_clips(folder.path, pictures)
    maps = learner.attention_maps([predictions[place].input for place in places])
    if any(entry["weights"] for entry in maps):
        # A learner without attention answers nothing, so there may be fewer maps than places.
        told = [{"index": place, **entry} for place, entry in zip(places, maps, strict=True)]
        write_atomic(folder.attention, json.dumps(told, ensure_ascii=False) + "\n")


def _picture(index: int, seen: ClipEvidence) -> ClipPicture:
    return ClipPicture(
        index=index,
        times_s=seen.times_s,
        frames=seen.frames.permute(0, 2, 3, 1).contiguous().cpu().numpy(),
        classes=seen.classes,
        evidence=seen.probabilities.tolist() if seen.classes else (),
    )
