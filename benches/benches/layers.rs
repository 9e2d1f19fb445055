//! Layers, `f32` in and out, dense and factored, in `f32` and in 8 bits on the tier that would be chosen:
//!
//!     cargo bench --bench layers                    all groups
//!     cargo bench --bench layers -- 'gru'           some of them
//!     cargo bench --bench layers -- --test          each once, checked and not timed
//!
//! The members of a group are the weight's form and the batch; criterion's `elem/s` are vectors per second. Before
//! each layer is timed, it is compared with its equations in `f64`, within what its number format allows. Layers in 8
//! bits are also compared with the portable tier, to the bit.

#![allow(missing_docs, reason = "criterion's macros write functions without")]

mod settings;

use std::hint::black_box;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use skinny::factored::{Gru, Linear, LowRank, Lstm, Recurrent, Scratch, Weight};
use skinny::kernels::{Activation, Activations, Dequantize, PackedMat, WeightFormat, Workspace, gemm};
use skinny::{Mat, MatMut, Tier};
use skinny_benches::{random_bytes, random_floats};

/// A weight's matrix in `f32`, or its two factors.
#[derive(Clone)]
enum Parameters {
    Dense(Mat<f32>),
    LowRank { u: Mat<f32>, v: Mat<f32> },
}

impl Parameters {
    fn dense(seed: u64, n: usize, k: usize) -> Self {
        Parameters::Dense(scaled(random_floats(seed, n, k)))
    }

    fn low_rank(seed: u64, n: usize, rank: usize, k: usize) -> Self {
        let [u, v] = [(seed, n, rank), (seed + 1, rank, k)].map(|(seed, n, k)| scaled(random_floats(seed, n, k)));
        Parameters::LowRank { u, v }
    }

    fn weight(&self) -> Weight {
        match self.clone() {
            Parameters::Dense(w) => Weight::dense(w).expect("finite"),
            Parameters::LowRank { u, v } => LowRank::from_factors(u, v).expect("finite factors of one rank").into(),
        }
    }

    fn apply(&self, x: &[f64]) -> Vec<f64> {
        let apply = |w: &Mat<f32>, x: &[f64]| -> Vec<f64> {
            let dot = |w: &[f32]| w.iter().zip(x).map(|(&w, x)| f64::from(w) * x).sum();
            (0..w.rows()).map(|row| dot(w.view().row(row))).collect()
        };
        match self {
            Parameters::Dense(w) => apply(w, x),
            Parameters::LowRank { u, v } => apply(u, &apply(v, x)),
        }
    }
}

/// Divided by the root of the depth, so that outputs have the magnitude of inputs.
fn scaled(mut w: Mat<f32>) -> Mat<f32> {
    let factor = (w.cols() as f32).sqrt().recip();
    w.as_mut_slice().iter_mut().for_each(|w| *w *= factor);
    w
}

/// The name of a weight's form, its parameters, and how far its outputs may be from the equations, as a share of the
/// largest output. The errors are rounding in `f32`, and two or three roundings to 8 bits that rarely add up.
type Form = (&'static str, Parameters);
const TOLERANCE_F32: f64 = 1e-5;
const TOLERANCE_8_BITS: f64 = 0.03;

#[track_caller]
fn expect_close(name: &str, out: &[f32], expected: &[f64], tolerance: f64) {
    let greatest = expected.iter().fold(0.0, |greatest: f64, y| greatest.max(y.abs()));
    let error = out.iter().zip(expected).fold(0.0, |error: f64, (&y, e)| error.max((f64::from(y) - e).abs()));
    assert!(error <= tolerance * greatest, "{name} is off by {error}, of {greatest}");
}

fn floats(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| x.into()).collect()
}

fn tier() -> Tier {
    Tier::select().expect("SKINNY_TIER names a tier of this machine")
}

/// A dense layer and its factored replacement, beside the latter's two bare products.
fn linear(c: &mut Criterion) {
    let (n, rank, k) = (1024, 128, 1024);
    let mut group = c.benchmark_group(format!("linear {k} -> {n}, factored by way of {rank}"));
    for m in [1, 4] {
        let x = random_floats(3, m, k);
        for (name, parameters) in
            [("dense", Parameters::dense(1, n, k)), ("factored", Parameters::low_rank(1, n, rank, k))] as [Form; 2]
        {
            let layer = Linear::new(parameters.weight(), None).expect("no bias");
            bench_linear(&mut group, &format!("{name} f32"), &layer, &parameters, &x, TOLERANCE_F32);
            let layer = layer.quantize(tier()).expect("an available tier");
            bench_linear(&mut group, &format!("{name} 8 bits"), &layer, &parameters, &x, TOLERANCE_8_BITS);
        }
        bench_bare_products(&mut group, m, [(rank, k), (n, rank)]);
    }
    group.finish();
}

/// The paper's product as a layer: what quantizing `f32` inputs and scaling to `f32` outputs adds to `gemm 6144x320`.
fn paper(c: &mut Criterion) {
    let (n, k) = (6144, 320);
    let parameters = Parameters::dense(1, n, k);
    let layer = Linear::new(parameters.weight(), None).expect("no bias").quantize(tier()).expect("an available tier");
    let mut group = c.benchmark_group(format!("linear {k} -> {n}"));
    for m in [1, 2, 4, 8] {
        bench_linear(&mut group, "8 bits", &layer, &parameters, &random_floats(3, m, k), TOLERANCE_8_BITS);
    }
    group.finish();
}

fn bench_linear(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    layer: &Linear,
    parameters: &Parameters,
    x: &Mat<f32>,
    tolerance: f64,
) {
    let m = x.rows();
    let mut out = vec![0.0; m * layer.output_size()];
    let mut scratch = Scratch::new();
    let mut call = |layer: &Linear, out: &mut [f32]| {
        let out = MatMut::new(out, m, layer.output_size()).expect("as many outputs as the layer has");
        layer.forward(black_box(x.view()), out, &mut scratch).expect("shapes fit");
    };

    call(layer, &mut out);
    let expected: Vec<f64> = (0..m).flat_map(|i| parameters.apply(&floats(x.view().row(i)))).collect();
    expect_close(name, &out, &expected, tolerance);
    if tolerance == TOLERANCE_8_BITS {
        let portable = Linear::new(parameters.weight(), None).and_then(|layer| layer.quantize(Tier::Portable));
        let mut again = vec![0.0; out.len()];
        call(&portable.expect("every machine has it"), &mut again);
        assert!(out == again, "{name} differs from the portable tier");
    }

    group.throughput(Throughput::Elements(m as u64));
    group.bench_function(BenchmarkId::new(name, m), |b| b.iter(|| call(layer, black_box(&mut out))));
}

/// Products alone, i8 in and f32 out: what a factored layer in 8 bits would cost if quantizing were free.
fn bench_bare_products(group: &mut BenchmarkGroup<'_, WallTime>, m: usize, shapes: [(usize, usize); 2]) {
    let mut products = shapes.map(|(n, k)| {
        let packed = PackedMat::new(random_bytes(1, n, k).view()).expect("an available tier");
        (packed, random_bytes(2, m, k), vec![1.0; n], vec![0.0; m * n])
    });
    let column_scales = vec![1.0; m];
    let mut workspace = Workspace::new();
    group.throughput(Throughput::Elements(m as u64));
    group.bench_function(BenchmarkId::new("the two bare products", m), |b| {
        b.iter(|| {
            for (packed, x, row_scales, out) in &mut products {
                let epilogue = Dequantize {
                    row_scales,
                    column_scales: &column_scales,
                    bias: None,
                    activation: Activation::Identity,
                };
                let out = MatMut::new(black_box(out), m, packed.n()).expect("as many outputs as the product has");
                gemm(packed, Activations::new(black_box(x.view())), &epilogue, out, &mut workspace)
                    .expect("shapes fit");
            }
        });
    });
}

/// For the recurrent layers: inputs and hidden units, the rank if factored, and the steps of a sequence.
const SIZE: usize = 256;
const RECURRENT_RANK: usize = 64;
const STEPS: usize = 16;

/// A GRU as it runs in a stream, and over a sequence, where the input products of four time steps are one.
fn gru(c: &mut Criterion) {
    let gru = |w_ih: Weight, w_hh: Weight| Gru::new(w_ih, w_hh, None, None).expect("gates of one size");
    bench_recurrent(c, "gru", 3, gru, gru_equations);
}

/// An LSTM in the same way.
fn lstm(c: &mut Criterion) {
    let lstm = |w_ih: Weight, w_hh: Weight| Lstm::new(w_ih, w_hh, None, None).expect("gates of one size");
    bench_recurrent(c, "lstm", 4, lstm, lstm_equations);
}

/// A layer made of an input weight and a recurrent one, each of that many gates.
fn bench_recurrent<L: Recurrent>(
    c: &mut Criterion,
    kind: &str,
    gates: usize,
    new: impl Fn(Weight, Weight) -> L,
    equations: impl Fn(&Parameters, &Parameters, &Mat<f32>) -> Vec<f64>,
) {
    let rows = gates * SIZE;
    let forms = [
        ("dense", [1, 3].map(|seed| Parameters::dense(seed, rows, SIZE))),
        ("factored", [1, 3].map(|seed| Parameters::low_rank(seed, rows, RECURRENT_RANK, SIZE))),
    ];
    let x = random_floats(5, STEPS, SIZE);
    let mut layers = Vec::new();
    for (name, [w_ih, w_hh]) in &forms {
        let layer = new(w_ih.weight(), w_hh.weight());
        let quantize = |tier| layer.quantize_to(WeightFormat::I8, tier).expect("an available tier");
        let (quantized, portable) = (quantize(tier()), quantize(Tier::Portable));
        let expected = equations(w_ih, w_hh, &x);
        expect_close(name, &run_recurrent(&layer, &x), &expected, TOLERANCE_F32);
        let out = run_recurrent(&quantized, &x);
        expect_close(name, &out, &expected, TOLERANCE_8_BITS);
        assert!(out == run_recurrent(&portable, &x), "{name} differs from the portable tier");
        layers.push((format!("{name} f32"), layer));
        layers.push((format!("{name} 8 bits"), quantized));
    }

    let mut scratch = Scratch::new();
    let title = format!("{kind} {SIZE} -> {SIZE}, rank {RECURRENT_RANK} if factored");
    let mut group = c.benchmark_group(format!("{title}, step"));
    group.throughput(Throughput::Elements(1));
    for (name, layer) in &layers {
        let mut state = layer.state().expect("memory");
        group.bench_function(name, |b| {
            b.iter(|| {
                black_box(layer.step(black_box(x.view().row(0)), &mut state, &mut scratch).expect("shapes fit"));
            });
        });
    }
    group.finish();

    let mut group = c.benchmark_group(format!("{title}, sequence of {STEPS}"));
    group.throughput(Throughput::Elements(STEPS as u64));
    let mut out = vec![0.0; STEPS * SIZE];
    for (name, layer) in &layers {
        let mut state = layer.state().expect("memory");
        group.bench_function(name, |b| {
            b.iter(|| {
                let out = MatMut::new(black_box(&mut out), STEPS, SIZE).expect("as many outputs as steps have");
                layer.forward(black_box(x.view()), &mut state, out, &mut scratch).expect("shapes fit");
            });
        });
    }
    group.finish();
}

fn run_recurrent<L: Recurrent>(layer: &L, x: &Mat<f32>) -> Vec<f32> {
    let mut out = vec![0.0; x.rows() * layer.output_size()];
    let view = MatMut::new(&mut out, x.rows(), layer.output_size()).expect("as many outputs as steps have");
    layer.forward(x.view(), &mut layer.state().expect("memory"), view, &mut Scratch::new()).expect("shapes fit");
    out
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The outputs of all steps, by the equations in [`Gru`]'s documentation.
fn gru_equations(w_ih: &Parameters, w_hh: &Parameters, x: &Mat<f32>) -> Vec<f64> {
    let mut h = vec![0.0; w_hh.apply(&vec![0.0; x.cols()]).len() / 3];
    let mut out = Vec::new();
    for t in 0..x.rows() {
        let (from_x, from_h) = (w_ih.apply(&floats(x.view().row(t))), w_hh.apply(&h));
        let size = h.len();
        for (i, h) in h.iter_mut().enumerate() {
            let r = sigmoid(from_x[i] + from_h[i]);
            let z = sigmoid(from_x[size + i] + from_h[size + i]);
            let n = (from_x[2 * size + i] + r * from_h[2 * size + i]).tanh();
            *h = (1.0 - z) * n + z * *h;
        }
        out.extend_from_slice(&h);
    }
    out
}

/// The outputs of all steps, by the equations in [`Lstm`]'s documentation.
fn lstm_equations(w_ih: &Parameters, w_hh: &Parameters, x: &Mat<f32>) -> Vec<f64> {
    let size = w_hh.apply(&vec![0.0; x.cols()]).len() / 4;
    let (mut h, mut c) = (vec![0.0; size], vec![0.0; size]);
    let mut out = Vec::new();
    for t in 0..x.rows() {
        let (from_x, from_h) = (w_ih.apply(&floats(x.view().row(t))), w_hh.apply(&h));
        for j in 0..size {
            let [i, f, g, o] = [0, 1, 2, 3].map(|gate| from_x[gate * size + j] + from_h[gate * size + j]);
            c[j] = sigmoid(f) * c[j] + sigmoid(i) * g.tanh();
            h[j] = sigmoid(o) * c[j].tanh();
        }
        out.extend_from_slice(&h);
    }
    out
}

criterion_group! { name = benches; config = settings::settings(); targets = paper, linear, gru, lstm }
criterion_main!(benches);
