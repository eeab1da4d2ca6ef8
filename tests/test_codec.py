"""Real bytes: the coder, the prior, the exact decoder, files and what becomes of damaged ones."""

import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from functools import partial

import constriction
import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.decomposition import PCA

from aecore import cli
from aecore.checks import InvalidValue
from aecore.codec import coding, curves, files, pictures, rangecoder
from aecore.codec.prior import DamagedCodes, Prior
from aecore.codec.transforms import Autoencoder, Codec, PrincipalComponents
from aecore.data import load
from aecore.engine.measured import of_runs
from aecore.runs import fit
from aecore.spec import Spec
from aecore.store.entries import Store, pack, unpack


def tables(random, count, kinds=(2, 300)):
    """Cumulative frequencies of random distributions, some of them as lopsided as can be."""
    found = []
    for _ in range(count):
        cuts = np.sort(random.choice(np.arange(1, 65536), random.integers(*kinds) - 1, False))
        lopsided = np.array([[1], [65535], [32768]][random.integers(3)])
        found.append([0, *(cuts if random.random() < 0.7 else lopsided).tolist(), 65536])
    return found


def test_range_coder_gives_back_every_symbol_within_a_byte_of_the_ideal_length():
    random = np.random.default_rng(0)
    for _ in range(400):
        known = tables(random, random.integers(0, 40))
        symbols = [int(random.integers(len(table) - 1)) for table in known]
        data = rangecoder.encode(symbols, known)
        assert rangecoder.decode(data, known) == symbols
        ideal = sum(16 - np.log2(t[s + 1] - t[s]) for t, s in zip(known, symbols, strict=True))
        assert len(data) * 8 <= 1.001 * ideal + 8


def test_range_coder_takes_no_more_than_constriction_s():
    random = np.random.default_rng(1)
    (table,) = tables(random, 1, (40, 41))
    shares = np.diff(table) / 65536
    symbols = random.choice(len(shares), 5000, p=shares)
    model = constriction.stream.model.Categorical(shares, perfect=True)
    theirs = constriction.stream.queue.RangeEncoder()
    theirs.encode(symbols.astype(np.int32), model)
    ours = rangecoder.encode(symbols.tolist(), [table] * len(symbols))
    assert len(ours) <= 4 * len(theirs.get_compressed()) <= len(ours) + 8


def test_a_carry_runs_through_settled_bytes():
    first, last, even = [0, 65535, 65536], [0, 1, 65536], [0, 32768, 65536]
    known, symbols = [first, *[last] * 6, *[even] * 9], [0, *[1] * 6, *[1] * 9]
    assert rangecoder.decode(rangecoder.encode(symbols, known), known) == symbols


@pytest.fixture
def codes():
    random = np.random.default_rng(0)
    return np.rint(random.normal([0, -3, 500, 0], [0.2, 2, 9, 60], (3000, 4))).astype(int)


def test_prior_is_the_histogram_in_whole_numbers(codes):
    prior = Prior.learned(codes)
    for j, (low, of) in enumerate(zip(prior.lows, prior.frequencies, strict=True)):
        counts = np.bincount(codes[:, j] - low, minlength=len(of)) + 0.5
        assert of.sum() == 65536
        assert of.min() >= 1
        np.testing.assert_allclose(of, 1 + counts / counts.sum() * (65536 - len(of)), atol=1)
        assert low < codes[:, j].min()
        assert low + len(of) - 1 > codes[:, j].max()
    shares = [of[codes[:, j] - prior.lows[j]] / 65536 for j, of in enumerate(prior.frequencies)]
    np.testing.assert_allclose(prior.bits(codes), -np.log2(np.prod(shares, 0)))
    far = np.array([[10**6, -(10**6), 500, 0]])
    near = prior.nearest(far)
    assert (near[0, 2:] == far[0, 2:]).all()
    assert np.isfinite(prior.bits(near)).all()


def test_codes_come_back_alone_and_in_a_stream(codes):
    prior = Prior.learned(codes)
    data = [prior.encode(code) for code in codes[:200]]
    np.testing.assert_array_equal([prior.decode(one) for one in data], codes[:200])
    ideal = prior.bits(codes)
    assert ideal[:200].mean() / 8 < np.mean([*map(len, data)]) < ideal[:200].mean() / 8 + 1
    stream = prior.encode_stream(codes)
    np.testing.assert_array_equal(prior.decode_stream(stream, len(codes)), codes)
    assert len(stream) == pytest.approx(ideal.sum() / 8, abs=8)
    with pytest.raises(DamagedCodes):
        prior.decode_stream(b"\xff" * 401, 9)


def test_steps_that_are_too_small_are_refused(codes):
    with pytest.raises(InvalidValue, match="numbers in a dimension are more than 8,192"):
        Prior.learned(codes * 100)


@pytest.fixture(scope="module")
def run(tiny, tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("runs"), layers=())
    spec = Spec(dataset=tiny, latent_dim=3, epochs=5, batch_size=20, learning_rate=0.01)
    with ThreadPoolExecutor(1) as executor:
        return fit(spec, executor, store=store)[0]


@pytest.fixture(scope="module")
def codec(run):
    transform = Autoencoder.of(run)
    train = load(run.spec.dataset).train_images
    return Codec.learned(transform, 0.25, transform.encode(train))


def whole_numbers(model: Autoencoder, code: np.ndarray) -> np.ndarray:
    """The decoder in Python's own whole numbers, of which 2**10 are 1: logits (C, H, W)."""

    def layer(name, exponent=10):
        e = {kind: model.exponents[f"decoder.{name}.{kind}"] for kind in ("weight", "bias")}
        w, b = (model.weights[f"decoder.{name}.{k}"].astype(object) for k in ("weight", "bias"))
        shift = max(e["weight"] + exponent, e["bias"])
        return w * 2 ** (shift - e["weight"] - exponent), b * 2 ** (shift - e["bias"]), shift

    def down(h, shift):  # to 10 bits after the point, halves to the even number
        unit = 1 << shift - 10
        return np.array([round(Fraction(n, unit)) for n in h.flat], object).reshape(h.shape)

    h = np.array([int(n) for n in np.rint(code * 1024)], object)
    for name in (0, 1):
        w, b, shift = layer(name)
        h = down(np.maximum(w @ h + b, 0), shift)
    h = h.reshape(model.model.smallest)
    for name in (2, 3, 4):
        w, b, shift = layer(name)
        torch_layer = model.model.decoder[name]
        (p, _), (extra, other) = torch_layer.padding, torch_layer.output_padding
        height, width = (2 * n + 1 - 2 * p + o
                         for n, o in zip(h.shape[1:], (extra, other), strict=True))  # fmt: skip
        out = np.zeros((w.shape[1], height + 2 * p, width + 2 * p), object) + b[:, None, None]
        for y in range(h.shape[1]):
            for x in range(h.shape[2]):
                part = np.tensordot(h[:, y, x], w, 1)
                out[:, 2 * y : 2 * y + 3, 2 * x : 2 * x + 3] += part
        out = out[:, p : p + height, p : p + width]
        h = out if name == 4 else down(np.maximum(out, 0), shift)
    return np.array([float(n) for n in h.flat]).reshape(h.shape) / 2.0**shift


def test_decoder_computes_in_whole_numbers(codec):
    """Against Python's integers, which never round: so every machine gets the same bytes."""
    model, random = codec.transform, np.random.default_rng(0)
    for _ in range(3):
        code = random.integers(-20, 20, 3) * codec.step
        logits = whole_numbers(model, code)
        theirs = np.rint(255 / (1 + np.exp(-logits)))
        np.testing.assert_array_equal(model.decode(torch.tensor(code[None]))[0].numpy(), theirs)


def test_decoder_draws_what_the_run_draws(run, codec):
    images = load(run.spec.dataset).test_images
    z = run.encode(images)
    exact = codec.transform.decode(z).float()
    assert (exact - 255 * run.decode(z)).abs().max() < 2
    numbers = codec.encode(images)
    again = codec.transform.decode(torch.from_numpy(numbers * codec.step))
    assert torch.equal(codec.decode(numbers), again)
    assert np.abs(numbers - codec.transform.encode(images).numpy() / codec.step).max() <= 0.5


def test_no_sum_of_products_is_as_near_to_the_edge_of_a_pixel_as_machines_differ():
    """Multiples of 2⁻²⁴ and the 255 logits at which one of 256 values becomes the next.

    But for 0, of which the sigmoid is ½ on any machine.
    """
    steps = np.delete(np.arange(255), 127)
    edges = (steps + 0.5) / 255
    logits = np.log(edges) - np.log1p(-edges)
    nearest = np.rint(logits * 2**24) / 2**24
    values = 255 / (1 + np.exp(-nearest))
    assert np.abs(values - steps - 0.5).min() > 1e-11  # a sigmoid is right to 1e-13


def test_networks_without_such_a_decoder_are_refused(tiny, tmp_path):
    dense = Spec(dataset=tiny, architecture="dense", latent_dim=2, epochs=1)
    smooth = Spec(dataset=tiny, activation="silu", latent_dim=2, epochs=1)
    with ThreadPoolExecutor(1) as executor:
        dense, smooth = fit([dense, smooth], executor, store=Store(tmp_path, layers=()))
    with pytest.raises(InvalidValue, match="architecture='dense' is not allowed: must be one of"):
        Autoencoder.of(dense)
    with pytest.raises(InvalidValue, match="activation='silu' is not allowed: must be one of relu"):
        Autoencoder.of(smooth)


def test_principal_components_are_scikit_learn_s(tiny):
    data = load(tiny)
    train, test = (
        images.flatten(1).numpy() / 255 for images in (data.train_images, data.test_images)
    )
    pca, step = PCA(5, svd_solver="full").fit(train), 0.3
    transform = PrincipalComponents(data.train_images, 5)
    codec = Codec.learned(transform, step, transform.encode(data.train_images))
    numbers = np.rint(pca.transform(test) / step)
    signs = np.sign((pca.components_ * transform.pca.components_).sum(1))
    np.testing.assert_array_equal(codec.encode(data.test_images), numbers * signs)
    theirs = 255 * pca.inverse_transform(step * numbers).clip(0, 1)
    assert (
        np.abs(codec.decode(codec.encode(data.test_images)).flatten(1).numpy() - theirs).max()
        < 0.51
    )


@pytest.mark.parametrize("count", [1, 60])
@pytest.mark.parametrize("inside", [False, True])
def test_a_file_gives_back_what_the_codec_decodes(codec, store, tmp_path, count, inside):
    images = load(codec.transform.run.spec.dataset).test_images[:count]
    path = tmp_path / "x.aec"
    parts = files.compress(images, codec, path, inside, store)
    assert parts.total == path.stat().st_size
    assert (parts.model > 0) == inside
    assert parts.codes < count * 4 + 4
    place = Store(tmp_path / "elsewhere", layers=()) if inside else store
    assert torch.equal(files.decompress(path, place), codec.decode(codec.encode(images)))
    assert [*tmp_path.glob(".*")] == []
    if not inside:
        with pytest.raises(files.FileError, match=r"x.aec needs the model [0-9a-f]{32}, which"):
            files.decompress(path, Store(tmp_path / "elsewhere", layers=()))


def refusal(content: bytes, path, store) -> str:
    """The one line that a damaged file is refused with."""
    path.write_bytes(content)
    with pytest.raises(files.FileError) as told:
        files.decompress(path, store)
    assert str(path) in str(told.value)
    assert "\n" not in str(told.value)
    return str(told.value)


@pytest.mark.fault(
    "a compressed file is cut off or has bits turned over", "one line names it; nothing is decoded"
)
def test_damaged_files_are_told_in_one_line(codec, store, tmp_path, record_property):
    images, random = load(codec.transform.run.spec.dataset).test_images, np.random.default_rng(0)
    path, trials = tmp_path / "x.aec", 0
    for inside in (False, True):
        files.compress(images, codec, path, inside, store)
        whole = path.read_bytes()
        lengths = range(len(whole)) if not inside else random.integers(0, len(whole), 600)
        for length in lengths:
            refusal(whole[:length], path, store)
        for _ in range(1000):
            torn = bytearray(whole)
            for place in random.integers(0, len(whole), random.integers(1, 5)):
                torn[place] ^= 1 << random.integers(8)
            if torn != whole:
                refusal(bytes(torn), path, store)
        trials += len(lengths) + 1000
    assert "is no .aec file" in refusal(random.bytes(500), path, store)
    assert "is of version 2" in refusal(whole[:3] + b"\2" + whole[4:], path, store)
    record_property("trials", trials)
    record_property("outcome", f"{trials:,} of {trials:,} refused in one line")


@pytest.mark.fault(
    "a compressed file is made up, with a check sum that fits",
    "one line names it, or images come out: the program never breaks",
)
def test_made_up_files_break_nothing(codec, store, tmp_path, record_property):
    images, random = load(codec.transform.run.spec.dataset).test_images, np.random.default_rng(1)
    path, refused = tmp_path / "x.aec", 0
    files.compress(images, codec, path, True, store)
    whole = path.read_bytes()[:-4]
    start, end = files.HEADER.size + 4, files.HEADER.size + 4
    end += struct.unpack_from("<I", whole, files.HEADER.size)[0]
    model = zlib.decompress(whole[start:end])
    for trial in range(400):
        header, inner, codes = bytearray(whole[: start - 4]), bytearray(model), whole[end:]
        part = [header, inner, inner, bytearray(codes)][trial % 4]
        limit = 2000 if trial % 4 == 1 else len(part)
        for place in random.integers(4 if part is header else 0, limit, random.integers(1, 4)):
            part[place] = random.integers(256)
        packed = zlib.compress(bytes(inner), 1)
        codes = bytes(part) if trial % 4 == 3 else codes
        content = bytes(header) + struct.pack("<I", len(packed)) + packed + codes
        path.write_bytes(content + struct.pack("<I", zlib.crc32(content)))
        try:
            assert files.decompress(path, store).dtype == torch.uint8
        except files.FileError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 200
    record_property("trials", 400)
    record_property("outcome", f"{refused} of 400 refused in one line, the others decoded")


@pytest.mark.parametrize(
    "change",
    [
        lambda document, arrays: document.pop("step"),
        lambda document, arrays: document.update(step=-1.0),
        lambda document, arrays: document.update(image_shape=[1, 0, 12]),
        lambda document, arrays: document["spec"].update(hidden=10**9),
        lambda document, arrays: document["exponents"].update({"decoder.0.weight": 900}),
        lambda document, arrays: arrays["frequencies"].__setitem__(0, 9),
        lambda document, arrays: arrays.update(sizes=arrays["sizes"][:-1]),
        lambda document, arrays: arrays.pop("decoder.4.bias"),
    ],
)
def test_a_model_that_does_not_fit_itself_is_refused(codec, store, tmp_path, change):
    name, entry = (files.KIND, "00" * 16), files.to_entry(codec)
    entry = unpack(pack(*name, entry.document, entry.arrays), *name)
    arrays = {name: array.copy() for name, array in entry.arrays.items()}
    change(entry.document, arrays)
    packed = zlib.compress(pack(*name, entry.document, arrays))
    fields = (b"AEC", 1, 1, *codec.transform.image_shape, 1, bytes(16))
    content = files.HEADER.pack(*fields) + struct.pack("<I", len(packed)) + packed
    said = refusal(content + struct.pack("<I", zlib.crc32(content)), tmp_path / "x.aec", store)
    assert said.endswith("has no model in it")


def test_images_that_do_not_fit_the_model_are_refused(codec, store, tmp_path):
    for shape in ((0, 1, 12, 12), (2, 1, 12, 13), (2, 3, 12, 12)):
        with pytest.raises(InvalidValue, match="must be 1 or more of 1 x 12 x 12"):
            images = torch.zeros(shape, dtype=torch.uint8)
            files.compress(images, codec, tmp_path / "x.aec", store=store)
    assert not (tmp_path / "x.aec").exists()


def test_pictures_are_read_from_folders_and_arrays(tmp_path):
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 3, 5, 4), np.uint8))
    pictures.write(images, tmp_path / "out")
    assert torch.equal(pictures.read(tmp_path / "out", 3)[0], images)
    with Image.open(tmp_path / "out" / "000001.png") as one:
        bright = np.asarray(one.convert("L"))
    found, said = pictures.read(tmp_path / "out", 1)
    assert (found[1, 0].numpy() == bright).all() and "brightness" in said[-1]
    gray = images[:, :1]
    pictures.write(gray, tmp_path / "gray")
    assert torch.equal(pictures.read(tmp_path / "gray", 1)[0], gray)
    assert torch.equal(pictures.read(tmp_path / "gray", 3)[0], gray.expand(3, 3, 5, 4))
    np.save(tmp_path / "x.npy", gray[:, 0].numpy())
    np.savez(tmp_path / "x.npz", other=np.arange(3), images=images.numpy())
    assert torch.equal(pictures.read(tmp_path / "x.npy", 1)[0], gray)
    assert torch.equal(pictures.read(tmp_path / "x.npz", 3)[0], images)
    np.savez(tmp_path / "set.npz", x_train=gray[:1, 0], x_test=gray[1:, 0] // 2 * 2 / 255)
    assert torch.equal(pictures.read(tmp_path / "set.npz", 1)[0], gray[1:] // 2 * 2)


def test_what_is_no_picture_is_told_in_one_line(tmp_path):
    pictures.write(torch.zeros(2, 1, 9, 9, dtype=torch.uint8), tmp_path / "out")
    (tmp_path / "empty").mkdir()
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "a.png").write_bytes((tmp_path / "out" / "000000.png").read_bytes()[:40])
    pictures.write(torch.zeros(2, 1, 9, 8, dtype=torch.uint8), tmp_path / "mixed")
    (tmp_path / "out" / "000000.png").rename(tmp_path / "mixed" / "z.png")
    np.save(tmp_path / "floats.npy", np.full((2, 9, 9), 7e3))
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    (tmp_path / "x.npz").write_bytes(b"PK\3\4 torn")
    for name, part in {"empty": "no images in empty", "torn": "a.png", "mixed": "z.png of 9 × 9",
                       "floats.npy": "float64", "objects.npy": "cannot be read", "x.npz": "only a",
                       "none": "no such file"}.items():  # fmt: skip
        with pytest.raises(files.FileError, match=part) as told:
            pictures.read(tmp_path / name, 1)
        assert "\n" not in str(told.value)
    with pytest.raises(files.FileError, match="is there already"):
        pictures.write(torch.zeros(1, 1, 9, 9, dtype=torch.uint8), tmp_path / "mixed")
    assert len([*tmp_path.glob("mixed/*")]) == 3


def test_the_command_compresses_and_decompresses(tiny, tmp_path, monkeypatch, capsys):
    executor = ThreadPoolExecutor(1)
    monkeypatch.setattr(coding, "fit", partial(fit, executor=executor))
    monkeypatch.setattr(curves, "of_runs", partial(of_runs, executor=executor))
    monkeypatch.setattr(coding, "RECIPE", Spec(epochs=2, batch_size=50))
    monkeypatch.setattr(coding, "DIMS", (2, 3))
    monkeypatch.setattr(coding, "STEPS", (0.1, 0.5))
    monkeypatch.chdir(tmp_path)
    pictures.write(load(tiny).test_images, tmp_path / "in")
    words = ["compress", "in", "x.aec", "--dataset", tiny]
    assert cli.main([*words, "--dim", "3", "--step", "0.25", "--model-inside"]) == 0
    size = (tmp_path / "x.aec").stat().st_size
    assert f"x.aec: {size:,} bytes: 60 images of" in capsys.readouterr().out
    assert cli.main(["decompress", "x.aec", "out"]) == 0
    assert len([*(tmp_path / "out").glob("*.png")]) == 60
    assert cli.main(["decompress", "x.aec", "out"]) == cli.BAD_INPUT
    capsys.readouterr()
    assert cli.main(["bits", "--dataset", tiny]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5
    assert cli.main([*words, "--rate", "1.9"]) == 0
    assert cli.main([*words, "--rate", "0.001"]) == cli.BAD_INPUT
    assert cli.main([*words, "--rate", "2", "--dim", "2"]) == cli.BAD_INPUT
    wrong = ["--dim 0", "--step 0", "--step nan", "--step 1e-9", "--rate 0"]
    for option in wrong:
        assert cli.main([*words, *option.split()]) == cli.BAD_INPUT
    for option in wrong[:-1]:
        assert cli.main(["bits", "--dataset", tiny, *option.split()]) == cli.BAD_INPUT
    lines = capsys.readouterr().err.splitlines()
    told = [line for line in lines if line and "images/s" not in line]
    assert len(told) == 2 + 5 + 4
    assert all(line.startswith("aecore: ") for line in told)
