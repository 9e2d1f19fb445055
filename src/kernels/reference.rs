//! The plainest definition of the product. Tests and benches compare with it.

use alloc::vec::Vec;

use crate::format::{GROUP, GROUP_I2};
use crate::matrix::MatRef;

/// Computes `x w^T`: `m x n` sums, row by row, modulo `2^32`. The activations `x` are `m x k`, and the weights `w` are
/// `n x k`.
///
/// # Panics
/// If the depths differ. This function is for tests and benches.
pub fn gemm(w: MatRef<'_, i8>, x: MatRef<'_, i8>) -> Vec<i32> {
    assert_eq!(w.cols(), x.cols(), "depth of weights and of activations");
    let mut sums = Vec::with_capacity(x.rows() * w.rows());
    for i in 0..x.rows() {
        for j in 0..w.rows() {
            let terms = x.row(i).iter().zip(w.row(j)).map(|(&x, &w)| i32::from(x) * i32::from(w));
            sums.push(terms.fold(0, i32::wrapping_add));
        }
    }
    sums
}

/// As [`gemm`], for grouped 4-bit weights. `multipliers` is `n x ceil(k / 32)`.
///
/// # Panics
/// If the shapes do not fit. This function is for tests and benches.
pub fn gemm_grouped(w: MatRef<'_, i8>, multipliers: MatRef<'_, u8>, x: MatRef<'_, i8>) -> Vec<i32> {
    grouped(w, x, |row, k| multipliers.row(row)[k / GROUP].into())
}

/// As [`gemm`], for 2-bit weights. `multipliers` is `n x ceil(k / 64)`.
///
/// # Panics
/// If the shapes do not fit. This function is for tests and benches.
pub fn gemm_i2(w: MatRef<'_, i8>, multipliers: MatRef<'_, i8>, x: MatRef<'_, i8>) -> Vec<i32> {
    grouped(w, x, |row, k| multipliers.row(row)[k / GROUP_I2].into())
}

fn grouped(w: MatRef<'_, i8>, x: MatRef<'_, i8>, multiplier: impl Fn(usize, usize) -> i32) -> Vec<i32> {
    assert_eq!(w.cols(), x.cols(), "depth of weights and of activations");
    let mut sums = Vec::with_capacity(x.rows() * w.rows());
    for i in 0..x.rows() {
        for j in 0..w.rows() {
            let terms = x.row(i).iter().zip(w.row(j)).enumerate();
            let terms = terms.map(|(k, (&x, &w))| multiplier(j, k) * i32::from(w) * i32::from(x));
            sums.push(terms.fold(0, i32::wrapping_add));
        }
    }
    sums
}
