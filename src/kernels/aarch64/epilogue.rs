//! Vectors of the epilogue whose instructions the compiler does not find by itself.

use core::arch::aarch64::*;

/// Bytes that one call makes: enough independent work to hide the latency of an in-order core's conversions.
pub(crate) const LANES: usize = 32;

/// `clamp(round(f32(sum) * scale) + zero_point)` to `i8`, by `fcvtns` and saturating narrowing.
#[inline]
pub(crate) fn requantize_i8(sums: &[i32; LANES], scales: &[f32; LANES], zero_point: i16) -> [i8; LANES] {
    let mut out = [0; LANES];
    let halves = scaled(sums, scales, zero_point);
    for (out, [low, high]) in out.as_chunks_mut::<16>().0.iter_mut().zip(halves) {
        // SAFETY: NEON is part of every target with `kernel_aarch64`, and `out` has 16 elements.
        unsafe { vst1q_s8(out.as_mut_ptr(), vqmovn_high_s16(vqmovn_s16(low), high)) };
    }
    out
}

/// As [`requantize_i8`], to `u8`.
#[inline]
pub(crate) fn requantize_u8(sums: &[i32; LANES], scales: &[f32; LANES], zero_point: i16) -> [u8; LANES] {
    let mut out = [0; LANES];
    let halves = scaled(sums, scales, zero_point);
    for (out, [low, high]) in out.as_chunks_mut::<16>().0.iter_mut().zip(halves) {
        // SAFETY: NEON is part of every target with `kernel_aarch64`, and `out` has 16 elements.
        unsafe { vst1q_u8(out.as_mut_ptr(), vqmovun_high_s16(vqmovun_s16(low), high)) };
    }
    out
}

/// `round(f32(sum) * scale) + zero_point`, saturated to `i16`; a NaN counts as 0.
#[inline(always)]
fn scaled(sums: &[i32; LANES], scales: &[f32; LANES], zero_point: i16) -> [[int16x8_t; 2]; LANES / 16] {
    // SAFETY: NEON is part of every target with `kernel_aarch64`; both arrays have LANES elements.
    unsafe {
        let load = |i| vld1q_s32(sums.as_ptr().add(i));
        let rounded = |i| vcvtnq_s32_f32(vmulq_f32(vcvtq_f32_s32(load(i)), vld1q_f32(scales.as_ptr().add(i))));
        let rounded: [int32x4_t; LANES / 4] = core::array::from_fn(|i| rounded(4 * i));
        let zero_point = vdupq_n_s16(zero_point);
        let narrow = |i: usize| vqaddq_s16(vqmovn_high_s32(vqmovn_s32(rounded[i]), rounded[i + 1]), zero_point);
        core::array::from_fn(|i| [narrow(4 * i), narrow(4 * i + 2)])
    }
}
