//! Times layers on this machine, dense and factored, in `f32` and in 8 bits:
//!
//!     cargo run --release --bin layers
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
/// The width of the recurrent layer, both of its input and of its state.
const HIDDEN: usize = 256;

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
    name: &'static str,
    /// Multiply-accumulates and bytes of weights per step.
    macs: usize,
    bytes: usize,
    step: Box<dyn FnMut() -> skinny::Result<()>>,
}

fn linear(name: &'static str, layer: Linear) -> Result<Bench, Failure> {
    let x = random(7, 1, layer.input_size())?;
    let mut out = Mat::zeros(1, layer.output_size())?;
    let mut scratch = Scratch::new();
    let (macs, bytes) = (layer.weight().parameters(), layer.weight().bytes());
    let step = Box::new(move || layer.forward(x.view(), out.view_mut(), &mut scratch));
    Ok(Bench { name, macs, bytes, step })
}

/// The bench of a recurrent layer; `weights` returns its weights.
fn recurrent<L>(name: &'static str, layer: L, weights: impl Fn(&L) -> [&Weight; 2]) -> Result<Bench, Failure>
where
    L: Recurrent<State: 'static> + 'static,
{
    let x = random(7, 1, layer.input_size())?;
    let mut state = layer.state()?;
    let mut scratch = Scratch::new();
    let macs = weights(&layer).map(Weight::parameters).iter().sum();
    let bytes = weights(&layer).map(Weight::bytes).iter().sum();
    let step = Box::new(move || layer.step(x.as_slice(), &mut state, &mut scratch).map(|_| ()));
    Ok(Bench { name, macs, bytes, step })
}

/// The bench of products alone, one after the other. They take 8 bits and give `f32`, and nothing is quantized.
fn products(name: &'static str, shapes: [(usize, usize); 2], tier: Tier) -> Result<Bench, Failure> {
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
    Ok(Bench { name, macs, bytes, step })
}

/// The benches of all layers. 8-bit layers are quantized for `tier`.
fn benches(tier: Tier) -> Result<Vec<Bench>, Failure> {
    let factors = |n, k, rank| -> Result<LowRank, Failure> {
        Ok(LowRank::from_factors(random(1, n, rank)?, random(2, rank, k)?)?)
    };
    let dense_linear = Linear::new(Weight::dense(random(1, FEATURES, FEATURES)?)?, None)?;
    let low_rank = Linear::new(LowRankLinear::from(factors(FEATURES, FEATURES, RANK)?), None)?;
    let weight = |seed, n| -> Result<Weight, Failure> { Ok(Weight::dense(random(seed, n, HIDDEN)?)?) };
    let bias = |n| Some(vec![0.1; n]);
    let rank = HIDDEN / 4;

    let n = 3 * HIDDEN;
    let dense_gru = Gru::new(weight(1, n)?, weight(2, n)?, bias(n), bias(n))?;
    let low_rank_gru = Gru::new(factors(n, HIDDEN, rank)?, factors(n, HIDDEN, rank)?, bias(n), bias(n))?;
    let gru = |name, layer| recurrent(name, layer, |gru: &Gru| [gru.weight_ih(), gru.weight_hh()]);
    let gru_products = [(n, HIDDEN), (n, HIDDEN)];

    let n = 4 * HIDDEN;
    let dense_lstm = Lstm::new(weight(1, n)?, weight(2, n)?, bias(n), bias(n))?;
    let low_rank_lstm = Lstm::new(factors(n, HIDDEN, rank)?, factors(n, HIDDEN, rank)?, bias(n), bias(n))?;
    let lstm = |name, layer| recurrent(name, layer, |lstm: &Lstm| [lstm.weight_ih(), lstm.weight_hh()]);
    let lstm_products = [(n, HIDDEN), (n, HIDDEN)];

    Ok(vec![
        linear("linear-f32", dense_linear.clone())?,
        linear("linear", dense_linear.quantize(tier)?)?,
        linear("low-rank-f32", low_rank.clone())?,
        linear("low-rank", low_rank.quantize(tier)?)?,
        products("products", [(RANK, FEATURES), (FEATURES, RANK)], tier)?,
        gru("gru-f32", dense_gru.clone())?,
        gru("gru", dense_gru.quantize(tier)?)?,
        products("gru-products", gru_products, tier)?,
        gru("gru-low-rank-f32", low_rank_gru.clone())?,
        gru("gru-low-rank", low_rank_gru.quantize(tier)?)?,
        lstm("lstm-f32", dense_lstm.clone())?,
        lstm("lstm", dense_lstm.quantize(tier)?)?,
        products("lstm-products", lstm_products, tier)?,
        lstm("lstm-low-rank-f32", low_rank_lstm.clone())?,
        lstm("lstm-low-rank", low_rank_lstm.quantize(tier)?)?,
    ])
}

fn main() -> Result<(), Failure> {
    let (mut tier, mut layer, mut reps) = (Tier::select()?, None, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or("usage: layers [--tier TIER] [--layer NAME --reps R]")?;
        match name.as_str() {
            "--tier" => tier = value.parse()?,
            "--layer" => layer = Some(value),
            "--reps" => reps = Some(value.parse::<usize>()?),
            _ => return Err(format!("{name}? usage: layers [--tier TIER] [--layer NAME --reps R]").into()),
        }
    }
    let mut benches = benches(tier)?;
    if let (Some(layer), Some(reps)) = (&layer, reps) {
        let bench = benches.iter_mut().find(|bench| bench.name == layer).ok_or_else(|| format!("no layer {layer}"))?;
        for _ in 0..reps {
            black_box(&mut bench.step)()?;
        }
        return Ok(());
    }

    println!(
        "batch 1, tier {tier}: linear {FEATURES} -> {FEATURES} (rank {RANK}), GRU and LSTM {HIDDEN} -> {HIDDEN} (rank {})",
        HIDDEN / 4
    );
    println!("{:<18} {:>10} {:>10} {:>10} {:>8}", "layer", "us/step", "MAC", "bytes", "GB/s");
    for Bench { name, macs, bytes, step } in benches.iter_mut().filter(|b| layer.as_ref().is_none_or(|l| b.name == l)) {
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
        println!("{name:<18} {median:>10.2} {macs:>10} {bytes:>10} {:>8.2}", *bytes as f64 / median / 1e3);
    }
    Ok(())
}
