"""The codec inside the page against Python's: bytes, streams, files, and what is no file."""

import base64
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from aecore.codec.files import CHECKSUM, HEADER
from aecore.codec.prior import Prior
from aecore.page.networks import codec

SCRIPT = Path(__file__).parent.parent / "book" / "assets" / "codec.js"
BYTES = "const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));"
ENCODE = "(cases) => cases.map(([codec, of]) => of.map((one) => aecore.codec(codec).encode(one)))"
NUMBERS = "([codec, of]) => of.map((one) => aecore.codec(codec).numbers(one))"
READ = f"""(cases) => cases.map(([codec, file, own]) => {{
  {BYTES}
  try {{ return aecore.codec(codec).read(bytes(file), bytes(own)); }}
  catch (error) {{ return error.message; }}
}})"""


@pytest.fixture(scope="module")
def in_page(browser):
    page = browser.new_page()
    page.add_script_tag(path=SCRIPT)
    yield page.evaluate


def of_random(random):
    """A codec of up to 12 dimensions, some of them nearly certain, and up to 30 of its codes."""
    sizes = random.integers(2, 200, random.integers(1, 13))
    counts = [random.dirichlet(np.full(n, random.choice([0.01, 0.3, 5]))) for n in sizes]
    frequencies = [1 + np.floor(one * (65536 - len(one))).astype(int) for one in counts]
    for one in frequencies:
        one[one.argmax()] += 65536 - one.sum()
    prior = Prior(random.integers(-90, 20, len(sizes)), frequencies)
    columns = [random.choice(len(of), 30, p=of / 65536) for of in frequencies]
    unlikely = random.integers(0, sizes, (30, len(sizes)))
    seldom = random.random((30, len(sizes))) < 0.1
    codes = np.where(seldom, unlikely, np.stack(columns, 1)) + prior.lows
    step = float(random.choice([0.25, 1, 1.5]))
    return SimpleNamespace(step=step, prior=prior), codes[: random.integers(1, 31)]


def content(codes, data, key=b"k" * 16, version=1):
    head = HEADER.pack(b"AEC", version, False, 1, 28, 28, len(codes), key) + data
    return head + CHECKSUM.pack(zlib.crc32(head))


def text(data):
    return base64.b64encode(data).decode()


@pytest.fixture(scope="module")
def cases():
    random = np.random.default_rng(0)
    return [of_random(random) for _ in range(120)]


def test_the_page_writes_the_bytes_that_python_writes(in_page, cases):
    asked = [[codec(of), codes.tolist()] for of, codes in cases]
    found = in_page(ENCODE, asked)
    wanted = [[list(of.prior.encode(one)) for one in codes] for of, codes in cases]
    assert found == wanted
    lengths = [len(data) for of in wanted for data in of]
    assert 0 in lengths and max(lengths) > 8  # a likely code is the empty file


def test_the_page_reads_the_numbers_that_python_wrote(in_page, cases):
    own = text(content([0], b""))
    asked, wanted = [], []
    for of, codes in cases:
        asked.append([codec(of), text(content(codes[:1], of.prior.encode(codes[0]))), own])
        wanted.append(codes[:1].tolist())
        if len(codes) > 1:
            asked.append([codec(of), text(content(codes, of.prior.encode_stream(codes))), own])
            wanted.append(codes.tolist())
    assert in_page(READ, asked) == wanted


def test_any_bytes_are_some_code_as_in_python(in_page, cases):
    random, own = np.random.default_rng(1), text(content([0], b""))
    streams = [random.bytes(random.integers(0, 20)) for _ in cases]
    asked = [
        [codec(of), text(content([0], data)), own]
        for (of, _), data in zip(cases, streams, strict=True)
    ]
    wanted = [
        [of.prior.decode(data).tolist()] for (of, _), data in zip(cases, streams, strict=True)
    ]
    assert in_page(READ, asked) == wanted


def test_what_is_no_file_of_the_model_is_refused_in_words(in_page, cases):
    (of, codes), *_ = [case for case in cases if len(case[1]) > 1]
    data = of.prior.encode_stream(codes)
    own = content(codes, data)
    flipped = bytes([*own[:-6], own[-6] ^ 1, *own[-5:]])
    damaged = {
        b"": "is no .aec file",
        b"PNG" + own[3:]: "is no .aec file",
        content(codes, data, version=2): "is no .aec file of this version",
        own[:20]: "is no .aec file",
        own[:-1]: "is damaged",
        flipped: "is damaged: its check sum does not fit",
        content(codes, data, key=b"o" * 16): "is of another model than this page's",
    }
    found = in_page(READ, [[codec(of), text(one), text(own)] for one in damaged])
    assert [said.startswith(of) for said, of in zip(found, damaged.values(), strict=True)] == [
        True
    ] * len(damaged), found


def test_a_code_is_rounded_as_in_python(in_page, cases):
    random = np.random.default_rng(2)
    for of, codes in cases[:20]:
        values = (codes + random.normal(0, 3, codes.shape)) * of.step
        wanted = of.prior.nearest(np.rint(values / of.step).astype(int))
        assert in_page(NUMBERS, [codec(of), values.tolist()]) == wanted.tolist()
