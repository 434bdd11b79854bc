"""The store through which processes of torchrun or Slurm find each other, a new one after every restart."""

import datetime
import os

import torch.distributed as dist

# Detectron2's, for finding each other and for every exchange: machines of a cluster may start long after each other,
# and processes wait while the first one sums up an evaluation.
TIMEOUT = datetime.timedelta(minutes=30)


def attempt_store(rank: int, world_size: int) -> dist.Store:
    """Open the store of one attempt: that of ``env://``, with a prefix for every attempt.

    torchrun keeps one store for all attempts. With gloo, torch 2.14 reads the addresses of the attempt before from it,
    and the restarted processes hang or are refused.

    Args:
        rank: rank of this process.
        world_size: number of processes; it changes when elastic training loses a machine.
    """
    served = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    store = dist.TCPStore(
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        world_size,
        is_master=rank == 0 and not served,
        timeout=TIMEOUT,
    )
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return dist.PrefixStore(f"querydet/attempt{attempt}/{world_size}", store)
