"""Makes `latency_luts/cortex-m7.json`: an int8 table of a Cortex-M7 from published times of 17 whole networks.

    python benchmarks/make_mcu_table.py          # seconds; small_devices.py writes the fit's figures

Times: github.com/STMicroelectronics/stm32ai-modelzoo at commit 6f10965e, image_classification/*/README.md, "Reference MCU inference time".
STM32H747I-DISCO, one Cortex-M7 at 400 MHz, int8, STM32Cube.AI 10.0.0 (ResNet v1 32: version not told). Left out are three networks that the chip's 1 MiB of
RAM and 2 MiB of flash do not hold (MobileNet v1 1.0, v2 1.0 and 1.4 at 224 px), and those with binary layers. Shapes are those of
image_classification/src/models/*.py there; nothing else is taken from it.

The model is MicroNets' (Banbury et al., MLSys 2021): latency is linear in operations, by type. So there are three prices, of a multiply-add in a dense
k × k, a pointwise and a depthwise convolution; linear layers count as pointwise. They were not chosen by the error. Prices are not negative, and relative
errors count. The error told is of each backbone by the fit to all others, its resolutions and class counts together.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from scipy.optimize import nnls

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # runs from a checkout that is not installed

from latency_luts.validation import errors  # noqa: E402
from supernet.blocks.ops import get_op  # noqa: E402
from supernet.blocks.primitives import Primitive, conv, elementwise, linear  # noqa: E402
from supernet.costs.analytic import frame  # noqa: E402
from supernet.schema import write_json  # noqa: E402
from supernet.spaces import get_space  # noqa: E402

Kernels = list[Primitive]
KINDS = ("dense", "pointwise", "depthwise")
CLOCK_MHZ = 400.0


def separable(c_in: int, c_out: int, size: int, stride: int) -> Kernels:
    return [
        conv("depthwise3", 3, c_in, c_in, c_in, size, stride),
        conv("pointwise", 1, c_in, c_out, 1, size // stride, 1),
    ]


def mobilenet_v1(alpha: float, size: int, channels: int, classes: int) -> Kernels:
    blocks = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))
    return _chain(int(32 * alpha), [(int(width * alpha), stride) for width, stride in blocks], size, channels, classes)


def fd_mobilenet(alphas: Sequence[float], size: int, classes: int) -> Kernels:
    """Twelve widths: one factor for all, or one each (ST FdMobileNet v1)."""
    blocks = ((64, 2), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 4, (1024, 1))
    widths = [(int(width * alpha), stride) for (width, stride), alpha in zip(blocks, alphas[1:], strict=True)]
    return _chain(int(32 * alphas[0]), widths, size, 3, classes)


def _chain(stem: int, blocks: Sequence[tuple[int, int]], size: int, channels: int, classes: int) -> Kernels:
    kernels = [conv("dense", 3, channels, stem, 1, size, 2)]
    c_in, size = stem, size // 2
    for width, stride in blocks:
        kernels += separable(c_in, width, size, stride)
        c_in, size = width, size // stride
    return [*kernels, linear(c_in, classes)]


def mobilenet_v2(alpha: float, size: int, classes: int) -> Kernels:
    def width(channels: float) -> int:
        found = max(8, int(channels + 4) // 8 * 8)
        return found + 8 if found < 0.9 * channels else found

    stem = width(32 * alpha)
    kernels = [conv("dense", 3, 3, stem, 1, size, 2)]
    c_in, size = stem, size // 2
    for channels, number, first, expansion in ((16, 1, 1, 1), (24, 2, 2, 6), (32, 3, 2, 6), (64, 4, 2, 6), (96, 3, 1, 6), (160, 3, 2, 6), (320, 1, 1, 6)):  # fmt: skip
        for place in range(number):
            stride, c_out, middle = first if place == 0 else 1, width(int(channels * alpha)), expansion * c_in
            kernels += [conv("pointwise", 1, c_in, middle, 1, size, 1)] if expansion > 1 else []
            kernels += separable(middle, c_out, size, stride)
            size //= stride
            kernels += [elementwise(c_out, size)] if (c_in, stride) == (c_out, 1) else []
            c_in = c_out
    return [*kernels, conv("pointwise", 1, c_in, 1280, 1, size, 1), linear(1280, classes)]


def resnet_v1(depth: int, classes: int) -> Kernels:
    kernels, c_in, size = [conv("dense", 3, 3, 16, 1, 32, 1)], 16, 32
    for stack in range(3):
        for place in range((depth - 2) // 6):
            c_out, stride = 16 * 2**stack, 2 if stack and not place else 1
            kernels += [
                conv("dense", 3, c_in, c_out, 1, size, stride),
                conv("dense", 3, c_out, c_out, 1, size // stride, 1),
            ]
            kernels += [conv("pointwise", 1, c_in, c_out, 1, size, stride)] if stride == 2 else []
            c_in, size = c_out, size // stride
            kernels.append(elementwise(c_out, size))
    return [*kernels, linear(64, classes)]


def st_mnist() -> Kernels:
    return [conv("dense", 3, 1, 16, 1, 28, 2), conv("depthwise3", 3, 16, 16, 16, 14, 1), conv("dense", 3, 16, 32, 1, 14, 1),
            conv("depthwise3", 3, 32, 32, 32, 14, 2), conv("pointwise", 1, 32, 64, 1, 7, 1), linear(64, 36)]  # fmt: skip


def published() -> Iterator[tuple[str, str, Kernels, float]]:
    """(backbone, network, kernels, ms)"""
    for alpha, size, channels, classes, ms in (
        (0.25, 224, 3, 5, 163.78), (0.5, 224, 3, 5, 485.79), (0.25, 96, 3, 5, 29.94), (0.25, 96, 1, 5, 28.34),
        (0.25, 224, 3, 1000, 166.75), (0.5, 224, 3, 1000, 504.37),
    ):  # fmt: skip
        yield f"MobileNet v1 {alpha}", f"{size} px, {channels} channels, {classes} classes", mobilenet_v1(alpha, size, channels, classes), ms  # fmt: skip
    for size, classes, ms in ((128, 5, 94.34), (224, 5, 290.75), (128, 1000, 116.13), (224, 1000, 313.92)):
        yield "MobileNet v2 0.35", f"{size} px, {classes} classes", mobilenet_v2(0.35, size, classes), ms
    for depth, classes, ms in ((8, 10, 28.67), (32, 100, 177.7)):
        yield f"ResNet v1 {depth}", f"32 px, {classes} classes", resnet_v1(depth, classes), ms
    own = (0.5, 0.75, 0.625, 0.5, 0.375, *[0.25] * 7)
    for name, alphas, size, ms in (
        ("FdMobileNet 0.25", [0.25] * 12, 224, 53.52), ("FdMobileNet 0.25", [0.25] * 12, 128, 17.73),
        ("ST FdMobileNet v1", own, 224, 102.0), ("ST FdMobileNet v1", own, 128, 32.14),
    ):  # fmt: skip
        yield name, f"{size} px, 5 classes", fd_mobilenet(alphas, size, 5), ms
    yield "ST MNIST v1", "28 px, 36 classes", st_mnist(), 3.41


def macs_K(kernels: Kernels) -> np.ndarray:
    """(K,) millions of multiply-adds by type."""
    return np.array([sum(one.macs for one in kernels if one.kind.startswith(kind)) / 1e6 for kind in KINDS])


def fitted(macs_NK: np.ndarray, ms_N: np.ndarray) -> np.ndarray:
    """(K,) ms for a million multiply-adds of each type, none below 0, with the least squared relative error."""
    return nnls(macs_NK / ms_N[:, None], np.ones(len(ms_N)))[0]


def left_out() -> tuple[np.ndarray, np.ndarray, list[str]]:
    """(predicted ms_N, published ms_N, backbones): each network by the fit to all networks of other backbones."""
    every = list(published())
    macs_NK, ms_N = np.array([macs_K(kernels) for _, _, kernels, _ in every]), np.array([ms for *_, ms in every])
    names, predicted_N = [name for name, *_ in every], np.empty(len(every))
    for name in set(names):
        own = np.array([other == name for other in names])
        predicted_N[own] = macs_NK[own] @ fitted(macs_NK[~own], ms_N[~own])
    return predicted_N, ms_N, names


def prices() -> np.ndarray:
    """(K,) ms for a million multiply-adds, of all networks."""
    every = list(published())
    return fitted(np.array([macs_K(kernels) for _, _, kernels, _ in every]), np.array([ms for *_, ms in every]))


def main() -> None:
    space, ms_K = get_space("fbnet32"), prices()
    predicted_N, ms_N, names = left_out()
    error = {key: round(value, 4) for key, value in errors(predicted_N, ms_N).items()}
    entries = [
        {"op": op, "c_in": layer.c_in, "c_out": layer.c_out, "stride": layer.stride, "resolution": layer.resolution,
         "median_ms": round(float(macs_K(get_op(op).primitives(*layer.shape, layer.resolution)) @ ms_K), 6), "iqr_ms": None, "n": None}
        for op, layer in {layer.key(op): (op, layer) for op, layer in space.places()}.values()
    ]  # fmt: skip
    content = {
        "schema_version": 1, "device": "cortex-m7", "space": space.name, "runtime": {"name": "STM32Cube.AI", "version": "10.0.0"},
        "dtype": "int8", "batch": 1, "threads": 1, "resolution": space.resolution, "unit": "ms", "provenance": "estimated", "licence": "MIT",
        "source": f"latency linear in multiply-adds by type (MicroNets, MLSys 2021), fitted to {len(names)} published whole-network times of "
        "STM32H747I-DISCO, Cortex-M7 at 400 MHz: github.com/STMicroelectronics/stm32ai-modelzoo, READMEs at commit 6f10965e",
        "base_ms": round(float(macs_K(frame(space, 3, 10)) @ ms_K), 6), "entries": entries, "validation": None,
        "cross_validation": {"left_out": "each backbone (whole networks)", "n": len(names), "mape": error["mape"], "spearman": error["spearman"]},
        "estimated_error": error["mape"],
        "notes": "Estimated: no network of this space was timed. "
        + ", ".join(f"{kind} {CLOCK_MHZ * ms / 1e3:.2f}" for kind, ms in zip(KINDS, ms_K, strict=True))
        + f" cycles a multiply-add. Each of {len(set(names))} backbones foretold from the others: mean error {error['mape']:.1%}, largest "
        f"{error['max_error']:.1%}. 5 × 5 depthwise kernels were not among them and have the price of 3 × 3 ones. At another clock, times scale by it.",
    }  # fmt: skip
    write_json(HERE.parent / "latency_luts" / "cortex-m7.json", content)
    print(f"cortex-m7.json: {content['notes']}")


if __name__ == "__main__":
    main()
