//! Times products.

use std::hint::black_box;

use skinny::kernels::{Activation, Activations, Dequantize, PackedMat, RequantizeFloat, Scales, Workspace, gemm};
use skinny::quant::{QuantizedActivations, ZeroPoint};
use skinny::{Mat, MatMut, Result};

use super::grid::Case;
use crate::operands::Weights;
use crate::random::Random;
use crate::results::{From, Time, Values};
use crate::timing::{Runs, samples};

/// The weights of a case, as often as their place asks for.
pub struct Copies {
    weights: Vec<PackedMat>,
    /// The one that comes next.
    next: usize,
    scales: Scales,
}

impl Copies {
    /// Copies that take `footprint` bytes, or one if the weights shall stay in a cache.
    pub fn of(case: &Case, footprint: u64) -> crate::error::Result<Self> {
        let packed = Weights::random(case.n, case.k, case.weights)?.pack(case.tier)?;
        let count = match case.from {
            From::Cache => 1,
            From::Memory => (footprint as usize / packed.bytes().max(1) + 1).min(1 << 16),
        };
        let scales = Scales::new(vec![scale(case.k); case.n])?;
        Ok(Self { weights: vec![packed; count], next: 0, scales })
    }

    /// The bytes of weights and scales that a product reads.
    pub fn bytes(&self) -> usize {
        self.weights[0].bytes() + size_of_val(self.scales.as_slice())
    }

    /// The time of a product with a batch of vectors.
    pub fn time(&mut self, values: Values, batch: usize, runs: Runs) -> crate::error::Result<Option<Time>> {
        let (n, k) = (self.weights[0].n(), self.weights[0].k());
        let bytes = Mat::from_vec(Random::new(2).bytes(batch * k), batch, k)?;
        let floats = Mat::from_vec(Random::new(2).floats(batch * k), batch, k)?;
        let (mut quantized, mut workspace) = (QuantizedActivations::new(), Workspace::new());
        let (mut out_bytes, mut out_floats) = (vec![0i8; batch * n], vec![0f32; batch * n]);
        let seconds = samples(runs, || -> Result<()> {
            self.next = (self.next + 1) % self.weights.len();
            let w = black_box(&self.weights[self.next]);
            match values {
                Values::I8 => {
                    let out = MatMut::new(black_box(&mut out_bytes), batch, n)?;
                    gemm(
                        w,
                        Activations::new(bytes.view()),
                        &RequantizeFloat::new(&self.scales, 0i8),
                        out,
                        &mut workspace,
                    )
                }
                Values::F32 => {
                    quantized.quantize(black_box(floats.view()), ZeroPoint::None)?;
                    let epilogue = Dequantize {
                        row_scales: self.scales.as_slice(),
                        column_scales: quantized.scales(),
                        bias: None,
                        activation: Activation::Identity,
                    };
                    let out = MatMut::new(black_box(&mut out_floats), batch, n)?;
                    gemm(w, quantized.operand(), &epilogue, out, &mut workspace)
                }
            }
        })?;
        Ok(microseconds(seconds))
    }
}

/// A scale that spreads sums of depth `k` over bytes.
pub fn scale(k: usize) -> f32 {
    1.0 / (127.0 * (k as f32).sqrt())
}

pub fn microseconds(seconds: Vec<f64>) -> Option<Time> {
    // A clock that stood still would make times of zero.
    Time::of(seconds.into_iter().map(|seconds| (seconds * 1e6).max(1e-6)).collect())
}
