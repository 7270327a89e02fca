"""Ways to damage a saved model, or to write a hostile one whose checksums are right."""

import json
import os
import shutil

import numpy as np
from safetensors.numpy import load_file, save_file

from titans_ts.persistence.files import sha256_of, signed_text

JSON, ARRAYS = "forecaster.json", "arrays.safetensors"

HOSTILE = [
    None,
    True,
    -1,
    0,
    1,
    3,
    2**31,
    2**63,
    2**70,
    10**300,
    0.5,
    1e308,
    "",
    "0",
    "../../../etc/passwd",
    "__import__('os').system('true')",
    "os.system",
    "\x00",
    "\ud800",
    "a" * 100_000,
    [],
    {},
    [[[[]]]],
    [1] * 1000,
    {"__type__": "path", "value": "/etc/passwd"},
    {"__type__": "path", "value": 3},
    {"__type__": "float", "value": "nan"},
    {"__type__": "float", "value": "inf"},
    {"__type__": "float", "value": "1_0"},
    {"__type__": "array", "dtype": "U100000000", "value": ["a", "b"]},
    {"__type__": "array", "dtype": "U1", "value": ["a" * 100_000] + [""] * 10_000},
    {"__type__": "array", "dtype": "V100000000", "value": [0] * 50},
    {"__type__": "array", "dtype": "O", "value": [None]},
    {"__type__": "array", "dtype": "f8", "value": [[1], [2, 3]]},
    {"__type__": "array", "dtype": "f8,f8", "value": [1]},
    {"__type__": "array"},
    {"__type__": "pickle", "value": "gASVAAAA"},
    {"__type__": "dict", "value": [[[], 1]]},
    {"__type__": "dict", "value": [[1]]},
    {"__type__": "tuple", "value": 7},
    {"__type__": ["tuple"], "value": [7]},
]


def damage(folder, rng):
    """Change bytes or files, as a bad disk or a broken copy does; checksums stay what they were."""
    file = folder / (JSON, ARRAYS)[rng.integers(2)]
    content = bytearray(file.read_bytes())
    n = len(content)
    kind = rng.integers(12)
    if kind <= 3:  # the likeliest
        for _ in range(rng.integers(1, 5)):
            content[rng.integers(n)] ^= 1 << rng.integers(8)
    elif kind == 4:
        del content[rng.integers(n) :]
    elif kind == 5:
        content += rng.bytes(rng.integers(1, 99))
    elif kind == 6:
        start = rng.integers(n)
        content[start : start + 99] = rng.bytes(len(content[start : start + 99]))
    elif kind == 7:
        start, length = rng.integers(n), rng.integers(1, 99)
        del content[start : start + length]
    elif kind == 8:
        digits = [i for i, byte in enumerate(content) if 48 <= byte < 58]
        content[digits[rng.integers(len(digits))]] = 48 + rng.integers(10)
    elif kind == 9:
        other = (folder / JSON).read_bytes(), (folder / ARRAYS).read_bytes()
        content = bytearray(other[rng.integers(2)])
    if kind < 10:
        file.write_bytes(content)
        return
    file.unlink()
    what = rng.integers(5)
    if what == 1:
        file.mkdir()
    elif what == 2:
        os.mkfifo(file)
    elif what == 3:
        file.symlink_to("/dev/zero")
    elif what == 4:
        with file.open("wb") as stream:
            stream.truncate(1 << 34)  # a hole: no disk is needed for it


def forge(folder, rng):
    """Write something hostile, with the checksums that go with it."""
    (_forge_json, _forge_json, _forge_arrays, _forge_shapes)[rng.integers(4)](folder, rng)


def _forge_json(folder, rng):
    header = json.loads((folder / JSON).read_text())
    places = list(_places(header))
    for _ in range(rng.integers(1, 3)):
        parent, key = places[rng.integers(len(places))]
        if rng.integers(8) == 0:
            if isinstance(parent, dict):
                parent.pop(key, None)
            elif len(parent) > key:
                parent.append(parent[key])
        elif isinstance(parent, dict) or len(parent) > key:
            parent[key] = HOSTILE[rng.integers(len(HOSTILE))]
    sign(folder, header)


def _places(value):
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        yield value, key
        if isinstance(item, dict | list):
            yield from _places(item)


def _forge_arrays(folder, rng):
    arrays = load_file(folder / ARRAYS)
    names = sorted(arrays)
    name = names[rng.integers(len(names))]
    array = arrays[name].copy()
    kind = rng.integers(9)
    if kind <= 2 and array.dtype.kind == "f" and array.size:
        array.flat[rng.integers(array.size)] = (np.nan, np.inf, 1e38)[kind]
    elif kind == 3:
        array = array[..., None]
    elif kind == 4 and array.ndim:
        array = np.ascontiguousarray(array[:-1])
    elif kind == 5:
        array = array.astype(("i8", "f2", "f8", "u1", "?")[rng.integers(5)])
    elif kind == 6:
        arrays["../../" + name] = array
        del arrays[name]
        array = None
    elif kind == 7:
        arrays["state.model.more"] = np.ones((3, 5))
    elif array.dtype.kind == "i" and array.size:
        array.flat[rng.integers(array.size)] = (-1, 2**62, 7)[rng.integers(3)]
    if array is not None:
        arrays[name] = array
    if kind == 8 and rng.integers(2):
        del arrays[name]
    save_file(arrays, folder / ARRAYS)
    sign(folder, json.loads((folder / JSON).read_text()))


def _forge_shapes(folder, rng):
    """Make the header of the arrays claim what is not there."""
    content = (folder / ARRAYS).read_bytes()
    length = int.from_bytes(content[:8], "little")
    entries, body = json.loads(content[8 : 8 + length]), content[8 + length :]
    names = sorted(entries)
    entry = entries[names[rng.integers(len(names))]]
    kind = rng.integers(6)
    if kind == 0:
        entry["shape"] = [2**40]
    elif kind == 1:
        entry["shape"] = [2**33, 2**33]
    elif kind == 2:
        entry["data_offsets"] = [0, 2**50]
    elif kind == 3:
        entry["data_offsets"] = [8, 0]
    elif kind == 4:
        entry["dtype"] = ("BF16", "F8_E4M3", "OBJECT", "F64")[rng.integers(4)]
    else:
        entry["shape"] = [-1, "a"][rng.integers(2)]
    text = json.dumps(entries).encode()
    size = len(text) if rng.integers(4) else int(rng.integers(2**62))
    (folder / ARRAYS).write_bytes(size.to_bytes(8, "little") + text + body)
    sign(folder, json.loads((folder / JSON).read_text()))


def sign(folder, header):
    """Write a header with the checksums of whatever lies in the folder."""
    if "arrays_sha256" in header:
        header["arrays_sha256"] = sha256_of(folder / ARRAYS)
        header["arrays_bytes"] = (folder / ARRAYS).stat().st_size
    (folder / JSON).write_text(signed_text(header))


def fresh_copy(saved, folder):
    """The whole model again, where a mutated one stood."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(saved, folder)
