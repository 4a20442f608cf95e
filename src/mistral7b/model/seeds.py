"""Random numbers for a weight: a function of the seed and the weight's name, whatever is drawn before it."""

from __future__ import annotations

import hashlib

import torch


def generator(seed: int, name: str) -> torch.Generator:
    """The numbers that the weight `name` begins with, on the CPU."""
    key = int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:7], "big")
    return torch.Generator().manual_seed(key)
