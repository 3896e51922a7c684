"""Reads latency measurements (.npz) of whole networks, for benchmarks/latency_transfer.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from supernet.blocks.ops import OPS
from supernet.blocks.primitives import inverted_residual
from supernet.errors import UserError
from supernet.spaces import get_space
from supernet.transfer.encoding import NB201_OPS, Encoder, counting_encoder, nb201_encoder, space_encoder

FBNET_OPS = ("k3_e1", "k3_e1_g2", "k3_e3", "k3_e6", "k5_e1", "k5_e1_g2", "k5_e3", "k5_e6", "skip")
PRIMITIVES = {f"k{kernel}_e1_g2": inverted_residual(kernel, 1, groups=2) for kernel in (3, 5)}  # measured, not ours
PRIMITIVES |= {name: op.primitives for name, op in OPS.items()}
SPACE_OF_LAYERS = {22: "fbnet", 6: "nb201"}
OPS_OF_SPACE = {"fbnet": FBNET_OPS, "nb201": NB201_OPS}


@dataclass(frozen=True)
class Measurements:
    """N architectures of one space, T devices: latency in ms, NaN where a device was not measured."""

    space: str
    encoder: Encoder
    index_NL: np.ndarray
    devices: tuple[str, ...]
    latency_ms_NT: np.ndarray

    def latency(self, devices: Sequence[str]) -> np.ndarray:
        missing = [device for device in devices if device not in self.devices]
        if missing:
            raise UserError(f"No data file of {self.space} has the devices {', '.join(missing)}.")
        return self.latency_ms_NT[:, [self.devices.index(device) for device in devices]]


def space_name(name: str) -> str:
    """`fbnet` and `nb201`, however a file spells them."""
    plain = name.lower().replace("-", "").replace("_", "")
    return "fbnet" if plain.startswith("fbnet") else "nb201" if plain in ("nb201", "nasbench201") else name


def load(paths: Sequence[Path]) -> dict[str, Measurements]:
    """Space → measurements. Files of one space are joined by architecture; a device in two files is averaged.

    A file has `latency_ms` (N, T), `devices` (T,) and the architectures: `ops` or `arch` (N, L), either operation names
    or indices into `op_names` (or `ops`, where `arch` holds the indices). A prefix `help_` of a key does not matter.
    Raises UserError for a file without them.
    """
    parts: dict[str, list[tuple[np.ndarray, tuple[str, ...], list[str], np.ndarray]]] = {}
    for path in paths:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key.removeprefix("help_"): file[key] for key in file.files}
        index = next((arrays[key] for key in ("arch", "ops") if key in arrays and arrays[key].ndim == 2), None)
        if index is None or "devices" not in arrays or "latency_ms" not in arrays:
            raise UserError(f"{path}: expected `ops` (N, L), `devices` (T,) and `latency_ms` (N, T).")
        layers = index.shape[1]
        space = space_name(
            str(arrays["space"]) if "space" in arrays else SPACE_OF_LAYERS.get(layers, f"{layers} layers")
        )
        names = next((arrays[key] for key in ("op_names", "ops") if key in arrays and arrays[key].ndim == 1), None)
        if index.dtype.kind in "US":
            ops = tuple(OPS_OF_SPACE.get(space, np.unique(index).tolist()))
            index = np.array([[ops.index(op) for op in row] for row in index.astype(str)])
        elif names is not None:
            ops = tuple(str(name) for name in names)
        else:
            ops = OPS_OF_SPACE.get(space, tuple(f"op{k}" for k in range(int(index.max()) + 1)))
        devices = [str(device) for device in arrays["devices"]]
        parts.setdefault(space, []).append((index.astype(int), ops, devices, arrays["latency_ms"].astype(float)))
    return {space: _join(space, part) for space, part in parts.items()}


def _join(space: str, parts: list[tuple[np.ndarray, tuple[str, ...], list[str], np.ndarray]]) -> Measurements:
    ops = parts[0][1]
    translated = [np.array([ops.index(name) for name in names])[index] for index, names, _, _ in parts]
    if len(parts) == 1:
        index_NL, rows = translated[0], [np.arange(len(translated[0]))]
    else:
        index_NL, inverse = np.unique(np.concatenate(translated), axis=0, return_inverse=True)
        rows = np.split(inverse.ravel(), np.cumsum([len(part) for part in translated])[:-1])
    devices = tuple(dict.fromkeys(device for _, _, names, _ in parts for device in names))
    total, count = np.zeros((2, len(index_NL), len(devices)))
    for row, (_, _, names, latency) in zip(rows, parts, strict=True):
        for column, device in enumerate(names):
            measured = ~np.isnan(latency[:, column])
            np.add.at(total[:, devices.index(device)], row[measured], latency[measured, column])
            np.add.at(count[:, devices.index(device)], row[measured], 1)
    latency_ms = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    if space == "fbnet":
        encoder: Encoder = space_encoder(get_space("fbnet32"), {op: PRIMITIVES[op] for op in ops})
    elif space == "nb201":
        encoder = nb201_encoder(ops)
    else:
        encoder = counting_encoder(ops, index_NL.shape[1])
    return Measurements(space, encoder, index_NL, devices, latency_ms)
