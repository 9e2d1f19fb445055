#!/usr/bin/env python3
"""Computes vectors a third time, with numpy alone, and counts how many agree.

    python3 reference/vectors/check.py

Rounding modes, products with their epilogues, unsigned products, quantization of activations and of weights to 8 and 4 bits, the
functions of single features, and `linear` and `gru` layers in every format and storage. Written from docs/arithmetic.md and docs/formats.md.
"""
import json, sys
from pathlib import Path

import numpy as np

np.seterr(all="ignore")
F = np.float32
LEAST, MAX = F(2.0**-126), np.finfo(F).max


def floats(text):
    return np.array([0x7FC00000 if word == "nan" else int(word, 16) for word in text.split()], np.uint32).view(F)


def same(found, expected):
    found, expected = np.asarray(found), np.asarray(expected)
    if expected.dtype != F:
        return np.array_equal(found, expected)
    nan = np.isnan(found) & np.isnan(expected)
    return bool(found.dtype == F and found.shape == expected.shape and np.all(nan | (found.view(np.uint32) == expected.view(np.uint32))))


# Integers. Those of Python never overflow.

def modulo(x):
    return (int(x) + 2**31) % 2**32 - 2**31


def saturate(x):
    return min(max(x, -(2**31)), 2**31 - 1)


def high(a, b):
    return saturate((a * b + 2**30) >> 31)


def divide(x, e):
    return (abs(x) + (1 << e) // 2 >> e) * (-1 if x < 0 else 1)


def rounding(case, row=0):
    """The rounding mode of a case, for an output feature."""
    def parameter(name):
        return case[name] if name in case else case[name + "s"][row]

    m = parameter("multiplier")
    if case["mode"] == "shift":
        h, shift = (1 << case["shift"]) // 2, case["shift"]
        return lambda s: modulo(modulo((s + case["offset"]) * m) + h >> shift)
    if case["mode"] == "fixed_point":
        return lambda s: saturate(divide(high(s, m), case["shift"]) + case["offset"])
    e, zero_point = parameter("exponent"), case["zero_point"]
    if case["mode"] == "double_rounding":
        return lambda s: saturate(divide(high(modulo(s << max(e, 0)), m), max(-e, 0)) + zero_point)
    return lambda s: saturate((s * m + (1 << 30 - e) >> 31 - e) + zero_point)


def rounding_modes(case):
    mode = rounding(case)
    return [mode(s) for s in case["sums"]] == case["outputs"]


GROUPS = {"int4 in groups of 32": 32, "int2 in groups of 64": 64}


def spread(w, multipliers, format):
    """Each weight times the multiplier of its group."""
    w = np.array(w, np.int64)
    if format in GROUPS:
        w *= np.repeat(np.array(multipliers, np.int64), GROUPS[format], axis=1)[:, :w.shape[1]]
    return w


def wrap(sums):
    return (sums + 2**31) % 2**32 - 2**31


def activate(y, activation):
    if activation == "identity":
        return y
    y = np.fmax(y + F(0), F(0))
    if activation == "relu":
        return y
    limit = activation["clipped_relu"]
    return np.fmin(y, floats(limit)[0] if isinstance(limit, str) else F(limit))


def products(case):
    w = spread(case["weights"], case.get("multipliers"), case["format"])
    sums = np.array(case["x"], np.int64) @ w.T
    if "factor" in case:
        sums += np.array(case["constant"])[:, None] + np.outer(case["factor"], w.sum(1))
    sums = wrap(sums)
    return sums.tolist() == case["sums"] and all(epilogue(sums, e) for e in case["epilogues"])


def epilogue(sums, e):
    n = sums.shape[1]
    if e["epilogue"] == "dequantize":
        y = sums.astype(F) * floats(e["row_scales"]) * floats(e["column_scales"])[:, None]
        y = activate(y + floats(e["bias"]) if "bias" in e else y, e["activation"])
        return same(y, np.array([floats(row) for row in e["outputs"]]))
    sums = wrap(sums + np.array(e.get("bias", [0] * n)))
    if e["epilogue"] == "requantize_float":
        low, high = ((-128, 127) if e["type"] == "i8" else (0, 255))
        zero = e["zero_point"]
        y = np.rint(np.clip(sums.astype(F) * floats(e["scales"]), F(low - zero), F(high - zero))).astype(int) + zero
        return y.tolist() == e["outputs"]
    low, high = e["range"]
    modes = [rounding(e, row) for row in range(n)]
    y = [[min(max(modes[j](int(s)), low), high) for j, s in enumerate(row)] for row in sums]
    return y == e["outputs"]


def unsigned(case):
    l, r = np.array(case["lhs"], np.int64) + case["lhs_offset"], np.array(case["rhs"], np.int64) + case["rhs_offset"]
    sums, mode = wrap(r @ l.T), rounding(case)
    return sums.tolist() == case["sums"] and [[min(max(mode(int(s)), 0), 255) for s in row] for row in sums] == case["bytes"]


# Floats: every operation of numpy on float32 is rounded once.

def finite(x):
    rest = np.abs(x[np.isfinite(x)])
    a = rest.max(initial=F(0))
    return np.where(np.isnan(x), F(0), np.where(np.isinf(x), np.copysign(a if a > 0 else MAX, x), x)).astype(F)


def symmetric(x):
    x = finite(x)
    a = np.fmax(np.abs(x).max(), F(127) * LEAST)
    return np.rint(x * (F(127) / a)).astype(np.int64), a / F(127)


def activations(case):
    x = floats(case["x"])
    if case["zero_point"] == "none":
        q, scale = symmetric(x)
        z = 0
    else:
        x = finite(x)
        low, high = np.fmin(x.min(), F(0)), np.fmax(x.max(), F(0))
        scale = np.fmax(high / F(255) - low / F(255), LEAST)
        z = min(max(-128 - int(np.rint(low * (F(1) / scale))), -128), 127)
        q = np.clip(np.rint(x * (F(1) / scale)).astype(np.int64) + z, -128, 127)
    return q.tolist() == case["values"] and z == case["z"] and same(scale, floats(case["scale"])[0])


def weights(case):
    w = np.array([floats(row) for row in case["weights"]])
    a = np.abs(w).max(1)
    if case["format"] == "int8":
        most = np.nextafter(MAX / F(127), F(0))
        scale = np.fmin(np.fmax(a / F(127), LEAST), most)
    elif case["format"].startswith("int4"):
        scale = np.fmax(a / F(7 if case["format"] == "int4" else 889), LEAST)
    else:
        return None
    scale = np.where(a == 0, F(1), scale)
    step = scale[:, None]
    if "multipliers" in case:
        groups = [np.abs(w[:, i:i + 32]).max(1) for i in range(0, w.shape[1], 32)]
        m = np.stack([np.fmin(np.ceil((group / scale) / F(7)), F(127)) for group in groups], 1)
        if m.astype(int).tolist() != case["multipliers"]:
            return False
        step = np.repeat(step * np.fmax(m, F(1)), 32, axis=1)[:, :w.shape[1]]
    q = w / step
    if case["format"] != "int8":
        q = np.fmin(np.fmax(q, F(-7)), F(7))
    return np.rint(q).astype(int).tolist() == case["values"] and same(scale, floats(case["scales"]))


def horner(t, *constants):
    y = F(constants[0])
    for constant in constants[1:]:
        y = y * t + F(constant)
    return y


def T(x):
    x = np.fmin(np.fmax(x, F(-7.75)), F(7.75))
    t = x * x
    return x * horner(t, 46.14113, 11813.992, 515790.8, 3987206.3), horner(t, 1, 958.7068, 95145.234, 1844852.9, 3987208)


def H(x):
    x = np.fmin(np.fmax(x, F(-14)), F(14))
    t = x * x
    return x * horner(t, 0.013803976, 31.99121, 6913.7188, 224795.48), horner(t, 1, 592.1191, 51291.844, 449592.9)


def tanh(x):
    n, d = T(x)
    return n / d


def sigmoid(x):
    n, d = H(x)
    return (d + n) / (d + d)


def exp(x):
    x = np.fmin(np.fmax(x, F(-87)), F(0))
    n = (x * F(1.442695) + F(12582912)) - F(12582912)
    r = (x - n * F(0.6933594)) - n * F(-2.1219444e-4)
    s = r * horner(r, *(F(1) / F(k) for k in (5040, 720, 120, 24, 6)), 0.5)
    return (r * s + r + F(1)) * np.ldexp(F(1), n.astype(int)).astype(F)


def logistic(x):
    p = exp(-np.abs(x))
    return np.where(x < 0, p, F(1)) / (F(1) + p)


def erf(x):
    y = np.fmin(np.abs(x), F(9))
    t = F(1) / (F(1) + F(0.3275911) * y)
    s = t * horner(t, 1.0614054, -1.4531521, 1.4214137, -0.28449674, 0.2548296)
    return np.copysign(F(1) - s * exp(-y * y), x)


def unit(x):
    return np.fmin(np.fmax(x + F(0), F(0)), F(1))


FUNCTIONS = {
    "tanh": tanh,
    "sigmoid": sigmoid,
    "relu": lambda x: activate(x, "relu"),
    "silu": lambda x: x * logistic(x),
    "gelu": lambda x: x * (F(0.5) + F(0.5) * erf(x * F(0.70710677))),
    "gelu_tanh": lambda x: x * logistic(F(1.595769) * (x + F(0.044715) * x * x * x)),
    "hard_swish": lambda x: x * unit(x * (F(1) / F(6)) + F(0.5)),
    "absolute": np.abs,
    "square": lambda x: x * x,
    "square_root": lambda x: np.where(x > 0, np.sqrt(np.abs(x)), F(0)),
}


def functions(case):
    x, function = floats(case["x"]), case["function"]
    if isinstance(function, dict):
        [(kind, parameter)] = function.items()
        if kind == "clipped_relu":
            y = activate(x, function)
        elif kind == "leaky_relu":
            y = np.where(x > 0, x, floats(parameter)[0] * x)
        elif kind == "hard_sigmoid":
            y = unit(floats(parameter["slope"])[0] * x + floats(parameter["offset"])[0])
        else:
            return None
    elif function in FUNCTIONS:
        y = FUNCTIONS[function](x)
    else:
        return None
    return same(y, floats(case["outputs"]))


# Layers, from their headers and tensors.

class Layer:
    def __init__(self, case):
        self.tensors = case["tensors"]

    def tensor(self, name):
        t = self.tensors[name]
        values = floats(t["values"]) if t["dtype"] == "F32" else np.array(t["values"], np.int64)
        return values.reshape(t["shape"])

    def matrix(self, name, header):
        k, format = header["k"], header["format"]
        if format == "f32":
            return self.tensor(name)
        if format == "int8":
            w = self.tensor(name + ".values")
        else:
            bits, stored = (2, ".quarters") if format.startswith("int2") else (4, ".nibbles")
            packed = self.tensor(name + stored)
            w = np.stack([packed >> at & (1 << bits) - 1 for at in range(0, 8, bits)], 2).reshape(len(packed), -1)[:, :k]
            w = np.where(w >= 1 << bits - 1, w - (1 << bits), w)
        multipliers = self.tensor(name + ".multipliers") if format in GROUPS else None
        return spread(w, multipliers, format), self.tensor(name + ".scales")

    def dense(self, w, x, bias, activation="identity"):
        if isinstance(w, tuple):
            q, scale = symmetric(x)
            y = wrap(w[0] @ q).astype(F) * w[1] * scale
        else:
            # Zeros at the end change no partial sum.
            terms = np.pad(w * x, ((0, 0), (0, -w.shape[1] % 16))).reshape(len(w), -1, 16)
            s = np.zeros((len(w), 16), F)
            for block in range(terms.shape[1]):
                s = s + terms[:, block]
            for width in (8, 4, 2, 1):
                s = s[:, :width] + s[:, width:2 * width]
            y = s[:, 0]
        return activate(y if bias is None else y + bias, activation)

    def weight(self, name, header, x, bias, activation="identity"):
        [(kind, parts)] = header.items()
        if kind == "dense":
            return self.dense(self.matrix(name, parts), x, bias, activation)
        if kind == "low_rank":
            y = self.dense(self.matrix(name + ".v", parts["v"]), x, None)
            return self.dense(self.matrix(name + ".u", parts["u"]), y, bias, activation)
        rows, y = 0, []
        for i, part in enumerate(parts):
            [(_, inner)] = part.items()
            n = (inner if "n" in inner else inner["u"])["n"]
            y.append(self.weight(f"{name}.{i}", part, x, None if bias is None else bias[rows:rows + n], activation))
            rows += n
        return np.concatenate(y)

    def bias(self, header, name):
        return self.tensor("layer." + name) if header[name] else None


def layers(case):
    [node] = case["model"]["layers"][:1]
    [(kind, header)] = node.get("layer", {"": None}).items()
    if len(case["model"]["layers"]) > 1 or kind not in ("linear", "gru") or kind == "gru" and header["weight_hh_n"]:
        return None
    layer, outputs = Layer(case), []
    h = floats(case["states"]["layer.h"]) if kind == "gru" else None
    for x in map(floats, case["inputs"][0]):
        if kind == "linear":
            outputs.append(layer.weight("layer.weight", header["weight"], x, layer.bias(header, "bias"), header["activation"]))
        else:
            h = gru(layer, header, x, h)
            outputs.append(h)
    return same(np.array(outputs), np.array([floats(y) for y in case["outputs"][0]]))


def gru(layer, header, x, h):
    sums = []
    for name, x in (("ih", x), ("hh", h)):
        bias = layer.bias(header, "bias_" + name)
        [(how, weights)] = header["weights"].items()
        if how == "apart":
            sums.append(layer.weight(f"layer.weight_{name}", weights[f"weight_{name}"], x, bias))
        else:
            y = layer.dense(layer.matrix(f"layer.weight_{name}.v", weights[f"v_{name}"]), x, None)
            sums.append(layer.dense(layer.matrix("layer.weight.u", weights["u"]), y, bias))
    (input_r, input_z, input_n), (r, z, n) = (np.split(s, 3) for s in sums)
    n_r, d_r = H(input_r + r)
    n_z, d_z = H(input_z + z)
    inverse = F(0.5) / (d_r * d_z)
    r = (d_r + n_r) * (inverse * d_z)
    z = (d_z + n_z) * (inverse * d_r)
    n = tanh(input_n + r * n)
    return n + np.fmin(z, F(1)) * (h - n)


def main():
    wrong = 0
    for name, check in {
        "rounding": rounding_modes, "products": products, "unsigned": unsigned, "activations": activations,
        "weights": weights, "functions": functions, "layers": layers,
    }.items():
        cases = json.loads((Path(__file__).parent / f"{name}.json").read_text())["cases"]
        results = [(case, check(case)) for case in cases]
        differ = [case for case, result in results if result is False]
        agree = sum(result is True for _, result in results)
        print(f"{name:12} {agree:4} of {len(cases):4} agree, {len(differ)} differ, {len(cases) - agree - len(differ)} not computed here")
        for case in differ[:3]:
            print("   ", json.dumps(case)[:300])
        wrong += len(differ)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
