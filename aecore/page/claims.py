"""What a notebook states: its answer, its claims, and the reports' figures beside ours."""

from collections.abc import Iterable
from typing import Any

from aecore import checks
from aecore.checks import InvalidValue
from aecore.page.markup import caption_of, escape, put
from aecore.page.reports import EXPERIMENTS

ANSWER = "application/vnd.aecore.answer+json"


CLAIM = "application/vnd.aecore.claim+json"


REPLICATION = "application/vnd.aecore.replication+json"


HARDLY = 50_000  # training images, with repetition, below which a network shows nothing


VERDICTS = {
    True: ("holds", "✓ agrees"),
    False: ("fails", "✗ differs"),
    None: ("open", "○ too small to say"),
}


def answer(text: str) -> None:
    """Displays the section's answer in one sentence; the book's first page repeats it."""
    put(
        {
            ANSWER: {"text": text},
            "text/html": f'<div class="aecore-answer"><p>{escape(text)}</p></div>',
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
    put(
        {
            CLAIM: {"name": name, "text": said, "holds": holds, "report": report},
            "text/html": f'<div class="aecore-claim {kind}"><span class="verdict">{mark} {verdict}'
            f"</span> {escape(said)}</div>",
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
    reason = f' <span class="why">{escape(why)}</span>' if why else ""
    put(
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
            f"<strong>{experiment}</strong> {escape(known.done)}. "
            f"<strong>Reported:</strong> {escape(known.found)}. "
            f"<strong>Here:</strong> {escape(measured)}.{reason}</div>",
            "text/plain": f"{verdict}: {experiment}: reported {known.found}; here {measured}",
        }
    )
    caption_of("", runs)


def _known(experiment: str) -> str:
    """`experiment` if it is one of the reports'; raises `InvalidValue` otherwise."""
    return checks.choice("experiment", experiment, tuple(EXPERIMENTS))
