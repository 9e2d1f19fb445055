"""Makes the fixture in this folder: inputs of operations, their parameters, and their outputs by numpy in f64.

    pip install numpy && python tests/numpy/operations.py

Everything is written down from the definitions in PyTorch's and ONNX's documents. Convolutions are sums over taps of the
padded sequence. tests/operations.rs compares the crate's layers with them.
"""

import json
import math
import struct
from pathlib import Path

import numpy as np

RNG = np.random.default_rng(17)
TENSORS = {}


def put(name, values):
    TENSORS[name] = np.asarray(values, dtype=np.float32)


def random(*shape, scale=1.0):
    # As f32, because that is what the crate reads.
    return (RNG.standard_normal(shape) * scale).astype(np.float32).astype(np.float64)


def sigmoid(x):
    return np.where(x < 0, np.exp(x) / (1 + np.exp(x)), 1 / (1 + np.exp(-np.abs(x))))


def log_sum(x):
    most = x.max(axis=1, keepdims=True)
    return most + np.log(np.exp(x - most).sum(axis=1, keepdims=True))


erf = np.vectorize(math.erf)

FUNCTIONS = {
    "tanh": np.tanh,
    "sigmoid": sigmoid,
    "relu": lambda x: np.maximum(x, 0),
    "clipped_relu": lambda x: np.clip(x, 0, 6),
    "leaky_relu": lambda x: np.where(x > 0, x, np.float64(np.float32(0.01)) * x),
    "silu": lambda x: x * sigmoid(x),
    "gelu": lambda x: 0.5 * x * (1 + erf(x / math.sqrt(2))),
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "hard_sigmoid": lambda x: np.clip(np.float64(np.float32(0.2)) * x + 0.5, 0, 1),
    "hard_swish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "absolute": np.abs,
    "square": np.square,
    "square_root": lambda x: np.sqrt(np.maximum(x, 0)),
    "softmax": lambda x: np.exp(x - log_sum(x)),
    "log_softmax": lambda x: x - log_sum(x),
    "normalize": lambda x: x / np.maximum(np.sqrt((x * x).sum(axis=1, keepdims=True)), np.float64(np.float32(1e-3))),
}


def functions():
    x = random(40, 11, scale=4.0)
    x[0] = 0
    x[1] = np.linspace(-1e-4, 1e-4, 11).astype(np.float32)
    x[2] = [-90, -50, -20, -12, -6, -3, 3, 6, 12, 20, 90]
    put("function.x", x)
    for name, function in FUNCTIONS.items():
        put(f"function.{name}", function(x))


def norms():
    x, mean, variance = random(20, 13, scale=3.0) + 5, random(13), np.square(random(13)) + 0.1
    variance = variance.astype(np.float32).astype(np.float64)
    weight, bias = random(13), random(13)
    for name, values in [("x", x), ("mean", mean), ("variance", variance), ("weight", weight), ("bias", bias)]:
        put(f"norm.{name}", values)
    epsilon = np.float64(np.float32(1e-5))
    put("norm.batch", (x - mean) / np.sqrt(variance + epsilon) * weight + bias)
    centered = x - x.mean(axis=1, keepdims=True)
    normal = centered / np.sqrt(x.var(axis=1, keepdims=True) + epsilon)
    put("norm.layer", normal * weight + bias)
    put("norm.layer_plain", normal)


def recurrent():
    x, w, r, b, c = random(25, 6), random(9, 6, scale=0.5), random(9, 9, scale=0.3), random(9), random(9, scale=0.2)
    for name, values in [("x", x), ("weight_ih", w), ("weight_hh", r), ("bias_ih", b), ("bias_hh", c)]:
        put(f"rnn.{name}", values)
    for name, function in [("tanh", np.tanh), ("relu", lambda x: np.maximum(x, 0))]:
        h, outputs = np.zeros(9), []
        for frame in x:
            h = function(w @ frame + b + r @ h + c)
            outputs.append(h)
        put(f"rnn.{name}", outputs)


def convolution(x, weight, bias, groups, kernel, stride, dilation, before, after):
    """PyTorch's Conv1d on frames in rows; weight is [out, in / groups, kernel]."""
    padded = np.concatenate([np.zeros((before, x.shape[1])), x, np.zeros((after, x.shape[1]))])
    count = (len(padded) - (kernel - 1) * dilation - 1) // stride + 1
    out, width = weight.shape[0], weight.shape[1]
    y = np.zeros((max(count, 0), out))
    for j in range(len(y)):
        for o in range(out):
            first = o // (out // groups) * width
            for tap in range(kernel):
                frame = padded[j * stride + tap * dilation]
                y[j, o] += weight[o, :, tap] @ frame[first : first + width]
    return y + bias


def convolutions():
    for groups, inputs, outputs in [(1, 6, 5), (6, 6, 6), (3, 6, 9), (2, 6, 4)]:
        for kernel, stride, dilation, before, after in [
            (3, 1, 1, 1, 1),
            (3, 1, 1, 2, 0),
            (3, 1, 4, 8, 0),
            (2, 1, 5, 0, 3),
            (4, 3, 2, 1, 5),
            (5, 2, 1, 0, 0),
            (1, 2, 3, 0, 0),
            (2, 9, 2, 1, 1),
            (4, 2, 1, 3, 3),
        ]:
            x, bias = random(29, inputs), random(outputs)
            weight = random(outputs, inputs // groups, kernel, scale=0.5)
            name = f"conv {groups} {kernel} {stride} {dilation} {before} {after}"
            y = convolution(x, weight, bias, groups, kernel, stride, dilation, before, after)
            for part, values in [("x", x), ("weight", weight), ("bias", bias), ("y", y)]:
                put(f"{name} {part}", values)


def reductions():
    x = random(33, 7) + 100
    put("time.x", x)
    put("time.last", x[-1:])
    put("time.mean", x.mean(axis=0, keepdims=True))
    put("time.sum", x.sum(axis=0, keepdims=True))
    put("time.max", x.max(axis=0, keepdims=True))


def save(path):
    header, data = {}, b""
    for name, values in sorted(TENSORS.items()):
        raw = values.astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def main():
    functions()
    norms()
    recurrent()
    convolutions()
    reductions()
    save(Path(__file__).parent / "operations.safetensors")


main()
