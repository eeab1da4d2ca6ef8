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
    name = f"{seed}/{purpose}/{epoch}/{step}".encode()
    number = int.from_bytes(hashlib.blake2b(name, digest_size=4).digest())
    return Generator(device=device).manual_seed(number)


def permutation(n: int, *, generator: Generator) -> Tensor:
    """The numbers 0 … n-1 in random order, int64 (n,), on the generator's device."""
    return torch.randperm(n, generator=generator, device=generator.device)


def keep_mask(like: Tensor, rate: float, *, generator: Generator) -> Tensor:
    """Float mask shaped like `like`: 0 with probability `rate`, else 1 / (1 - rate), for dropout.

    Draws 64-bit words and compares their 16-bit quarters, four decisions a draw: about twice as
    fast as `bernoulli_` on a CPU. The rate is thereby rounded to a multiple of 2⁻¹⁶. The decisions
    follow the order of `like` in memory, since a product of different orders would be slow.
    """
    count = like.numel()
    words = torch.empty((count + 3) // 4, dtype=torch.int64, device=generator.device)
    words.random_(-(2**63), None, generator=generator)
    keep = words.view(torch.int16)[:count] >= round(rate * 2**16) - 2**15
    return keep.as_strided(like.shape, like.stride()).to(like.dtype).mul_(1 / (1 - rate))
