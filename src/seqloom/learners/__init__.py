"""LightningModules, one for each topology: loss, metrics, optimisation, what is logged."""

from seqloom.learners.encoder_decoder import EncoderDecoderLearner as EncoderDecoderLearner
