//! Scalar kernels for any target. They are the oracle: every other tier must equal them bit for bit.

#[allow(dead_code, reason = "compiled for targets with vectors of their own, too, so that it is known to compile")]
pub(crate) mod bytes;
#[allow(dead_code, reason = "as above")]
pub(super) mod epilogue;

use core::slice;

use super::layout::{Layout, STEP, STEPS_PER_GROUP_I2};
use super::micro::{Call, Family, for_each_batch};
use crate::format::{GROUP, MIN_I2, WeightFormat};
use crate::tier::Tier;

/// The layout of all these kernels.
pub(crate) const LAYOUT: Layout = Layout { panel_rows: ROWS, weight_run: STEP, activation_run: STEP };

/// The kernels of this file, for the registry.
pub(crate) static FAMILIES: [Family; 4] = [
    Family {
        tier: Tier::Portable,
        format: WeightFormat::I8,
        layout: LAYOUT,
        kernels: for_each_batch!(gemm_s8s8s32_4x16),
        extreme: None,
    },
    Family {
        tier: Tier::Portable,
        format: WeightFormat::I4,
        layout: LAYOUT,
        kernels: for_each_batch!(gemm_s4s8s32_4x16),
        extreme: None,
    },
    Family {
        tier: Tier::Portable,
        format: WeightFormat::I4Group32,
        layout: LAYOUT,
        kernels: for_each_batch!(gemm_s4gs8s32_4x16),
        extreme: None,
    },
    Family {
        tier: Tier::Portable,
        format: WeightFormat::I2Group64,
        layout: LAYOUT,
        kernels: for_each_batch!(gemm_s2gs8s32_4x16),
        extreme: None,
    },
];

const ROWS: usize = 4;
/// The number of byte rows in a panel. Each holds two rows of 4-bit weights.
const BYTE_ROWS: usize = ROWS / 2;
const STEPS_PER_GROUP: usize = GROUP / STEP;

/// Multiplies panels of 4 rows in runs of 16 with `COLUMNS` columns.
///
/// # Safety
/// As [`MicroKernel`](super::micro::MicroKernel), without special instructions.
pub(crate) unsafe fn gemm_s8s8s32_4x16<const COLUMNS: usize>(call: &Call) {
    let panel_bytes = ROWS * call.steps * STEP;
    // SAFETY: the contract makes `panels` panels readable, and all bytes are valid as `i8`.
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

/// As [`gemm_s8s8s32_4x16`], for 4-bit weights.
///
/// # Safety
/// As [`MicroKernel`](super::micro::MicroKernel), without special instructions.
pub(crate) unsafe fn gemm_s4s8s32_4x16<const COLUMNS: usize>(call: &Call) {
    // SAFETY: by this function's contract.
    unsafe { gemm_i4::<COLUMNS>(call, WeightFormat::I4) }
}

/// As [`gemm_s4s8s32_4x16`], with one multiplier per group.
///
/// # Safety
/// As [`gemm_s4s8s32_4x16`]. `steps` is even.
pub(crate) unsafe fn gemm_s4gs8s32_4x16<const COLUMNS: usize>(call: &Call) {
    // SAFETY: by this function's contract.
    unsafe { gemm_i4::<COLUMNS>(call, WeightFormat::I4Group32) }
}

unsafe fn gemm_i4<const COLUMNS: usize>(call: &Call, format: WeightFormat) {
    let panel_bytes = LAYOUT.panel_bytes(format, call.steps);
    // SAFETY: the contract makes `panels` panels readable.
    let weights = unsafe { slice::from_raw_parts(call.weights, call.panels * panel_bytes) };
    // SAFETY: the contract makes `steps * STEP` activations of each column readable.
    let activations = unsafe { slice::from_raw_parts(call.activations, call.steps * STEP * COLUMNS) };
    let (activations, _) = activations.as_chunks::<STEP>();

    for panel in 0..call.panels {
        let panel_weights = &weights[panel * panel_bytes..][..panel_bytes];
        let (bytes, multipliers) = panel_weights.split_at(BYTE_ROWS * call.steps * STEP);
        let (bytes, _) = bytes.as_chunks::<STEP>();
        for column in 0..COLUMNS {
            let mut sums = [0i32; ROWS];
            let x = activations.iter().skip(column).step_by(COLUMNS);
            for (step, (bytes, x)) in bytes.chunks_exact(BYTE_ROWS).zip(x).enumerate() {
                let multiplier = |row| match format {
                    WeightFormat::I4Group32 => i32::from(
                        multipliers
                            [step / STEPS_PER_GROUP * ROWS + LAYOUT.multiplier_place(WeightFormat::I4Group32, row)],
                    ),
                    _ => 1,
                };
                for (row, bytes) in bytes.iter().enumerate() {
                    let low = bytes.map(|byte| (byte << 4) as i8 >> 4);
                    let high: [i8; STEP] = core::array::from_fn(|i| (bytes[i] as i8 - low[i]) >> 4);
                    sums[row] += multiplier(row) * dot(&low, x);
                    sums[BYTE_ROWS + row] += multiplier(BYTE_ROWS + row) * dot(&high, x);
                }
            }
            for (row, sum) in sums.into_iter().enumerate() {
                // SAFETY: the contract makes `rows` sums of each column writable.
                unsafe { call.sums.add(column * call.sums_stride + panel * ROWS + row).write(sum) };
            }
        }
    }
}

/// As [`gemm_s8s8s32_4x16`], for 2-bit weights with one multiplier per group. A byte holds all rows of the panel.
///
/// # Safety
/// As [`MicroKernel`](super::micro::MicroKernel), without special instructions.
pub(crate) unsafe fn gemm_s2gs8s32_4x16<const COLUMNS: usize>(call: &Call) {
    let panel_bytes = LAYOUT.panel_bytes(WeightFormat::I2Group64, call.steps);
    // SAFETY: the contract makes `panels` panels readable.
    let weights = unsafe { slice::from_raw_parts(call.weights, call.panels * panel_bytes) };
    // SAFETY: the contract makes `steps * STEP` activations of each column readable.
    let activations = unsafe { slice::from_raw_parts(call.activations, call.steps * STEP * COLUMNS) };
    let (activations, _) = activations.as_chunks::<STEP>();

    for panel in 0..call.panels {
        let panel_weights = &weights[panel * panel_bytes..][..panel_bytes];
        let (bytes, multipliers) = panel_weights.split_at(call.steps * STEP);
        let (bytes, _) = bytes.as_chunks::<STEP>();
        for column in 0..COLUMNS {
            let mut sums = [0i32; ROWS];
            let x = activations.iter().skip(column).step_by(COLUMNS);
            for (step, (bytes, x)) in bytes.iter().zip(x).enumerate() {
                let multipliers = &multipliers[step / STEPS_PER_GROUP_I2 * ROWS..][..ROWS];
                for (row, (sum, &multiplier)) in sums.iter_mut().zip(multipliers).enumerate() {
                    let weights = bytes.map(|byte| ((byte ^ 0x80) >> (2 * row) & 3) as i8 + MIN_I2);
                    *sum += i32::from(multiplier as i8) * dot(&weights, x);
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
