//! The vector part of the epilogue, with instructions that the compiler does not find on its own.

use core::arch::aarch64::*;

use crate::tier::Tier;

/// The number of outputs computed at once. It gives enough independent work to hide the latency of an in-order core's
/// conversions.
pub(crate) const LANES: usize = 32;

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

/// Computes `clamp(round(f32(sum) * scale) + zero_point)` as `i8`. Scales are finite.
#[inline(always)]
pub(crate) fn requantize_i8(
    sums: &[[i32; LANES]],
    scales: &[[f32; LANES]],
    zero_point: i8,
    style: Style,
    out: &mut [[i8; LANES]],
) {
    let zero_point = i16::from(zero_point);
    // SAFETY: NEON is part of every target with `kernel_aarch64`, and LANES bytes are writable at each place.
    let store = |bytes: [uint8x16_t; 2], out: &mut [i8; LANES]| unsafe {
        vst1q_s8(out.as_mut_ptr(), vreinterpretq_s8_u8(bytes[0]));
        vst1q_s8(out.as_mut_ptr().add(16), vreinterpretq_s8_u8(bytes[1]));
    };
    // SAFETY: NEON is part of every target with `kernel_aarch64`.
    unsafe {
        match style {
            Style::Convert if zero_point == 0 => each(sums, scales, out, |v| convert::<false>(v, |v| v), store),
            Style::Convert => {
                let zero_point = vdupq_n_s16(zero_point);
                each(sums, scales, out, |v| convert::<false>(v, |v| vqaddq_s16(v, zero_point)), store);
            }
            Style::Magic => {
                let bounds = Bounds::new(-128, 127, zero_point);
                each(sums, scales, out, |v| magic(v, bounds), store);
            }
        }
    }
}

/// As [`requantize_i8`], to `u8`.
#[inline(always)]
pub(crate) fn requantize_u8(
    sums: &[[i32; LANES]],
    scales: &[[f32; LANES]],
    zero_point: u8,
    style: Style,
    out: &mut [[u8; LANES]],
) {
    let zero_point = i16::from(zero_point);
    // SAFETY: NEON is part of every target with `kernel_aarch64`, and LANES bytes are writable at each place.
    let store = |bytes: [uint8x16_t; 2], out: &mut [u8; LANES]| unsafe {
        vst1q_u8(out.as_mut_ptr(), bytes[0]);
        vst1q_u8(out.as_mut_ptr().add(16), bytes[1]);
    };
    // SAFETY: NEON is part of every target with `kernel_aarch64`.
    unsafe {
        match style {
            Style::Convert if zero_point == 0 => each(sums, scales, out, |v| convert::<true>(v, |v| v), store),
            Style::Convert => {
                let zero_point = vdupq_n_s16(zero_point);
                each(sums, scales, out, |v| convert::<true>(v, |v| vqaddq_s16(v, zero_point)), store);
            }
            Style::Magic => {
                let bounds = Bounds::new(0, 255, zero_point);
                each(sums, scales, out, |v| magic(v, bounds), store);
            }
        }
    }
}

/// Scales the sums, narrows every sixteen of them to bytes with `narrow`, and stores every thirty-two.
#[inline]
#[target_feature(enable = "neon")]
fn each<T>(
    sums: &[[i32; LANES]],
    scales: &[[f32; LANES]],
    out: &mut [[T; LANES]],
    narrow: impl Fn([float32x4_t; 4]) -> uint8x16_t,
    store: impl Fn([uint8x16_t; 2], &mut [T; LANES]),
) {
    for ((sums, scales), out) in sums.iter().zip(scales).zip(out) {
        // SAFETY: `i` is at most `LANES - 4`.
        let scaled = |i: usize| unsafe {
            vmulq_f32(vcvtq_f32_s32(vld1q_s32(sums.as_ptr().add(i))), vld1q_f32(scales.as_ptr().add(i)))
        };
        let scaled: [float32x4_t; LANES / 4] = [0, 4, 8, 12, 16, 20, 24, 28].map(scaled);
        let [a, b, c, d, e, f, g, h] = scaled;
        store([narrow([a, b, c, d]), narrow([e, f, g, h])], out);
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
