"""LightningModules, one for each topology: loss, metrics, optimisation, what is logged."""

from seqloom.learners.answers import Answer as Answer
from seqloom.learners.base import Learner as Learner
from seqloom.learners.clip_reading import ClipReading as ClipReading
from seqloom.learners.clip_reading import FrontTraining as FrontTraining
from seqloom.learners.encoder_decoder import EncoderDecoderLearner as EncoderDecoderLearner
from seqloom.learners.sequence_to_sequence import (
    SequenceToSequenceLearner as SequenceToSequenceLearner,
)
from seqloom.learners.sequence_to_vector import SequenceToVectorLearner as SequenceToVectorLearner
from seqloom.learners.vector_to_sequence import VectorToSequenceLearner as VectorToSequenceLearner
from seqloom.learners.video_captioner import VideoCaptionerLearner as VideoCaptionerLearner
from seqloom.learners.video_classifier import VideoClassifierLearner as VideoClassifierLearner
