"""What a notebook puts on its page: figures, tables, answers and checked claims.

Each function displays a bundle that JupyterLab shows as it is and that the book brings to life with
the scripts of `book/assets`. Nothing here carries or asks for a library.
"""

import base64
import hashlib
import html
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from aecore import checks
from aecore.checks import InvalidValue
from aecore.reported import EXPERIMENTS

ANSWER = "application/vnd.aecore.answer+json"
CLAIM = "application/vnd.aecore.claim+json"
REPLICATION = "application/vnd.aecore.replication+json"
PLOTLY = "application/vnd.plotly.v1+json"

# Plotly's own default is a button that uploads the chart to its maker.
_CONFIG = {"displaylogo": False, "responsive": True, "showSendToCloud": False}
_KEYS_SHOWN = 4
HARDLY = 50_000  # training images, with repetition, below which a network shows nothing
VERDICTS = {
    True: ("holds", "✓ agrees"),
    False: ("fails", "✗ differs"),
    None: ("open", "○ too small to say"),
}


def show(
    figure: Any,
    caption: str,
    *,
    alt: str,
    runs: Iterable[Any] = (),
    name: str | None = None,
    decoder: Mapping[str, Any] | None = None,
    sheet: str | None = None,
) -> None:
    """Displays a plotly figure, its caption, and where its numbers come from.

    `alt` says what the figure shows to someone who can't see it. `runs` are the trained models
    behind it. `name` is how a prose page asks for the figure (`<!-- figure: notebook/name -->`).
    With a `decoder` (see `decoder_payload`) of a 2-D code, pointing at a place of the figure's
    plane draws the image decoded there. With the name of a `sheet` (see `image_sheet`) pointing at
    a point shows the image whose number is the point's `customdata`.
    """
    drawing = _compact(json.loads(figure.to_json()))
    bundle = {"data": drawing["data"], "layout": drawing["layout"]}
    height = int(drawing["layout"].get("height") or 450)
    named = f' data-name="{_escape(name)}"' if name else ""
    named += f' data-sheet="{_escape(sheet)}"' if sheet else ""
    parts = [
        f'<div class="aecore-plot" role="img" aria-label="{_escape(alt)}" '
        f'style="height:{height}px"></div>',
        _script("aecore-data", bundle),
    ]
    if decoder is not None:
        parts.append(_script("aecore-decoder", decoder))
    _display(
        {
            PLOTLY: {**bundle, "config": _CONFIG},
            "text/html": f'<figure class="aecore-figure"{named}>{"".join(parts)}</figure>',
            "text/plain": alt,
        }
    )
    _caption(caption, runs)


def image_sheet(images: Any) -> str:
    """Gives the page images (N, C, H, W) in [0, 1], once for all its figures; returns their name.

    Nothing is to be seen of them until `show(…, sheet=name)`. In JupyterLab, without the book's
    scripts, a figure shows its own hover texts instead.
    """
    count, _, height, width = images.shape
    columns = math.ceil(math.sqrt(count))
    blank = np.zeros((columns * math.ceil(count / columns), *images.shape[1:]), dtype=np.float32)
    blank[:count] = images
    rows = [np.concatenate(list(row), axis=2) for row in np.split(blank, len(blank) // columns)]
    pixels = np.concatenate(rows, axis=1)  # (C, rows · H, columns · W)
    # A little loss halves the page for pictures with gray tones.
    content = _encoded(pixels, "WEBP", quality=75)
    name = hashlib.sha256(content.encode()).hexdigest()[:12]
    sizes = {"columns": columns, "width": width, "height": height}
    sheet = _script("aecore-sheet", {"name": name, **sizes, "source": content})
    _display({"text/html": sheet, "text/plain": f"{count} images for the figures below"})
    return name


def pictures(rows: Mapping[str, Any], caption: str, *, alt: str, runs: Iterable[Any] = ()) -> None:
    """Displays rows of images under each other, each row with its label.

    `rows` maps a label to images (N, C, H, W) in [0, 1], C = 1 or 3, clipped where they leave it.
    `alt` says of every row what it shows.
    """
    longest = max(map(len, rows.values()))
    lines = [
        f'<div><span>{_escape(label)}</span><img src="{_strip(images)}" '
        f'alt="{_escape(f"{label}: {alt}")}" '
        f'style="width:{100 * len(images) / longest:.4g}%;image-rendering:pixelated"></div>'
        for label, images in rows.items()
    ]
    markup = f'<figure class="aecore-pictures">{"".join(lines)}</figure>'
    _display({"text/html": markup, "text/plain": alt})
    _caption(caption, runs)


def _strip(images: Any) -> str:
    """Images (N, C, H, W) in [0, 1] side by side as a PNG in a data URL."""
    pixels = np.asarray(images, dtype=np.float32)
    pixels = np.pad(pixels, ((0, 0), (0, 0), (0, 0), (0, 1)))  # a dark line between two
    return _encoded(np.concatenate(list(pixels), axis=2)[:, :, :-1], "PNG")


def _encoded(pixels: np.ndarray, form: str, **options: int) -> str:
    """A picture (C, H, W) in [0, 1], C = 1 or 3, clipped, as a data URL."""
    from PIL import Image

    values = (pixels.clip(0, 1) * 255).round().astype(np.uint8)
    file = io.BytesIO()
    picture = Image.fromarray(values[0] if len(values) == 1 else values.transpose(1, 2, 0))
    picture.save(file, form, **options)
    return f"data:image/{form.lower()};base64," + base64.b64encode(file.getvalue()).decode()


def table(
    frame: Any, caption: str, formats: Mapping[Any, str] | None = None, runs: Iterable[Any] = ()
) -> None:
    """Displays a pandas DataFrame as a table that scrolls in a box of its own on a narrow screen.

    `formats` maps a column to a format of its values, such as `{"test_mse": "{:.4f}"}`.
    """
    formatters = {
        str(column).replace("_", " "): (
            lambda value, form=form: "" if value != value else form.format(value)
        )
        for column, form in (formats or {}).items()
    }
    numbered = type(frame.index).__name__ == "RangeIndex"
    flat = frame if numbered or frame.index.names == [None] else frame.reset_index()
    shown = flat.rename(columns=lambda name: str(name).replace("_", " ")).rename_axis(columns=None)
    cells = shown.to_html(
        index=flat is frame and not numbered,
        formatters=formatters,
        border=0,
        na_rep="",
    )
    cells = cells.replace(' style="text-align: right;"', "").replace(' class="dataframe"', "")
    _display({"text/html": f'<div class="aecore-table">{cells}</div>', "text/plain": str(frame)})
    _caption(caption, runs)


def answer(text: str) -> None:
    """Displays the section's answer in one sentence; the book's first page repeats it."""
    _display(
        {
            ANSWER: {"text": text},
            "text/html": f'<div class="aecore-answer"><p>{_escape(text)}</p></div>',
            "text/plain": text,
        }
    )


def claim(name: str, text: str, holds: bool, report: str | None = None) -> None:
    """Displays a statement of the prose beside whether the results bear it out.

    `name` is the claim's handle, unique within the notebook. With `report`, an experiment's id
    such as "A3", the statement is that report's. In the paper profile a claim of ours that does
    not hold fails the book; for one of a report it is a result.
    """
    holds = bool(holds)
    mark, verdict = ("✓", "holds") if holds else ("✗", "does not hold")
    kind = "holds" if holds else "fails"
    said = f"Report {_known(report)[0]}: {text}" if report else text
    _display(
        {
            CLAIM: {"name": name, "text": said, "holds": holds, "report": report},
            "text/html": f'<div class="aecore-claim {kind}"><span class="verdict">{mark} {verdict}'
            f"</span> {_escape(said)}</div>",
            "text/plain": f"{mark} {verdict}: {said}",
        }
    )


def replication(
    experiment: str, measured: str, agrees: bool | None, *, why: str = "", runs: Iterable[Any] = ()
) -> None:
    """Displays what we measure beside what a report did; the book's scoreboard repeats it.

    `experiment` is its id, such as "A2"; `measured` our figures, mean ± standard deviation over
    the seeds of `runs`; `agrees` None where the profile is too small to say. `why` says what
    differs, and is needed unless it agrees. Raises `InvalidValue` without it or for an unknown id.
    The reports are about MNIST: for runs on other data it displays nothing. Networks that are
    hardly trained (fewer than `HARDLY` images seen) agree and differ with nothing.
    """
    runs, known = list(runs), EXPERIMENTS[_known(experiment)]
    if any(run.spec.dataset != "mnist" for run in runs):
        return
    seen = [len(run.history) * (run.spec.train_images or HARDLY) for run in runs]
    if seen and max(seen) < HARDLY:
        agrees, why = None, f"The networks have seen {max(seen):,} images at most."
    if agrees is not None:
        agrees = bool(agrees)
    if not agrees and not why:
        raise InvalidValue(f"{experiment}: why='' is not allowed: must say why it does not agree")
    kind, verdict = VERDICTS[agrees]
    reason = f' <span class="why">{_escape(why)}</span>' if why else ""
    _display(
        {
            REPLICATION: {
                "experiment": experiment,
                "measured": measured,
                "agrees": agrees,
                "why": why,
                "seeds": len({run.spec.seed for run in runs}),
                "devices": list(dict.fromkeys(str(run.provenance["device"]) for run in runs)),
            },
            "text/html": f'<div class="aecore-claim {kind}"><span class="verdict">{verdict}</span> '
            f"<strong>{experiment}</strong> {_escape(known.done)}. "
            f"<strong>Reported:</strong> {_escape(known.found)}. "
            f"<strong>Here:</strong> {_escape(measured)}.{reason}</div>",
            "text/plain": f"{verdict}: {experiment}: reported {known.found}; here {measured}",
        }
    )
    _caption("", runs)


def _known(experiment: str) -> str:
    """`experiment` if it is one of the reports'; raises `InvalidValue` otherwise."""
    return checks.choice("experiment", experiment, tuple(EXPERIMENTS))


def morph_player(
    decoder: Mapping[str, Any],
    points: Mapping[str, Sequence[float]],
    steps: int,
    caption: str,
    runs: Iterable[Any] = (),
) -> None:
    """Displays a player of straight paths in code space, from any of `points` to any other.

    `points` maps a label to a code of the decoder's latent dimension. The page decodes each of the
    `steps` images itself and draws how far each step moves the picture
    (root mean square over pixels).
    """
    codes = {str(label): [float(value) for value in code] for label, code in points.items()}
    note = "The morphing player is live in the book."
    player = _script("aecore-data", {"points": codes, "steps": int(steps)})
    _display(
        {
            "text/html": f'<figure class="aecore-morph"><p class="aecore-static">{note}</p>'
            f"{player}{_script('aecore-decoder', decoder)}</figure>",
            "text/plain": note,
        }
    )
    _caption(caption, runs)


def neighbor_picker(
    images: Any,
    labels: Sequence[int],
    rows: Mapping[str, Any],
    queries: Sequence[int],
    caption: str,
    runs: Iterable[Any] = (),
) -> None:
    """Displays images to pick one of, and under it a row of its nearest images for each of `rows`.

    `images` (N, C, H, W) in [0, 1] and `labels` (N,) are numbered from 0; `queries` (Q,) are the
    numbers to pick from, and `rows` maps a name to the numbers (Q, k) of their neighbors. A row
    after the first marks which of its images are in the first too.
    """
    every = [np.ravel(found) for found in (queries, *rows.values())]
    used = np.unique(np.concatenate(every)).tolist()
    place = {number: n for n, number in enumerate(used)}
    note = "The picker of neighbors is live in the book."
    data = {
        "sheet": image_sheet(images[used]),
        "labels": [int(labels[number]) for number in used],
        "queries": [place[int(number)] for number in queries],
        "rows": {
            name: [[place[int(number)] for number in found] for found in neighbors]
            for name, neighbors in rows.items()
        },
    }
    _display(
        {
            "text/html": f'<figure class="aecore-neighbors"><p class="aecore-static">{note}</p>'
            f"{_script('aecore-data', data)}</figure>",
            "text/plain": note,
        }
    )
    _caption(caption, runs)


def decoder_payload(model: Any) -> dict[str, Any]:
    """The model's decoder as JSON: layers in order, weights as base64 of little-endian float32.

    `model.decoder` holds linear and then transposed convolution layers; between them stand ReLUs
    and, before the first convolution, a reshape to `model.smallest`; a sigmoid ends it. Raises
    `TypeError` for any other network.
    """
    if not hasattr(model, "smallest"):
        raise TypeError(f"no in-page form of the decoder of {type(model).__name__}")
    layers: list[dict[str, Any]] = []
    for module in model.decoder:
        layer = _layer(module)
        if layer["type"] == "conv_transpose" and layers[-2]["type"] == "linear":
            layers.append({"type": "reshape", "shape": list(model.smallest)})
        layers += [layer, {"type": "relu"}]
    layers[-1] = {"type": "sigmoid"}
    return {"latent_dim": layers[0]["in"], "layers": layers}


def _layer(module: Any) -> dict[str, Any]:
    weights = {"weight": _base64(module.weight), "bias": _base64(module.bias)}
    if not hasattr(module, "output_padding"):
        return {"type": "linear", "in": module.in_features, "out": module.out_features, **weights}
    sizes = {"in": module.in_channels, "out": module.out_channels}
    for name in ("kernel_size", "stride", "padding", "output_padding"):
        sizes[name] = list(getattr(module, name))
    return {"type": "conv_transpose", **sizes, **weights}


def _base64(parameter: Any) -> str:
    values = np.asarray(parameter.detach().cpu().numpy(), dtype="<f4")
    return base64.b64encode(values.tobytes()).decode()


def _compact(value: Any) -> Any:
    """The figure with its large arrays of doubles as float32, which halves the page."""
    if isinstance(value, dict):
        if value.get("dtype") == "f8" and len(value["bdata"]) > 2048:
            values = np.frombuffer(base64.b64decode(value["bdata"]), "<f8").astype("<f4")
            return {**value, "dtype": "f4", "bdata": base64.b64encode(values.tobytes()).decode()}
        return {key: _compact(part) for key, part in value.items()}
    return [_compact(part) for part in value] if isinstance(value, (list, tuple)) else value


def _caption(caption: str, runs: Iterable[Any]) -> None:
    runs = list(runs)
    source = _provenance(runs)
    said = f"<p>{_escape(caption)}</p>" if caption else ""
    if not said and not source:
        return
    _display(
        {
            "text/html": f'<div class="aecore-caption">{said}{source}</div>',
            "text/plain": caption,
        }
    )


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
    line = _escape(" · ".join(facts))
    codes = " ".join(f"<code>{_escape(key)}</code>" for key in keys)
    if len(keys) <= _KEYS_SHOWN:
        return f'<p class="aecore-source">{line} · {codes}</p>'
    return f'<details class="aecore-source"><summary>{line}</summary><p>{codes}</p></details>'


def _script(kind: str, value: Any) -> str:
    # "<" as an escape keeps any "</script>" or "<!--" inside a string from ending the element.
    text = json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return f'<script type="application/json" class="{kind}">{text}</script>'


def _escape(text: Any) -> str:
    return html.escape(str(text), quote=True)


def _display(bundle: dict[str, Any]) -> None:
    from IPython.display import display

    display(bundle, raw=True)
