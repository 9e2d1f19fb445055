//! Kernels of the dotprod tier: `sdot` by element.

use core::arch::aarch64::*;

use super::super::micro::{Call, STEP};
use super::ops::sdot_lane;

const ROWS: usize = 16;
const VECTORS: usize = ROWS / 4;

/// # Safety
/// As [`MicroKernel`](super::super::micro::MicroKernel).
#[target_feature(enable = "neon,dotprod")]
pub(crate) unsafe fn gemm_s8s8s32_16x4<const COLUMNS: usize>(call: &Call) {
    let panel_bytes = ROWS * call.steps * STEP;
    for panel in 0..call.panels {
        // SAFETY: the panel is below `call.panels`, and the columns of the tiles are those of the kernel.
        unsafe {
            match COLUMNS {
                1 => tile::<1>(call, panel, panel_bytes, COLUMNS, 0),
                2 => tile::<2>(call, panel, panel_bytes, COLUMNS, 0),
                3 => tile::<3>(call, panel, panel_bytes, COLUMNS, 0),
                4 => tile::<4>(call, panel, panel_bytes, COLUMNS, 0),
                5 => tile::<5>(call, panel, panel_bytes, COLUMNS, 0),
                6 => {
                    tile::<3>(call, panel, panel_bytes, COLUMNS, 0);
                    tile::<3>(call, panel, panel_bytes, COLUMNS, 3);
                }
                7 => {
                    tile::<4>(call, panel, panel_bytes, COLUMNS, 0);
                    tile::<3>(call, panel, panel_bytes, COLUMNS, 4);
                }
                8 => {
                    tile::<4>(call, panel, panel_bytes, COLUMNS, 0);
                    tile::<4>(call, panel, panel_bytes, COLUMNS, 4);
                }
                9 => {
                    tile::<5>(call, panel, panel_bytes, COLUMNS, 0);
                    tile::<4>(call, panel, panel_bytes, COLUMNS, 5);
                }
                _ => {
                    tile::<5>(call, panel, panel_bytes, COLUMNS, 0);
                    tile::<5>(call, panel, panel_bytes, COLUMNS, 5);
                }
            }
        }
    }
}

/// The sums of one panel and `COLUMNS` columns from `column` on, of `columns` in all.
///
/// # Safety
/// The contract of `call` must hold, panel and columns being inside it.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn tile<const COLUMNS: usize>(call: &Call, panel: usize, panel_bytes: usize, columns: usize, column: usize) {
    // SAFETY: by this function's contract.
    unsafe {
        let mut acc = [[vdupq_n_s32(0); VECTORS]; COLUMNS];
        let mut w = call.weights.add(panel * panel_bytes).cast::<i8>();
        let mut x = call.activations.add(column * STEP);
        for _ in 0..call.steps {
            let mut xs = [vdupq_n_s8(0); COLUMNS];
            for (c, v) in xs.iter_mut().enumerate() {
                *v = vld1q_s8(x.add(c * STEP));
            }
            macro_rules! quarter {
                ($lane:literal) => {
                    for v in 0..VECTORS {
                        let weights = vld1q_s8(w.add(($lane * VECTORS + v) * 16));
                        for c in 0..COLUMNS {
                            acc[c][v] = sdot_lane::<$lane>(acc[c][v], weights, xs[c]);
                        }
                    }
                };
            }
            quarter!(0);
            quarter!(1);
            quarter!(2);
            quarter!(3);
            w = w.add(ROWS * STEP);
            x = x.add(columns * STEP);
        }
        for (c, acc) in acc.iter().enumerate() {
            for (v, &acc) in acc.iter().enumerate() {
                vst1q_s32(call.sums.add((column + c) * call.sums_stride + panel * ROWS + v * 4), acc);
            }
        }
    }
}
