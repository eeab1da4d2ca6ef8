"""Curves of bytes against error, and the image codecs beside ours."""

import io
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.integrate import quad
from scipy.interpolate import PchipInterpolator

from aecore.codec import curves, lossless, peers
from aecore.codec.lossless import Residuals
from aecore.codec.transforms import Autoencoder, Codec
from aecore.data import as_floats, load
from aecore.runs import fit
from aecore.spec import Spec


def test_bd_rate_of_a_curve_that_takes_a_fifth_less_everywhere():
    quality = [[30, 33, 36, 39]] * 2
    assert curves.bd_rate([[1, 2, 4, 8], [0.8, 1.6, 3.2, 6.4]], quality) == pytest.approx(-20)


def test_bd_rate_is_that_of_the_published_example():
    """Four points a curve, as in VCEG-M33; the package bjontegaard 1.3.0 gives 31.3799 (PCHIP)."""
    rates = [[686.76, 309.58, 157.11, 85.95], [893.34, 407.8, 204.93, 112.75]]
    quality = [[40.28, 37.18, 34.24, 31.42], [40.39, 37.21, 34.17, 31.24]]
    assert curves.bd_rate(rates, quality) == pytest.approx(31.379878, abs=1e-6)
    one, other = (PchipInterpolator(q[::-1], np.log(r[::-1]))
                  for r, q in zip(rates, quality, strict=True))  # fmt: skip
    mean = quad(lambda q: other(q) - one(q), 31.42, 40.28, limit=200)[0] / (40.28 - 31.42)
    assert curves.bd_rate(rates, quality) == pytest.approx(100 * np.expm1(mean), abs=1e-4)


@pytest.mark.parametrize("quality", [[[30, 33], [34, 37]], [[30, 33], [31, 31]]])
def test_bd_rate_of_curves_that_share_no_quality_is_not_there(quality):
    assert np.isnan(curves.bd_rate([[1, 2], [3, 4]], quality))


def points(x, y, method="a", seed=0):
    columns = {"train_bytes": x, "train_mse": y, "bytes": x, "mse": y, "psnr": curves.psnr(y)}
    return pd.DataFrame(columns).assign(method=method, seed=seed)


def test_frontier_is_the_convex_hull_on_training_images():
    x, y = np.array([5.0, 1, 2, 3, 4, 2, 9]), np.array([1.9, 10, 5, 6, 2, 11, 2.5])
    rates = pd.concat([points(x, y), points(x + 1, y, "b"), points(x, y + 1, seed=1)])
    kept = curves.frontier(rates.assign(mse=-1.0))
    for _, rows in kept.groupby(["method", "seed"]):
        assert (rows["train_bytes"] - rows["train_bytes"].iloc[0]).tolist() == [0, 1, 3, 4]


def test_bytes_at_an_error_lie_on_straight_lines_between_logarithms():
    rates = pd.concat([points([1.0, 4], [0.04, 0.01]), points([2.0, 8], [0.04, 0.01], seed=1)])
    found = curves.bytes_at(rates, [0.02, 0.04, 0.005]).loc["a"]
    np.testing.assert_allclose(found[0.02], [2, 4])
    np.testing.assert_allclose(found[0.04], [1, 2])
    assert np.isnan(found[0.005]).all()
    both = pd.concat([rates, points([0.5, 2], [0.04, 0.01], "b")])
    assert curves.bd_rates(both, "a") == {"b": pytest.approx([-50])}
    needed = curves.bytes_at(both, [0.02, 0.005])
    assert curves.always_fewer(needed, "b", "a") is True
    assert curves.always_fewer(needed, "a", "b") is False
    assert curves.always_fewer(needed[[0.005]], "a", "b") is None


def test_the_model_is_shared_by_all_images_in_a_file():
    rates = pd.concat([points([1.0, 4], [0.04, 0.01], seed=seed) for seed in (0, 1)])
    found = curves.with_model(rates.assign(model=1000), 0.02, [1, 100])
    assert found.columns.tolist() == ["1 images", "100 images"]
    assert found.loc["a", "1 images"].tolist() == pytest.approx([1002, 1002])
    assert found.loc["a", "100 images"].tolist() == pytest.approx([12, 12])


def test_rates_of_a_run_are_those_of_its_files(tiny, store):
    data = load(tiny)
    spec = Spec(dataset=tiny, latent_dim=3, epochs=2, batch_size=20, learning_rate=0.01)
    with ThreadPoolExecutor(1) as executor:
        runs = fit([spec, spec.replace(seed=1)], executor, store=store)
        lost = SimpleNamespace(key="lost", spec=spec.replace(seed=2), diverged=True)
        where = {"executor": executor, "store": store}
        found = curves.autoencoder_rates([*runs, lost], [0.1, 1], **where)
        shown, pictures = curves.pictured(found, runs[1:], data.test_images[:2], **where)
    assert found["seed"].tolist() == [0, 0, 1, 1, 2]
    assert found.iloc[-1]["mse":].isna().all()
    transform, row = Autoencoder.of(runs[1]), found.iloc[2]
    codec = Codec.learned(transform, 0.1, transform.encode(data.train_images))
    numbers = codec.encode(data.test_images)
    assert row["estimated"] == pytest.approx(codec.prior.bits(numbers).sum() / 8 / 60)
    assert row["bytes"] == len(codec.prior.encode_stream(numbers)) / 60
    assert row["alone"] == sum(len(codec.prior.encode(one)) for one in numbers) / 60
    error = as_floats(codec.decode(numbers)) - as_floats(data.test_images)
    assert row["mse"] == pytest.approx(float(error.square().mean()), rel=1e-5)
    assert shown["picture"].fillna(-1).tolist() == [-1, -1, 0, 1, -1]
    two = as_floats(codec.decode(numbers[:2]))
    assert torch.equal(pictures[0], torch.cat([two[0], two[1]], -1))
    last = data.train_images[-50:]
    assert row["train_bytes"] == pytest.approx(codec.prior.bits(codec.encode(last)).mean() / 8)


def test_pca_of_more_components_errs_less(tiny, store):
    with ThreadPoolExecutor(1) as executor:
        data = load(tiny)
        found = curves.pca_rates(data, [2, 8, 999], [0.1], executor=executor, store=store)
    assert found["latent_dim"].tolist() == [2, 8, 144]
    assert found["mse"].is_monotonic_decreasing
    assert found["bytes"].is_monotonic_increasing


def test_image_codecs_are_measured_by_what_they_write(tiny, store, monkeypatch):
    monkeypatch.setattr(peers, "QUALITIES", {"JPEG": [10, 90], "JPEG XL": [50], "WebP": [50]})
    monkeypatch.setattr(peers, "available", lambda codec: codec != "JPEG XL")
    data = load(tiny)
    with ThreadPoolExecutor(1) as executor:
        found = peers.image_codec_rates(data, 12, executor=executor, store=store)
    assert set(found["codec"]) == {"JPEG", "WebP"}
    pixels, sizes, errors = data.test_images[:12, 0].numpy(), [], []
    for one in pixels:
        file = io.BytesIO()
        Image.fromarray(one).save(file, "JPEG", quality=10, optimize=True)
        sizes.append(len(file.getvalue()))
        errors.append(np.square(np.asarray(Image.open(file)) / 255 - one / 255).mean())
    each, less, together = found.iloc[:3].to_dict("records")
    assert (each["how"], less["how"], together["how"]) == tuple(peers.HOW)
    assert each["bytes"] == pytest.approx(np.mean(sizes))
    assert each["mse"] == pytest.approx(np.mean(errors))
    assert 0 < less["bytes"] < each["bytes"]
    assert together["bytes"] < each["bytes"]
    assert found["psnr"].tolist() == pytest.approx((-10 * np.log10(found["mse"])).tolist())


def test_a_mosaic_has_every_image_once_and_is_nearly_square():
    pixels = np.arange(12 * 2 * 3, dtype=np.uint8).reshape(12, 2, 3)
    tiles = peers.mosaic(pixels)
    assert tiles.shape == (4 * 2, 3 * 3)
    np.testing.assert_array_equal(tiles[2:4, 3:6], pixels[4])
    assert peers.mosaic(np.zeros((7, 2, 3, 3), np.uint8)).shape == (2, 21, 3)


def test_images_come_back_to_the_last_bit(tiny, store):
    """And each pixel at the ideal length by its class, counted pixel by pixel."""
    images = load(tiny).test_images
    random = np.random.default_rng(0)
    noise = torch.from_numpy(random.integers(-30, 30, images.shape))
    drawn = (images.long() + noise).clamp(0, 255).to(torch.uint8)
    residuals = Residuals.learned(images[:40], drawn[:40])
    data = residuals.encode(images[40:], drawn[40:])
    assert torch.equal(residuals.decode(data, drawn[40:]), images[40:])
    bits = 0.0
    for picture, around in zip(images[40:, 0].numpy(), drawn[40:, 0].numpy(), strict=True):
        for y, x in np.ndindex(picture.shape):
            known = [picture[y, x - 1] if x else 0, picture[y - 1, x] if y else 0]
            left, above = (sum(value >= edge for edge in lossless.KNOWN) for value in known)
            of = sum(around[y, x] >= edge for edge in lossless.DRAWN)
            shares = residuals.frequencies[(of * 6 + left) * 6 + above] / 65536
            assert shares.sum() == 1
            bits -= np.log2(shares[picture[y, x]])
    assert len(data) == pytest.approx(bits / 8, abs=8)


def test_what_images_cost_to_the_last_bit(tiny, store):
    spec = Spec(dataset=tiny, latent_dim=3, epochs=2, batch_size=20, learning_rate=0.01)
    with ThreadPoolExecutor(1) as executor:
        runs = fit(spec, executor, store=store)
        where = {"executor": executor, "store": store}
        found = lossless.lossless_rates(runs, 0.5, **where).iloc[0]
        rates = curves.autoencoder_rates(runs, [0.5], **where).iloc[0]
        theirs = peers.image_codec_rates(load(tiny), 12, lossless=True, **where)
    assert found["restored"] == 60
    assert found["codes"] == rates["bytes"]
    assert found["bytes"] == found["codes"] + found["residuals"]
    assert (theirs["mse"] == 0).all()
    assert {"PNG", "WebP"} <= set(theirs["codec"])
