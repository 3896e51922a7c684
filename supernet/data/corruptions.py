"""The 15 common corruptions at five severities: Hendrycks & Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations", ICLR 2019, with the parameters of the authors' make_cifar_c.py up to 64 pixels a side, else those of make_imagenet_c.py.

A corruption takes x_NHWC, float64 in 0 … 1, its parameters and a generator, and gives the same shape. Those of `APPROXIMATE` are made
without OpenCV, ImageMagick and the photographs of ice; the others follow the authors' code, with other random numbers. Their strength
does not scale with the size: parameters are for 32 and for 224 pixels. imagecorruptions (PyPI) was not taken: it needs OpenCV, scikit-image and
numba, and refuses pictures below 32 pixels.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image
from scipy.ndimage import affine_transform, gaussian_filter, map_coordinates, zoom

SEVERITIES, SMALL, CHUNK = (
    5,
    64,
    64,
)  # SMALL: pixels a side that CIFAR-10-C's parameters are used up to; CHUNK: images at a time
Array = np.ndarray
Random = np.random.Generator


def gaussian_noise(x: Array, scale: float, rng: Random) -> Array:
    return x + rng.normal(size=x.shape, scale=scale)


def shot_noise(x: Array, photons: float, rng: Random) -> Array:
    return rng.poisson(x * photons) / photons


def impulse_noise(x: Array, amount: float, rng: Random) -> Array:
    """Salt and pepper, each colour by itself (skimage.util.random_noise)."""
    struck, salt = rng.random(x.shape) < amount, rng.random(x.shape) < 0.5
    return np.where(struck, salt.astype(float), x)


def _blurred(x: Array, sigma: float) -> Array:
    return gaussian_filter(x, (0, sigma, sigma, 0), mode="nearest")


def defocus_blur(x: Array, disk: tuple[float, float], rng: Random) -> Array:
    """A disk of this radius, smoothed by a Gaussian of 3 × 3 or 5 × 5 pixels."""
    radius, sigma = disk
    reach = 8 if radius <= 8 else math.floor(radius)
    step = np.arange(-reach, reach + 1)
    kernel = (step[:, None] ** 2 + step**2 <= radius**2).astype(float)
    kernel = gaussian_filter(kernel / kernel.sum(), sigma, radius=1 if radius <= 8 else 2, mode="mirror")
    pad = min(reach, x.shape[1] - 1)
    kernel = kernel[reach - pad : reach + pad + 1, reach - pad : reach + pad + 1]
    wide, size = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="reflect"), x.shape[1]
    cells = np.argwhere(kernel > 0)
    return sum(kernel[i, j] * wide[:, i : i + size, j : j + size] for i, j in cells)


def glass_blur(x: Array, shuffle: tuple[float, int, int], rng: Random) -> Array:
    """Pixels take the place of near ones. The authors' swap, of views, copies in fact; so does this."""
    sigma, most, rounds = shuffle
    x, size, every = np.floor(_blurred(x, sigma) * 255) / 255, x.shape[1], np.arange(len(x))
    for _ in range(rounds):
        for h in range(size - most, most, -1):
            for w in range(size - most, most, -1):
                dx, dy = rng.integers(-most, most, size=(2, len(x)))
                x[:, h, w] = x[every, h + dy, w + dx]
    return _blurred(x, sigma)


def _motion(x: Array, radius: int, sigma: float, angle_N: Array) -> Array:
    """ImageMagick's MotionBlurImage: the half of a Gaussian along a line, borders repeated."""
    width = 2 * radius + 1
    weight_W = np.exp(-(np.arange(width) ** 2) / (2 * sigma**2))
    weight_W /= weight_W.sum()
    size, found = x.shape[1], np.zeros_like(x)
    place = np.arange(size)
    for number, angle in enumerate(np.deg2rad(angle_N)):
        for i, weight in enumerate(weight_W):
            down, right = math.ceil(i * math.sin(angle) - 0.5), math.ceil(i * math.cos(angle) - 0.5)
            rows, columns = np.clip(place + down, 0, size - 1), np.clip(place + right, 0, size - 1)
            found[number] += weight * x[number][rows[:, None], columns]
    return found


def motion_blur(x: Array, line: tuple[int, float], rng: Random) -> Array:
    return _motion(x, *line, rng.uniform(-45, 45, len(x)))


def _zoomed(x: Array, factor: float) -> Array:
    """The middle, as large as the whole."""
    size = x.shape[1]
    crop = math.ceil(size / factor)
    top = (size - crop) // 2
    large = zoom(x[:, top : top + crop, top : top + crop], (1, factor, factor, 1), order=1)
    trim = (large.shape[1] - size) // 2
    return large[:, trim : trim + size, trim : trim + size]


def zoom_blur(x: Array, factors: tuple[float, float], rng: Random) -> Array:
    each = np.arange(1, *factors)
    return (x + sum(_zoomed(x, float(factor)) for factor in each)) / (len(each) + 1)


def snow(x: Array, flakes: tuple[float, float, float, float, int, float, float], rng: Random) -> Array:
    mean, spread, factor, least, radius, sigma, kept = flakes
    layer = _zoomed(rng.normal(mean, spread, (*x.shape[:3], 1)), factor)
    layer = np.floor(np.clip(np.where(layer < least, 0, layer), 0, 1) * 255) / 255
    layer = _motion(layer, radius, sigma, rng.uniform(-135, -45, len(x)))
    grey = x if x.shape[-1] == 1 else (x @ np.array([0.299, 0.587, 0.114]))[..., None]
    x = kept * x + (1 - kept) * np.maximum(x, grey * 1.5 + 0.5)
    return x + layer + np.rot90(layer, 2, axes=(1, 2))


def _plasma(count: int, size: int, decay: float, rng: Random) -> Array:
    """(count, size, size) in 0 … 1: diamond-square heights on a torus of the next power of two."""
    side = 2 ** math.ceil(math.log2(size))
    height, step, wobble = np.zeros((count, side, side)), side, 100.0

    def mean(total: Array) -> Array:
        return total / 4 + wobble * rng.uniform(-wobble, wobble, total.shape)

    while step >= 2:
        half = step // 2
        corner = height[:, ::step, ::step]
        total = corner + np.roll(corner, -1, 1)
        height[:, half::step, half::step] = mean(total + np.roll(total, -1, 2))
        middle, corner = height[:, half::step, half::step], height[:, ::step, ::step]
        height[:, ::step, half::step] = mean(middle + np.roll(middle, 1, 1) + corner + np.roll(corner, -1, 2))
        height[:, half::step, ::step] = mean(middle + np.roll(middle, 1, 2) + corner + np.roll(corner, -1, 1))
        step, wobble = half, wobble / decay
    height -= height.min((1, 2), keepdims=True)
    return (height / height.max((1, 2), keepdims=True))[:, :size, :size]


def frost(x: Array, mixed: tuple[float, float], rng: Random) -> Array:
    """In place of a photograph of ice: white crystals, which are where a fractal is steep, on a blue-grey ground."""
    height = _plasma(len(x), x.shape[1], 1.8, rng)
    edge = np.abs(np.gradient(height, axis=1)) + np.abs(np.gradient(height, axis=2))
    ice = np.clip(0.3 + 0.7 * edge / np.maximum(np.quantile(edge, 0.95, (1, 2), keepdims=True), 1e-9), 0, 1)[..., None]
    tint = np.array([0.85, 0.92, 1.0]) if x.shape[-1] == 3 else np.array([0.92])
    return mixed[0] * x + mixed[1] * ice * tint


def fog(x: Array, layer: tuple[float, float], rng: Random) -> Array:
    thick, decay = layer
    brightest = x.max((1, 2, 3), keepdims=True)
    x = x + thick * _plasma(len(x), x.shape[1], decay, rng)[..., None]
    return x * brightest / (brightest + thick)


def brightness(x: Array, more: float, rng: Random) -> Array:
    """HSV's V, the largest of the colours, grows; hue and saturation stay, so all colours grow in proportion."""
    value = x.max(-1, keepdims=True)
    scaled = np.divide(x, value, out=np.ones_like(x), where=value > 0)  # black has neither hue nor saturation
    return scaled * np.clip(value + more, 0, 1)


def contrast(x: Array, kept: float, rng: Random) -> Array:
    means = x.mean((1, 2), keepdims=True)
    return (x - means) * kept + means


def elastic_transform(x: Array, bend: tuple[float, float, float], rng: Random) -> Array:
    """A random affine map, then every pixel moved by a smooth random field. Parameters are of the side (32; 244)."""
    found, size = np.empty_like(x), x.shape[1]
    unit = size if size <= SMALL else 244
    strength, sigma, shift = (value * unit for value in bend)
    centre, third = size // 2, size // 3
    corner_32 = np.array([[centre + third, centre + third], [centre + third, centre - third], [centre - third] * 2], float)  # fmt: skip
    grid = np.mgrid[:size, :size].astype(float)
    for number, image in enumerate(x):
        moved_32 = corner_32 + rng.uniform(-shift, shift, corner_32.shape)
        solved = np.linalg.lstsq(np.column_stack([moved_32, np.ones(3)]), corner_32, rcond=None)[0]
        field = [strength * gaussian_filter(rng.uniform(-1, 1, (size, size)), sigma, mode="reflect", truncate=3) for _ in "xy"]  # fmt: skip
        for channel in range(image.shape[-1]):
            warped = affine_transform(image[..., channel], solved[:2].T, solved[2], order=1, mode="mirror")
            found[number, ..., channel] = map_coordinates(warped, grid + field, order=1, mode="reflect")
    return found


def _each(x: Array, change: Callable[[Image.Image], Image.Image]) -> Array:
    """By Pillow, on 8 bits."""
    bytes_NHWC = np.rint(x * 255).astype(np.uint8)
    pictures = [Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image) for image in bytes_NHWC]
    return np.stack([np.asarray(change(picture)) for picture in pictures]).reshape(x.shape) / 255


def pixelate(x: Array, share: float, rng: Random) -> Array:
    size = x.shape[1]
    few, box = int(size * share), Image.Resampling.BOX
    return _each(x, lambda picture: picture.resize((few, few), box).resize((size, size), box))


def jpeg_compression(x: Array, quality: int, rng: Random) -> Array:
    def written(picture: Image.Image) -> Image.Image:
        picture.save(stream := io.BytesIO(), "JPEG", quality=quality)
        return Image.open(stream)

    return _each(x, written)


# of each: CIFAR-10-C's parameters at the five severities, then ImageNet-C's
CORRUPTIONS: dict[Callable[..., Array], tuple[Sequence[Any], Sequence[Any]]] = {
    gaussian_noise: ([0.04, 0.06, 0.08, 0.09, 0.10], [0.08, 0.12, 0.18, 0.26, 0.38]),
    shot_noise: ([500, 250, 100, 75, 50], [60, 25, 12, 5, 3]),
    impulse_noise: ([0.01, 0.02, 0.03, 0.05, 0.07], [0.03, 0.06, 0.09, 0.17, 0.27]),
    defocus_blur: ([(0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)], [(3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)]),
    glass_blur: ([(0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)], [(0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)]),
    motion_blur: ([(6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)], [(10, 3), (15, 5), (15, 8), (15, 12), (20, 15)]),
    zoom_blur: ([(1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)], [(1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)]),
    snow: (
        [(0.1, 0.2, 1, 0.6, 8, 3, 0.95), (0.1, 0.2, 1, 0.5, 10, 4, 0.9), (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9), (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85), (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8)],
        [(0.1, 0.3, 3, 0.5, 10, 4, 0.8), (0.2, 0.3, 2, 0.5, 12, 4, 0.7), (0.55, 0.3, 4, 0.9, 12, 8, 0.7), (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65), (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55)],
    ),
    frost: ([(1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)], [(1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)]),
    fog: ([(0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)], [(1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)]),
    brightness: ([0.05, 0.1, 0.15, 0.2, 0.3], [0.1, 0.2, 0.3, 0.4, 0.5]),
    contrast: ([0.75, 0.5, 0.4, 0.3, 0.15], [0.4, 0.3, 0.2, 0.1, 0.05]),
    elastic_transform: (
        [(0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)],
        [(2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02)],
    ),
    pixelate: ([0.95, 0.9, 0.85, 0.75, 0.65], [0.6, 0.5, 0.4, 0.3, 0.25]),
    jpeg_compression: ([80, 65, 58, 50, 40], [25, 18, 15, 10, 7]),
}  # fmt: skip
NAMES = tuple(corruption.__name__ for corruption in CORRUPTIONS)
APPROXIMATE = {
    "defocus_blur": "the authors' disk, filtered without OpenCV",
    "motion_blur": "ImageMagick's filter, written anew",
    "snow": "with that motion blur",
    "frost": "a texture in place of the authors' photographs of ice",
    "elastic_transform": "the authors' maps, interpolated without OpenCV",
}


def corrupted(images_NCHW: Array, name: str, severity: int, seed: int) -> Array:
    """uint8 of the same shape, under a corruption of severity 1 to 5; a function of the images and the seed."""
    number = NAMES.index(name)
    corruption, parameters = list(CORRUPTIONS.items())[number]
    chosen = parameters[0 if images_NCHW.shape[-1] <= SMALL else 1][severity - 1]
    found = []
    for start in range(0, len(images_NCHW), CHUNK):
        rng = np.random.default_rng((seed, number, severity, start))
        x_NHWC = np.moveaxis(images_NCHW[start : start + CHUNK], 1, -1) / 255.0
        found.append(np.clip(corruption(x_NHWC, chosen, rng), 0, 1) * 255)
    return np.moveaxis(np.concatenate(found), -1, 1).astype(np.uint8)  # rounded down, as the authors do
