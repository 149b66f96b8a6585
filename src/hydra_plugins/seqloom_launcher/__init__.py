"""Hydra finds launchers in this name space; ours is `seqloom.sweeps` behind Hydra's interface."""
