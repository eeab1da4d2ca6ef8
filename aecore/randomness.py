"""Random numbers without a state: each is a function of (seed, purpose, epoch, step)."""

import hashlib
from collections.abc import Callable

import torch
from torch import Generator, Tensor


def generator(
    seed: int, purpose: str, epoch: int = 0, step: int = 0, device: torch.device | str = "cpu"
) -> Generator:
    """A fresh generator on `device` for one purpose at one step of one run."""
    return Generator(device=device).manual_seed(start(seed, purpose, epoch, step))


def start(seed: int, purpose: str, epoch: int = 0, step: int = 0) -> int:
    """What such a generator is seeded with.

    A hash, so that neighboring seeds, epochs and steps share nothing; 32 bits of it, because
    torch's CPU generator uses no more.
    """
    return _hash(f"{seed}/{purpose}/{epoch}/{step}", 4)


def normal(like: Tensor, *, generator: Generator | list[Generator]) -> Tensor:
    """Numbers ~ N(0, 1) of the shape of `like` (N, d); of M generators each has d / M columns."""
    return _filled(like, generator, lambda part, source: part.normal_(generator=source))


def uniform(
    like: Tensor, low: float, high: float, *, generator: Generator | list[Generator]
) -> Tensor:
    """Numbers ~ U(low, high) of the shape of `like` (N, d); of M generators as in `normal`."""
    return _filled(like, generator, lambda part, own: part.uniform_(low, high, generator=own))


def _filled(
    like: Tensor,
    generator: Generator | list[Generator],
    fill: Callable[[Tensor, Generator], Tensor],
) -> Tensor:
    if not isinstance(generator, list):
        return fill(torch.empty_like(like), generator)
    parts = zip(like.chunk(len(generator), -1), generator, strict=True)
    return torch.cat([fill(torch.empty_like(part), own) for part, own in parts], -1)


def permutation(n: int, *, generator: Generator) -> Tensor:
    """The numbers 0 … n-1 in random order, int64 (n,), on the generator's device."""
    return torch.randperm(n, generator=generator, device=generator.device)


def key(*parts: int | str) -> int:
    """63 bits for seed, purpose, epoch and step, or for a key and a number: a hash of them all."""
    return _hash("/".join(map(str, parts)), 8) >> 1


def _hash(name: str, size: int) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=size).digest())
