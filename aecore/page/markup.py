"""Pieces of what a notebook displays: bundles, captions with their source, data for the page."""

import base64
import html
import io
import json
from collections.abc import Iterable
from typing import Any

import numpy as np

_KEYS_SHOWN = 4


def caption_of(caption: str, runs: Iterable[Any] = ()) -> None:
    """Displays the caption of what was displayed last, and the runs that its numbers are from."""
    runs = list(runs)
    source = _provenance(runs)
    said = f"<p>{escape(caption)}</p>" if caption else ""
    if not said and not source:
        return
    put({"text/html": f'<div class="aecore-caption">{said}{source}</div>', "text/plain": caption})


def _provenance(runs: list[Any]) -> str:
    if not runs:
        return ""
    keys = list(dict.fromkeys(str(run.key)[:8] for run in runs))
    seeds = len({run.spec.seed for run in runs})
    made = [dict(run.provenance or {}) for run in runs]
    facts = [
        f"{len(keys)} {'run' if len(keys) == 1 else 'runs'}, "
        f"{seeds} {'seed' if seeds == 1 else 'seeds'}"
    ]
    for field, form in (("device", "{}"), ("torch", "torch {}"), ("commit", "commit {}")):
        values = dict.fromkeys(str(entry[field]) for entry in made if entry.get(field))
        if values:
            facts.append(form.format(", ".join(values)))
    ended = {str(run.key)[:8]: len(run.history) for run in runs if run.diverged}
    if ended:
        said = ", ".join(f"{key} in epoch {epoch}" for key, epoch in ended.items())
        facts.append(f"diverged: {said}")
    line = escape(" · ".join(facts))
    codes = " ".join(f"<code>{escape(key)}</code>" for key in keys)
    if len(keys) <= _KEYS_SHOWN:
        return f'<p class="aecore-source">{line} · {codes}</p>'
    return f'<details class="aecore-source"><summary>{line}</summary><p>{codes}</p></details>'


def script(kind: str, value: Any) -> str:
    """A script element that holds plain data for the page's own scripts, found by its class."""
    # "<" as an escape keeps any "</script>" or "<!--" inside a string from ending the element.
    text = json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return f'<script type="application/json" class="{kind}">{text}</script>'


def escape(text: Any) -> str:
    """Text that HTML shows as it is, in attributes too."""
    return html.escape(str(text), quote=True)


def put(bundle: dict[str, Any]) -> None:
    """Displays a bundle: the same thing by MIME type."""
    from IPython.display import display

    display(bundle, raw=True)


def encoded(pixels: np.ndarray, form: str, **options: int) -> str:
    """A picture (C, H, W) in [0, 1], C = 1 or 3, clipped, as a data URL."""
    from PIL import Image

    values = (pixels.clip(0, 1) * 255).round().astype(np.uint8)
    file = io.BytesIO()
    picture = Image.fromarray(values[0] if len(values) == 1 else values.transpose(1, 2, 0))
    picture.save(file, form, **options)
    return f"data:image/{form.lower()};base64," + base64.b64encode(file.getvalue()).decode()
