"""What the tests of learners run in further processes; imports Seqloom first, as a program does."""

from __future__ import annotations

import torch

from seqloom.learners.carried_state import CarriedState


def gather_and_restore(rank: int, folder: str) -> None:
    """One of two processes: saves the states of both, and takes its own back."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    carried = CarriedState()
    carried.keep([(torch.full((2, 3), float(rank)),)])
    saved = carried.gathered()
    carried.clear()
    carried.restore(saved, rank, torch.device("cpu"))
    ((own,),) = carried.start(torch.tensor([True, True]), [(torch.full((2, 3), -1.0),)])
    torch.save((saved, own), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()
