"""Random numbers without a state: each is a function of (seed, purpose, epoch, step)."""

import hashlib

import torch
from torch import Generator, Tensor


def generator(
    seed: int, purpose: str, epoch: int = 0, step: int = 0, device: torch.device | str = "cpu"
) -> Generator:
    """A fresh generator on `device` for one purpose at one step of one run.

    The seed is a hash, so that neighboring seeds, epochs and steps share nothing; 32 bits of it,
    because torch's CPU generator uses no more.
    """
    return Generator(device=device).manual_seed(_hash(f"{seed}/{purpose}/{epoch}/{step}", 4))


def permutation(n: int, *, generator: Generator) -> Tensor:
    """The numbers 0 … n-1 in random order, int64 (n,), on the generator's device."""
    return torch.randperm(n, generator=generator, device=generator.device)


def key(*parts: int | str) -> int:
    """63 bits for seed, purpose, epoch and step, or for a key and a number: a hash of them all."""
    return _hash("/".join(map(str, parts)), 8) >> 1


def _hash(name: str, size: int) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=size).digest())
