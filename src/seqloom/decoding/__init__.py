"""Searches over anything that can `start`, `step` and `select`: greedy, beam and sampling."""

from seqloom.decoding.beam import BeamSearch
from seqloom.decoding.greedy import GreedySearch
from seqloom.decoding.protocol import Decodable, Hypothesis
from seqloom.decoding.sampled import SampledSearch

__all__ = ["BeamSearch", "Decodable", "GreedySearch", "Hypothesis", "SampledSearch"]
