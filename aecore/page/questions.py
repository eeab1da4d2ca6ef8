"""What a notebook asks of its reader: questions to predict, and lines of code to fill in."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from aecore.page.show import escape, put, sayable

CLOSE = 1e-4  # of the number asked for, within which one counts as the same


def reveal(question: str, answer: str) -> None:
    """Displays a question, and folded away under it what this run says."""
    answer = sayable(answer)
    said = f"<p>{escape(answer)}</p>"
    fold = f'<details class="aecore-reveal"><summary>{escape(question)}</summary>{said}</details>'
    put(fold, f"{question}\n{answer}")


def check(given: Any, wanted: Any, ask: str, mistakes: Mapping[str, Any] | None = None) -> None:
    """Displays whether the number that a reader's line `given` is the one `wanted`.

    None counts as not answered yet, and is met by `ask`, what to do. `mistakes` maps what to look
    at to the number that the mistake would give; one that is none of these is said to be too large
    or too small. Numbers, arrays and tensors are taken alike; never raises for what a reader gives.
    """
    kind, said = _judged(given, float(_array(wanted)), ask, mistakes or {})
    verdict = {"open": "○ not answered yet", "fails": "✗ not yet", "holds": "✓ right"}[kind]
    markup = f'<span class="verdict {kind}">{verdict}</span> {escape(said)}'
    put(f'<p class="aecore-reveal" role="status">{markup}</p>', f"{verdict}: {said}")


def _judged(given: Any, wanted: float, ask: str, mistakes: Mapping[str, Any]) -> tuple[str, str]:
    if given is None:
        return "open", ask
    number = _array(given)
    if number is None:
        return "fails", f"A {type(given).__name__} is no number. {ask}"
    if number.size != 1:
        shape = " × ".join(map(str, number.shape))
        return "fails", f"That has the shape {shape}, and one number is asked for."
    value = float(number.ravel()[0])
    if np.isclose(value, wanted, rtol=CLOSE, atol=0):
        return "holds", f"{value:.5g} it is."
    for look, wrong in mistakes.items():
        if np.isclose(value, float(_array(wrong)), rtol=CLOSE, atol=0):
            return "fails", look
    way = "too large" if value > wanted else "too small" if value < wanted else "no number"
    return "fails", f"{value:.5g} is {way}. {ask}"


def _array(value: Any) -> np.ndarray | None:
    """The value as an array of floats, or None where it is none."""
    try:
        return torch.as_tensor(value).detach().cpu().double().numpy()
    except (TypeError, ValueError, RuntimeError):
        return None
