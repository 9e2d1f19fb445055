//! Times layers on this machine, dense and factored, in `f32` and in 8 bits:
//!
//!     cargo run --release --bin layers
//!
//! `--units N` sets the width of the recurrent layers, both of their input and of their state (256 by default).
//!
//! With `--layer NAME --reps R` it makes exactly R steps of one 8-bit layer after packing and does little else, for
//! tools that count instructions. NAME is `products` (the two bare products of the low-rank layer), `low-rank`,
//! `linear`, `gru`, `gru-products`, `gru-low-rank`, `lstm`, `lstm-products` or `lstm-low-rank`.

use std::hint::black_box;
use std::time::Instant;

use skinny::factored::{Gru, Linear, LowRank, LowRankLinear, Lstm, Recurrent, Scratch, Weight};
use skinny::kernels::{Activation, Activations, Dequantize, PackedMat, Workspace, gemm};
use skinny::quant::QuantizedMat;
use skinny::{Mat, MatMut, MatRef, Tier};

type Failure = Box<dyn std::error::Error>;

/// The width of the factored layer, of the paper's kind: 1024 -> 128 -> 1024.
const FEATURES: usize = 1024;
const RANK: usize = 128;
/// The default width of the recurrent layers, both of their input and of their state.
const UNITS: usize = 256;

/// Random-looking numbers in -1..1 (a linear congruential generator).
fn random(seed: u32, rows: usize, cols: usize) -> Result<Mat<f32>, Failure> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    Ok(Mat::from_vec((0..rows * cols).map(|_| next()).collect(), rows, cols)?)
}

/// A layer at batch 1, ready for repeated steps.
struct Bench {
    /// Multiply-accumulates and bytes of weights per step.
    macs: usize,
    bytes: usize,
    step: Box<dyn FnMut() -> skinny::Result<()>>,
}

fn linear(layer: Linear) -> Result<Bench, Failure> {
    let x = random(7, 1, layer.input_size())?;
    let mut out = Mat::zeros(1, layer.output_size())?;
    let mut scratch = Scratch::new();
    let (macs, bytes) = (layer.weight().parameters(), layer.weight().bytes());
    let step = Box::new(move || layer.forward(x.view(), out.view_mut(), &mut scratch));
    Ok(Bench { macs, bytes, step })
}

/// The bench of a recurrent layer; `weights` returns its weights.
fn recurrent<L>(layer: L, weights: impl Fn(&L) -> [&Weight; 2]) -> Result<Bench, Failure>
where
    L: Recurrent<State: 'static> + 'static,
{
    let x = random(7, 1, layer.input_size())?;
    let mut state = layer.state()?;
    let mut scratch = Scratch::new();
    let macs = weights(&layer).map(Weight::parameters).iter().sum();
    let bytes = weights(&layer).map(Weight::bytes).iter().sum();
    let step = Box::new(move || layer.step(x.as_slice(), &mut state, &mut scratch).map(|_| ()));
    Ok(Bench { macs, bytes, step })
}

/// The bench of products alone, one after the other. They take 8 bits and give `f32`, and nothing is quantized.
fn products(shapes: [(usize, usize); 2], tier: Tier) -> Result<Bench, Failure> {
    let mut calls = Vec::new();
    let (mut macs, mut bytes) = (0, 0);
    for (n, k) in shapes {
        let w = QuantizedMat::quantize(random(3, n, k)?.view())?;
        let packed = PackedMat::for_tier(w.values(), tier)?;
        (macs, bytes) = (macs + n * k, bytes + packed.bytes());
        calls.push((packed, w.scales().to_vec(), vec![1i8; k], vec![0.0f32; n]));
    }
    let mut workspace = Workspace::new();
    let step = Box::new(move || {
        for (packed, scales, x, out) in &mut calls {
            let epilogue =
                Dequantize { row_scales: scales, column_scales: &[0.5], bias: None, activation: Activation::Identity };
            gemm(packed, Activations::new(MatRef::row_vector(x)), &epilogue, MatMut::row_vector(out), &mut workspace)?;
        }
        Ok(())
    });
    Ok(Bench { macs, bytes, step })
}

/// The names of all benches.
const NAMES: [&str; 15] = [
    "linear-f32",
    "linear",
    "low-rank-f32",
    "low-rank",
    "products",
    "gru-f32",
    "gru",
    "gru-products",
    "gru-low-rank-f32",
    "gru-low-rank",
    "lstm-f32",
    "lstm",
    "lstm-products",
    "lstm-low-rank-f32",
    "lstm-low-rank",
];

/// The bench of a name. 8-bit layers are quantized for `tier`; recurrent ones have `units` units. Tools that count see
/// all that the program does, so it makes no layer that it does not run.
fn bench(name: &'static str, tier: Tier, units: usize) -> Result<Bench, Failure> {
    let factors = |n, k, rank| -> Result<LowRank, Failure> {
        Ok(LowRank::from_factors(random(1, n, rank)?, random(2, rank, k)?)?)
    };
    // A matrix, or its factors: random ones of a quarter of the rank.
    let weight = |seed, n, k: usize, low_rank: bool| -> Result<Weight, Failure> {
        Ok(if low_rank { factors(n, k, (k / 4).max(1))?.into() } else { Weight::dense(random(seed, n, k)?)? })
    };
    let low_rank = name.contains("low-rank");
    let bias = |n| Some(vec![0.1; n]);
    let gru = || -> Result<Gru, Failure> {
        let n = 3 * units;
        Ok(Gru::new(weight(1, n, units, low_rank)?, weight(2, n, units, low_rank)?, bias(n), bias(n))?)
    };
    let lstm = || -> Result<Lstm, Failure> {
        let n = 4 * units;
        Ok(Lstm::new(weight(1, n, units, low_rank)?, weight(2, n, units, low_rank)?, bias(n), bias(n))?)
    };
    let of_gru = |gru| recurrent(gru, |gru: &Gru| [gru.weight_ih(), gru.weight_hh()]);
    let of_lstm = |lstm| recurrent(lstm, |lstm: &Lstm| [lstm.weight_ih(), lstm.weight_hh()]);
    let dense_linear = || -> Result<Linear, Failure> { Ok(Linear::new(weight(1, FEATURES, FEATURES, false)?, None)?) };
    let low_rank_linear = || -> Result<Linear, Failure> {
        Ok(Linear::new(LowRankLinear::from(factors(FEATURES, FEATURES, RANK)?), None)?)
    };
    match name {
        "linear-f32" => linear(dense_linear()?),
        "linear" => linear(dense_linear()?.quantize(tier)?),
        "low-rank-f32" => linear(low_rank_linear()?),
        "low-rank" => linear(low_rank_linear()?.quantize(tier)?),
        "products" => products([(RANK, FEATURES), (FEATURES, RANK)], tier),
        "gru-f32" | "gru-low-rank-f32" => of_gru(gru()?),
        "gru" | "gru-low-rank" => of_gru(gru()?.quantize(tier)?),
        "gru-products" => products([(3 * units, units); 2], tier),
        "lstm-f32" | "lstm-low-rank-f32" => of_lstm(lstm()?),
        "lstm" | "lstm-low-rank" => of_lstm(lstm()?.quantize(tier)?),
        "lstm-products" => products([(4 * units, units); 2], tier),
        _ => Err(format!("no layer {name}").into()),
    }
}

fn main() -> Result<(), Failure> {
    let (mut tier, mut units, mut layer, mut reps) = (Tier::select()?, UNITS, None, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or("usage: layers [--tier TIER] [--units N] [--layer NAME --reps R]")?;
        match name.as_str() {
            "--tier" => tier = value.parse()?,
            "--units" => units = value.parse()?,
            "--layer" => layer = Some(value),
            "--reps" => reps = Some(value.parse::<usize>()?),
            _ => return Err(format!("{name}? usage: layers [--tier TIER] [--units N] [--layer NAME --reps R]").into()),
        }
    }
    let names: Vec<&'static str> =
        NAMES.into_iter().filter(|name| layer.as_ref().is_none_or(|layer| layer == name)).collect();
    if let (Some(layer), true) = (&layer, names.is_empty()) {
        return Err(format!("no layer {layer}").into());
    }
    if let (&[name], Some(reps)) = (&names[..], reps) {
        let mut bench = bench(name, tier, units)?;
        for _ in 0..reps {
            black_box(&mut bench.step)()?;
        }
        return Ok(());
    }

    println!(
        "batch 1, tier {tier}: linear {FEATURES} -> {FEATURES} (rank {RANK}), GRU and LSTM {units} -> {units} (rank {})",
        (units / 4).max(1)
    );
    println!("{:<18} {:>10} {:>10} {:>10} {:>8}", "layer", "us/step", "MAC", "bytes", "GB/s");
    for name in names {
        let Bench { macs, bytes, mut step } = bench(name, tier, units)?;
        step()?;
        let mut microseconds: Vec<f64> = Vec::new();
        for _ in 0..31 {
            let start = Instant::now();
            for _ in 0..100 {
                step()?;
            }
            microseconds.push(start.elapsed().as_secs_f64() * 1e4);
        }
        microseconds.sort_by(f64::total_cmp);
        let median = microseconds[microseconds.len() / 2];
        println!("{name:<18} {median:>10.2} {macs:>10} {bytes:>10} {:>8.2}", bytes as f64 / median / 1e3);
    }
    Ok(())
}
