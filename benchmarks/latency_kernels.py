"""The latency of whole networks from a table's blocks (`supernet lut predict --arch mobilenetv3_small_100`): how far off?

    python benchmarks/latency_kernels.py [--quick]

Two errors. `DEVICE_blocks`: mean relative error on blocks of shapes, and on blocks of input sizes, that were left out of the fit (the
larger); null where the device's entries are no sums of kernels. `pixel1_…`, `pixel3_…`: whole networks that are of no search space of
ours, at 96 to 224 px, against published times: https://github.com/tensorflow/models, research/slim/nets/mobilenet/README.md
(TensorFlow Lite, float, one large core). The Pixel 3 table has blocks of 4 to 32 px only, like the Pi 4's from the same source.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import timm
from scipy.stats import spearmanr

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # runs from a checkout that is not installed

from results_io import write_results  # noqa: E402

from supernet.costs.latency import load_table, shipped_devices  # noqa: E402
from supernet.errors import UserError  # noqa: E402
from supernet.transfer.kernel_model import NETWORK_ERROR, KernelModel, kernel_model  # noqa: E402
from supernet.transfer.kernels import kernels_of  # noqa: E402

V2_PIXEL1 = {  # width: ms at 224, 192, 160, 128, 96 px
    "140": (138.0,),
    "100": (73.8, 55.1, 40.2, 27.6, 17.6),
    "050": (28.7, 21.1, 14.9, 9.9, 6.4),
    "035": (19.7, 14.6, 10.5, 6.9, 4.5),
}
V3_PIXEL1_PIXEL3 = {
    "mobilenetv3_large_100": (51.2, 44.0),
    "mobilenetv3_large_075": (39.8, 34.0),
    "mobilenetv3_small_100": (15.8, 14.4),
    "mobilenetv3_small_075": (12.8, 11.6),
    "tf_mobilenetv3_large_minimal_100": (44.1, 35.0),
    "tf_mobilenetv3_small_minimal_100": (12.2, 11.0),
}


def published() -> list[tuple[str, str, int, float]]:
    """(device, timm model, px, ms)"""
    v2 = [
        ("pixel1_224", f"mobilenetv2_{width}", size, ms)
        for width, times in V2_PIXEL1.items()
        for size, ms in zip((224, 192, 160, 128, 96), times, strict=False)
    ]
    v3 = [
        (device, name, 224, ms)
        for name, times in V3_PIXEL1_PIXEL3.items()
        for device, ms in zip(("pixel1_224", "pixel3"), times, strict=True)
    ]
    return v2 + v3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the Pixel 3 only; nothing is written")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder of the results")
    options = parser.parse_args()
    summary: dict[str, Any] = {"network_error_told": NETWORK_ERROR}
    models: dict[str, KernelModel] = {}
    for device in ("pixel3",) if options.quick else shipped_devices():
        try:
            models[device] = kernel_model(load_table(device))
            summary[f"{device}_blocks"] = round(models[device].block_error, 4)
        except UserError as error:
            summary[f"{device}_blocks"] = None
            print(error)
    records = []
    for device, name, size, ms in published():
        if device in models:
            found = models[device].estimate(kernels_of(timm.create_model(name), 3, size), size)
            records.append(
                {"device": device, "network": name, "size": size, "ms": ms, "estimated_ms": round(found.ms, 3)}
            )
    for device, short in (("pixel1_224", "pixel1"), ("pixel3", "pixel3")):
        mine = [record for record in records if record["device"] == device]
        if mine:
            ratio = np.array([record["estimated_ms"] / record["ms"] for record in mine])
            summary[f"{short}_networks"] = len(mine)
            summary[f"{short}_mape"] = round(float(abs(ratio - 1).mean()), 4)
            summary[f"{short}_median_error"] = round(float(np.median(abs(ratio - 1))), 4)
            summary[f"{short}_largest_error"] = round(float(abs(ratio - 1).max()), 4)
            summary[f"{short}_bias"] = round(float(ratio.mean() - 1), 4)
            pairs = [[record["ms"], record["estimated_ms"]] for record in mine]
            summary[f"{short}_spearman"] = round(float(spearmanr(pairs).statistic), 4)
    if not options.quick:
        write_results("latency_kernels", summary, records, folder=options.out)
    print("\n".join(f"{key} {value}" for key, value in summary.items()))


if __name__ == "__main__":
    main()
