"""One step of the optimizers for many networks at once, as PyTorch takes it for one.

The formulas and the names of what is kept are those of `torch.optim`, so that a network can go from
one to the other between two steps.
"""

from __future__ import annotations

import torch
from torch import Tensor

BETA, BETA2, ALPHA, EPSILON = 0.9, 0.999, 0.9, 1e-8


def update(
    kind: str,
    weight: Tensor,
    grad: Tensor,
    state: dict[str, Tensor],
    rate: Tensor,
    weight_decay: Tensor,
    momentum: Tensor,
) -> None:
    """Change `weight` (M, …) and `state` in place by one step along `grad` (M, …).

    `rate`, `weight_decay` and `momentum` are (M, 1, …). `state` is empty before the first step.
    """

    def kept(name: str) -> Tensor:
        return state.setdefault(name, torch.zeros_like(weight))

    if kind != "sgd":
        age = state.setdefault("step", weight.new_zeros(len(weight))).add_(1).view(rate.shape)
    if kind == "adamw":
        weight.mul_(1 - rate * weight_decay)
    else:
        grad = grad + weight_decay * weight
    match kind:
        case "adam" | "adamw":  # Kingma & Ba 2015, Algorithm 1
            mean = kept("exp_avg").lerp_(grad, 1 - BETA)
            square = kept("exp_avg_sq").mul_(BETA2).addcmul_(grad, grad, value=1 - BETA2)
            width = (square / (1 - BETA2**age)).sqrt_().add_(EPSILON)
            weight.sub_(rate / (1 - BETA**age) * mean / width)
        case "adamax":  # Kingma & Ba 2015, Algorithm 2
            mean = kept("exp_avg").lerp_(grad, 1 - BETA)
            largest = torch.maximum(kept("exp_inf").mul_(BETA2), grad.abs() + EPSILON)
            state["exp_inf"] = largest
            weight.sub_(rate / (1 - BETA**age) * mean / largest)
        case "rmsprop":  # Tieleman & Hinton 2012
            square = kept("square_avg").mul_(ALPHA).addcmul_(grad, grad, value=1 - ALPHA)
            weight.sub_(rate * grad / square.sqrt().add_(EPSILON))
        case "sgd":
            moving = kept("momentum_buffer").mul_(momentum).add_(grad)
            weight.sub_(rate * moving)
        case _:
            raise AssertionError(kind)
