"""A bundle's manifest: which files may be loaded, and what each of them is. Nothing in it is ever executed.

A file is loaded only if the manifest lists it by a plain relative name, it lies inside the bundle's own folder (links
included), and its bytes have the listed SHA-256. The runtime gets those bytes, not the path.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latency_luts.errors import BundleError

VERSION = 1
MAX_MANIFEST_BYTES = 5_000_000
MAX_FILE_BYTES = 500_000_000
DTYPES = ("float32", "float16", "int8")
MOST = {"c_in": 65536, "c_out": 65536, "stride": 2, "resolution": 4096}  # as in schema.json
FORMATS = ("onnx", "tflite", "pte", "pt2")
ROLES = ("stem", "head", "op", "call", "network", "extra")
NAME_IS = "a name of one line and at most 100 characters, without backticks"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*(/[A-Za-z0-9_][A-Za-z0-9_.\-]*)*")
_KEY = ("op", "c_in", "c_out", "stride", "resolution")


@dataclass(frozen=True)
class Item:
    """One file to measure: a piece of the space (stem, head, op), a graph that computes next to nothing, whose time is the runtime's own for a
    call (call), a whole network that the table is validated on (network), or one that is only measured (extra).

    `key` is the operation's op, c_in, c_out, stride, resolution; `ops` a network's option of each layer. `entries`: the keys of its
    operations, where its shapes are decided with them; else the manifest's layers say the shapes. `whole_picture`: this operation
    takes what it needs of the whole picture, so the stem is a part of it.

    name: for messages.  role: as above.  sha256: of the file.
    """

    name: str
    role: str
    file: str
    sha256: str
    key: dict[str, Any]
    ops: tuple[str, ...]
    entries: tuple[dict[str, Any], ...] = ()
    whole_picture: bool = False


@dataclass(frozen=True)
class Manifest:
    """A checked manifest. `identities` are the operations that compute nothing; `digest` names the whole manifest.

    folder: of the bundle.  space, format, dtype: of its files.  resolution: of the picture, px.  items: what is measured.
    layers: c_in, c_out, stride, resolution of each.  made_with: versions of the exporter.
    """

    folder: Path
    space: str
    format: str
    dtype: str
    resolution: int
    items: tuple[Item, ...]
    identities: tuple[dict[str, Any], ...]
    layers: tuple[dict[str, int], ...]
    made_with: dict[str, Any]
    digest: str

    @property
    def has_pieces(self) -> bool:
        """False for a bundle of networks only: their times are a sheet for `supernet lut adapt`, not a table."""
        return any(item.role == "op" for item in self.items)

    def read(self, item: Item) -> bytes:
        """The item's bytes. Raises BundleError if it leaves the folder, is missing, or is not what was listed."""
        root = self.folder.resolve()
        path = (root / item.file).resolve()
        if not path.is_relative_to(root):
            raise BundleError(f"manifest: {item.file} leads out of the bundle's folder; it is not loaded.")
        if not path.is_file():
            raise BundleError(f"{item.file} is listed in the manifest but missing: copy the whole bundle again.")
        if path.stat().st_size > MAX_FILE_BYTES:
            raise BundleError(f"{item.file} is larger than {MAX_FILE_BYTES:,} bytes; it is not loaded.")
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != item.sha256:
            raise BundleError(
                f"{item.file} is not the file that was exported (SHA-256 differs): copy the bundle again."
            )
        return _unpacked(item.file, content) if item.file.endswith(".gz") else content


def read_manifest(folder: Path) -> Manifest:
    """Reads and checks `folder`/manifest.json. Raises BundleError with the field's path."""
    path = folder / "manifest.json"
    if not path.is_file():
        raise BundleError(f"{path} does not exist: run this from a bundle made by `supernet lut export`.")
    if path.stat().st_size > MAX_MANIFEST_BYTES:
        raise BundleError(f"{path} has more than {MAX_MANIFEST_BYTES:,} bytes; that cannot be right.")
    raw = path.read_bytes()
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} is not valid JSON: {error}.") from error
    _demand(isinstance(content, dict), "file", "an object")
    version = content.get("schema_version")
    _demand(version == VERSION, "schema_version", f"{VERSION}, not {version!r}: export the bundle again")
    _demand(is_name(content.get("space")), "space", NAME_IS)
    _demand(content.get("dtype") in DTYPES, "dtype", f"one of {', '.join(DTYPES)}")
    _demand(content.get("format") in FORMATS, "format", f"one of {', '.join(FORMATS)}")
    _demand(_inside("resolution", content.get("resolution")), "resolution", f"from 1 to {MOST['resolution']}")
    _demand(isinstance(content.get("made_with"), dict), "made_with", "an object")
    for field in ("items", "identities", "layers"):
        _demand(isinstance(content.get(field), list), field, "a list")
    items = tuple(_item(f"items[{number}]", item) for number, item in enumerate(content["items"]))
    names = [item.name for item in items]
    for number, name in enumerate(names):
        _demand(name not in names[:number], f"items[{number}].name", f"unique; {name} stands twice")
    fixed = ("head",) if any(item.whole_picture for item in items) else ("stem", "head")
    for role in fixed if any(item.role == "op" for item in items) else ():
        _demand(sum(item.role == role for item in items) == 1, "items", f"a list with exactly one {role}")
    if fixed == ("head",):
        _demand(
            all(item.role != "stem" for item in items), "items", "a list without a stem: it is a part of operations"
        )
    _demand(sum(item.role == "call" for item in items) <= 1, "items", "a list with one call at most")
    _demand(len(items) > 0, "items", "a list with at least one item")
    for number, key in enumerate(content["identities"]):
        _check_key(f"identities[{number}]", key)
    for number, layer in enumerate(content["layers"]):
        _demand(isinstance(layer, dict), f"layers[{number}]", "an object")
        for field in _KEY[1:]:
            _demand(_inside(field, layer.get(field)), f"layers[{number}].{field}", f"from 1 to {MOST[field]}")
    _check_pieces(items, content["identities"], content["layers"])
    return Manifest(
        folder, content["space"], content["format"], content["dtype"], content["resolution"], items,
        tuple(content["identities"]), tuple(content["layers"]), content["made_with"],
        hashlib.sha256(raw).hexdigest()[:16],
    )  # fmt: skip


def _unpacked(name: str, content: bytes) -> bytes:
    """A gzip file's content, never more than MAX_FILE_BYTES of it. Raises BundleError for what is none."""
    unpack = zlib.decompressobj(wbits=31)
    try:
        unpacked = unpack.decompress(content, MAX_FILE_BYTES)
    except zlib.error as error:
        raise BundleError(f"{name} cannot be unpacked ({error}): export the bundle again.") from error
    if not unpack.eof:
        raise BundleError(f"{name} is cut off, or larger than {MAX_FILE_BYTES:,} bytes; it is not loaded.")
    return unpacked


def _item(where: str, item: Any) -> Item:
    _demand(isinstance(item, dict), where, "an object")
    for field in ("name", "file"):
        value = item.get(field)
        _demand(isinstance(value, str) and len(value) < 200, f"{where}.{field}", "a short text")
    plain = _NAME.fullmatch(item["file"]) is not None and ".." not in item["file"]
    _demand(plain, f"{where}.file", f"a plain relative name inside the bundle, not {item['file']!r}")
    _demand(item.get("role") in ROLES, f"{where}.role", f"one of {', '.join(ROLES)}")
    digest = item.get("sha256")
    _demand(
        isinstance(digest, str) and re.fullmatch(r"[0-9a-f]{64}", digest) is not None, f"{where}.sha256", "a SHA-256"
    )
    key = item.get("key", {})
    if item["role"] == "op":
        _check_key(f"{where}.key", key)
    ops = item.get("ops", [])
    _demand(isinstance(ops, list) and all(isinstance(op, str) for op in ops), f"{where}.ops", "a list of operations")
    entries = item.get("entries", [])
    _demand(isinstance(entries, list), f"{where}.entries", "a list of operations with their shapes")
    for number, entry in enumerate(entries):
        _check_key(f"{where}.entries[{number}]", entry)
    whole = item.get("whole_picture", False)
    _demand(
        isinstance(whole, bool) and (item["role"] == "op" or not whole), f"{where}.whole_picture", "true of an op only"
    )
    return Item(item["name"], item["role"], item["file"], item["sha256"], key, tuple(ops), tuple(entries), whole)


def _check_key(where: str, key: Any) -> None:
    _demand(isinstance(key, dict) and sorted(key) == sorted(_KEY), where, f"an object with {', '.join(_KEY)}")
    _demand(isinstance(key["op"], str), f"{where}.op", "a text")
    for field in _KEY[1:]:
        _demand(_inside(field, key[field]), f"{where}.{field}", f"from 1 to {MOST[field]}")


def _check_pieces(
    items: Sequence[Item], identities: Sequence[dict[str, Any]], layers: Sequence[dict[str, Any]]
) -> None:
    """What the table needs must be there before an hour is spent: a piece for each operation, of a shape of the space."""
    shapes = {tuple(layer[field] for field in _KEY[1:]) for layer in layers}
    decided = any(item.entries for item in items)  # then any shape may be one that a network has
    keys = {tuple(key[field] for field in _KEY) for key in identities}
    for number, item in enumerate(items):
        if item.role == "op":
            key = tuple(item.key[field] for field in _KEY)
            _demand(decided or key[1:] in shapes, f"items[{number}].key", "of a shape that a layer has")
            _demand(key not in keys, f"items[{number}].key", "unique; it stands twice")
            keys.add(key)
    for number, item in enumerate(items):
        if item.role in ("network", "extra"):
            _demand(len(item.ops) == len(layers), f"items[{number}].ops", "one operation for each layer")
        if item.role == "network":
            used = item.entries or [{"op": op, **layer} for op, layer in zip(item.ops, layers, strict=True)]
            _demand(len(used) == len(layers), f"items[{number}].entries", "one operation for each layer")
            for place, entry in enumerate(used):
                op = entry["op"]
                there = tuple(entry[field] for field in _KEY) in keys
                _demand(there, f"items[{number}].ops[{place}]", f"among the bundle's pieces; {op[:40]} is not")


def is_name(value: Any) -> bool:
    """Whether a value can stand as a device's or space's name in a table: `NAME_IS`."""
    return isinstance(value, str) and 0 < len(value) <= 100 and value.isprintable() and "`" not in value


def _inside(field: str, value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MOST[field]


def _demand(right: bool, where: str, what: str) -> None:
    if not right:
        raise BundleError(f"manifest.json: {where} must be {what}.")
