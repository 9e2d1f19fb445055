//! The vector part of quantizing activations to bytes.

use core::arch::aarch64::*;

use super::super::portable::bytes as portable;
use crate::float::ROUNDING_MAGIC;

/// The number of elements of a vector.
const VECTOR: usize = 4;

/// The bits of the largest magnitude among `values`, 0 if there are none; above
/// [`LARGEST_FINITE`](crate::float::LARGEST_FINITE) if any value is infinite or NaN.
///
/// Left to itself, the compiler makes eight columns of the values, which costs three times as much.
#[inline]
pub(crate) fn magnitude_bits(values: &[f32]) -> u32 {
    let n = values.len();
    if n < VECTOR {
        return portable::magnitude_bits(values);
    }
    let values = values.as_ptr();
    // SAFETY: NEON is part of every target with `kernel_aarch64`. All places are below `n`.
    unsafe {
        let magnitudes = |i: usize| {
            debug_assert!(i + VECTOR <= n);
            vreinterpretq_u32_f32(vabsq_f32(vld1q_f32(values.add(i))))
        };
        // The last vector is shifted to end where the values end.
        let mut largest = magnitudes(n - VECTOR);
        let of_four = |i: usize| {
            let [a, b, c, d] = [0, 1, 2, 3].map(|v| magnitudes(i + v * VECTOR));
            vmaxq_u32(vmaxq_u32(a, b), vmaxq_u32(c, d))
        };
        let mut i = 0;
        while i + 8 * VECTOR <= n {
            largest = vmaxq_u32(largest, vmaxq_u32(of_four(i), of_four(i + 4 * VECTOR)));
            i += 8 * VECTOR;
        }
        if i + 4 * VECTOR <= n {
            largest = vmaxq_u32(largest, of_four(i));
            i += 4 * VECTOR;
        }
        while i + VECTOR <= n {
            largest = vmaxq_u32(largest, magnitudes(i));
            i += VECTOR;
        }
        vmaxvq_u32(largest)
    }
}

/// `a / b` and `b / a`, in the time of one division.
#[inline]
pub(crate) fn quotients(a: f32, b: f32) -> [f32; 2] {
    // SAFETY: NEON is part of every target with `kernel_aarch64`.
    unsafe {
        let both = vset_lane_f32::<1>(b, vdup_n_f32(a));
        let quotients = vdiv_f32(both, vrev64_f32(both));
        [vget_lane_f32::<0>(quotients), vget_lane_f32::<1>(quotients)]
    }
}

/// The number of bytes that fill a vector, and half of it. [`round_each`] computes two vectors at once while it can, as
/// in-order cores have nothing else to do while they wait for one.
const MANY: usize = 16;
const FEW: usize = 8;

/// Rounds each `x * factor`, of magnitude up to 127.5, to a byte, ties to even. The last block is shifted to end where the
/// values end, so some are computed again.
#[inline]
pub(crate) fn round_each(x: &[f32], factor: f32, values: &mut [i8]) {
    let n = values.len();
    if n < FEW {
        return portable::round_each(x, factor, values);
    }
    let (x, values) = (x[..n].as_ptr(), values.as_mut_ptr());
    // SAFETY: NEON is part of every target with `kernel_aarch64`. All places are below `n`.
    unsafe {
        // The low byte of the sum is the low byte of the rounded number, because the magic number's low byte is 0.
        let rounded = |i: usize| {
            debug_assert!(i + VECTOR <= n);
            let scaled = vmulq_n_f32(vld1q_f32(x.add(i)), factor);
            vreinterpretq_u16_f32(vaddq_f32(scaled, vdupq_n_f32(ROUNDING_MAGIC)))
        };
        let eight = |i: usize| vreinterpretq_u8_u16(vuzp1q_u16(rounded(i), rounded(i + VECTOR)));
        let sixteen = |i: usize| vreinterpretq_s8_u8(vuzp1q_u8(eight(i), eight(i + FEW)));
        let few = |i: usize| {
            let eight = eight(i);
            vst1_s8(values.add(i), vreinterpret_s8_u8(vget_low_u8(vuzp1q_u8(eight, eight))));
        };
        let mut i = 0;
        while i + 2 * MANY <= n {
            let (low, high) = (sixteen(i), sixteen(i + MANY));
            vst1q_s8(values.add(i), low);
            vst1q_s8(values.add(i + MANY), high);
            i += 2 * MANY;
        }
        if i + MANY <= n {
            vst1q_s8(values.add(i), sixteen(i));
            i += MANY;
        }
        if i < n {
            if i + FEW <= n {
                few(i);
            }
            few(n - FEW);
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    /// Numbers of all magnitudes and both signs that look random, of which one is the largest.
    fn numbers(seed: usize, len: usize) -> Vec<f32> {
        let number = |i: usize| f32::from_bits(((seed + i) as u32).wrapping_mul(2_654_435_761) & 0xbfff_ffff);
        let mut numbers: Vec<f32> = (0..len).map(number).collect();
        if len > 0 {
            numbers[seed % len] = -3.0 - seed as f32;
        }
        numbers
    }

    #[test]
    fn the_largest_magnitude_is_found_at_any_place() {
        for len in 0..100 {
            for seed in 0..len + 1 {
                let mut numbers = numbers(seed, len);
                assert_eq!(magnitude_bits(&numbers), portable::magnitude_bits(&numbers), "{len}, {seed}");
                for special in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -f32::NAN, f32::MAX, -0.0] {
                    numbers.get_mut(seed).into_iter().for_each(|number| *number = special);
                    assert_eq!(
                        magnitude_bits(&numbers),
                        portable::magnitude_bits(&numbers),
                        "{len}, {seed}, {special}"
                    );
                }
            }
        }
    }

    #[test]
    fn numbers_are_rounded_as_by_the_portable_code() {
        for len in 0..100 {
            // Halves, which are ties, and other numbers up to 127.5.
            let x: Vec<f32> = (0..len).map(|i| (i * 37 % 1021) as f32 / 4.0 - 127.5).collect();
            let (mut values, mut expected) = (alloc::vec![77; len + 1], alloc::vec![77; len + 1]);
            for factor in [1.0, 0.37, -0.999] {
                round_each(&x, factor, &mut values[..len]);
                portable::round_each(&x, factor, &mut expected[..len]);
                assert_eq!(values, expected, "{len}");
            }
        }
    }

    #[test]
    fn quotients_are_those_of_both_numbers() {
        for (a, b) in [(1.0f32, 3.0f32), (f32::MIN_POSITIVE, 127.0), (3.0e38, 127.0), (0.1, 7.0)] {
            assert_eq!(quotients(a, b).map(f32::to_bits), [a / b, b / a].map(f32::to_bits));
        }
    }
}
