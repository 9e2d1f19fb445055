//! What weights take in memory.

use crate::kernels::{GROUP, GROUP_I2, WeightFormat};

/// Bytes of `n x k` weights with their scales.
pub(super) fn bytes(n: usize, k: usize, format: Option<WeightFormat>) -> f64 {
    let (n, k) = (n as f64, k as f64);
    match format {
        None => 4.0 * n * k,
        Some(WeightFormat::I8) => n * k + 4.0 * n,
        Some(WeightFormat::I4) => n * k / 2.0 + 4.0 * n,
        // A byte for each group, the last of a row included.
        Some(WeightFormat::I4Group32) => n * k / 2.0 + n * (k / GROUP as f64).ceil() + 4.0 * n,
        Some(WeightFormat::I2Group64) => n * k / 4.0 + n * (k / GROUP_I2 as f64).ceil() + 4.0 * n,
    }
}
