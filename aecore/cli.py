"""The `aecore` command: data, run, claims, store, book."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from aecore import __version__
from aecore.checks import InvalidValue

FAILED, BAD_INPUT, INTERRUPTED, HUNG_UP = 1, 2, 130, 141  # exit statuses


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status.

    0: done; 1: a notebook failed or an entry is damaged; 2: it can't be done, told in one line;
    130: Ctrl-C; 141: nobody reads the output any more.
    """
    warnings.showwarning = _warn
    for stream in (sys.stdout, sys.stderr):  # a terminal without × is no reason to fail
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        given = _parser().parse_args(arguments)
        status = given.command(given)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # whoever read the output, such as head, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return HUNG_UP
    except Exception as error:
        # An error of a class of this package is the person's to mend, any other one is a bug.
        if not type(error).__module__.startswith("aecore."):
            raise
        print(f"aecore: {error}", file=sys.stderr)
        return BAD_INPUT


def project() -> Path:
    """The folder of notebooks and profiles: the working folder or above it, else the checkout."""
    here = Path.cwd()
    for folder in (here, *here.parents, Path(__file__).resolve().parent.parent):
        if (folder / "profiles.yaml").is_file() and (folder / "notebooks").is_dir():
            return folder
    raise InvalidValue(f"no folder with profiles.yaml and notebooks/ at {here} or above it")


def _data(given: argparse.Namespace) -> int:
    from aecore.data import load
    from aecore.store.sources import fetch

    named = not given.dataset.endswith(".npz")
    place, source = fetch(given.dataset) if named else (Path(given.dataset), "already on disk")
    data = load(given.dataset)
    size = " × ".join(str(side) for side in data.train_images.shape[1:])
    counts = f"{len(data.train_images):,} training and {len(data.test_images):,} test images"
    print(f"{data.name}: {counts} of {size}, verified\nfolder: {place}\nsource: {source}")
    return 0


def _run(given: argparse.Namespace) -> int:
    from aecore.publish import batch, parameters

    overrides = dict(parameters.parse(setting) for setting in given.set)
    outcomes = batch.run(
        given.names, given.profile, given.dataset, given.kernel, overrides, root=project()
    )
    width = max((len(outcome.name) for outcome in outcomes), default=0)
    for outcome in outcomes:
        state = "failed" if outcome.problem else "done"
        print(f"{outcome.name:{width}}  {state:6}  {outcome.seconds:7.1f} s  {outcome.path}")
    return FAILED if any(outcome.problem for outcome in outcomes) else 0


def _claims(given: argparse.Namespace) -> int:
    from aecore.page.claims import CLAIM
    from aecore.publish import fill

    root = project()
    pages = fill.finished(_executed(root, given), fill.sections(root))
    for name, page in pages.items():
        for record in fill.of_kind(page, CLAIM):
            verdict = {True: "holds", False: "FAILS", None: "open "}[record["holds"]]
            print(f"{verdict}  {name}/{record['name']}: {record['text']}")
    return 0


def _book(given: argparse.Namespace) -> int:
    from aecore.publish import pages as book

    root = project()
    page = book.compile(_executed(root, given), root)
    print(f"the book is made; open it in a browser:\n{page.resolve().as_uri()}")
    return 0


def _store_ls(given: argparse.Namespace) -> int:
    from aecore.store import upkeep
    from aecore.store.entries import Store

    for line in upkeep.listing(Store()):
        if given.json:
            print(json.dumps(line))
        elif line["kind"] == "run":
            loss, spec = line["metrics"]["train_loss"], line["spec"]
            said = ", ".join(f"{name}={value}" for name, value in spec.items())
            print(f"run    {line['key'][:12]}  loss {loss}  {said}")
        else:
            short = {k: v for k, v in line["question"].items() if isinstance(v, int | str)}
            said = ", ".join(f"{k}={v}" for k, v in short.items() if k not in ("table", "version"))
            print(f"{line['kind']:5}  {line['key'][:12]}  {line['name']}  {said}")
    return 0


def _store_verify(given: argparse.Namespace) -> int:
    from aecore.store import upkeep
    from aecore.store.entries import Store

    store = Store()
    found = list(upkeep.damages(store))
    for path, problem in found:
        print(f"damaged  {path}: {problem}")
    count = len(list(store.entries())) + len(store.checkpoints()) - len(found)
    print(f"{count} entries are whole, {len(found)} damaged")
    return FAILED if found else 0


def _store_gc(given: argparse.Namespace) -> int:
    from aecore.store import upkeep
    from aecore.store.entries import Store

    total = 0
    for path in upkeep.leftovers(Store()):
        total += upkeep.size(path)
        print(f"{'would remove' if given.dry_run else 'removed'}  {path}")
        if not given.dry_run:
            upkeep.remove(path)
    print(f"{total:,} bytes")
    return 0


def _executed(root: Path, given: argparse.Namespace) -> Path:
    """The folder of the executed notebooks; raises `InvalidValue` if there are none."""
    from aecore.publish import batch, parameters

    parameters.profile(root / "profiles.yaml", given.profile)
    executed = batch.folder(root, given.profile, given.dataset)
    if not any(executed.glob("*.ipynb")):
        raise InvalidValue(
            f"no executed notebooks in {executed}: make them with "
            f"aecore run --profile {given.profile}"
            + (f" --dataset {given.dataset}" if given.dataset else "")
        )
    return executed


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"aecore: {message} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="aecore", description="Run the notebooks and make the book.")
    parser.add_argument("--version", action="version", version=f"aecore {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    data = commands.add_parser("data", help="fetch and verify a data set, and say from where")
    data.set_defaults(command=_data)
    _add_dataset(data, "mnist")

    run = commands.add_parser("run", help="execute notebooks")
    run.set_defaults(command=_run)
    run.add_argument("names", nargs="*", metavar="NAME", help="notebooks; default: all")
    _add_profile(run)
    _add_dataset(run)
    run.add_argument("--kernel", metavar="K", help="Jupyter kernel; default: this Python")
    run.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a notebook parameter, as in --set latent_dims=[1,2,4]",
    )

    claims = commands.add_parser("claims", help="list what was claimed, and whether it holds")
    claims.set_defaults(command=_claims)
    _add_profile(claims)
    _add_dataset(claims)

    store = commands.add_parser("store", help="look after what was computed")
    upkeep = store.add_subparsers(required=True, metavar="COMMAND")
    ls = upkeep.add_parser("ls", help="list every entry")
    ls.set_defaults(command=_store_ls)
    ls.add_argument("--json", action="store_true", help="one JSON object a line")
    verify = upkeep.add_parser("verify", help="read everything; exit 1 if something is damaged")
    verify.set_defaults(command=_store_verify)
    gc = upkeep.add_parser("gc", help="remove what nobody will read again, no results")
    gc.set_defaults(command=_store_gc)
    gc.add_argument("--dry-run", action="store_true", help="only say what would go")

    book = commands.add_parser("book", help="make the HTML book of the executed notebooks")
    book.set_defaults(command=_book)
    _add_profile(book)
    _add_dataset(book)
    return parser


def _add_profile(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--profile", default="quick", metavar="P", help="one of profiles.yaml; default: quick"
    )


def _add_dataset(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    parser.add_argument(
        "--dataset", default=default, metavar="D", help="mnist, fashion_mnist or an .npz file"
    )


def _warn(message, category, filename, lineno, file=None, line=None) -> None:
    print(f"aecore: warning: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
