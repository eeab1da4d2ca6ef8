"""What a notebook states: its answer, its claims, and the reports' experiments beside ours."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from aecore import checks
from aecore.page.reports import EXPERIMENTS
from aecore.page.show import caption_of, escape, put, spread

ANSWER = "application/vnd.aecore.answer+json"
CLAIM = "application/vnd.aecore.claim+json"
REPLICATION = "application/vnd.aecore.replication+json"

HARDLY = 50_000  # training images, with repetition, below which a network shows nothing
VERDICTS = {
    True: ("holds", "✓ agrees"),
    False: ("fails", "✗ differs"),
    None: ("open", "○ too small to say"),
}
HOLDS = {
    True: ("holds", "✓ holds"),
    False: ("fails", "✗ does not hold"),
    None: ("open", "○ too small to say"),
}

Values = Iterable[float] | float | str
Measured = Mapping[str, Values | Mapping[str, Values]]
Parts = Mapping[str, bool | None]


def answer(text: str) -> None:
    """Displays the section's answer in one sentence; the book's first page repeats it."""
    markup = f'<div class="aecore-answer"><p>{escape(text)}</p></div>'
    put(markup, text, **{ANSWER: {"text": text}})


def claim(
    name: str, text: str, holds: bool | None, report: str | None = None, runs: Iterable[Any] = ()
) -> None:
    """Displays a statement of the prose beside whether the results bear it out.

    `name` is the claim's handle, unique within the notebook. In the paper profile a claim of ours
    that does not hold fails the book. With `report`, an experiment's id such as "A3", the
    statement is that report's, and whether it holds is a result: on `runs` of other data than
    MNIST nothing is displayed, and of networks that are hardly trained nothing is said.
    """
    holds = None if holds is None else bool(holds)
    if report:
        text = f"Report {_known(report)[0]}: {text}"
        if _of_other_data(runs := list(runs)):
            return
        holds = None if _hardly_trained(runs) else holds
    kind, verdict = HOLDS[holds]
    put(
        f'<div class="aecore-claim {kind}"><span class="verdict">{verdict}</span> '
        f"{escape(text)}</div>",
        f"{verdict}: {text}",
        **{CLAIM: {"name": name, "text": text, "holds": holds, "report": report}},
    )


def replicate(
    experiment: str,
    measured: Measured,
    holds: Parts | None = None,
    *,
    within: float | None = None,
    unlike: str = "",
    lacks: str = "",
    why: str = "",
    runs: Iterable[Any] = (),
) -> None:
    """Displays what we measure beside what a report did; the book's scoreboard repeats it.

    `experiment` is its id, such as "A2". `measured` maps what was measured to a text or to
    numbers, one a seed, of which mean ± standard deviation are shown, or to a mapping of them;
    those among the experiment's figures ("name", or "name, part") are compared with it, by its own
    tolerance or `within`. `holds` says of what was reported in words whether it is found again,
    None where that is open. `unlike` is what makes the runs another experiment: then nothing is
    said. `lacks` is what they fall short of: then only a difference is left open. `why` is a
    remark. On `runs` of other data than MNIST nothing is displayed, and networks that are hardly
    trained agree and differ with nothing.
    """
    known, runs = EXPERIMENTS[_known(experiment)], list(runs)
    if _of_other_data(runs):
        return
    parts = {**_compared(experiment, measured, within), **(holds or {})}
    agrees, reason = _verdict(parts, unlike or _hardly_trained(runs), lacks)
    reason = "; ".join(filter(None, (reason, why)))
    here = "; ".join(_said(name, values) for name, values in measured.items())
    kind, verdict = VERDICTS[agrees]
    record = {
        "experiment": experiment,
        "measured": here,
        "agrees": agrees,
        "why": reason,
        "seeds": len({run.spec.seed for run in runs}),
        "devices": list(dict.fromkeys(str(run.provenance["device"]) for run in runs)),
    }
    put(
        f'<div class="aecore-claim {kind}"><span class="verdict">{verdict}</span> '
        f"<strong>{experiment}</strong> {escape(known.done)}. "
        f"<strong>Reported:</strong> {escape(known.found)}. "
        f'<strong>Here:</strong> {escape(here)}. <span class="why">{escape(reason)}</span></div>',
        f"{verdict}: {experiment}: reported {known.found}; here {here}",
        **{REPLICATION: record},
    )
    caption_of("", runs)


def above(first: Iterable[float], second: Iterable[float]) -> bool | None:
    """Whether the values of one, one a seed, lie above those of another on average.

    None, so that nothing is said, where one has a single value or the means are no farther apart
    than the larger of both standard deviations.
    """
    one, other = (np.asarray(list(values), dtype=float) for values in (first, second))
    if min(len(one), len(other)) < 2:
        return None
    gap = one.mean() - other.mean()
    return bool(gap > 0) if abs(gap) > max(one.std(ddof=1), other.std(ddof=1)) else None


def _compared(experiment: str, measured: Measured, within: float | None) -> dict[str, bool | None]:
    """Whether each of the experiment's figures that were measured agrees with ours."""
    known, parts, single = EXPERIMENTS[experiment], {}, dict(measured)
    for name, of in measured.items():
        if isinstance(of, Mapping):
            single |= {f"{name}, {part}": values for part, values in of.items()}
    compared = known.figures if within or known.within or known.at_most else {}
    for name in compared:
        if isinstance(single.get(name, ""), str):
            continue
        values = np.ravel(single[name])
        agrees = known.agrees(name, float(values.mean()), within) if len(values) else None
        parts[f"{name} (reported {known.figures[name]:g})"] = agrees
    return parts


def _verdict(parts: Parts, unlike: str, lacks: str) -> tuple[bool | None, str]:
    """Whether every part of a reported result is found again, and, unless it is, why not."""
    if unlike:
        return None, unlike
    missed = [name for name, holds in parts.items() if holds is not None and not holds]
    still_open = [name for name, holds in parts.items() if holds is None]
    if not missed and not still_open:
        return True, ""
    why = [lacks] if lacks else []
    why += [f"not found again: {_some(missed)}"] if missed else []
    why += [f"still open: {_some(still_open)}"] if still_open else []
    return False if missed and not lacks else None, "; ".join(why)


def _some(names: list[str]) -> str:
    left = len(names) - 4
    return ", ".join(names if left < 2 else [*names[:4], f"and {left} more"])


def _said(name: str, values: Values | Mapping[str, Values]) -> str:
    if isinstance(values, Mapping):
        return f"{name}: " + ", ".join(f"{_text(of)} ({part})" for part, of in values.items())
    return f"{name} {_text(values)}".strip()


def _text(values: Values) -> str:
    if isinstance(values, str):
        return values
    numbers = np.ravel(list(values) if isinstance(values, Iterable) else values)
    size = np.nanmax(np.abs(numbers), initial=0)
    return spread(numbers, "{:.4f}" if size < 1 else "{:.2f}" if size < 100 else "{:.1f}")


def _known(experiment: str) -> str:
    """`experiment` if it is one of the reports'; raises `InvalidValue` otherwise."""
    return checks.choice("experiment", experiment, tuple(EXPERIMENTS))


def _of_other_data(runs: list[Any]) -> bool:
    return any(run.spec.dataset != "mnist" for run in runs)


def _hardly_trained(runs: list[Any]) -> str:
    seen = [len(run.history) * (run.spec.train_images or HARDLY) for run in runs]
    hardly = seen and max(seen) < HARDLY
    return f"the networks have seen {max(seen):,} images at most" if hardly else ""
