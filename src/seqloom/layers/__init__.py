"""Layers: recurrent stacks, attention, dropouts that know time, output layers and their losses."""
