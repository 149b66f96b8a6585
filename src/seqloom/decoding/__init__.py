"""Searches over anything that can `start`, `step` and `select`: greedy and beam."""

from seqloom.decoding.beam import BeamSearch
from seqloom.decoding.greedy import GreedySearch
from seqloom.decoding.protocol import Decodable, Hypothesis

__all__ = ["BeamSearch", "Decodable", "GreedySearch", "Hypothesis"]
