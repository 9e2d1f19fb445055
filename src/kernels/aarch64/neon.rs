//! Kernels of the NEON tier: base AArch64, `smull`, `smlal2`, `sadalp`.

use core::arch::aarch64::*;

use super::super::micro::{Call, STEP};

const ROWS: usize = 4;

/// How the products of 16 weights and 16 activations become `i32` sums.
trait Multiply {
    fn multiply_add(acc: int32x4_t, w: int8x16_t, x: int8x16_t) -> int32x4_t;
}

/// Two products are added in `i16`: exact unless both are `(-128)^2`.
struct Usual;

impl Multiply for Usual {
    #[inline(always)]
    fn multiply_add(acc: int32x4_t, w: int8x16_t, x: int8x16_t) -> int32x4_t {
        // SAFETY: NEON is part of every target with `kernel_aarch64`.
        unsafe {
            let pairs = vmlal_high_s8(vmull_s8(vget_low_s8(w), vget_low_s8(x)), w, x);
            vpadalq_s16(acc, pairs)
        }
    }
}

/// Each product goes to `i32` by itself: exact for all operands.
struct Extreme;

impl Multiply for Extreme {
    #[inline(always)]
    fn multiply_add(acc: int32x4_t, w: int8x16_t, x: int8x16_t) -> int32x4_t {
        // SAFETY: NEON is part of every target with `kernel_aarch64`.
        unsafe {
            let acc = vpadalq_s16(acc, vmull_s8(vget_low_s8(w), vget_low_s8(x)));
            vpadalq_s16(acc, vmull_high_s8(w, x))
        }
    }
}

/// The usual kernels: panels without an extreme pair.
///
/// # Safety
/// As [`MicroKernel`](super::super::micro::MicroKernel).
pub(crate) unsafe fn gemm_s8s8s32_4x16<const COLUMNS: usize>(call: &Call) {
    unsafe { gemm::<Usual, COLUMNS>(call) }
}

/// Kernels for panels with an extreme pair.
///
/// # Safety
/// As [`MicroKernel`](super::super::micro::MicroKernel).
pub(crate) unsafe fn gemm_s8s8s32_4x16_extreme<const COLUMNS: usize>(call: &Call) {
    unsafe { gemm::<Extreme, COLUMNS>(call) }
}

#[inline(always)]
unsafe fn gemm<M: Multiply, const COLUMNS: usize>(call: &Call) {
    let panel_bytes = ROWS * call.steps * STEP;
    let mut panel = 0;
    // SAFETY: in the calls below panels are below `call.panels`, and the columns of the tiles are those of the kernel.
    unsafe {
        if COLUMNS <= 2 {
            while panel + 2 <= call.panels {
                match COLUMNS {
                    1 => tile::<M, 2, 1>(call, panel, panel_bytes, COLUMNS, 0),
                    _ => tile::<M, 2, 2>(call, panel, panel_bytes, COLUMNS, 0),
                }
                panel += 2;
            }
        }
        while panel < call.panels {
            match COLUMNS {
                1 => tile::<M, 1, 1>(call, panel, panel_bytes, COLUMNS, 0),
                2 => tile::<M, 1, 2>(call, panel, panel_bytes, COLUMNS, 0),
                3 => tile::<M, 1, 3>(call, panel, panel_bytes, COLUMNS, 0),
                4 => tile::<M, 1, 4>(call, panel, panel_bytes, COLUMNS, 0),
                5 => {
                    tile::<M, 1, 3>(call, panel, panel_bytes, COLUMNS, 0);
                    tile::<M, 1, 2>(call, panel, panel_bytes, COLUMNS, 3);
                }
                6 => {
                    tile::<M, 1, 3>(call, panel, panel_bytes, COLUMNS, 0);
                    tile::<M, 1, 3>(call, panel, panel_bytes, COLUMNS, 3);
                }
                7 => {
                    tile::<M, 1, 4>(call, panel, panel_bytes, COLUMNS, 0);
                    tile::<M, 1, 3>(call, panel, panel_bytes, COLUMNS, 4);
                }
                8 => {
                    tile::<M, 1, 4>(call, panel, panel_bytes, COLUMNS, 0);
                    tile::<M, 1, 4>(call, panel, panel_bytes, COLUMNS, 4);
                }
                9 => {
                    tile::<M, 1, 3>(call, panel, panel_bytes, COLUMNS, 0);
                    tile::<M, 1, 3>(call, panel, panel_bytes, COLUMNS, 3);
                    tile::<M, 1, 3>(call, panel, panel_bytes, COLUMNS, 6);
                }
                _ => {
                    tile::<M, 1, 4>(call, panel, panel_bytes, COLUMNS, 0);
                    tile::<M, 1, 3>(call, panel, panel_bytes, COLUMNS, 4);
                    tile::<M, 1, 3>(call, panel, panel_bytes, COLUMNS, 7);
                }
            }
            panel += 1;
        }
    }
}

/// The sums of `PANELS` panels from `panel` on and `COLUMNS` columns from `column` on, of `columns` in all.
///
/// # Safety
/// The contract of `call` must hold, those panels and columns being inside it.
#[inline(always)]
unsafe fn tile<M: Multiply, const PANELS: usize, const COLUMNS: usize>(
    call: &Call,
    panel: usize,
    panel_bytes: usize,
    columns: usize,
    column: usize,
) {
    // SAFETY: by this function's contract.
    unsafe {
        let mut acc = [[[vdupq_n_s32(0); COLUMNS]; ROWS]; PANELS];
        let mut w = call.weights.add(panel * panel_bytes).cast::<i8>();
        let mut x = call.activations.add(column * STEP);
        for _ in 0..call.steps {
            let mut xs = [vdupq_n_s8(0); COLUMNS];
            for (c, v) in xs.iter_mut().enumerate() {
                *v = vld1q_s8(x.add(c * STEP));
            }
            for (p, acc) in acc.iter_mut().enumerate() {
                for (r, acc) in acc.iter_mut().enumerate() {
                    let weights = vld1q_s8(w.add(p * panel_bytes + r * STEP));
                    for (acc, &x) in acc.iter_mut().zip(&xs) {
                        *acc = M::multiply_add(*acc, weights, x);
                    }
                }
            }
            w = w.add(ROWS * STEP);
            x = x.add(columns * STEP);
        }
        for (p, acc) in acc.iter().enumerate() {
            for c in 0..COLUMNS {
                let sums = vpaddq_s32(vpaddq_s32(acc[0][c], acc[1][c]), vpaddq_s32(acc[2][c], acc[3][c]));
                vst1q_s32(call.sums.add((column + c) * call.sums_stride + (panel + p) * ROWS), sums);
            }
        }
    }
}
