"""Files as a bad disk, an editor, a spreadsheet or a stranger leave them: seeded changes of a valid file's bytes."""

from __future__ import annotations

import copy
import io
import json
import random
import struct
import zipfile
from collections.abc import Callable
from typing import Any

DEEP: Any = []
for _ in range(200):
    DEEP = [DEEP]
# what a value may be changed into
NASTY: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 1.0, 0.5, -0.5, 16.0, 1e-300, 1e300, -1e6, 10**9, 10**17, 2**31, 20000, "", " ", "1", "nan", "text", "../x", "/etc/passwd", "a" * 3000,
    "\x1b[31mred", "\ud800", "\u202eabc", "two\nlines", "=1+1", "<script>", "\x00", [], {}, [None], [[]], ["x", "x"], [1, "2"], {"a": 1}, DEEP,
)  # fmt: skip
TOKENS = (b"NaN", b"Infinity", b"-Infinity", b"1e999", b"9" * 400, b"9" * 5000, b"1e-999", b"\xff\xfe", b"\x00", b"\xed\xa0\x80", b'"', b"{", b"[" * 3000, b",", b"\r", b"\xef\xbb\xbf", b"'", b"*a", b"&a", b"!!python/object:os.system x")  # fmt: skip
CELLS = ("", " ", "nan", "NA", "null", "-1", "0", "1e300", "1e-300", "inf", "1e9", "9" * 400, "a" * 200_000, "\x1b[31m", "\x00", '"', "a,b", "'", "=1+1",
         "../../etc/passwd", "/dev/zero", "\u202ex", "1,5", "k3_e1", "true", "１２")  # fmt: skip


def nasty(rng: random.Random) -> Any:
    """A copy: what a mutant holds may be changed further."""
    return copy.deepcopy(rng.choice(NASTY))


def damage(content: bytes, rng: random.Random) -> bytes:
    """Bytes lost, flipped, repeated or put in."""
    place, kind = rng.randrange(len(content) + 1), rng.randrange(7)
    if kind == 0:
        return content[:place]
    if kind == 1:
        flipped = bytearray(content or b" ")
        flipped[place % len(flipped)] ^= 1 << rng.randrange(8)
        return bytes(flipped)
    if kind == 2:
        return content[:place] + rng.choice(TOKENS) + content[place:]
    if kind == 3:
        return content[:place] + content[min(len(content), place + rng.randrange(1, 200)) :]
    if kind == 4:
        start = max(0, place - rng.randrange(1, 200))
        return content[:place] + content[start:place] + content[place:]
    if kind == 5:
        return content[:place] + bytes(rng.randrange(256) for _ in range(rng.randrange(1, 20))) + content[place:]
    return rng.choice((b"", b"\n", content + content, b"\xef\xbb\xbf" + content, content.replace(b"\n", b"\r\n"), content[::-1],
                       content.decode("utf-8", "replace").encode("utf-16")))  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside, containers too."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, below in inside for place in places(below, (*path, key)))]


def changed(value: Any, rng: random.Random) -> Any:
    """One to three values replaced, removed, moved, put twice or added."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        paths = places(value)[1:]
        if not paths:
            return nasty(rng)
        path = rng.choice(paths)
        holder = value
        for key in path[:-1]:
            holder = holder[key]
        key, kind = path[-1], rng.randrange(8)
        if kind < 4:
            holder[key] = nasty(rng)
        elif kind == 4:
            del holder[key]
        elif kind == 5 and type(holder[key]) in (int, float):
            holder[key] = holder[key] * rng.choice((-1, 0.5, 2, 1000, 1e-3))
        elif kind == 6 and isinstance(holder, list):
            holder.insert(rng.randrange(len(holder) + 1), copy.deepcopy(holder[key]))
        elif isinstance(holder, dict):
            holder[rng.choice(("extra", "", "x" * 300, "\x1b", *map(str, holder)))] = nasty(rng)
        else:
            rng.shuffle(holder)
    return value


def of_json(content: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.25:
        return damage(content, rng)
    return json.dumps(changed(json.loads(content), rng)).encode()


def of_jsonl(content: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.3:
        return damage(content, rng)
    rows = [json.loads(line) for line in content.splitlines()]
    rows[rng.randrange(len(rows))] = changed(rng.choice(rows), rng)
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def of_yaml(content: bytes, rng: random.Random) -> bytes:
    import yaml

    if rng.random() < 0.35:
        return damage(content, rng)
    if rng.random() < 0.05:
        bomb = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9) if n else 'x'}]\n" for n in range(9))
        return bomb.encode() + content
    return yaml.dump(changed(yaml.safe_load(content), rng), allow_unicode=True).encode("utf-8", "surrogatepass")


def of_csv(content: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.3:
        return damage(content, rng)
    table = [line.split(",") for line in content.decode().splitlines()]
    row, kind = rng.randrange(len(table)), rng.randrange(7)
    column = rng.randrange(len(table[row]))
    if kind < 3:
        table[row][column] = rng.choice(CELLS)
    elif kind == 3:
        del table[row]
    elif kind == 4:
        table.insert(row, list(table[row]))
    elif kind == 5:
        table = [
            cells[:column] + cells[column : column + 1] * rng.choice((0, 2)) + cells[column + 1 :] for cells in table
        ]
    else:
        table = [[rng.choice(CELLS) if number else cell for number, cell in enumerate(cells)] for cells in table]
    return "\n".join(",".join(cells) for cells in table).encode("utf-8", "surrogatepass")


def of_zip(content: bytes, rng: random.Random) -> bytes:
    """Also with right sums: a member damaged or swapped inside an intact archive."""
    if rng.random() < 0.5:
        return damage(content, rng)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name, kind = rng.choice(list(members)), rng.randrange(6)
    if kind < 2:
        members[name] = damage(members[name], rng)
    elif kind == 2:
        del members[name]
    elif kind == 3:
        members[name] = members[rng.choice(list(members))]
    elif kind == 4:
        claim = rng.choice(("(100000000000,)", "(-1,)", "(1, 2)", "()", "(2147483648, 2147483648)"))
        members[name] = (
            npy_header(rng.choice(("<f8", "|O", "<f2", "|u1", "<U3", "|V8", "<i8")), claim) + members[name][128:]
        )
    else:
        members[rng.choice(("x.npy", "../x.npy", "x"))] = damage(members[name], rng)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return packed.getvalue()


def npy_header(dtype: str, shape: str) -> bytes:
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def of_safetensors(content: bytes, rng: random.Random) -> bytes:
    """Also with another header before the same numbers."""
    if rng.random() < 0.6:
        return damage(content, rng)
    size = struct.unpack("<Q", content[:8])[0]
    header = changed(json.loads(content[8 : 8 + size]), rng)
    text = json.dumps(header).encode()
    return struct.pack("<Q", rng.choice((len(text), len(text), len(text), 2**60, 0))) + text + content[8 + size :]


Mutate = Callable[[bytes, random.Random], bytes]
