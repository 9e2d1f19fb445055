//! The vector part of the epilogue, with instructions that the compiler does not find on its own.

use core::arch::aarch64::*;

use super::super::portable::epilogue::{Operands, requantize};
use crate::tier::Tier;

/// How a core best rounds and narrows. Both give the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// `fcvtns` and saturating narrowing. It has the fewest instructions, and is best on cores up to the Cortex-A72.
    Convert,
    /// Clamping, adding [`ROUNDING_MAGIC`](crate::float::ROUNDING_MAGIC) and plain narrowing. It has more instructions,
    /// but each can go to any vector pipe. Later cores have only one pipe that converts.
    Magic,
}

impl Style {
    /// The best style for this core. Cores with `sdot` have fewer pipes that convert than pipes that add.
    pub(crate) fn of_this_core() -> Self {
        if Tier::Dotprod.is_available() { Style::Magic } else { Style::Convert }
    }
}

/// Computes `clamp(round(f32(sum + bias) * scale) + zero_point)` as `i8`. Scales are finite.
#[inline]
pub(crate) fn requantize_i8(operands: Operands<'_>, zero_point: i8, style: Style, out: &mut [i8]) {
    match style {
        Style::Convert => convert_i8(operands, zero_point, out),
        Style::Magic => magic_i8(operands, zero_point, out),
    }
}

/// As [`requantize_i8`], to `u8`.
#[inline]
pub(crate) fn requantize_u8(operands: Operands<'_>, zero_point: u8, style: Style, out: &mut [u8]) {
    match style {
        Style::Convert => convert_u8(operands, zero_point, out),
        Style::Magic => magic_u8(operands, zero_point, out),
    }
}

/// Defines the loops of both styles for a type.
macro_rules! loops {
    ($byte:ty, $unsigned:literal, $store:ident, $one:ident, $convert:ident, $magic:ident) => {
        /// Computes one output.
        #[inline]
        fn $one(zero_point: $byte) -> impl Fn(i32, f32) -> $byte {
            let (low, high) = (<$byte>::MIN.into(), <$byte>::MAX.into());
            move |sum, scale| requantize(sum, scale, zero_point.into(), low, high) as $byte
        }

        #[inline(always)]
        fn $convert(operands: Operands<'_>, zero_point: $byte, out: &mut [$byte]) {
            // SAFETY: NEON is part of every target with `kernel_aarch64`, and `each` makes the places writable.
            unsafe {
                let (store, one) = (|bytes, out| $store(out, bytes), $one(zero_point));
                if zero_point == 0 {
                    each(operands, out, |v| convert::<$unsigned>(v, |v| v), store, one);
                } else {
                    let z = vdupq_n_s16(zero_point.into());
                    each(operands, out, |v| convert::<$unsigned>(v, |v| vqaddq_s16(v, z)), store, one);
                }
            }
        }

        #[inline(always)]
        fn $magic(operands: Operands<'_>, zero_point: $byte, out: &mut [$byte]) {
            // SAFETY: as above.
            unsafe {
                let bounds = Bounds::new(<$byte>::MIN.into(), <$byte>::MAX.into(), zero_point.into());
                each(operands, out, |v| magic(v, bounds), |bytes, out| $store(out, bytes), $one(zero_point));
            }
        }
    };
}

loops!(i8, false, store_i8, one_i8, convert_i8, magic_i8);
loops!(u8, true, vst1q_u8, one_u8, convert_u8, magic_u8);

/// Stores signed bytes.
///
/// # Safety
/// Sixteen bytes must be writable at `out`.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn store_i8(out: *mut i8, bytes: uint8x16_t) {
    // SAFETY: by this function's contract.
    unsafe { vst1q_s8(out, vreinterpretq_s8_u8(bytes)) };
}

/// The number of outputs that [`each`] computes at once while there are so many. It gives enough independent work to
/// hide the latency of an in-order core's conversions.
const LANES: usize = 2 * VECTOR;

/// The number of bytes of a vector.
const VECTOR: usize = 16;

/// Scales the sums, narrows every sixteen of them to bytes with `narrow`, and stores them with `store`. Where fewer than
/// sixteen remain, the last sixteen are computed again; where there are not that many, `one` computes each.
#[inline]
#[target_feature(enable = "neon")]
fn each<T>(
    operands: Operands<'_>,
    out: &mut [T],
    narrow: impl Fn([float32x4_t; 4]) -> uint8x16_t,
    store: impl Fn(uint8x16_t, *mut T),
    one: impl Fn(i32, f32) -> T,
) {
    match operands.bias {
        None => each_with::<false, T>(operands, out, narrow, store, one),
        Some(_) => each_with::<true, T>(operands, out, narrow, store, one),
    }
}

/// As [`each`]; `BIAS` says whether there is a bias.
#[inline]
#[target_feature(enable = "neon")]
fn each_with<const BIAS: bool, T>(
    operands: Operands<'_>,
    out: &mut [T],
    narrow: impl Fn([float32x4_t; 4]) -> uint8x16_t,
    store: impl Fn(uint8x16_t, *mut T),
    one: impl Fn(i32, f32) -> T,
) {
    let n = out.len();
    let (sums, scales) = (&operands.sums[..n], &operands.scales[..n]);
    let bias = operands.bias.map_or(sums, |bias| &bias[..n]);
    let sixteen = |i: usize| {
        debug_assert!(i + VECTOR <= n);
        let scaled = |i: usize| {
            // SAFETY: callers take four of the sixteen places from `i`, which are below `n`.
            let (sums, bias, scales) =
                unsafe { (vld1q_s32(sums.as_ptr().add(i)), bias.as_ptr().add(i), vld1q_f32(scales.as_ptr().add(i))) };
            // SAFETY: as above.
            let sums = if BIAS { vaddq_s32(sums, unsafe { vld1q_s32(bias) }) } else { sums };
            vmulq_f32(vcvtq_f32_s32(sums), scales)
        };
        narrow([scaled(i), scaled(i + 4), scaled(i + 8), scaled(i + 12)])
    };
    let out = out.as_mut_ptr();
    let mut i = 0;
    while i + LANES <= n {
        let (low, high) = (sixteen(i), sixteen(i + VECTOR));
        // SAFETY: these places are below `n`.
        unsafe {
            store(low, out.add(i));
            store(high, out.add(i + VECTOR));
        }
        i += LANES;
    }
    if i + VECTOR <= n {
        // SAFETY: these places are below `n`.
        unsafe { store(sixteen(i), out.add(i)) };
        i += VECTOR;
    }
    if i == n {
        return;
    }
    if n >= VECTOR {
        // SAFETY: there are at least sixteen outputs.
        unsafe { store(sixteen(n - VECTOR), out.add(n - VECTOR)) };
        return;
    }
    for i in 0..n {
        let sum = if BIAS { sums[i].wrapping_add(bias[i]) } else { sums[i] };
        // SAFETY: `i < n`.
        unsafe { out.add(i).write(one(sum, scales[i])) };
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn convert<const UNSIGNED: bool>(
    [a, b, c, d]: [float32x4_t; 4],
    offset: impl Fn(int16x8_t) -> int16x8_t,
) -> uint8x16_t {
    let (a, b, c, d) = (vcvtnq_s32_f32(a), vcvtnq_s32_f32(b), vcvtnq_s32_f32(c), vcvtnq_s32_f32(d));
    let low = offset(vqmovn_high_s32(vqmovn_s32(a), b));
    let high = offset(vqmovn_high_s32(vqmovn_s32(c), d));
    if UNSIGNED {
        vqmovun_high_s16(vqmovun_s16(low), high)
    } else {
        vreinterpretq_u8_s8(vqmovn_high_s16(vqmovn_s16(low), high))
    }
}

/// The bounds of the rounded numbers before the zero point is added.
#[derive(Clone, Copy)]
struct Bounds {
    low: float32x4_t,
    high: float32x4_t,
    zero_point: uint8x16_t,
}

impl Bounds {
    #[inline]
    #[target_feature(enable = "neon")]
    fn new(low: i16, high: i16, zero_point: i16) -> Self {
        Self {
            low: vdupq_n_f32(f32::from(low - zero_point)),
            high: vdupq_n_f32(f32::from(high - zero_point)),
            zero_point: vdupq_n_u8(zero_point as u8),
        }
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn magic([a, b, c, d]: [float32x4_t; 4], bounds: Bounds) -> uint8x16_t {
    // The low byte of the sum is the low byte of the rounded number, because the magic number's low byte is 0.
    let round = |v| {
        let clamped = vminq_f32(vmaxq_f32(v, bounds.low), bounds.high);
        vreinterpretq_u16_f32(vaddq_f32(clamped, vdupq_n_f32(crate::float::ROUNDING_MAGIC)))
    };
    let low = vuzp1q_u16(round(a), round(b));
    let high = vuzp1q_u16(round(c), round(d));
    vaddq_u8(vuzp1q_u8(vreinterpretq_u8_u16(low), vreinterpretq_u8_u16(high)), bounds.zero_point)
}
