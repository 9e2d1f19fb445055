"""Makes the golden files of linear layers in this folder, by the description of the format in src/model/file.rs.

    python tests/golden/make.py

Each is a model file of version 1 with one layer `fc` (3 outputs, 35 inputs) in one of the storages. Two attachments
hold the input `x` and the output `y`, which is computed here in integers. All weights, inputs and scales are small
integers or powers of two, and the largest input is 127. Thus 8 bits hold the inputs exactly, and no float of the
product is rounded.

`int2` is a file of version 2, with 70 inputs: a group and part of another.

Version 0.1.0 of the crate wrote the files of other layers. No file is ever remade because the crate has changed: a file
that was written must stay readable.
"""

import json
import struct
from pathlib import Path

N, K, GROUP = 3, 35, 32
SCALES = [0.5, 0.25, 2.0]
BIAS = [1.0, -3.0, 0.125]
# No two columns are alike in all rows. There are both signs and the ends of each format's range.
X = [(i * 29 + 5) % 255 - 127 for i in range(K - 1)] + [127]


def values(largest):
    return [[(j * 17 + i * 5 + j * i) % (2 * largest + 1) - largest for i in range(K)] for j in range(N)]


def floats(shape, numbers):
    return "F32", shape, struct.pack(f"<{len(numbers)}f", *numbers)


def nibbles(w):
    """Packs two weights per byte, the even column in the low half."""
    rows = bytearray()
    for row in w:
        for i in range(0, K, 2):
            high = row[i + 1] if i + 1 < K else 0
            rows.append((row[i] & 15) | (high & 15) << 4)
    return "U8", [N, (K + 1) // 2], bytes(rows)


def quarters(w):
    """Packs four weights per byte, the first in the low bits."""
    rows = bytearray()
    for row in w:
        for i in range(0, len(row), 4):
            rows.append(sum((value & 3) << 2 * at for at, value in enumerate(row[i:i + 4])))
    return "U8", [N, -(-len(w[0]) // 4)], bytes(rows)


def outputs(w, multipliers=None, group=GROUP, x=X):
    y = []
    for j in range(N):
        total = sum(w[j][i] * x[i] * (multipliers[j][i // group] if multipliers else 1) for i in range(len(x)))
        y.append(total * SCALES[j] + BIAS[j])
    return y


def write(name, storage, tensors, y, x=X, version="1"):
    tensors = {**tensors, "fc.bias": floats([N], BIAS), "x": floats([1, len(x)], x), "y": floats([1, N], y)}
    matrix = {"n": N, "k": len(x), "format": storage}
    layer = {"linear": {"weight": {"dense": matrix}, "bias": True, "activation": "identity"}}
    model = {"version": version, "layers": [{"name": "fc", "layer": layer}], "attachments": ["x", "y"], "metadata": {"made": "by hand"}}
    header = {"__metadata__": {"skinny": json.dumps(model, separators=(",", ":"))}}
    data = b""
    # Wider elements come first, as in the safetensors crate. This aligns all of them.
    for key, (dtype, shape, raw) in sorted(tensors.items(), key=lambda item: (item[1][0] != "F32", item[0])):
        header[key] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    (Path(__file__).parent / f"{name}.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)


def main():
    scales = {"fc.weight.scales": floats([N], SCALES)}

    w = values(127)
    exact = [w[j][i] * SCALES[j] for j in range(N) for i in range(K)]
    write("f32", "f32", {"fc.weight": floats([N, K], exact)}, outputs(w))

    raw = struct.pack(f"{N * K}b", *(value for row in w for value in row))
    write("int8", "int8", {"fc.weight.values": ("I8", [N, K], raw), **scales}, outputs(w))

    w = values(7)
    write("int4", "int4", {"fc.weight.nibbles": nibbles(w), **scales}, outputs(w))

    multipliers = [[127, 3], [0, 64], [1, 100]]
    raw = bytes(value for row in multipliers for value in row)
    tensors = {"fc.weight.nibbles": nibbles(w), "fc.weight.multipliers": ("U8", [N, 2], raw), **scales}
    write("int4_groups", "int4 in groups of 32", tensors, outputs(w, multipliers))

    x = [(i * 29 + 5) % 255 - 127 for i in range(69)] + [127]
    w = [[(j * 17 + i * 5 + i // 3 + j * i) % 4 - 2 for i in range(len(x))] for j in range(N)]
    multipliers = [[63, -63], [0, 31], [-1, 40]]
    raw = struct.pack(f"{2 * N}b", *(value for row in multipliers for value in row))
    tensors = {"fc.weight.quarters": quarters(w), "fc.weight.multipliers": ("I8", [N, 2], raw), **scales}
    write("int2", "int2 in groups of 64", tensors, outputs(w, multipliers, 64, x), x, "2")


main()
