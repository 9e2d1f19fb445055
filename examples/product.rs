//! Multiplies an 8-bit weight with a small batch of activations.
//!
//!     cargo run --release --example product
//!
//! The weight is quantized and packed once. Each batch of activations is quantized when it arrives and multiplied. The
//! epilogue then turns the `i32` sums into floats, with bias and ReLU, while they are still in registers and L1.

use skinny::kernels::{Activation, Activations, Dequantize, PackedMat, Workspace, gemm};
use skinny::quant::{QuantizedActivations, QuantizedMat, ZeroPoint};
use skinny::{Mat, MatMut, Tier};

/// Output features, input features, vectors in the batch.
const N: usize = 768;
const K: usize = 256;
const M: usize = 3;

fn main() -> skinny::Result<()> {
    let w = Mat::from_vec(random(1, N * K), N, K)?;
    let x = Mat::from_vec(random(2, M * K), M, K)?;
    let bias = random(3, N);

    // Symmetric, with a scale for each output feature: w ~ scale * q.
    let quantized = QuantizedMat::quantize(w.view())?;

    // Symmetric, with a scale for each vector of the batch. The buffer is reused for every batch.
    let mut activations = QuantizedActivations::new();
    activations.quantize(x.view(), ZeroPoint::None)?;

    let epilogue = Dequantize {
        row_scales: quantized.scales(),
        column_scales: activations.scales(),
        bias: Some(&bias),
        activation: Activation::Relu,
    };

    let mut first: Option<Vec<f32>> = None;
    for &tier in Tier::available() {
        // The layout of a packed weight depends on the tier's kernels.
        let packed = PackedMat::for_tier(quantized.values(), tier)?;
        let mut y = vec![0.0; M * N];
        let mut workspace = Workspace::new();
        gemm(&packed, Activations::new(activations.values()), &epilogue, MatMut::new(&mut y, M, N)?, &mut workspace)?;
        println!("tier {tier:<10} y[0][..4] = {:8.4?}", &y[..4]);

        // The sums are exact, so every tier gives the same bits.
        assert_eq!(first.get_or_insert_with(|| y.clone()), &y);
    }

    // The error from rounding to 8 bits, compared with the same product in f64.
    let y = first.unwrap_or_default();
    let exact = reference(&w, &x, &bias);
    let square = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>();
    let noise = square(&mut y.iter().zip(&exact).map(|(y, exact)| f64::from(*y) - exact));
    let decibels = 10.0 * (square(&mut exact.iter().copied()) / noise).log10();
    println!("{N} x {K} weights in {} bytes of int8, not {} of f32", N * K, 4 * N * K);
    println!("signal to rounding noise: {decibels:.1} dB");
    assert!(decibels > 38.0);
    Ok(())
}

/// `max(x w^T + bias, 0)`.
fn reference(w: &Mat<f32>, x: &Mat<f32>, bias: &[f32]) -> Vec<f64> {
    let mut y = Vec::new();
    for m in 0..M {
        for (n, &bias) in bias.iter().enumerate() {
            let products = x.view().row(m).iter().zip(w.view().row(n)).map(|(x, w)| f64::from(*x) * f64::from(*w));
            y.push((products.sum::<f64>() + f64::from(bias)).max(0.0));
        }
    }
    y
}

/// Numbers that look random, in -1..1 (a linear congruential generator).
fn random(seed: u32, len: usize) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}
