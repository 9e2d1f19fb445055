//! Scalar kernels for any target: the oracle that every other tier must equal bit for bit.

use core::slice;

use super::micro::{Call, STEP};

/// `COLUMNS` columns, panels of 4 rows in runs of 16.
///
/// # Safety
/// As [`MicroKernel`](super::micro::MicroKernel); no special instructions.
pub(crate) unsafe fn gemm_s8s8s32_4x16<const COLUMNS: usize>(call: &Call) {
    const ROWS: usize = 4;
    let panel_bytes = ROWS * call.steps * STEP;
    // SAFETY: the contract makes `panels` panels readable, and a `u8` is as good as an `i8`.
    let weights = unsafe { slice::from_raw_parts(call.weights.cast::<i8>(), call.panels * panel_bytes) };
    // SAFETY: the contract makes `steps * STEP` activations of each column readable.
    let activations = unsafe { slice::from_raw_parts(call.activations, call.steps * STEP * COLUMNS) };
    let (weights, _) = weights.as_chunks::<STEP>();
    let (activations, _) = activations.as_chunks::<STEP>();

    for panel in 0..call.panels {
        let weights = &weights[panel * call.steps * ROWS..][..call.steps * ROWS];
        for column in 0..COLUMNS {
            let mut sums = [0i32; ROWS];
            for (w, x) in weights.chunks_exact(ROWS).zip(activations.iter().skip(column).step_by(COLUMNS)) {
                for (sum, w) in sums.iter_mut().zip(w) {
                    *sum += dot(w, x);
                }
            }
            for (row, sum) in sums.into_iter().enumerate() {
                // SAFETY: the contract makes `rows` sums of each column writable.
                unsafe { call.sums.add(column * call.sums_stride + panel * ROWS + row).write(sum) };
            }
        }
    }
}

#[inline]
fn dot(w: &[i8; STEP], x: &[i8; STEP]) -> i32 {
    w.iter().zip(x).map(|(&w, &x)| i32::from(w) * i32::from(x)).sum()
}
