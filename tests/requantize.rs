//! Every rounding mode equals its formula, bit for bit, at the ends of all ranges and between them.

#[path = "common/formulas.rs"]
mod formulas;
#[path = "common/random.rs"]
mod random;

use std::fmt::Debug;

use proptest::prelude::*;
use random::Random;
use skinny::Error;
use skinny::kernels::{
    Byte, DoubleRounding, Epilogue, FixedPoint, QuantizedMultipliers, Requantize, RequantizeFloat, Rounding, Scales,
    Shift, SingleRounding,
};

/// Integers where behaviour changes: ends of the range, powers of two, and their neighbours.
fn boundaries() -> Vec<i32> {
    let mut values = vec![0, 3, -3, 5, -5, 127, -127, 255, 0x5555_5555, -0x5555_5555, 0x7fff_ff80];
    for bit in 0..32 {
        let power = 1i32.wrapping_shl(bit);
        for near in [power.wrapping_sub(1), power, power.wrapping_add(1)] {
            values.extend([near, near.wrapping_neg()]);
        }
    }
    values.sort_unstable();
    values.dedup();
    values
}

#[test]
fn shift_at_the_boundaries() {
    for sum in boundaries() {
        for multiplier in [0, 1, -1, 3, 255, i32::MAX, i32::MIN] {
            for offset in [0, 1, -1, 1000, i32::MIN, i32::MAX] {
                for shift in 0..=31 {
                    let mode = Shift { offset, multiplier, shift };
                    assert_eq!(mode.round(sum, 0), formulas::shift(sum, offset, multiplier, shift), "{sum} {mode:?}");
                }
            }
        }
    }
}

#[test]
fn fixed_point_at_the_boundaries() {
    for sum in boundaries() {
        for multiplier in boundaries() {
            for shift in 0..=31 {
                for offset in [0, 128, i32::MIN, i32::MAX] {
                    let mode = FixedPoint { multiplier, shift, offset };
                    let expected = formulas::fixed_point(sum, multiplier, shift, offset);
                    assert_eq!(mode.round(sum, 0), expected, "{sum} {mode:?}");
                }
            }
        }
    }
}

#[test]
fn single_and_double_rounding_at_the_boundaries() {
    // All rows of one table: multipliers x exponents.
    let (mut multipliers, mut exponents) = (Vec::new(), Vec::new());
    for multiplier in boundaries() {
        for exponent in -31..=30 {
            multipliers.push(multiplier);
            exponents.push(exponent);
        }
    }
    let scales = QuantizedMultipliers { multipliers: &multipliers, exponents: &exponents };
    for zero_point in [0, -128, i32::MIN, i32::MAX] {
        let (double, single) = (DoubleRounding { scales, zero_point }, SingleRounding { scales, zero_point });
        assert_eq!((double.check(multipliers.len()), single.check(multipliers.len())), (Ok(()), Ok(())));
        for sum in boundaries() {
            for (row, (&m, &e)) in multipliers.iter().zip(&exponents).enumerate() {
                let at = || format!("{sum} * {m} * 2^({e} - 31) + {zero_point}");
                assert_eq!(double.round(sum, row), formulas::double_rounding(sum, m, e, zero_point), "{}", at());
                assert_eq!(single.round(sum, row), formulas::single_rounding(sum, m, e, zero_point), "{}", at());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn integer_modes_on_any_parameters(
        sum in any::<i32>(), small in any::<i16>(), multiplier in any::<i32>(), offset in any::<i32>(),
        shift in 0u32..=31, exponent in -31i32..=30,
    ) {
        for sum in [sum, i32::from(small)] {
            let mode = Shift { offset, multiplier, shift };
            prop_assert_eq!(mode.round(sum, 0), formulas::shift(sum, offset, multiplier, shift));
            let mode = FixedPoint { multiplier, shift, offset };
            prop_assert_eq!(mode.round(sum, 0), formulas::fixed_point(sum, multiplier, shift, offset));
            let scales = QuantizedMultipliers { multipliers: &[multiplier], exponents: &[exponent] };
            let mode = DoubleRounding { scales, zero_point: offset };
            prop_assert_eq!(mode.round(sum, 0), formulas::double_rounding(sum, multiplier, exponent, offset));
            let mode = SingleRounding { scales, zero_point: offset };
            prop_assert_eq!(mode.round(sum, 0), formulas::single_rounding(sum, multiplier, exponent, offset));
        }
    }
}

#[test]
fn double_and_single_rounding_are_two_modes() {
    let mut random = Random::new(4);
    let (mut differ, cases) = (0, 100_000);
    for _ in 0..cases {
        // As in a real layer: a mantissa in the upper half, and outputs that roughly fill a byte.
        let (multiplier, exponent) = ([random.within(1 << 30, i32::MAX)], [random.within(-10, -1)]);
        let scales = QuantizedMultipliers { multipliers: &multiplier, exponents: &exponent };
        let sum = random.within(-(1 << 20), 1 << 20);
        let double = DoubleRounding { scales, zero_point: 0 }.round(sum, 0);
        let single = SingleRounding { scales, zero_point: 0 }.round(sum, 0);
        assert!((double - single).abs() <= 1, "{sum}, {multiplier:?}, {exponent:?}: {double}, {single}");
        differ += i32::from(double != single);
    }
    assert!((1_000..15_000).contains(&differ), "{differ} of {cases} differ");
}

/// The formula equals the instruction that the kernels of gemmlowp and TFLite use, 32-bit `sqrdmulh`.
#[cfg(target_arch = "aarch64")]
#[test]
fn the_high_half_is_that_of_sqrdmulh() {
    use std::arch::aarch64::{vdupq_n_s32, vgetq_lane_s32, vqrdmulhq_s32};

    let mut random = Random::new(5);
    let mut pairs: Vec<(i32, i32)> =
        boundaries().into_iter().flat_map(|a| boundaries().into_iter().map(move |b| (a, b))).collect();
    pairs.extend((0..100_000).map(|_| (random.bits() as i32, random.bits() as i32)));
    for (a, b) in pairs {
        // SAFETY: NEON is part of the target.
        let instruction = unsafe { vgetq_lane_s32::<0>(vqrdmulhq_s32(vdupq_n_s32(a), vdupq_n_s32(b))) };
        // Without a shift and an offset, this mode is just that instruction.
        assert_eq!(FixedPoint { multiplier: b, shift: 0, offset: 0 }.round(a, 0), instruction, "{a} {b}");
        assert_eq!(formulas::high_mul(a.into(), b.into()), i128::from(instruction), "{a} {b}");
    }
}

/// The epilogue's outputs of one column.
fn applied<E: Epilogue>(epilogue: &E, sums: &[i32], fill: E::Output) -> Vec<E::Output> {
    epilogue.check(1, sums.len()).unwrap();
    let mut out = vec![fill; sums.len()];
    epilogue.apply(sums, 0..sums.len(), 0, &mut out);
    out
}

fn float_case<O: Byte + Debug + PartialEq>(sums: &[i32], scales: &[f32], zero_point: O, bias: Option<&[i32]>) {
    let checked = Scales::new(scales.to_vec()).unwrap();
    assert_eq!(checked.as_slice(), scales);
    let mut epilogue = RequantizeFloat::new(&checked, zero_point);
    if let Some(bias) = bias {
        epilogue = epilogue.with_bias(bias);
    }
    let found = applied(&epilogue, sums, zero_point);
    for (row, &found) in found.iter().enumerate() {
        let sum = sums[row].wrapping_add(bias.map_or(0, |bias| bias[row]));
        let expected = formulas::requantize_float(sum, scales[row], zero_point.into(), O::LOW, O::HIGH);
        let found: i32 = found.into();
        assert_eq!(found, expected, "({sum} * {:e}) + {zero_point:?}, row {row} of {}", scales[row], sums.len());
    }
}

/// Every path through the epilogue: whole vectors and tails, both types, zero points, with a bias and without.
fn float_cases(sums: &[i32], scales: &[f32], bias: &[i32]) {
    for bias in [None, Some(bias)] {
        for zero_point in [0, 1, -1, 17, -128, 127] {
            float_case::<i8>(sums, scales, zero_point, bias);
        }
        for zero_point in [0, 1, 127, 128, 255] {
            float_case::<u8>(sums, scales, zero_point, bias);
        }
    }
}

#[test]
fn float_requantization_at_ties_and_ends() {
    let mut sums = boundaries();
    sums.extend(-600..=600);
    // The longest tail: one less than a multiple of 32.
    sums.truncate(sums.len() / 32 * 32 - 1);
    let bias: Vec<i32> = sums.iter().rev().copied().collect();
    for scale in [
        0.5,
        -0.5,
        0.25,
        1.0,
        -1.0,
        0.0,
        -0.0,
        1.5,
        0.1,
        1e-3,
        0.499_999_97,
        0.500_000_06,
        1e-38,
        1e-45,
        1e10,
        f32::MAX,
        -f32::MAX,
        f32::MIN_POSITIVE,
        1.0 / 3.0,
        1.0 / 128.0,
    ] {
        float_cases(&sums, &vec![scale; sums.len()], &bias);
    }
}

#[test]
fn float_requantization_of_any_length() {
    let mut random = Random::new(6);
    for len in (0..=70).chain([127, 128, 129, 500]) {
        let (sums, bias) = (random.integers(len), random.integers(len));
        let mut scales = random.floats(len, -0.01, 0.01);
        scales.iter_mut().step_by(3).for_each(|scale| *scale *= 1000.0);
        float_cases(&sums, &scales, &bias);
    }
}

#[test]
fn scales_that_are_not_finite_are_refused() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        match Scales::new(vec![1.0, 2.0, bad, bad]) {
            Err(Error::NotFinite { what: "scales", index: 2, value }) => assert_eq!(value.to_bits(), bad.to_bits()),
            other => panic!("{other:?}"),
        }
    }
    assert!(Scales::new(vec![0.0, -1.0, f32::MAX, f32::MIN_POSITIVE / 2.0]).is_ok());
}

#[test]
fn parameters_out_of_range_are_refused() {
    let shift_error = Err(Error::Parameter { what: "result_shift", value: 32.0, expected: "in 0..=31" });
    assert_eq!(Shift { offset: 0, multiplier: 1, shift: 32 }.check(1), shift_error);
    assert_eq!(FixedPoint { offset: 0, multiplier: 1, shift: 32 }.check(1), shift_error);
    for exponent in [-32, 31, i32::MIN, i32::MAX] {
        let scales = QuantizedMultipliers { multipliers: &[1], exponents: &[exponent] };
        let error = Err(Error::Parameter { what: "exponent", value: exponent.into(), expected: "in -31..=30" });
        assert_eq!(DoubleRounding { scales, zero_point: 0 }.check(1), error);
        assert_eq!(SingleRounding { scales, zero_point: 0 }.check(1), error);
    }
    let scales = QuantizedMultipliers { multipliers: &[1, 2], exponents: &[0] };
    assert_eq!(
        DoubleRounding { scales, zero_point: 0 }.check(1),
        Err(Error::Length { what: "multipliers", expected: 1, found: 2 })
    );
    assert_eq!(
        SingleRounding { scales, zero_point: 0 }.check(2),
        Err(Error::Length { what: "exponents", expected: 2, found: 1 })
    );
}

#[test]
fn the_clamp_comes_last_and_the_bias_first() {
    let (sums, bias) = ([i32::MAX, -1000, 3, 250, 1], [1, 0, -10, 7, i32::MAX]);
    let mode = Shift { offset: 0, multiplier: 1, shift: 0 };
    let out = applied(&Requantize::<u8, _>::new(mode).with_bias(&bias), &sums, 9);
    assert_eq!(out, [0, 0, 0, 255, 0]);
    let out = applied(&Requantize::<i8, _>::new(mode).with_range(-5, 100), &sums, 9);
    assert_eq!(out, [100, -5, 3, 100, 1]);
}
