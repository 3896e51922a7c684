"""The 15 common corruptions: what can be written down of each, the same for a seed, stronger with severity, grey and colour."""

from __future__ import annotations

import numpy as np
import pytest

from supernet.corrupted import drawn, measure
from supernet.data.corruptions import APPROXIMATE, NAMES, corrupted
from supernet.errors import UserError
from supernet.fairness import NOTIONS


def pictures(number: int = 6, channels: int = 3, size: int = 32) -> np.ndarray:
    """Smooth gradients with an edge, which every corruption changes."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(20, 220, size)[None, None, :, None] * np.ones((number, channels, size, size))
    ramp[..., size // 3 : size // 2] = 250 * rng.random((number, channels, 1, 1))
    return (ramp + rng.uniform(-15, 15, ramp.shape)).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 32), (3, 66)])
def test_a_corruption_is_a_function_of_its_seed(name: str, channels: int, size: int) -> None:
    clean = pictures(2, channels, size)
    before = clean.copy()
    first = corrupted(clean, name, 3, seed=1)
    assert first.dtype == np.uint8 and first.shape == clean.shape and np.array_equal(clean, before)
    assert not np.array_equal(first, clean)
    assert np.array_equal(first, corrupted(clean, name, 3, seed=1))


def test_all_fifteen_are_there_and_told_apart() -> None:
    assert len(NAMES) == 15 and len(APPROXIMATE) == 5 and set(APPROXIMATE) < set(NAMES)
    noise = corrupted(pictures(70), "gaussian_noise", 1, 0).astype(int) - pictures(70)
    assert not np.array_equal(noise[0], noise[64]), "each chunk has numbers of its own"
    assert np.array_equal(corrupted(pictures(70)[:8], "fog", 2, 0)[:3], corrupted(pictures(70)[:8], "fog", 2, 0)[:3])


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("elastic_transform", "glass_blur")])
def test_the_greatest_severity_changes_more_than_the_least(name: str) -> None:
    clean = pictures()
    change = [np.abs(corrupted(clean, name, s, 0).astype(float) - clean).mean() for s in (1, 5)]
    assert change[1] > change[0] > 0


def test_noise_has_the_published_size() -> None:
    """Grey 128: Gaussian of .04 … .1, Poisson of √(x / photons), so many pixels struck."""
    grey = np.full((40, 3, 32, 32), 128, np.uint8)
    for severity, scale in ((1, 0.04), (5, 0.10)):
        assert corrupted(grey, "gaussian_noise", severity, 0).std() / 255 == pytest.approx(scale, rel=0.03)
    for severity, photons in ((1, 500), (5, 50)):
        expected = (128 / 255 / photons) ** 0.5
        assert corrupted(grey, "shot_noise", severity, 0).std() / 255 == pytest.approx(expected, rel=0.03)
    struck = corrupted(grey, "impulse_noise", 5, 0)
    assert (struck != 128).mean() == pytest.approx(0.07, rel=0.05) and set(np.unique(struck)) <= {0, 127, 128, 255}


def test_contrast_and_brightness_by_hand() -> None:
    two = np.zeros((1, 3, 32, 32), np.uint8)
    two[..., :16] = 200
    low = corrupted(two, "contrast", 5, 0)
    assert low[0, 0, 0, 0] == int(100 + 0.15 * 100) and low[0, 0, 0, 31] == int(100 - 0.15 * 100)
    colour = np.zeros((1, 3, 32, 32), np.uint8)
    colour[:, 0], colour[:, 1] = 100, 50
    bright = corrupted(colour, "brightness", 5, 0)[0, :, 0, 0]
    assert bright.tolist() == [int(100 + 0.3 * 255), int((100 + 0.3 * 255) / 2), 0], "hue and saturation stay"


def test_blurs_keep_a_flat_picture_and_its_mean() -> None:
    flat = np.full((2, 3, 32, 32), 100, np.uint8)
    for name in ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "pixelate", "elastic_transform", "contrast"):
        assert np.abs(corrupted(flat, name, 4, 0).astype(int) - 100).max() <= 1, name
    point = np.zeros((1, 1, 33, 33), np.uint8)
    point[..., 16, 16] = 250
    spread = corrupted(point, "motion_blur", 5, 0).astype(float)
    assert 200 < spread.sum() <= 250 and spread.max() < 90 and (spread > 0).sum() > 5
    assert corrupted(point, "defocus_blur", 4, 0)[0, 0, 15:18, 15:18].min() >= 0


def test_pixelate_and_jpeg_are_pillows() -> None:
    from io import BytesIO

    from PIL import Image

    clean = pictures(1)
    picture = Image.fromarray(clean[0].transpose(1, 2, 0))
    small = picture.resize((20, 20), Image.Resampling.BOX).resize((32, 32), Image.Resampling.BOX)
    assert np.abs(corrupted(clean, "pixelate", 5, 0)[0].transpose(1, 2, 0).astype(int) - np.asarray(small)).max() <= 1
    stream = BytesIO()
    picture.save(stream, "JPEG", quality=40)
    written = np.asarray(Image.open(stream)).astype(int)
    assert np.abs(corrupted(clean, "jpeg_compression", 5, 0)[0].transpose(1, 2, 0) - written).max() <= 1


def test_what_is_measured_under_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that says "bright" above a mean of 60: contrast keeps the mean, brightness moves 0.3 · 255 at severity 5."""
    monkeypatch.setattr("supernet.corrupted.NAMES", ("contrast", "brightness"))
    images = np.full((30, 1, 16, 16), 30, np.uint8)
    images[15:] = 90
    label_N = np.repeat([0, 1], 15)
    group_NA = (np.arange(30) % 2 + 2 * (np.arange(30) > 25))[:, None]  # two groups of 13, two of 2

    def predict(images_NCHW: np.ndarray) -> np.ndarray:
        bright_N = (images_NCHW.mean((1, 2, 3)) > 60).astype(float)
        return np.column_stack([1 - bright_N, bright_N])

    names = (("dark", "bright"), {"sex": ("a", "b", "c", "d")})
    found = measure(images, label_N, group_NA, names, ("accuracy_parity", NOTIONS["accuracy_parity"]), predict)
    assert found["clean"]["accuracy"] == 1 and found["group_images"] == {"sex": {"a": 13, "b": 13, "c": 2, "d": 2}}
    contrast, brightness = (row["severities"] for row in found["rows"])
    assert [one["accuracy"] for one in contrast] == [1] * 5
    assert [one["accuracy"] for one in brightness] == [1, 1, 0.5, 0.5, 0.5], "30 + 0.15 · 255 is above 60"
    assert found["mean_corruption_error"] == pytest.approx(0.15)
    assert brightness[4]["groups"]["sex"]["c"] is None and brightness[4]["gaps"]["sex"] is None, (
        "two images are too few"
    )
    few = (("dark", "bright"), {"sex": ("a", "b")})
    told = measure(images, label_N, group_NA % 2, few, ("accuracy_parity", NOTIONS["accuracy_parity"]), predict)
    last = told["rows"][1]["severities"][4]
    assert last["groups"]["sex"] == {"a": pytest.approx(7 / 15), "b": pytest.approx(8 / 15)}
    assert last["gaps"]["sex"] == pytest.approx(1 / 15)


def test_the_draw_has_each_class_and_group_or_says_how_many_it_takes() -> None:
    label_N, group_NA = np.arange(200) % 4, (np.arange(200) == 7).astype(int)[:, None]
    chosen = drawn(label_N, group_NA, 20, 0)
    assert len(chosen) == 20 and set(label_N[chosen]) == {0, 1, 2, 3} and 7 in chosen
    assert len(drawn(label_N, group_NA, 1000, 0)) == 200
    with pytest.raises(UserError, match="--corruptions 3 is too few"):
        drawn(label_N, group_NA, 3, 0)
