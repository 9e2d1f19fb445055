//! Gate functions of recurrent layers: `tanh` and the logistic function without a branch, a call or a fused operation,
//! so that loops over them vectorize and every target gives the same bits.
//!
//! `tanh x` is taken as the odd rational function `x P(x^2) / Q(x^2)` of degree 7 over 8 on `[-7.75, 7.75]`, its argument
//! clamped to that range, beyond which `tanh` is within 4e-7 of 1. The coefficients minimize the largest absolute error
//! there (9.8e-8 before rounding), found by iteratively reweighted least squares.

/// Arguments are clamped to this magnitude.
const LIMIT: f32 = 7.75;

/// Coefficients of `P`, the constant first.
const P: [f32; 4] = [0.999_999_5, 0.129_361_4, 0.002_962_973_4, 1.157_229e-5];

/// Coefficients of `Q`, the constant first.
const Q: [f32; 5] = [1.0, 0.462_692_92, 0.023_862_62, 0.000_240_445_62, 2.508_020_3e-7];

/// Coefficient `i` of a polynomial in `x^2` for an argument of `x / 2`, times `factor`: exact, for powers of two.
const fn halved<const N: usize>(mut coefficients: [f32; N], mut factor: f32) -> [f32; N] {
    let mut i = 0;
    while i < N {
        coefficients[i] *= factor;
        factor /= 4.0;
        i += 1;
    }
    coefficients
}

/// `P` and `Q` for `tanh(x / 2) / 2`.
const HALF_P: [f32; 4] = halved(P, 0.25);
const HALF_Q: [f32; 5] = halved(Q, 1.0);

/// `x p(x^2) / q(x^2)` for `x` clamped to `limit`.
#[inline(always)]
fn odd_rational(x: f32, limit: f32, p: [f32; 4], q: [f32; 5]) -> f32 {
    let x = x.clamp(-limit, limit);
    let t = x * x;
    let numerator = ((p[3] * t + p[2]) * t + p[1]) * t + p[0];
    let denominator = (((q[4] * t + q[3]) * t + q[2]) * t + q[1]) * t + q[0];
    x * numerator / denominator
}

/// The hyperbolic tangent, within 6e-7 of the true one and never beyond 1 in magnitude. A NaN stays one.
///
/// # Example
/// ```
/// use skinny::factored::gates::tanh;
///
/// assert!((tanh(0.5) - 0.46211716).abs() < 6e-7);
/// assert_eq!(tanh(-0.0), 0.0);
/// ```
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    odd_rational(x, LIMIT, P, Q)
}

/// The logistic function `1 / (1 + exp(-x)) = 1/2 + tanh(x/2) / 2`, within 3e-7 of the true one and never outside `[0, 1]`. A
/// NaN stays one.
///
/// # Example
/// ```
/// use skinny::factored::gates::sigmoid;
///
/// assert_eq!(sigmoid(0.0), 0.5);
/// assert!((sigmoid(2.0) - 0.8807971).abs() < 3e-7);
/// ```
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    0.5 + odd_rational(x, 2.0 * LIMIT, HALF_P, HALF_Q)
}

/// Parts `0..N` of `gates`, which holds `N` parts of `len` elements.
#[inline(always)]
fn parts<const N: usize>(gates: &[f32], len: usize) -> [&[f32]; N] {
    core::array::from_fn(|i| &gates[i * len..][..len])
}

/// A GRU's step on its hidden state `h`, in the form of PyTorch and cuDNN (reset after the product), gates stacked in
/// the order r, z, n:
///
/// ```text
/// r = sigmoid(input_r + recurrent_r)
/// z = sigmoid(input_z + recurrent_z)
/// n = tanh(input_n + r * recurrent_n)
/// h = n + z * (h - n)
/// ```
///
/// `input` and `recurrent` hold `3 * h.len()` elements, biases included. A function of its own, never inlined, so that
/// one look at the assembly shows whether its one loop is vectorized.
#[inline(never)]
pub(crate) fn gru(h: &mut [f32], input: &[f32], recurrent: &[f32]) {
    let len = h.len();
    let [input_r, input_z, input_n] = parts(input, len);
    let [recurrent_r, recurrent_z, recurrent_n] = parts(recurrent, len);
    for i in 0..len {
        let r = sigmoid(input_r[i] + recurrent_r[i]);
        let z = sigmoid(input_z[i] + recurrent_z[i]);
        let n = tanh(input_n[i] + r * recurrent_n[i]);
        h[i] = n + z * (h[i] - n);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Finite floats, `step` apart by their bits, of both signs.
    fn sweep(step: usize) -> impl Iterator<Item = f32> {
        (0..f32::INFINITY.to_bits()).step_by(step).flat_map(|bits| {
            let x = f32::from_bits(bits);
            [x, -x]
        })
    }

    #[test]
    fn tanh_is_within_its_bound() {
        let mut largest = 0.0f64;
        for x in sweep(1009) {
            let y = tanh(x);
            assert!(y.abs() <= 1.0, "tanh({x}) = {y}");
            largest = largest.max((f64::from(y) - f64::from(x).tanh()).abs());
        }
        assert!(largest < 6e-7, "{largest:e}");
    }

    #[test]
    fn sigmoid_is_within_its_bound() {
        let mut largest = 0.0f64;
        for x in sweep(1009) {
            let y = sigmoid(x);
            assert!((0.0..=1.0).contains(&y), "sigmoid({x}) = {y}");
            largest = largest.max((f64::from(y) - 1.0 / (1.0 + (-f64::from(x)).exp())).abs());
        }
        assert!(largest < 3e-7, "{largest:e}");
    }

    #[test]
    fn both_are_odd_and_keep_nan() {
        for x in sweep(1_000_003) {
            assert_eq!(tanh(-x), -tanh(x));
        }
        assert!(tanh(f32::NAN).is_nan() && sigmoid(f32::NAN).is_nan());
        assert!(tanh(f32::INFINITY) > 0.999_999 && sigmoid(f32::NEG_INFINITY) < 1e-6);
    }

    #[test]
    fn a_vector_of_any_length_steps_as_its_elements_do() {
        for len in 0..40usize {
            let value = |i: usize| (i as f32 * 0.37).sin_like();
            let input: alloc::vec::Vec<f32> = (0..3 * len).map(value).collect();
            let recurrent: alloc::vec::Vec<f32> = (0..3 * len).map(|i| value(i + 100)).collect();
            let mut h: alloc::vec::Vec<f32> = (0..len).map(|i| value(i + 200)).collect();
            let before = h.clone();
            gru(&mut h, &input, &recurrent);
            for i in 0..len {
                let mut one = [before[i]];
                gru(
                    &mut one,
                    &[input[i], input[len + i], input[2 * len + i]],
                    &[recurrent[i], recurrent[len + i], recurrent[2 * len + i]],
                );
                assert_eq!(one[0].to_bits(), h[i].to_bits());
            }
        }
    }

    trait SinLike {
        fn sin_like(self) -> Self;
    }

    impl SinLike for f32 {
        /// Some value in -1..1.
        fn sin_like(self) -> f32 {
            let x = self * 7.3;
            (x - x.trunc()) * 2.0 - 1.0
        }
    }
}
