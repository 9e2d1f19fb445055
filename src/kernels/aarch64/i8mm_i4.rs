//! 4-bit kernels of the i8mm tier.
//!
//! A byte holds a weight of an even run of eight in its low half and one of the next run in its high half.

use core::arch::aarch64::*;

use super::super::micro::{Call, STEP};
use super::i8mm::{LAYOUT, ROW_PAIRS, Sums};
use super::ops::{sdot, smmla};

const ROWS: usize = LAYOUT.panel_rows;
const RUN: usize = LAYOUT.weight_run;

/// The sums of low halves and of high halves, apart where there are too few to keep `sdot` and `smmla` from waiting for
/// the one before.
struct Halves<const PAIRS: usize, const SINGLE: usize>([Sums<PAIRS, SINGLE>; 2]);

impl<const PAIRS: usize, const SINGLE: usize> Halves<PAIRS, SINGLE> {
    const COLUMNS: usize = 2 * PAIRS + SINGLE;
    const HIGH: usize = if PAIRS + SINGLE <= 2 { 1 } else { 0 };

    #[inline]
    #[target_feature(enable = "neon")]
    fn zero() -> Self {
        Self([Sums::zero(), Sums::zero()])
    }

    /// Adds 16 times the products of a step: a half byte in the high half of a byte is 16 times itself, so unpacking
    /// takes one instruction a half.
    ///
    /// # Safety
    /// `w` must have a step of a panel to read, `x` a step of all columns.
    #[inline]
    #[target_feature(enable = "neon,dotprod,i8mm")]
    unsafe fn step(&mut self, w: *const i8, x: *const i8) {
        // SAFETY: by this function's contract.
        unsafe {
            let bytes: [int8x16_t; ROW_PAIRS] = core::array::from_fn(|r| vld1q_s8(w.add(r * 2 * RUN)));
            for half in 0..2 {
                let x = x.add(half * Self::COLUMNS * RUN);
                let pairs: [int8x16_t; PAIRS] = core::array::from_fn(|c| vld1q_s8(x.add(c * 2 * RUN)));
                let single: [int8x16_t; SINGLE] =
                    core::array::from_fn(|_| vreinterpretq_s8_s64(vld1q_dup_s64(x.add(PAIRS * 2 * RUN).cast())));
                let sums = &mut self.0[if half == 1 { Self::HIGH } else { 0 }];
                for r in 0..ROW_PAIRS {
                    let w = match half {
                        0 => vshlq_n_s8::<4>(bytes[r]),
                        _ => vandq_s8(bytes[r], vdupq_n_s8(0xf0u8 as i8)),
                    };
                    for c in 0..PAIRS {
                        sums.pairs[r][c] = smmla(sums.pairs[r][c], w, pairs[c]);
                    }
                    for c in 0..SINGLE {
                        sums.single[r][c] = sdot(sums.single[r][c], w, single[c]);
                    }
                }
            }
        }
    }

    /// # Safety
    /// As [`step`](Self::step), for two steps.
    #[inline]
    #[target_feature(enable = "neon,dotprod,i8mm")]
    unsafe fn two_steps(&mut self, w: *const i8, x: *const i8) {
        // SAFETY: by this function's contract.
        unsafe {
            self.step(w, x);
            self.step(w.add(ROWS * STEP / 2), x.add(Self::COLUMNS * STEP));
        }
    }

    /// The sums of both halves.
    #[inline]
    #[target_feature(enable = "neon")]
    fn total(self) -> Sums<PAIRS, SINGLE> {
        let [mut low, high] = self.0;
        if Self::HIGH == 1 {
            for r in 0..ROW_PAIRS {
                for c in 0..PAIRS {
                    low.pairs[r][c] = vaddq_s32(low.pairs[r][c], high.pairs[r][c]);
                }
                for c in 0..SINGLE {
                    low.single[r][c] = vaddq_s32(low.single[r][c], high.single[r][c]);
                }
            }
        }
        low
    }
}

/// Calls a tile with the pairs and the single column of a batch.
macro_rules! by_columns {
    ($columns:expr, $tile:ident($($argument:expr),*)) => {
        match $columns {
            1 => $tile::<0, 1>($($argument),*),
            2 => $tile::<1, 0>($($argument),*),
            3 => $tile::<1, 1>($($argument),*),
            4 => $tile::<2, 0>($($argument),*),
            5 => $tile::<2, 1>($($argument),*),
            6 => $tile::<3, 0>($($argument),*),
            7 => $tile::<3, 1>($($argument),*),
            8 => $tile::<4, 0>($($argument),*),
            9 => $tile::<4, 1>($($argument),*),
            _ => $tile::<5, 0>($($argument),*),
        }
    };
}

/// Panels of 8 rows in runs of 8.
///
/// # Safety
/// As [`MicroKernel`](super::super::micro::MicroKernel). `steps` is even.
#[target_feature(enable = "neon,dotprod,i8mm")]
pub(crate) unsafe fn gemm_s4s8s32_8x8<const COLUMNS: usize>(call: &Call) {
    for panel in 0..call.panels {
        // SAFETY: the panel is one of the call's, and the columns of its tiles are those of the kernel.
        unsafe { by_columns!(COLUMNS, tile(call, panel)) }
    }
}

/// # Safety
/// The contract of `call` must hold, the panel being inside it.
#[inline]
#[target_feature(enable = "neon,dotprod,i8mm")]
unsafe fn tile<const PAIRS: usize, const SINGLE: usize>(call: &Call, panel: usize) {
    // SAFETY: by this function's contract.
    unsafe {
        let mut w = call.weights.add(panel * ROWS * STEP / 2 * call.steps).cast::<i8>();
        let mut x = call.activations;
        let mut halves = Halves::<PAIRS, SINGLE>::zero();
        for _ in 0..call.steps / 2 {
            halves.two_steps(w, x);
            w = w.add(ROWS * STEP);
            x = x.add(2 * (2 * PAIRS + SINGLE) * STEP);
        }
        let mut sums = halves.total();
        for r in 0..ROW_PAIRS {
            for c in 0..PAIRS {
                sums.pairs[r][c] = vshrq_n_s32::<4>(sums.pairs[r][c]);
            }
            for c in 0..SINGLE {
                sums.single[r][c] = vshrq_n_s32::<4>(sums.single[r][c]);
            }
        }
        sums.store(call, panel);
    }
}

/// As [`gemm_s4s8s32_8x8`], with a multiplier for each group of two steps.
///
/// # Safety
/// As [`gemm_s4s8s32_8x8`].
#[target_feature(enable = "neon,dotprod,i8mm")]
pub(crate) unsafe fn gemm_s4gs8s32_8x8<const COLUMNS: usize>(call: &Call) {
    for panel in 0..call.panels {
        // SAFETY: the panel is one of the call's, and the columns of its tiles are those of the kernel.
        unsafe { by_columns!(COLUMNS, grouped_tile(call, panel)) }
    }
}

/// The sum of a group fits `i16`, `32 * 7 * 128 < 2^15`, so narrowing (which takes the factor 16 off) lets one `smlal`
/// apply four multipliers.
///
/// # Safety
/// The contract of `call` must hold, the panel being inside it.
#[inline]
#[target_feature(enable = "neon,dotprod,i8mm")]
unsafe fn grouped_tile<const PAIRS: usize, const SINGLE: usize>(call: &Call, panel: usize) {
    // SAFETY: by this function's contract.
    unsafe {
        let weight_bytes = ROWS * STEP / 2 * call.steps;
        let panel_bytes = weight_bytes + LAYOUT.multiplier_bytes(call.steps);
        let mut w = call.weights.add(panel * panel_bytes).cast::<i8>();
        let mut multipliers = w.add(weight_bytes);
        let mut x = call.activations;
        let mut pairs = Sums::<PAIRS, 0>::zero();
        let mut single = [[vdupq_n_s32(0); SINGLE]; ROW_PAIRS / 2];
        for _ in 0..call.steps / 2 {
            let mut group = Halves::<PAIRS, SINGLE>::zero();
            group.two_steps(w, x);
            let group = group.total();
            let m = vld1_s8(multipliers);
            // Each row's multiplier twice, as the sums of pairs of rows lie: row, row, next row, next row.
            let (low, high) = (vmovl_s8(vzip1_s8(m, m)), vmovl_s8(vzip2_s8(m, m)));
            let twice = [vget_low_s16(low), vget_high_s16(low), vget_low_s16(high), vget_high_s16(high)];
            for r in 0..ROW_PAIRS {
                for c in 0..PAIRS {
                    let group = vshrn_n_s32::<4>(group.pairs[r][c]);
                    pairs.pairs[r][c] = vmlal_s16(pairs.pairs[r][c], group, twice[r]);
                }
            }
            let m = vmovl_s8(m);
            for c in 0..SINGLE {
                let low = vpaddq_s32(group.single[0][c], group.single[1][c]);
                let high = vpaddq_s32(group.single[2][c], group.single[3][c]);
                let group = vshrn_high_n_s32::<4>(vshrn_n_s32::<4>(low), high);
                single[0][c] = vmlal_s16(single[0][c], vget_low_s16(group), vget_low_s16(m));
                single[1][c] = vmlal_high_s16(single[1][c], group, m);
            }
            w = w.add(ROWS * STEP);
            x = x.add(2 * (2 * PAIRS + SINGLE) * STEP);
            multipliers = multipliers.add(ROWS);
        }
        pairs.store(call, panel);
        for c in 0..SINGLE {
            let out = call.sums.add(2 * PAIRS * call.sums_stride + panel * ROWS);
            vst1q_s32(out, single[0][c]);
            vst1q_s32(out.add(4), single[1][c]);
        }
    }
}
