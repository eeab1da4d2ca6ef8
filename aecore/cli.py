"""The `aecore` command: data, run, claims, store, book; compress, decompress, bits."""

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

DIM, STEP = 16, 1.0  # what images are compressed with unless it is said
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
        return status or 0
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


def _data(given: argparse.Namespace) -> None:
    from aecore import models
    from aecore.data import load
    from aecore.store import forms
    from aecore.store.sources import fetch

    dataset = given.dataset or "mnist"
    own = forms.is_path(dataset)
    place, source = (forms.resolved(dataset), "already on disk") if own else fetch(dataset)
    data = load(dataset)
    shape = tuple(data.train_images.shape[1:])
    size = " × ".join(map(str, shape))
    counts = f"{len(data.train_images):,} training and {len(data.test_images):,} test images"
    print(f"{data.name}: {counts} of {size}{'' if own else ', verified'}")
    print(f"{'place' if own else 'folder'}: {place}\nsource: {source}")
    print(f"pixels: {data.train_images.min()} … {data.train_images.max()}")
    if data.labeled:
        parts = (data.train_labels, data.test_labels)
        train, test = (labels.bincount(minlength=data.classes).tolist() for labels in parts)
        each = (f"{n} ({a} + {b})" for n, a, b in zip(data.names, train, test, strict=True))
        print(f"{data.classes} classes (training + test): {', '.join(each)}")
    for sentence in data.said:
        print(f"done: {sentence}")
    print(f"networks for them: {', '.join(models.FAMILIES)}")


def _run(given: argparse.Namespace) -> int:
    from aecore.publish import batch, parameters

    overrides = dict(parameters.parse(setting) for setting in given.set)
    settings = (given.profile, given.dataset, given.kernel, overrides)
    outcomes = batch.run(given.names, *settings, root=project(), again=given.again)
    width = max((len(outcome.name) for outcome in outcomes), default=0)
    for outcome in outcomes:
        state = "failed" if outcome.problem else "as it was" if outcome.kept else "done"
        print(f"{outcome.name:{width}}  {state:9}  {outcome.seconds:7.1f} s  {outcome.path}")
    return FAILED if any(outcome.problem for outcome in outcomes) else 0


def _claims(given: argparse.Namespace) -> None:
    from aecore.page.claims import CLAIM
    from aecore.publish import fill

    root, verdicts = project(), {True: "holds", False: "FAILS", None: "open "}
    for name, page in fill.finished(_executed(root, given), fill.sections(root)).items():
        for record in fill.of_kind(page, CLAIM):
            print(f"{verdicts[record['holds']]}  {name}/{record['name']}: {record['text']}")


def _book(given: argparse.Namespace) -> None:
    from aecore.publish import pages

    root = project()
    page = pages.compile(_executed(root, given), root)
    print(f"the book is made; open it in a browser:\n{page.resolve().as_uri()}")


def _store_ls(given: argparse.Namespace) -> None:
    from aecore.store import entries, upkeep

    for line in upkeep.listing(entries.Store()):
        if given.json:
            print(json.dumps(line))
            continue
        name, facts = line.get("name"), line.get("spec") or line.get("question")
        if line["kind"] == "run":
            name = f"loss {line['metrics']['train_loss']}"
        else:
            facts = {k: v for k, v in facts.items() if isinstance(v, int | str)}
        said = ", ".join(f"{k}={v}" for k, v in facts.items() if k not in ("table", "version"))
        print(f"{line['kind']:5}  {line['key'][:12]}  {name}  {said}")


def _store_verify(given: argparse.Namespace) -> int:
    from aecore.store import entries, upkeep

    store = entries.Store()
    found = list(upkeep.damages(store))
    for path, problem in found:
        print(f"damaged  {path}: {problem}")
    count = len(list(store.entries())) + len(store.checkpoints()) - len(found)
    print(f"{count} entries are whole, {len(found)} damaged")
    return FAILED if found else 0


def _store_gc(given: argparse.Namespace) -> None:
    from aecore.store import entries, upkeep

    total = 0
    for path in upkeep.leftovers(entries.Store()):
        total += upkeep.size(path)
        print(f"{'would remove' if given.dry_run else 'removed'}  {path}")
        if not given.dry_run:
            upkeep.remove(path)
    print(f"{total:,} bytes")


def _compress(given: argparse.Namespace) -> None:
    from aecore.codec import coding, files, pictures

    dataset, dim, step = given.dataset or "mnist", given.dim, given.step
    if given.rate is not None:
        if (dim, step) != (None, None):
            raise InvalidValue("--rate chooses --dim and --step: give it or them")
        rates = coding.rates(dataset, coding.DIMS, coding.STEPS)
        dim, step = coding.chosen(rates, given.rate)
    dim, step = DIM if dim is None else dim, STEP if step is None else step
    codec = coding.codec_of(dataset, dim, step)
    images, said = pictures.read(Path(given.images), codec.transform.image_shape[0])
    for sentence in said:
        print(f"done: {sentence}")
    parts = files.compress(images, codec, Path(given.out), given.model_inside)
    model = "the model is in the store" if not parts.model else f"{parts.model:,} of the model"
    each = f"{len(images):,} images of {parts.codes / len(images):.2f} bytes"
    print(f"{given.out}: {parts.total:,} bytes: {each}, {parts.header} of the header, {model}")


def _decompress(given: argparse.Namespace) -> None:
    from aecore.codec import files, pictures

    images = files.decompress(Path(given.file))
    pictures.write(images, Path(given.folder))
    print(f"{given.folder}: {len(images):,} images")


def _bits(given: argparse.Namespace) -> None:
    from aecore.codec import coding

    dims = coding.DIMS if given.dim is None else [given.dim]
    steps = coding.STEPS if given.step is None else [given.step]
    found = coding.rates(given.dataset or "mnist", dims, steps)
    shown = ["latent_dim", "step", "estimated", "bytes", "alone", "mse"]
    print(found[shown].to_string(index=False, float_format="{:.4g}".format))


def _executed(root: Path, given: argparse.Namespace) -> Path:
    """The folder of the executed notebooks; raises `InvalidValue` if there are none."""
    from aecore.publish import batch, parameters

    parameters.profile(root / "profiles.yaml", given.profile)
    executed = batch.folder(root, given.profile, given.dataset)
    if not any(executed.glob("*.ipynb")):
        own = f" --dataset {given.dataset}" if given.dataset else ""
        command = f"aecore run --profile {given.profile}{own}"
        raise InvalidValue(f"no executed notebooks in {executed}: make them with {command}")
    return executed


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"aecore: {message} (see {self.prog} --help)\n")


OPTIONS: dict[str, dict] = {
    "names": {"nargs": "*", "metavar": "NAME", "help": "notebooks; default: all"},
    "--profile": {"default": "quick", "metavar": "P", "help": "of profiles.yaml; default: quick"},
    "--dataset": {"metavar": "D", "help": "mnist, fashion_mnist or a path of images"},
    "--kernel": {"metavar": "K", "help": "Jupyter kernel; default: this Python"},
    "--again": {"action": "store_true", "help": "also what was made from the same before"},
    "--set": {
        "action": "append",
        "default": [],
        "metavar": "NAME=VALUE",
        "help": "a notebook parameter, as in --set latent_dims=[1,2,4]",
    },
    "images": {"metavar": "IMAGES", "help": "a folder of PNG or JPEG files, an .npz or .npy file"},
    "out": {"metavar": "OUT.aec", "help": "the file to write"},
    "file": {"metavar": "FILE.aec", "help": "a file that aecore compress wrote"},
    "folder": {"metavar": "DIR", "help": "a new or empty folder for PNG files"},
    "--dim": {"type": int, "metavar": "D", "help": "numbers in a code"},
    "--step": {"type": float, "metavar": "S", "help": "numbers are rounded to multiples of it"},
    "--rate": {"type": float, "metavar": "R", "help": "bytes an image, instead of D and S"},
    "--model-inside": {"action": "store_true", "help": "so that the file can be read elsewhere"},
    "--json": {"action": "store_true", "help": "one JSON object a line"},
    "--dry-run": {"action": "store_true", "help": "only say what would go"},
}
CODING = "--dataset --dim --step"
COMMANDS = {
    "data": (_data, "fetch and verify a data set, and say from where", "--dataset"),
    "run": (_run, "execute notebooks", "names --profile --dataset --kernel --set --again"),
    "claims": (_claims, "list what was claimed, and whether it holds", "--profile --dataset"),
    "store ls": (_store_ls, "list every entry", "--json"),
    "store verify": (_store_verify, "read everything; exit 1 if something is damaged", ""),
    "store gc": (_store_gc, "remove what nobody will read again, no results", "--dry-run"),
    "compress": (
        _compress,
        "code images into a file",
        f"images out {CODING} --rate --model-inside",
    ),
    "decompress": (_decompress, "make images of such a file again", "file folder"),
    "bits": (_bits, "bytes and error of test images by latent dimension and step", CODING),
    "book": (_book, "make the HTML book of the executed notebooks", "--profile --dataset"),
}


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="aecore", description="Run the notebooks, make the book, compress images."
    )
    parser.add_argument("--version", action="version", version=f"aecore {__version__}")
    groups = {"": parser.add_subparsers(required=True, metavar="COMMAND")}
    store = groups[""].add_parser("store", help="look after what was computed")
    groups["store"] = store.add_subparsers(required=True, metavar="COMMAND")
    for words, (function, text, options) in COMMANDS.items():
        group, _, name = words.rpartition(" ")
        command = groups[group].add_parser(name, help=text)
        command.set_defaults(command=function)
        for option in options.split():
            command.add_argument(option, **OPTIONS[option])
    return parser


def _warn(message, category, filename, lineno, file=None, line=None) -> None:
    print(f"aecore: warning: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
