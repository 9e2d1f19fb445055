//! The crate gemm in f32, for a program that has not quantized its weights.

use std::hint::black_box;

use gemm::Parallelism;

use crate::{Contestant, Failure, Operands, fastest};

pub fn contestant(Operands { w, x }: Operands<'_>) -> Result<Box<dyn Contestant + '_>, Failure> {
    let floats = |bytes: &[i8]| -> Vec<f32> { bytes.iter().map(|&byte| f32::from(byte)).collect() };
    let (n, k) = w.shape();
    let by_feature = floats(w.as_slice());
    let by_depth = (0..n * k).map(|i| by_feature[i % n * k + i / n]).collect();
    let out = vec![0.0; x.rows() * n];
    let mut gemm =
        Gemm { m: x.rows(), n, k, by_depth, by_feature, weights: Weights::ByDepth, x: floats(x.as_slice()), out };
    gemm.weights = fastest([Weights::ByDepth, Weights::ByFeature], |weights| {
        gemm.weights = weights;
        gemm.call();
    });
    Ok(Box::new(gemm))
}

struct Gemm {
    m: usize,
    n: usize,
    k: usize,
    /// `k x n`
    by_depth: Vec<f32>,
    /// `n x k`
    by_feature: Vec<f32>,
    weights: Weights,
    /// `m x k`
    x: Vec<f32>,
    /// `m x n`
    out: Vec<f32>,
}

#[derive(Clone, Copy)]
enum Weights {
    ByDepth,
    ByFeature,
}

impl Contestant for Gemm {
    fn kernel(&self) -> String {
        match self.weights {
            Weights::ByDepth => "k x n".to_string(),
            Weights::ByFeature => "n x k".to_string(),
        }
    }

    fn call(&mut self) {
        let Self { m, n, k, ref x, ref mut out, .. } = *self;
        let (weights, column_stride, row_stride) = match self.weights {
            Weights::ByDepth => (&self.by_depth, 1, n as isize),
            Weights::ByFeature => (&self.by_feature, k as isize, 1),
        };
        let out = black_box(out);
        // SAFETY: out is m x n, x is m x k and w^T is k x n, with these strides.
        unsafe {
            gemm::gemm(
                m,
                n,
                k,
                out.as_mut_ptr(),
                1,
                n as isize,
                false,
                black_box(x).as_ptr(),
                1,
                k as isize,
                black_box(weights).as_ptr(),
                column_stride,
                row_stride,
                0.0,
                1.0,
                false,
                false,
                false,
                Parallelism::None,
            );
        }
    }

    fn agrees_with(&self, sums: &[i32]) -> bool {
        self.out.iter().map(|&sum| sum as i32).eq(sums.iter().copied())
    }
}
