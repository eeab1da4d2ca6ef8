"""Whatever is written into specs, settings, profiles and the store: one clear line, or it works."""

import json
import os
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aecore.checks import InvalidValue
from aecore.publish import parameters
from aecore.spec import Spec
from aecore.store.entries import Store

FIELDS = list(Spec.__dataclass_fields__)
NUMBERS = st.integers() | st.floats() | st.just(10**400) | st.sampled_from([0, 1, 0.5, -1, 1e-3])
TEXTS = st.text(max_size=8) | st.sampled_from(
    ["adam", "conv", "dense", "mse", "../../x", "/etc/passwd", "$HOME", "__import__('os')", "\0"]
)
PLAIN = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
NESTED = st.sampled_from(["corruption", "frozen"]).flatmap(
    lambda name: st.fixed_dictionaries(
        {name: st.dictionaries(st.sampled_from([*FIELDS, "kind", "parts", "sigma"]), PLAIN)}
    )
)
SPECS = st.dictionaries(st.sampled_from(FIELDS) | TEXTS, PLAIN, max_size=4) | NESTED


def many(count: int):
    """So many examples, as slow as they are, the same ones every time."""
    return settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@pytest.mark.fault("random specs", "each is a spec, or is refused in one line", trials=3000)
@many(3000)
@given(SPECS)
def test_any_spec(data):
    try:
        spec = Spec.from_dict(data)
    except InvalidValue as error:
        assert "\n" not in str(error)
        assert re.search(r"is not allowed|unknown field|GaussianNoise|\w+: ", str(error))
    else:
        assert Spec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
        assert {name: getattr(spec, name) for name in set(data) - {"corruption", "frozen"}} == {
            name: tuple(v) if isinstance(v, list) else v
            for name, v in data.items() if name not in ("corruption", "frozen")
        }  # fmt: skip


@pytest.mark.fault(
    "random settings for aecore run --set", "data, or refused; never run", trials=2000
)
@many(2000)
@given(st.text(max_size=20) | PLAIN.map(lambda value: f"latent_dims={yaml.safe_dump(value)}"))
def test_any_setting(text):
    try:
        name, value = parameters.parse(text)
        defaults = {"latent_dims": [1], "epochs": 3, "dataset": "mnist", "learning_rate": 0.1}
        words = ("list[int], at least 1", "int", "str, a data set", "float")
        known = parameters.Known(defaults, dict(zip(defaults, words, strict=True)))
        found = parameters.checked("tradeoff", known, {name: value})
    except InvalidValue as error:
        assert "\n" not in str(error)
        assert re.search(r"is not allowed|unknown parameter|--set", str(error))
    else:
        assert set(found) == set(defaults)
        assert all(type(d) is int and d > 0 for d in found["latent_dims"])


@pytest.mark.fault("random profile files", "values, or refused in one line", trials=2000)
@many(2000)
@given(
    st.binary(max_size=40)
    | PLAIN.map(lambda value: yaml.safe_dump({"quick": value}).encode())
    | st.sampled_from([b"quick: &a [*a]", b"quick: &a {b: *a}", b"? [1]\n: 2", b"1: {}\nx: {}"])
)
def test_any_profile(content):
    path = Path(os.environ["AECORE_HOME"]) / "profiles.yaml"
    path.write_bytes(content)
    try:
        parameters.profile(path, "quick")
    except InvalidValue as error:
        assert "\n" not in str(error)


KEY = "ab" * 32
DOCUMENT = st.binary(max_size=60) | st.fixed_dictionaries({"digest": PLAIN, "document": PLAIN}).map(
    lambda value: json.dumps(value).encode()
)
WEIGHTS = st.binary(max_size=60) | st.builds(
    lambda header, rest: len(header).to_bytes(8, "little") + header + rest,
    PLAIN.map(lambda value: json.dumps({"__metadata__": value}).encode()),
    st.binary(max_size=8),
)


@pytest.mark.fault(
    "random store entries and checkpoints",
    "none is used, none stops a run, nothing outside the store's folder is touched",
    trials=3000,
)
@many(3000)
@given(DOCUMENT, WEIGHTS)
def test_any_store_entry(tmp_path_factory, document, weights):
    root = Path(os.environ["AECORE_HOME"]) / "fuzzed"
    store = Store(root, layers=())
    folder = root / "runs" / KEY[:2] / KEY
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_bytes(document)
    (folder / "weights.safetensors").write_bytes(weights)
    (root / "checkpoints").mkdir(exist_ok=True)
    (root / "checkpoints" / f"{KEY}.safetensors").write_bytes(weights)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert store.read("run", KEY) is None
        assert store.read_checkpoint(KEY) is None
    assert {path.name for path in root.iterdir()} == {"runs", "checkpoints", "damaged"}
    store.write("run", KEY, {"a": 1}, {"w": np.zeros(2)})
    assert store.read("run", KEY).document == {"a": 1}
    for file in folder.iterdir():
        file.unlink()
