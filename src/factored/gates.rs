//! Gate functions of recurrent layers: `tanh` and the logistic function. They have no branches, calls or fused
//! operations, so loops over them vectorize and every target gives the same bits.
//!
//! Both are approximated by odd rational functions `x P(x^2) / Q(x^2)`. The argument is clamped to an interval outside
//! which the function is 1 within the error. `tanh x` has degree 7 over 8 on `[-7.75, 7.75]`. `tanh(x / 2)`, from which
//! the logistic function is made, has degree 7 over 6 on `[-14, 14]`. The coefficients minimize the largest absolute
//! error on the interval, which is 1e-7 and 9e-7 before rounding; they were found by iteratively reweighted least
//! squares. They are scaled so that `Q` is monic, which saves a product.
//!
//! On many cores a division costs as much as all the rest, so gates keep numerators and denominators apart and divide
//! only once or twice.

use core::ops::Range;

/// `numerator / denominator`, no greater than 1 in magnitude; the denominator is positive.
#[derive(Clone, Copy)]
struct Ratio {
    numerator: f32,
    denominator: f32,
}

/// Clamps `x` to `[-limit, limit]`. A NaN becomes `-limit`: `max` and `min` are one instruction each on AArch64, while
/// comparisons that keep a NaN are two.
#[inline(always)]
fn clamp(x: f32, limit: f32) -> f32 {
    x.max(-limit).min(limit)
}

/// `tanh x`. The denominator is below 1e9.
#[inline(always)]
fn tanh_ratio(x: f32) -> Ratio {
    let x = clamp(x, 7.75);
    let t = x * x;
    Ratio {
        numerator: x * (((46.141_13 * t + 11_813.992) * t + 515_790.8) * t + 3_987_206.3),
        denominator: (((t + 958.706_8) * t + 95_145.234) * t + 1_844_852.9) * t + 3_987_208.0,
    }
}

/// `tanh(x / 2)`. The denominator is below 1e8.
#[inline(always)]
fn tanh_of_half_ratio(x: f32) -> Ratio {
    let x = clamp(x, 14.0);
    let t = x * x;
    Ratio {
        numerator: x * (((0.013_803_976 * t + 31.991_21) * t + 6_913.718_8) * t + 224_795.48),
        denominator: ((t + 592.119_1) * t + 51_291.844) * t + 449_592.9,
    }
}

/// The hyperbolic tangent, with an absolute error below 6e-7 and never beyond 1 in magnitude. A NaN counts as minus
/// infinity.
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
    let Ratio { numerator, denominator } = tanh_ratio(x);
    numerator / denominator
}

/// The logistic function `1 / (1 + exp(-x)) = (1 + tanh(x / 2)) / 2`, with an absolute error below 8e-7 and never
/// outside `[0, 1]`. A NaN counts as minus infinity.
///
/// # Example
/// ```
/// use skinny::factored::gates::sigmoid;
///
/// assert_eq!(sigmoid(0.0), 0.5);
/// assert!((sigmoid(2.0) - 0.8807971).abs() < 8e-7);
/// ```
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    let Ratio { numerator, denominator } = tanh_of_half_ratio(x);
    (denominator + numerator) / (denominator + denominator)
}

/// Number of units computed together: two vectors, so that an in-order core has work while it waits for one of them.
const LANES: usize = 8;

/// Replaces the elements of `outputs` by what `f` makes of them and of those of `inputs`: `N` at a time, then [`LANES`],
/// then one by one. All slices have the same length.
#[inline(always)]
fn each<const N: usize, const I: usize, const O: usize>(
    inputs: [&[f32]; I],
    mut outputs: [&mut [f32]; O],
    f: impl Fn([f32; I], [f32; O]) -> [f32; O],
) {
    let len = outputs[0].len();
    let (many, few) = (len - len % N, len - len % LANES);
    blocks::<N, I, O>(0..many, inputs, &mut outputs, &f);
    blocks::<LANES, I, O>(many..few, inputs, &mut outputs, &f);
    blocks::<1, I, O>(few..len, inputs, &mut outputs, &f);
}

/// As [`each`], for a range of whole blocks of `N`.
#[inline(always)]
fn blocks<const N: usize, const I: usize, const O: usize>(
    range: Range<usize>,
    inputs: [&[f32]; I],
    outputs: &mut [&mut [f32]; O],
    f: impl Fn([f32; I], [f32; O]) -> [f32; O],
) {
    let end = range.end;
    for at in range.step_by(N) {
        let mut block = [[0.0; N]; O];
        for l in 0..N {
            let input = |i: usize| inputs[i][at..end][..N][l];
            let output = |i: usize| outputs[i][at..end][..N][l];
            let new = f(core::array::from_fn(input), core::array::from_fn(output));
            for i in 0..O {
                block[i][l] = new[i];
            }
        }
        for i in 0..O {
            outputs[i][at..end][..N].copy_from_slice(&block[i]);
        }
    }
}

/// The first `N` parts of `len` elements each of `gates`.
#[inline(always)]
fn parts<const N: usize>(gates: &[f32], len: usize) -> [&[f32]; N] {
    core::array::from_fn(|i| &gates[i * len..][..len])
}

/// One GRU step on the hidden state `h`, in the form of PyTorch and cuDNN (reset after the product). Gates are stacked
/// in the order r, z, n:
///
/// ```text
/// r = sigmoid(input_r + recurrent_r)
/// z = sigmoid(input_z + recurrent_z)
/// n = tanh(input_n + r * recurrent_n)
/// h = (1 - z) * n + z * h
/// ```
///
/// `input` and `recurrent` hold `3 * h.len()` elements, biases included. What `recurrent` holds afterwards has no meaning.
///
/// It takes two loops, of which the first leaves z and the argument of the hyperbolic tangent in `recurrent`. In one loop,
/// cores would wait for one long chain of operations. The function is never inlined, so that the assembly shows at a
/// glance whether its loops are vectorized.
#[inline(never)]
pub(crate) fn gru(h: &mut [f32], input: &[f32], recurrent: &mut [f32]) {
    let len = h.len();
    let [input_r, input_z, input_n] = parts::<3>(input, len);
    let (recurrent_r, rest) = recurrent.split_at_mut(len);
    let (recurrent_z, rest) = rest.split_at_mut(len);
    let recurrent_n = &mut rest[..len];
    each::<LANES, _, _>(
        [&*recurrent_r, input_r, input_z, input_n],
        [recurrent_z, recurrent_n],
        |[hr, r, z, n], [hz, hn]| {
            let (r, z) = gru_gates(r + hr, z + hz);
            [z, n + r * hn]
        },
    );
    each::<{ 2 * LANES }, _, _>([&*recurrent_z, &*recurrent_n], [h], |[z, n], [h]| {
        let n = tanh(n);
        // This form of the blend does not drift: z is at most 1 even after rounding, so the state never moves away from n.
        [n + z.min(1.0) * (h - n)]
    });
}

/// `sigmoid(r)` and `sigmoid(z)`.
#[inline(always)]
fn gru_gates(r: f32, z: f32) -> (f32, f32) {
    let (r, z) = (tanh_of_half_ratio(r), tanh_of_half_ratio(z));
    // Each logistic function is (denominator + numerator) / (2 denominator); one division serves both.
    let inverse = 0.5 / (r.denominator * z.denominator);
    let (from_r, from_z) = (inverse * z.denominator, inverse * r.denominator);
    ((r.denominator + r.numerator) * from_r, (z.denominator + z.numerator) * from_z)
}

/// The first half of a GRU step that resets before the product: `reset = sigmoid(input_r + recurrent_r) * h`.
///
/// `reset` holds as many elements as `h`; `input` and `recurrent` hold at least as many, biases included.
#[inline(never)]
pub(crate) fn gru_reset(reset: &mut [f32], h: &[f32], input: &[f32], recurrent: &[f32]) {
    for (((reset, h), input), recurrent) in reset.iter_mut().zip(h).zip(input).zip(recurrent) {
        *reset = sigmoid(input + recurrent) * h;
    }
}

/// The second half of a GRU step that resets before the product, on the hidden state `h`:
///
/// ```text
/// z = sigmoid(input_z + recurrent_z)
/// n = tanh(input_n + recurrent_n)
/// h = (1 - z) * n + z * h
/// ```
///
/// `input` and `recurrent` hold `2 * h.len()` elements, z then n, biases included.
#[inline(never)]
pub(crate) fn gru_update(h: &mut [f32], input: &[f32], recurrent: &[f32]) {
    let ([z, n], [hz, hn]) = (parts::<2>(input, h.len()), parts::<2>(recurrent, h.len()));
    each::<LANES, _, _>([z, n, hz, hn], [h], |[z, n, hz, hn], [h]| [gru_update_unit(h, z + hz, n + hn)]);
}

/// One unit of [`gru_update`].
#[inline(always)]
fn gru_update_unit(h: f32, z: f32, n: f32) -> f32 {
    let (z, n) = (sigmoid(z), tanh(n));
    // The same blend as in [`gru`]; here `sigmoid` already bounds z by 1.
    n + z * (h - n)
}

/// One LSTM step on the cell `c`, with gates stacked in PyTorch's order i, f, g, o:
///
/// ```text
/// i = sigmoid(input_i + recurrent_i)
/// f = sigmoid(input_f + recurrent_f)
/// g = tanh(input_g + recurrent_g)
/// o = sigmoid(input_o + recurrent_o)
/// c = f * c + i * g
/// h = o * tanh(c)
/// ```
///
/// `h` holds as many elements as `c`; `input` and `recurrent` hold `4 * c.len()`, biases included.
///
/// A step adds at most 1 to `|c|`, up to rounding, so a cell grows at most linearly in time. The error of the new cell
/// is at most `2e-6 + 1e-6 |c|`. The error of `h`, given that cell, is at most 4e-6, and `h` is never beyond 1 in
/// magnitude.
///
/// A NaN in a gate counts as in [`tanh`] and [`sigmoid`]. A cell that is infinite stays infinite or becomes NaN, a NaN
/// stays NaN, and `h` is computed from that.
///
/// It takes two loops, as [`gru`] does.
#[inline(never)]
pub(crate) fn lstm(c: &mut [f32], h: &mut [f32], input: &[f32], recurrent: &[f32]) {
    let len = c.len();
    let ([i, f, g, o], [hi, hf, hg, ho]) = (parts::<4>(input, len), parts::<4>(recurrent, len));
    each::<LANES, _, _>([i, f, g, hi, hf, hg], [c], |[i, f, g, hi, hf, hg], [c]| {
        [lstm_cell(c, i + hi, f + hf, g + hg)]
    });
    each::<LANES, _, _>([o, ho, c], [&mut h[..len]], |[o, ho, c], _| [lstm_output(c, o + ho)]);
}

/// The new cell.
#[inline(always)]
fn lstm_cell(c: f32, i: f32, f: f32, g: f32) -> f32 {
    let (i, f, g) = (tanh_of_half_ratio(i), tanh_of_half_ratio(f), tanh_ratio(g));
    // One division serves i * g and f. Denominators are between 1 and 1e9, and their product is below 1e25.
    let of_i_g = i.denominator * g.denominator;
    let inverse = 0.5 / (of_i_g * f.denominator);
    let forget = (f.denominator + f.numerator) * (of_i_g * inverse);
    let new = ((i.denominator + i.numerator) * g.numerator) * (f.denominator * inverse);
    // f is at most 1 even after rounding, so a cell never grows without input.
    forget.min(1.0) * c + new
}

/// The output.
#[inline(always)]
fn lstm_output(c: f32, o: f32) -> f32 {
    let (o, t) = (tanh_of_half_ratio(o), tanh_ratio(c));
    // One division serves o and tanh. Rounding is monotonic, so the quotient of these products is at most 1.
    ((o.denominator + o.numerator) * t.numerator) / ((o.denominator + o.denominator) * t.denominator)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Finite floats of both signs whose bit patterns are `step` apart.
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
        assert!(largest < 8e-7, "{largest:e}");
    }

    #[test]
    fn tanh_is_odd_and_nan_counts_as_minus_infinity() {
        for x in sweep(1_000_003) {
            assert_eq!(tanh(-x), -tanh(x));
        }
        assert_eq!((tanh(f32::NAN), sigmoid(f32::NAN)), (tanh(f32::NEG_INFINITY), sigmoid(f32::NEG_INFINITY)));
    }

    #[test]
    fn a_vector_of_any_length_steps_as_its_elements_do() {
        for len in 0..40usize {
            let value = |i: usize| (i * 37 % 101) as f32 / 25.0 - 2.0;
            let input: alloc::vec::Vec<f32> = (0..3 * len).map(value).collect();
            let recurrent: alloc::vec::Vec<f32> = (0..3 * len).map(|i| value(i + 100)).collect();
            let mut h: alloc::vec::Vec<f32> = (0..len).map(|i| value(i + 200)).collect();
            let before = h.clone();
            gru(&mut h, &input, &mut recurrent.clone());
            for i in 0..len {
                let mut one = [before[i]];
                gru(
                    &mut one,
                    &[input[i], input[len + i], input[2 * len + i]],
                    &mut [recurrent[i], recurrent[len + i], recurrent[2 * len + i]],
                );
                assert_eq!(one[0].to_bits(), h[i].to_bits());
            }
        }
    }

    #[test]
    fn a_step_is_what_the_equations_say() {
        let values = [-200.0, -15.0, -8.0, -3.0, -1.0, -0.1, 0.0, 0.2, 1.5, 4.0, 7.7, 14.1, 90.0f32];
        let mut largest = 0.0f64;
        for a in values {
            for b in values {
                for c in values {
                    for h in [-1.0, -0.3, 0.0, 0.9f32] {
                        let mut state = [h];
                        gru(&mut state, &[a, b, c], &mut [0.5, -0.25, 1.75]);
                        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
                        let [a, b, c, h] = [a, b, c, h].map(f64::from);
                        let (r, z) = (sigmoid(a + 0.5), sigmoid(b - 0.25));
                        let n = (c + r * 1.75).tanh();
                        largest = largest.max((f64::from(state[0]) - ((1.0 - z) * n + z * h)).abs());
                        assert!(state[0].abs() <= 1.0);
                    }
                }
            }
        }
        assert!(largest < 3e-6, "{largest:e}");
    }

    #[test]
    fn a_gru_that_resets_before_steps_as_its_elements_do_and_as_the_equations_say() {
        let mut largest = 0.0f64;
        for len in 0..40usize {
            let value = |i: usize| (i * 37 % 101) as f32 / 10.0 - 5.0;
            let input: alloc::vec::Vec<f32> = (0..2 * len).map(value).collect();
            let recurrent: alloc::vec::Vec<f32> = (0..2 * len).map(|i| value(i + 100)).collect();
            let before: alloc::vec::Vec<f32> = (0..len).map(|i| value(i + 200) / 5.0).collect();
            let (mut h, mut reset) = (before.clone(), alloc::vec![f32::NAN; len]);
            gru_reset(&mut reset, &h, &input, &recurrent);
            gru_update(&mut h, &input, &recurrent);
            for i in 0..len {
                let mut one = [before[i]];
                gru_update(&mut one, &[input[i], input[len + i]], &[recurrent[i], recurrent[len + i]]);
                assert_eq!(one[0].to_bits(), h[i].to_bits());
                assert!(h[i].abs() <= 1.0);
                let sum = |i: usize| f64::from(input[i]) + f64::from(recurrent[i]);
                let (first, old) = (1.0 / (1.0 + (-sum(i)).exp()), f64::from(before[i]));
                largest = largest.max((f64::from(reset[i]) - first * old).abs());
                let new = (1.0 - first) * sum(len + i).tanh() + first * old;
                largest = largest.max((f64::from(h[i]) - new).abs());
            }
        }
        assert!(largest < 3e-6, "{largest:e}");
    }

    #[test]
    fn an_lstm_of_any_length_steps_as_its_elements_do() {
        for len in 0..40usize {
            let value = |i: usize| (i * 37 % 101) as f32 / 25.0 - 2.0;
            let input: alloc::vec::Vec<f32> = (0..4 * len).map(value).collect();
            let recurrent: alloc::vec::Vec<f32> = (0..4 * len).map(|i| value(i + 100)).collect();
            let mut c: alloc::vec::Vec<f32> = (0..len).map(|i| value(i + 200)).collect();
            let before = c.clone();
            let mut h = alloc::vec![f32::NAN; len];
            lstm(&mut c, &mut h, &input, &recurrent);
            for i in 0..len {
                let (mut one, mut out) = ([before[i]], [f32::NAN]);
                let of_unit = |gates: &[f32]| [0, 1, 2, 3].map(|gate| gates[gate * len + i]);
                lstm(&mut one, &mut out, &of_unit(&input), &of_unit(&recurrent));
                assert_eq!((one[0].to_bits(), out[0].to_bits()), (c[i].to_bits(), h[i].to_bits()));
            }
        }
    }

    const GATE_VALUES: [f32; 11] = [-200.0, -15.0, -8.0, -3.0, -0.1, 0.0, 0.2, 1.5, 4.0, 14.1, 90.0];

    #[test]
    fn a_step_of_an_lstm_is_what_the_equations_say() {
        let (mut largest_c, mut largest_h) = (0.0f64, 0.0f64);
        for i in GATE_VALUES {
            for f in GATE_VALUES {
                for g in GATE_VALUES {
                    for o in GATE_VALUES {
                        for cell in [-1000.0, -2.5, -0.3, 0.0, 0.9, 7.0f32] {
                            let (mut c, mut h) = ([cell], [f32::NAN]);
                            lstm(&mut c, &mut h, &[i, f, g, o], &[0.5, -0.25, 1.75, 0.125]);
                            let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
                            let [i, f, g, o, cell] = [i, f, g, o, cell].map(f64::from);
                            let new = sigmoid(f - 0.25) * cell + sigmoid(i + 0.5) * (g + 1.75).tanh();
                            let out = sigmoid(o + 0.125) * f64::from(c[0]).tanh();
                            largest_c = largest_c.max((f64::from(c[0]) - new).abs() / (2.0 + cell.abs()));
                            largest_h = largest_h.max((f64::from(h[0]) - out).abs());
                            assert!(h[0].abs() <= 1.0);
                        }
                    }
                }
            }
        }
        assert!(largest_c < 1e-6 && largest_h < 4e-6, "{largest_c:e} {largest_h:e}");
    }

    #[test]
    fn a_cell_grows_by_at_most_one_per_step_and_not_without_input() {
        let (mut c, mut h) = ([0.0], [0.0]);
        for step in 1..100_000 {
            lstm(&mut c, &mut h, &[f32::INFINITY; 4], &[0.0; 4]);
            assert!(c[0] <= step as f32 * (1.0 + 1e-6), "step {step}: {}", c[0]);
        }
        for f in sweep(1_000_003) {
            let mut c = [-37.5];
            // i is as small as it gets.
            lstm(&mut c, &mut h, &[f32::NEG_INFINITY, f, 0.0, 0.0], &[0.0; 4]);
            assert!((-37.5..=0.0).contains(&c[0]), "{f}: {}", c[0]);
        }
    }

    #[test]
    fn gates_that_are_nan_leave_a_cell_finite() {
        let (mut c, mut h) = ([3.0], [f32::NAN]);
        lstm(&mut c, &mut h, &[f32::NAN; 4], &[0.0; 4]);
        let (mut expected_c, mut expected_h) = ([3.0], [f32::NAN]);
        lstm(&mut expected_c, &mut expected_h, &[f32::NEG_INFINITY; 4], &[0.0; 4]);
        assert_eq!((c, h), (expected_c, expected_h));
        assert!(c[0].is_finite() && h[0].is_finite());
    }
}
