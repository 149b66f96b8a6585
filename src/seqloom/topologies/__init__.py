"""Whole models, one for each shape of problem."""

from seqloom.topologies.delayed import DelayedSequenceToSequence as DelayedSequenceToSequence
from seqloom.topologies.encoder_decoder import EncoderDecoder as EncoderDecoder
from seqloom.topologies.sequence_encoder import SequenceEncoder as SequenceEncoder
from seqloom.topologies.sequence_to_sequence import SequenceToSequence as SequenceToSequence
from seqloom.topologies.sequence_to_vector import HierarchicalToVector as HierarchicalToVector
from seqloom.topologies.sequence_to_vector import SequencePairToVector as SequencePairToVector
from seqloom.topologies.sequence_to_vector import SequenceToVector as SequenceToVector
from seqloom.topologies.sequence_to_vector import SequenceVector as SequenceVector
from seqloom.topologies.vector_to_sequence import VectorToSequence as VectorToSequence
from seqloom.topologies.video_captioner import VideoCaptioner as VideoCaptioner
from seqloom.topologies.video_classifier import FrameAverage as FrameAverage
from seqloom.topologies.video_classifier import VideoClassifier as VideoClassifier
from seqloom.topologies.video_classifier import Watched as Watched
