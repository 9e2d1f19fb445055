"""Trains the digit-string recognizer of this example and writes model.safetensors.

    python examples/digits/train.py --data FSDD

FSDD is the folder of recordings of the Free Spoken Digit Dataset (Zohar Jackson
et al., github.com/Jakobovski/free-spoken-digit-dataset, CC BY-SA 4.0): 8 kHz
mono WAV files named {digit}_{speaker}_{index}.wav. Indexes 5..44 train, 45..49
validate; 0..4, the data set's own test split, are never opened.

Needs Python 3.11, torch and numpy (made with torch 2.2.2 on a CPU, numpy 1.26).
Takes 10 to 16 minutes on one core. The same seed, thread count and torch on the
same machine give the same file.

    python examples/digits/train.py --data FSDD --evaluate

prints the figures of the model.safetensors that is there and trains nothing.

The two other halves of this file live in Rust and must agree with it: the
features in skinny::audio (fixtures/log_mel_7_jackson_45.txt, written here, is what
tests/audio compares with) and the recipe of the validation strings in fsdd.rs.
"""

import argparse
import json
import math
import re
import struct
import time
import wave
from pathlib import Path

import numpy as np
import torch
from torch import nn

HERE = Path(__file__).resolve().parent

# Features. 25 ms windows every 12 ms; two frames make one network step of 24 ms.
SAMPLE_RATE = 8000
WINDOW = 200
HOP = 96
FFT = 256
MELS = 40
MEL_LOW_HZ = 60.0
MEL_HIGH_HZ = 4000.0
# Added to every band's energy before the logarithm: digital silence stays finite
# and near the level of a quiet recording's noise, so activations keep one scale.
LOG_FLOOR = 1e-6
STACK = 2
# Silence appended to every string: the network looks at the past only, so it
# needs some time after the last sound to write the last letters.
TAIL = 1600

WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
# Class 0 is the CTC blank, class i > 0 is ALPHABET[i - 1].
ALPHABET = " efghinorstuvwxz"
HIDDEN = 128
GRU_MATRICES = ["weight_ih_l0", "weight_hh_l0", "weight_ih_l1", "weight_hh_l1"]

TRAIN_INDICES = range(5, 45)
VALIDATION_INDICES = range(45, 50)
MAX_PAUSE = 2400  # samples, 300 ms

ATTRIBUTION = (
    "Trained on the Free Spoken Digit Dataset, Zohar Jackson et al., "
    "https://github.com/Jakobovski/free-spoken-digit-dataset, CC BY-SA 4.0"
)


# ---------------------------------------------------------------- recordings


def read_recordings(folder, indices):
    """{speaker: [(digit, samples)]}, both levels in the order fsdd.rs uses."""
    found = []
    for path in Path(folder).iterdir():
        name = re.fullmatch(r"([0-9])_([A-Za-z0-9-]+)_([0-9]+)\.wav", path.name)
        if name and int(name[3]) in indices:
            found.append((name[2], int(name[1]), int(name[3]), path))
    recordings = {}
    for speaker, digit, _, path in sorted(found):
        with wave.open(str(path)) as f:
            layout = (f.getframerate(), f.getnchannels(), f.getsampwidth())
            if layout != (SAMPLE_RATE, 1, 2):
                raise SystemExit(f"{path}: expected 8000 Hz mono 16 bit, found {layout}")
            pcm = np.frombuffer(f.readframes(f.getnframes()), "<i2")
        samples = (pcm / 32768.0).astype(np.float32)
        recordings.setdefault(speaker, []).append((digit, samples))
    if not recordings:
        raise SystemExit(f"{folder}: no recordings with the wanted indexes")
    return recordings


class SplitMix64:
    """The generator of the validation strings; fsdd.rs has the same one."""

    MASK = (1 << 64) - 1

    def __init__(self, seed):
        self.state = seed & self.MASK

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & self.MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & self.MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & self.MASK
        return z ^ (z >> 31)

    def below(self, n):
        """The high word of next() * n: uniform in 0..n but for a bias of n / 2^64."""
        return (self.next() * n) >> 64


def validation_strings(recordings, length, count, seed):
    """`count` strings of `length` digits, each of one speaker: [(text, samples)].

    Draws, in this order, for each string: the speaker; then for each digit its
    recording and, but after the last, the samples of silence that follow it.
    """
    random = SplitMix64(seed)
    speakers = sorted(recordings)
    strings = []
    for _ in range(count):
        own = recordings[speakers[random.below(len(speakers))]]
        words, parts = [], []
        for position in range(length):
            digit, samples = own[random.below(len(own))]
            words.append(WORDS[digit])
            parts.append(samples)
            if position + 1 < length:
                parts.append(np.zeros(random.below(MAX_PAUSE + 1), np.float32))
        strings.append((" ".join(words), np.concatenate(parts)))
    return strings


# ------------------------------------------------------------------ features


def mel_filters():
    """MELS x (FFT / 2 + 1): triangles of height 1, linear in Hz, HTK mel centres."""
    mel = lambda hz: 2595.0 * math.log10(1.0 + hz / 700.0)
    edges = np.linspace(mel(MEL_LOW_HZ), mel(MEL_HIGH_HZ), MELS + 2)
    edges = 700.0 * (10.0 ** (edges / 2595.0) - 1.0)
    bins = np.arange(FFT // 2 + 1) * SAMPLE_RATE / FFT
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rise, fall = (bins - low) / (centre - low), (high - bins) / (high - centre)
    return torch.tensor(np.maximum(0.0, np.minimum(rise, fall)), dtype=torch.float32)


HANN = torch.hann_window(WINDOW, periodic=True)
FILTERS = mel_filters()


def log_mel(samples):
    """[..., samples] to [..., frames, MELS]; frame t starts at sample t * HOP."""
    frames = samples.unfold(-1, WINDOW, HOP) * HANN
    spectrum = torch.fft.rfft(frames, FFT)
    power = spectrum.real.square() + spectrum.imag.square()
    return torch.log(power @ FILTERS.T + LOG_FLOOR)


def batch_features(strings):
    """[(_, samples)] to log-mel [B, 2 * steps, MELS] and the steps of each string."""
    longest = max(len(s) for _, s in strings) + TAIL
    padded = torch.zeros(len(strings), longest)
    for row, (_, samples) in enumerate(strings):
        padded[row, : len(samples)] = torch.from_numpy(samples)
    frames = [(len(s) + TAIL - WINDOW) // HOP + 1 for _, s in strings]
    steps = torch.tensor([n // STACK for n in frames])
    # A last frame without a partner is dropped: it is silence of the tail.
    return log_mel(padded)[:, : int(steps.max()) * STACK], steps


# --------------------------------------------------------------------- model


class Recognizer(nn.Module):
    """log-mel -> normalise -> stack -> GRU x 2 -> linear -> log-probabilities."""

    def __init__(self, mean, std):
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.gru = nn.GRU(STACK * MELS, HIDDEN, num_layers=2, batch_first=True)
        self.fc = nn.Linear(HIDDEN, len(ALPHABET) + 1)

    def stack(self, log_mel):
        x = (log_mel - self.mean) / self.std
        return x.reshape(x.shape[0], -1, STACK * MELS)

    def forward(self, log_mel):
        return self.fc(self.gru(self.stack(log_mel))[0]).log_softmax(-1)

    def trace_norm(self):
        """The sum of all singular values of the four recurrent matrices.

        Its gradient is U V^T, a constant pull on every singular value: small ones
        reach zero, large ones stay. That is what makes truncation cheap later.
        """
        return sum(torch.linalg.matrix_norm(getattr(self.gru, m), "nuc") for m in GRU_MATRICES)


def encode(text):
    return [ALPHABET.index(letter) + 1 for letter in text]


def decode(classes):
    """Greedy CTC: merge repeats, drop blanks."""
    letters, last = [], 0
    for c in classes:
        if c != last and c != 0:
            letters.append(ALPHABET[c - 1])
        last = c
    return "".join(letters).strip()


def edit_distance(a, b):
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
    return row[-1]


def error_rates(run, strings, batch=50):
    """Greedy decoding: (character error rate, share of strings with an error)."""
    edits = letters = wrong = 0
    with torch.no_grad():
        for start in range(0, len(strings), batch):
            part = strings[start : start + batch]
            features, steps = batch_features(part)
            best = run(features).argmax(-1)
            for (text, _), classes, n in zip(part, best.tolist(), steps.tolist()):
                distance = edit_distance(decode(classes[:n]), text)
                edits, letters, wrong = edits + distance, letters + len(text), wrong + (distance > 0)
    return edits / letters, wrong / len(strings)


# ------------------------------------------------------ low rank and eight bit


def rank_at(matrix, share):
    """The least rank whose singular values hold `share` of the variance."""
    energy = torch.linalg.svdvals(matrix.double()).square().cumsum(0)
    return int((energy < share * energy[-1]).sum()) + 1


def factors(matrix, rank):
    """U (out x rank) and V (rank x in), the singular values split evenly."""
    u, s, v = torch.linalg.svd(matrix.double(), full_matrices=False)
    root = s[:rank].sqrt()
    return (u[:, :rank] * root).float(), (root[:, None] * v[:rank]).float()


def truncated(model, ranks):
    copy = Recognizer(model.mean, model.std)
    copy.load_state_dict(model.state_dict())
    with torch.no_grad():
        for name, rank in ranks.items():
            u, v = factors(getattr(model.gru, name), rank)
            getattr(copy.gru, name).copy_(u @ v)
    return copy


def int8_forward(model, ranks):
    """The truncated model with eight-bit products, as the crate runs them: weights
    per row, activations per vector, symmetric; biases and gates in f32."""

    def quantize(x):
        scale = x.abs().amax(-1, keepdim=True).clamp_min(1e-12) / 127.0
        return (x / scale).round(), scale

    def product(weight):
        q, scale = quantize(weight)

        def apply(x):
            p, s = quantize(x)
            return (p @ q.T) * s * scale.T

        return apply

    def linear(name):
        u, v = (product(f) for f in factors(getattr(model.gru, name), ranks[name]))
        return lambda x: u(v(x))

    fc = product(model.fc.weight)

    def run(log_mel):
        x = model.stack(log_mel)
        for layer in range(2):
            w_ih, w_hh = linear(f"weight_ih_l{layer}"), linear(f"weight_hh_l{layer}")
            b_ih, b_hh = (getattr(model.gru, f"bias_{k}_l{layer}") for k in ("ih", "hh"))
            h, outputs = torch.zeros(len(x), HIDDEN), []
            for step in (w_ih(x) + b_ih).unbind(1):
                i_r, i_z, i_n = step.chunk(3, -1)
                h_r, h_z, h_n = (w_hh(h) + b_hh).chunk(3, -1)
                r, z = torch.sigmoid(i_r + h_r), torch.sigmoid(i_z + h_z)
                h = (1 - z) * torch.tanh(i_n + r * h_n) + z * h
                outputs.append(h)
            x = torch.stack(outputs, 1)
        return fc(x) + model.fc.bias

    return run


def choose_ranks(model, share, multiple):
    """Ranks at `share` of the variance, up to the kernel's multiple."""
    ranks = {}
    for name in GRU_MATRICES:
        matrix = getattr(model.gru, name).detach()
        rank = -(-rank_at(matrix, share) // multiple) * multiple
        ranks[name] = min(rank, min(matrix.shape))
    return ranks


def report(model, ranks, validation, length, count, seed):
    """Prints the figures and returns them for the file's metadata."""
    dense_size = low_size = 0
    for name in GRU_MATRICES:
        matrix = getattr(model.gru, name).detach()
        rows, columns = matrix.shape
        dense_size += rows * columns
        low_size += ranks[name] * (rows + columns)
        at = {share: rank_at(matrix, share) for share in (0.9, 0.99, 0.999)}
        print(f"{name}: {rows} x {columns}, rank at 90 / 99 / 99.9% of variance "
              f"{at[0.9]} / {at[0.99]} / {at[0.999]}, cut at {ranks[name]}")
    print(f"the four matrices: {4 * dense_size} bytes dense f32, {4 * low_size} bytes "
          f"low-rank f32 ({100 * low_size / dense_size:.1f}%), {low_size} bytes low-rank int8")
    strings = validation_strings(validation, length, count, seed)
    print(f"validation: {count} strings of {length} digits, seed {seed}, recordings "
          f"{VALIDATION_INDICES.start}..{VALIDATION_INDICES.stop - 1}, the training speakers; "
          f"pauses of 0..{MAX_PAUSE} samples; {sum(len(t) for t, _ in strings)} characters")
    figures = {}
    for kind, run in (
        ("f32 dense", model),
        ("f32 low-rank", truncated(model, ranks)),
        ("int8 low-rank, simulated", int8_forward(model, ranks)),
    ):
        characters, whole = error_rates(run, strings)
        figures[kind] = f"{100 * characters:.2f}"
        print(f"  {kind}: CER {100 * characters:.2f}%, strings with an error {100 * whole:.1f}%", flush=True)
    return figures


# ------------------------------------------------------------------ training


class TrainingStrings:
    """Strings made on the fly from cached recordings, at five speeds each."""

    SPEEDS = (0.85, 0.92, 1.0, 1.08, 1.16)

    def __init__(self, recordings, seed):
        self.random = np.random.default_rng(seed)
        self.own = []
        for speaker in sorted(recordings):
            speeds = []
            for speed in self.SPEEDS:
                speeds.append([(d, self.resample(s, speed)) for d, s in recordings[speaker]])
            self.own.append(speeds)

    @staticmethod
    def resample(samples, speed):
        if speed == 1.0:
            return samples
        at = np.arange(0.0, len(samples) - 1, speed)
        return np.interp(at, np.arange(len(samples)), samples).astype(np.float32)

    def silence(self):
        # A quarter of the joints have no pause at all: the hardest case.
        if self.random.random() < 0.25:
            return np.zeros(0, np.float32)
        return np.zeros(self.random.integers(MAX_PAUSE + 1), np.float32)

    def string(self, length):
        random = self.random
        speeds = self.own[random.integers(len(self.own))]
        own = speeds[random.integers(len(speeds))]
        words, parts = [], [self.silence()]
        for position in range(length):
            digit, samples = own[random.integers(len(own))]
            words.append(WORDS[digit])
            # Level differs from word to word, as it does between recordings.
            parts.append(samples * np.float32(10.0 ** (random.uniform(-3, 3) / 20)))
            if position + 1 < length:
                parts.append(self.silence())
        samples = np.concatenate(parts) * np.float32(10.0 ** (random.uniform(-6, 6) / 20))
        if random.random() < 0.5:
            level = 10.0 ** (random.uniform(-80, -40) / 20)
            samples = samples + np.float32(level) * random.standard_normal(len(samples), np.float32)
        return " ".join(words), samples

    def batch(self, digits):
        """Strings of one length, so that little of a batch is padding."""
        length = int(self.random.integers(1, 8))
        return [self.string(length) for _ in range(min(64, digits // length))]


def train(options, recordings, validation):
    torch.manual_seed(options.seed)
    source = TrainingStrings(recordings, options.seed)
    sample = [source.string(4) for _ in range(400)]
    frames = torch.cat([f[: STACK * n] for f, n in zip(*batch_features(sample))])
    model = Recognizer(frames.mean(0), frames.std(0))
    optimizer = torch.optim.Adam(model.parameters(), lr=options.rate)
    warm = 100
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda i: min((i + 1) / warm, 0.5 * (1 + math.cos(math.pi * i / options.steps)) + 0.003),
    )
    ctc = nn.CTCLoss(blank=0, reduction="sum", zero_infinity=True)
    watched = validation_strings(validation, 4, 100, 2)
    started, total, seen = time.time(), 0.0, 0
    for step in range(1, options.steps + 1):
        strings = source.batch(options.batch_digits)
        features, steps = batch_features(strings)
        targets = [encode(text) for text, _ in strings]
        lengths = torch.tensor([len(t) for t in targets])
        scores = model(features).transpose(0, 1)
        loss = ctc(scores, torch.tensor(sum(targets, [])), steps, lengths) / lengths.sum()
        total, seen = total + loss.item(), seen + 1
        (loss + options.trace_norm * model.trace_norm()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        if step % 200 == 0 or step == options.steps:
            error, _ = error_rates(model, watched)
            ranks = [rank_at(getattr(model.gru, m).detach(), 0.9) for m in GRU_MATRICES]
            print(f"step {step}: loss a character {total / seen:.4f}, validation CER "
                  f"{100 * error:.2f}%, ranks at 90% {ranks}, trace norm "
                  f"{model.trace_norm().item():.1f}, {time.time() - started:.0f} s", flush=True)
            total, seen = 0.0, 0
    return model


# ---------------------------------------------------------------------- file


def save(path, tensors, metadata):
    """safetensors by hand: sorted, so that the same model gives the same bytes."""
    header, offset = {"__metadata__": dict(sorted(metadata.items()))}, 0
    for name, tensor in sorted(tensors.items()):
        size = 4 * tensor.numel()
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for _, tensor in sorted(tensors.items()):
            f.write(tensor.detach().contiguous().numpy().astype("<f4").tobytes())


def load(path):
    data = Path(path).read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + size])
    metadata, tensors = header.pop("__metadata__"), {}
    for name, entry in header.items():
        start, end = (8 + size + o for o in entry["data_offsets"])
        tensors[name] = torch.tensor(np.frombuffer(data[start:end], "<f4").reshape(entry["shape"]))
    model = Recognizer(tensors.pop("features.mean"), tensors.pop("features.std"))
    model.load_state_dict({**tensors, "mean": model.mean, "std": model.std})
    return model, {m: int(metadata[f"rank.gru.{m}"]) for m in GRU_MATRICES}


def metadata(options, ranks, figures):
    strings = (f"{options.strings} strings of {options.string_length} digits, seed "
               f"{options.string_seed}, indexes 45..49, the training speakers; pauses of 0..{MAX_PAUSE} "
               f"samples; greedy decoding")
    return {
        "format": "skinny-digits-1",
        "architecture": "log-mel, stacked frames; 2 GRU layers (PyTorch rows r, z, n); linear; CTC",
        "features.sample_rate": str(SAMPLE_RATE),
        "features.window": str(WINDOW),
        "features.window_shape": "hann, periodic",
        "features.hop": str(HOP),
        "features.fft": str(FFT),
        "features.mels": str(MELS),
        "features.mel_low_hz": str(MEL_LOW_HZ),
        "features.mel_high_hz": str(MEL_HIGH_HZ),
        "features.mel_shape": "HTK mel scale, triangles of height 1, linear in Hz, on power",
        "features.log_floor": str(LOG_FLOOR),
        "features.stack": str(STACK),
        "features.tail": str(TAIL),
        "alphabet": ALPHABET,
        "blank": "0",
        "hidden": str(HIDDEN),
        "layers": "2",
        **{f"rank.gru.{name}": str(rank) for name, rank in ranks.items()},
        "rank.policy": f"{100 * options.variance:g}% of the variance, up to a multiple of {options.rank_multiple}",
        "training.command": (
            f"python examples/digits/train.py --data FSDD --seed {options.seed} --steps {options.steps} "
            f"--batch-digits {options.batch_digits} --rate {options.rate:g} --trace-norm {options.trace_norm:g} "
            f"--variance {options.variance:g} --rank-multiple {options.rank_multiple} --threads {options.threads}"
        ),
        "training.torch": torch.__version__.split("+")[0],
        "training.data": "Free Spoken Digit Dataset, indexes 5..44 of each digit and speaker",
        "validation.strings": strings,
        **{f"validation.cer_percent.{kind}": figure for kind, figure in figures.items()},
        "attribution": ATTRIBUTION,
        "licence": "CC BY-SA 4.0, as the data it was trained on",
    }


def write_fixture(validation):
    """Log-mel frames of one bundled recording, before normalisation, for tests/audio."""
    samples = validation["jackson"][[d for d, _ in validation["jackson"]].index(7)][1]
    frames = batch_features([("", samples)])[0][0]
    with open(HERE / "fixtures" / "log_mel_7_jackson_45.txt", "w") as f:
        f.write("# log-mel frames of recordings/7_jackson_45.wav with its tail, by train.py\n")
        f.write(f"# an even number of frames: {len(frames)}; each line: frame number, {MELS} values\n")
        for t in (0, 1, 17, 30, 42, len(frames) - 1):
            f.write(f"{t} " + " ".join(f"{v:.5f}" for v in frames[t].tolist()) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder of FSDD recordings")
    parser.add_argument("--out", default=HERE / "model.safetensors")
    parser.add_argument("--evaluate", action="store_true", help="print the figures of --out, train nothing")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=4500)
    parser.add_argument("--batch-digits", type=int, default=96, help="digits in a batch")
    parser.add_argument("--rate", type=float, default=4e-3, help="highest learning rate")
    parser.add_argument("--trace-norm", type=float, default=7e-4, help="strength of the penalty")
    parser.add_argument("--variance", type=float, default=0.99, help="share the chosen ranks keep")
    parser.add_argument("--rank-multiple", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1, help="a second one gains little")
    parser.add_argument("--strings", type=int, default=200)
    parser.add_argument("--string-length", type=int, default=5)
    parser.add_argument("--string-seed", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    validation = read_recordings(options.data, VALIDATION_INDICES)
    recipe = (options.string_length, options.strings, options.string_seed)
    if options.evaluate:
        model, ranks = load(options.out)
        report(model, ranks, validation, *recipe)
        return
    model = train(options, read_recordings(options.data, TRAIN_INDICES), validation)
    ranks = choose_ranks(model, options.variance, options.rank_multiple)
    figures = report(model, ranks, validation, *recipe)
    tensors = {k: v for k, v in model.state_dict().items() if k not in ("mean", "std")}
    tensors["features.mean"], tensors["features.std"] = model.mean, model.std
    save(options.out, tensors, metadata(options, ranks, figures))
    write_fixture(validation)


if __name__ == "__main__":
    main()
