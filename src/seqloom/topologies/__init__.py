"""Whole models, one for each shape of problem."""

from seqloom.topologies.encoder_decoder import EncoderDecoder as EncoderDecoder
