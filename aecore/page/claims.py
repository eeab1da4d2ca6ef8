"""What a notebook states: its answer, its claims, and the reports' experiments beside ours."""

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.stats import ttest_1samp, ttest_ind

from aecore import checks
from aecore.page.reports import EXPERIMENTS, LEAST
from aecore.page.show import caption_of, escape, put, sayable, spread

ANSWER = "application/vnd.aecore.answer+json"
CLAIM = "application/vnd.aecore.claim+json"
REPLICATION = "application/vnd.aecore.replication+json"

HARDLY = 50_000  # training images, with repetition, below which a network shows nothing
REPRODUCED, BETTER, MISSED = "reproduced", "better", "not reproduced"
VERDICTS = {
    REPRODUCED: ("holds", "✓ reproduced"),
    BETTER: ("holds", "✓ better than reported"),
    MISSED: ("fails", "✗ not reproduced"),
    "not testable": ("open", "– not testable"),
    None: ("open", "○ open"),
}
HOLDS = {
    True: ("holds", "✓ holds"),
    False: ("fails", "✗ does not hold"),
    None: ("open", "○ too small to say"),
}

Values = Iterable[float] | float | str
Measured = Mapping[str, Values | Mapping[str, Values]]
Parts = Mapping[str, bool | str | None]


def answer(text: str) -> None:
    """Displays the section's answer in one sentence; the book's first page repeats it."""
    text = sayable(text)
    markup = f'<div class="aecore-answer"><p>{escape(text)}</p></div>'
    put(markup, text, **{ANSWER: {"text": text}})


def claim(
    name: str, text: str, holds: bool | None, report: str | None = None, runs: Iterable[Any] = ()
) -> None:
    """Displays a statement of the prose beside whether the results bear it out.

    `name` is the claim's handle, unique within the notebook. In the paper profile a claim of ours
    that does not hold fails the book. With `report`, an experiment's id such as "A3", the
    statement is that report's, and whether it holds is a result: without `runs`, or on those of
    other data than MNIST, nothing is displayed, and of networks that are hardly trained nothing is
    said; nor of a number that is unknown.
    """
    holds = None if holds is None or sayable(text) != text else bool(holds)
    text = sayable(text)
    if report:
        text = f"Report {_known(report)[0]}: {text}"
        if not (runs := list(runs)) or _of_other_data(runs):
            return
        holds = None if _hardly_trained(runs) else holds
    kind, verdict = HOLDS[holds]
    put(
        f'<div class="aecore-claim {"" if report else "own "}{kind}">'
        f'<span class="verdict">{verdict}</span> {escape(text)}</div>',
        f"{verdict}: {text}",
        **{CLAIM: {"name": name, "text": text, "holds": holds, "report": report}},
    )


def replicate(
    experiment: str,
    measured: Measured,
    holds: Parts | None = None,
    *,
    ours: Measured | None = None,
    unlike: str = "",
    why: str = "",
    runs: Iterable[Any] = (),
) -> None:
    """Displays what we measure beside what a report did; the book's scoreboard repeats it.

    `experiment` is its id, such as "A2". `measured` maps what was measured, under the report's own
    recipe where it has one, to a text or to numbers, one a seed, of which mean ± standard deviation
    are shown, or to a mapping of them; those among the experiment's figures ("name", or "name,
    part") are judged by `Experiment.verdict`. `ours` is the same under our recipe, and not judged.
    `holds` says of what was reported in words whether it is found again, None where that is open.
    Where there is neither a figure nor a word, nothing can be tested. `unlike` is what makes the
    runs another experiment, or a smaller one: then nothing is said. `why` is a remark. Without
    `runs`, or on those of other data than MNIST, nothing is displayed, and networks that are hardly
    trained agree and differ with nothing.
    """
    known, runs = EXPERIMENTS[_known(experiment)], list(runs)
    if not runs or _of_other_data(runs):
        return
    parts, seeds = {**_judged(experiment, measured), **(holds or {})}, {r.spec.seed for r in runs}
    unlike = unlike or _hardly_trained(runs)
    if parts and not known.trials and len(seeds) < LEAST:
        unlike = unlike or f"{len(seeds)} of at least {LEAST} seeds"
    verdict, reason = _verdict(parts, unlike)
    record = {
        "experiment": experiment,
        "measured": _listed(measured),
        "ours": _listed(ours or {}),
        "verdict": verdict,
        "why": "; ".join(filter(None, (reason, why))),
        "seeds": len(seeds),
        "devices": list(dict.fromkeys(str(run.provenance["device"]) for run in runs)),
    }
    kind, said = VERDICTS[verdict]
    facts = {"Reported": known.found, "Here": record["measured"]}
    facts |= {"By our recipe": record["ours"]} if ours else {}
    markup = " ".join(f"<strong>{name}:</strong> {escape(of)}." for name, of in facts.items())
    put(
        f'<div class="aecore-claim {kind}"><span class="verdict">{said}</span> '
        f"<strong>{experiment}</strong> {escape(known.done)}. {markup} "
        f'<span class="why">{escape(record["why"])}</span></div>',
        f"{said}: {experiment}: reported {known.found}; here {record['measured']}",
        **{REPLICATION: record},
    )
    caption_of("", runs)


def above(*groups: Iterable[float] | float) -> bool | None:
    """Whether the values of each group, one a seed, lie above those of the next on average.

    A single number is one that is known without a spread. Not, if a group lies below the next;
    None, so that nothing is said, where that is open: a group has a single value, the means are no
    farther apart than the larger of both standard deviations, or the 95 % interval of their
    difference (Welch's, or Student's beside a number) has 0 in it.
    """
    every = [np.array(of if np.isscalar(of) else [*of], dtype=float) for of in groups]
    found = [_above(one, other) for one, other in pairwise(every)]
    return False if False in found else None if None in found else True


def _above(one: np.ndarray, other: np.ndarray) -> bool | None:
    sampled = [values for values in (one, other) if values.ndim]
    if min(map(len, sampled), default=2) < 2:
        return None
    gap, spread = one.mean() - other.mean(), max((v.std(ddof=1) for v in sampled), default=0)
    if len(sampled) == 2:
        low, high = ttest_ind(one, other, equal_var=False).confidence_interval()
    else:
        low, high = ttest_1samp(one - other, 0).confidence_interval()
    return bool(gap > 0) if abs(gap) > spread and not low <= 0 <= high else None


def _judged(experiment: str, measured: Measured) -> dict[str, str | None]:
    """What our values of each of the experiment's figures that were measured say of it."""
    known, single = EXPERIMENTS[experiment], dict(measured)
    for name, of in measured.items():
        if isinstance(of, Mapping):
            single |= {f"{name}, {part}": values for part, values in of.items()}
    return {
        f"{name} (reported {figure:g})": known.verdict(name, np.ravel(single[name]))
        for name, figure in known.figures.items()
        if not isinstance(single.get(name, ""), str)
    }


def _verdict(parts: Parts, unlike: str) -> tuple[str | None, str]:
    """What becomes of a reported result by that of its parts, and, unless it is well, why."""
    if unlike:
        return None, unlike
    if not parts:
        return "not testable", "without a figure or a word to test"
    words = {True: REPRODUCED, False: MISSED}
    of = {name: words.get(part, part) for name, part in parts.items()}
    kinds = {MISSED: "not found again", None: "still open", BETTER: "better"}  # the first decides
    named = {kind: [name for name, part in of.items() if part == kind] for kind in kinds}
    why = {kind: f"{kinds[kind]}: {_some(names)}" for kind, names in named.items() if names}
    return next(iter(why), REPRODUCED), "; ".join(why.values())


def _listed(measured: Measured) -> str:
    return "; ".join(_said(name, values) for name, values in measured.items())


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
