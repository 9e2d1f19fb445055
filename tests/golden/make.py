"""Makes the golden files of linear layers in this folder, by the description of the format in src/model/file.rs.

    python tests/golden/make.py

All but three are model files of version 1 with one layer `fc` (3 outputs, 35 inputs) in one of the storages. Two attachments
hold the input `x` and the output `y`, which is computed here in integers. All weights, inputs and scales are small
integers or powers of two, and the largest input is 127. Thus 8 bits hold the inputs exactly, and no float of the
product is rounded.

`graph` is a file of version 2: a convolution that looks a frame ahead, paths around it, two inputs and two outputs.
`int2` is a file of version 2, with 70 inputs: a group and part of another. `int8x16` is one whose inputs need 16 bits.
The crate wrote `operations`, which has the other layers and functions of that version, with the outputs that it computed.

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


def write_layer(name, storage, tensors, y, x=X, version="1"):
    tensors = {**tensors, "fc.bias": floats([N], BIAS), "x": floats([1, len(x)], x), "y": floats([1, N], y)}
    matrix = {"n": N, "k": len(x), "format": storage}
    layer = {"linear": {"weight": {"dense": matrix}, "bias": True, "activation": "identity"}}
    model = {"version": version, "layers": [{"name": "fc", "layer": layer}], "attachments": ["x", "y"]}
    write(name, model, tensors)


def write(name, model, tensors):
    model["metadata"] = {"made": "by hand"}
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
    write_layer("f32", "f32", {"fc.weight": floats([N, K], exact)}, outputs(w))

    raw = struct.pack(f"{N * K}b", *(value for row in w for value in row))
    write_layer("int8", "int8", {"fc.weight.values": ("I8", [N, K], raw), **scales}, outputs(w))

    # The largest input is 32639, so 16 bits hold the inputs exactly.
    x = [(i * 29 + 5) % 601 - 300 for i in range(K - 1)] + [32639]
    w = values(7)
    raw = struct.pack(f"{N * K}b", *(value for row in w for value in row))
    tensors = {"fc.weight.values": ("I8", [N, K], raw), **scales}
    write_layer("int8x16", "int8x16", tensors, outputs(w, x=x), x, "2")

    write_layer("int4", "int4", {"fc.weight.nibbles": nibbles(w), **scales}, outputs(w))

    multipliers = [[127, 3], [0, 64], [1, 100]]
    raw = bytes(value for row in multipliers for value in row)
    tensors = {"fc.weight.nibbles": nibbles(w), "fc.weight.multipliers": ("U8", [N, 2], raw), **scales}
    write_layer("int4_groups", "int4 in groups of 32", tensors, outputs(w, multipliers))

    x = [(i * 29 + 5) % 255 - 127 for i in range(69)] + [127]
    w = [[(j * 17 + i * 5 + i // 3 + j * i) % 4 - 2 for i in range(len(x))] for j in range(N)]
    multipliers = [[63, -63], [0, 31], [-1, 40]]
    raw = struct.pack(f"{2 * N}b", *(value for row in multipliers for value in row))
    tensors = {"fc.weight.quarters": quarters(w), "fc.weight.multipliers": ("I8", [N, 2], raw), **scales}
    write_layer("int2", "int2 in groups of 64", tensors, outputs(w, multipliers, 64, x), x, "2")

    graph()


def graph():
    """Frames of two features and a gain. `sum` is the convolution and its own input; `scores` is linear in what follows."""
    x = [[1, -2], [3, 0], [-4, 5], [2, 2], [0, -7], [6, 1]]
    gain = [[2], [-1], [3], [1], [0], [4]]
    taps = [[[1, 2], [0, -1], [3, 1]], [[-2, 0], [1, 1], [0, 4]]]  # output, frame, input
    bias, fc = [1, -3], [[1, 0, 2, -1], [0, 3, -1, 1], [-2, 1, 0, 5]]
    padded = [[0, 0], *x, [0, 0]]
    conv = [[sum(w * v for frame, ws in zip(padded[t:], row) for w, v in zip(ws, frame)) + b for row, b in zip(taps, bias)]
            for t in range(len(x))]
    total = [[a + b for a, b in zip(*rows)] for rows in zip(conv, x)]
    product = [[v * g for v in row] for row, [g] in zip(total, gain)]
    wide = [a + b for a, b in zip(product, x)]
    scores = [[sum(w * v for w, v in zip(row, frame)) for row in fc] for frame in wide]

    def matrix(n, k):
        return {"dense": {"n": n, "k": k, "format": "f32"}}

    convolution = {"linear": {"weight": matrix(2, 6), "bias": True, "activation": "identity"}, "kernel": 3, "stride": 1, "padding": 1}
    model = {
        "version": "2",
        "inputs": [{"name": "x", "features": 2}, {"name": "gain", "features": 1}],
        "layers": [
            {"name": "conv", "reads": ["x"], "layer": {"time_convolution": convolution}},
            {"name": "sum", "reads": ["conv", "x"], "join": "add"},
            {"name": "product", "reads": ["sum", "gain"], "join": "multiply"},
            {"name": "wide", "reads": ["product", "x"], "join": "concat"},
            {"name": "fc", "layer": {"linear": {"weight": matrix(3, 4), "bias": False, "activation": "identity"}}},
        ],
        "outputs": [{"name": "scores", "value": "fc"}, {"name": "sum", "value": "sum"}],
        "attachments": ["in.gain", "in.x", "out.scores", "out.sum"],
    }

    def frames(rows):
        return floats([len(rows), len(rows[0])], [v for row in rows for v in row])

    tensors = {
        "conv.weight": floats([2, 6], [w for row in taps for frame in row for w in frame]),
        "conv.bias": floats([2], bias),
        "fc.weight": frames(fc),
        "in.x": frames(x), "in.gain": frames(gain), "out.scores": frames(scores), "out.sum": frames(total),
    }
    write("graph", model, tensors)


main()
