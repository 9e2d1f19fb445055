//! Elementary functions of `f32` in a fixed order of operations, so that every target gives the same bits: exponential,
//! logarithm, error function, square root and sums. `gates` has the hyperbolic tangent and the logistic function.

use crate::float::ROUNDING_MAGIC;

/// `ln 2` in two parts: the first has few enough bits that its products with exponents are exact.
const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];

/// `e^x` for `x` up to 0, with a relative error below 3e-7. Below -87 it is `e^-87`, so that it is never a subnormal
/// number, and above 0 it is 1. A NaN counts as minus infinity.
#[inline(always)]
#[expect(clippy::manual_clamp, reason = "`clamp` would keep a NaN")]
pub(super) fn exp_of_negative(x: f32) -> f32 {
    let x = x.max(-87.0).min(0.0);
    let n = (x * core::f32::consts::LOG2_E + ROUNDING_MAGIC) - ROUNDING_MAGIC;
    // e^x = 2^n e^r with r in -0.35..=0.35.
    let r = (x - n * LN_2[0]) - n * LN_2[1];
    // The Taylor series, whose rest is below 6e-9.
    let series =
        r * (r * (r * (r * (r * (r * (1.0 / 5040.0) + 1.0 / 720.0) + 1.0 / 120.0) + 1.0 / 24.0) + 1.0 / 6.0) + 0.5);
    let power = f32::from_bits(((n as i32 + 127) as u32) << 23);
    (r * series + r + 1.0) * power
}

/// The natural logarithm of a normal number of at least 1, with an error below 2e-7 of it or 1e-7. A NaN and infinity
/// give some number.
#[inline(always)]
pub(super) fn ln(x: f32) -> f32 {
    let bits = x.to_bits() as i32;
    // x = 2^n m with m between the square roots of 1/2 and of 2.
    let n = (bits - core::f32::consts::FRAC_1_SQRT_2.to_bits() as i32) >> 23;
    let m = f32::from_bits((bits - (n << 23)) as u32);
    // ln m = 2 artanh f, as a series whose rest is below 1e-9.
    let f = (m - 1.0) / (m + 1.0);
    let t = f * f;
    let series = t * (t * (t * (t * (1.0 / 9.0) + 1.0 / 7.0) + 1.0 / 5.0) + 1.0 / 3.0);
    let (ln_m, n) = (2.0 * f * series + 2.0 * f, n as f32);
    n * LN_2[0] + (n * LN_2[1] + ln_m)
}

/// The error function, with an absolute error below 7e-7, by Abramowitz and Stegun 7.1.26. A NaN counts as infinity.
#[inline(always)]
pub(super) fn erf(x: f32) -> f32 {
    let y = x.abs().min(9.0);
    let t = 1.0 / (1.0 + 0.327_591_1 * y);
    let series = t * (0.254_829_6 + t * (-0.284_496_74 + t * (1.421_413_7 + t * (-1.453_152_1 + t * 1.061_405_4))));
    (1.0 - series * exp_of_negative(-y * y)).copysign(x)
}

/// The square root, rounded correctly; 0 for negative numbers and NaN.
#[inline(always)]
pub(super) fn sqrt(x: f32) -> f32 {
    // Not `max`, whose zero has either sign.
    let x = if x > 0.0 { x } else { 0.0 };
    #[cfg(feature = "std")]
    return x.sqrt();
    #[cfg(not(feature = "std"))]
    sqrt_of_integers(x)
}

/// The same for numbers of at least 0, without a floating-point unit's square root.
#[cfg(any(test, not(feature = "std")))]
fn sqrt_of_integers(x: f32) -> f32 {
    const SCALE: f32 = (1u64 << 24) as f32;
    if x == 0.0 || x == f32::INFINITY {
        return x;
    }
    // A subnormal number is scaled to a normal one.
    let (x, scale) = if x < f32::MIN_POSITIVE { (x * SCALE * SCALE, 1.0 / SCALE) } else { (x, 1.0) };
    let exponent = (x.to_bits() >> 23) as i32 - 127;
    let mantissa = u64::from(x.to_bits() & 0x7f_ffff | 0x80_0000);
    // x = mantissa 2^(exponent - 23); of an even power of two, the root has 24 bits and two more to round by.
    let odd = exponent & 1;
    let root = (mantissa << (27 + odd)).isqrt();
    let power = f32::from_bits((((exponent - odd) / 2 - 23 + 127) as u32) << 23);
    ((root + 2) >> 2) as f32 * power * scale
}

/// Number of partial sums of [`sum`].
const LANES: usize = 8;

/// The sum of `f` of the values. Lane `l` adds the values `l, l + 8, ...` in order; then the lanes are added in pairs.
#[inline(always)]
pub(super) fn sum(values: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [0.0f32; LANES];
    let (whole, tail) = values.as_chunks::<LANES>();
    for values in whole {
        for l in 0..LANES {
            sums[l] += f(values[l]);
        }
    }
    for (sum, &value) in sums.iter_mut().zip(tail) {
        *sum += f(value);
    }
    sum_in_pairs(sums)
}

/// The sum of lanes, of which there is a power of two: the second half is added to the first until one is left.
#[inline(always)]
pub(super) fn sum_in_pairs<const LANES: usize>(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for l in 0..width {
            lanes[l] += lanes[l + width];
        }
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_within_their_bound() {
        for i in 0..=870_000 {
            let x = -(i as f32) * 1e-4;
            let exact = f64::from(x).exp();
            assert!((f64::from(exp_of_negative(x)) - exact).abs() < 3e-7 * exact, "{x}");
        }
        assert_eq!([0.0, -0.0, 1.0, f32::INFINITY].map(exp_of_negative), [1.0; 4]);
        for x in [f32::NEG_INFINITY, f32::NAN, -87.0, f32::MIN] {
            assert!((exp_of_negative(x) / 1.6458e-38 - 1.0).abs() < 1e-3, "{x}");
        }
    }

    #[test]
    fn logarithms_are_within_their_bound() {
        for bits in (1.0f32.to_bits()..f32::INFINITY.to_bits()).step_by(1009) {
            let x = f32::from_bits(bits);
            let exact = f64::from(x).ln();
            assert!((f64::from(ln(x)) - exact).abs() < 1e-7 + 2e-7 * exact, "{x}: {} for {exact}", ln(x));
        }
        assert_eq!(ln(1.0), 0.0);
    }

    #[test]
    fn the_error_function_is_within_its_bound() {
        // Its power series, which f64 holds to 1e-11 up to 4; beyond that it is 1 to 2e-8.
        let exact = |x: f64| {
            let (mut term, mut sum) = (x, x);
            for k in 1..200 {
                let k = f64::from(k);
                term *= -x * x / k;
                sum += term / (2.0 * k + 1.0);
            }
            if x.abs() > 4.0 { x.signum() } else { sum * 2.0 / core::f64::consts::PI.sqrt() }
        };
        let mut largest = 0.0f64;
        for i in -60_000..=60_000 {
            let x = i as f32 * 1e-4;
            largest = largest.max((f64::from(erf(x)) - exact(f64::from(x))).abs());
        }
        assert!(largest < 7e-7, "{largest:e}");
        assert_eq!([f32::INFINITY, f32::MAX, f32::MIN].map(erf), [1.0, 1.0, -1.0]);
    }

    #[test]
    fn square_roots_are_rounded_correctly_without_a_unit_for_them() {
        let some = (0..f32::INFINITY.to_bits()).step_by(997).chain(0..2000).chain(0x7f_fff0..0x80_0010);
        for x in some.map(f32::from_bits).chain([f32::MAX, f32::INFINITY, 1.0, 4.0, 2.0]) {
            assert_eq!(sqrt_of_integers(x).to_bits(), x.sqrt().to_bits(), "{x:e}");
        }
        assert_eq!([-0.0, -1.0, f32::NAN].map(|x| sqrt(x).to_bits()), [0; 3]);
    }

    #[test]
    fn sums_are_of_all_values() {
        for len in 0..40usize {
            let values: alloc::vec::Vec<f32> = (0..len).map(|i| i as f32).collect();
            assert_eq!(sum(&values, |x| 2.0 * x), (len * len.saturating_sub(1)) as f32);
        }
    }
}
