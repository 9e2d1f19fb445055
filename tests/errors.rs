//! Operands that do not fit are refused with an error that says what is wrong, and nothing is written.

use skinny::kernels::{
    Activation, Activations, Dequantize, DoubleRounding, Epilogue, GROUP, GROUP_I2, MAX_DEPTH, Offsets, PackedMat,
    QuantizedMultipliers, Requantize, RequantizeFloat, Scales, Shift, Sums, WeightFormat, Workspace, gemm,
};
use skinny::{Error, MatMut, MatRef, Tier};

/// Features, depth and batch of the product that is refused.
const N: usize = 5;
const K: usize = 7;
const M: usize = 3;

/// The error of a product whose output has shape `out`, the same on every tier. All outputs must stay `fill`.
fn refused<E: Epilogue<Output: PartialEq + std::fmt::Debug>>(
    x: Activations<'_>,
    epilogue: &E,
    (rows, cols): (usize, usize),
    fill: E::Output,
) -> Error {
    let mut errors = Vec::new();
    for &tier in Tier::available() {
        let packed = PackedMat::for_tier(MatRef::new(&[1; N * K], N, K).unwrap(), tier).unwrap();
        let mut out = vec![fill; rows * cols];
        let view = MatMut::new(&mut out, rows, cols).unwrap();
        errors.push(gemm(&packed, x, epilogue, view, &mut Workspace::new()).unwrap_err());
        assert!(out.iter().all(|&y| y == fill), "{tier} wrote {out:?}");
    }
    assert!(errors.iter().all(|error| *error == errors[0]), "{errors:?}");
    errors.swap_remove(0)
}

fn activations() -> Activations<'static> {
    Activations::new(MatRef::new(&[1; M * K], M, K).unwrap())
}

#[test]
fn activations_of_another_depth() {
    for k in [0, K - 1, K + 1, 16] {
        let values = vec![1; M * k];
        let x = Activations::new(MatRef::new(&values, M, k).unwrap());
        let error = Error::Shape { what: "activations", expected: (M, K), found: (M, k) };
        assert_eq!(refused(x, &Sums, (M, N), 9), error);
    }
}

#[test]
fn an_output_of_another_shape() {
    for found in [(M, N - 1), (M, N + 1), (M - 1, N), (M + 1, N), (N, M), (0, 0), (1, M * N)] {
        let error = Error::Shape { what: "output", expected: (M, N), found };
        assert_eq!(refused(activations(), &Sums, found, 9), error);
    }
}

#[test]
fn offsets_of_another_length() {
    let x = MatRef::new(&[1; M * K], M, K).unwrap();
    for len in [0, M - 1, M + 1] {
        let (right, wrong) = ([0; M], vec![0; len]);
        let offsets = Offsets { constant: &wrong, row_sum_factor: &right };
        let error = Error::Length { what: "column constants", expected: M, found: len };
        assert_eq!(refused(Activations::with_offsets(x, offsets), &Sums, (M, N), 9), error);
        let offsets = Offsets { constant: &right, row_sum_factor: &wrong };
        let error = Error::Length { what: "row sum factors", expected: M, found: len };
        assert_eq!(refused(Activations::with_offsets(x, offsets), &Sums, (M, N), 9), error);
    }
}

#[test]
fn parameters_of_epilogues_of_another_length() {
    let length = |what, expected, found| Error::Length { what, expected, found };
    let right = Dequantize {
        row_scales: &[1.0; N],
        column_scales: &[1.0; M],
        bias: Some(&[1.0; N]),
        activation: Activation::Relu,
    };
    let wrong = Dequantize { row_scales: &[1.0; N + 1], ..right };
    assert_eq!(refused(activations(), &wrong, (M, N), 9.0), length("row scales", N, N + 1));
    let wrong = Dequantize { column_scales: &[1.0; M - 1], ..right };
    assert_eq!(refused(activations(), &wrong, (M, N), 9.0), length("column scales", M, M - 1));
    let wrong = Dequantize { bias: Some(&[]), ..right };
    assert_eq!(refused(activations(), &wrong, (M, N), 9.0), length("bias", N, 0));

    let (scales, few) = (Scales::new(vec![1.0; N]).unwrap(), Scales::new(vec![1.0; N - 1]).unwrap());
    assert_eq!(refused(activations(), &RequantizeFloat::new(&few, 0i8), (M, N), 9), length("scales", N, N - 1));
    let wrong = RequantizeFloat::new(&scales, 0u8).with_bias(&[1; N + 1]);
    assert_eq!(refused(activations(), &wrong, (M, N), 9), length("bias", N, N + 1));

    let shift = Shift { offset: 0, multiplier: 1, shift: 0 };
    let wrong = Requantize::<u8, _>::new(shift).with_bias(&[1]);
    assert_eq!(refused(activations(), &wrong, (M, N), 9), length("bias", N, 1));
    let wrong = Requantize::<u8, _>::new(Shift { shift: 32, ..shift });
    let error = Error::Parameter { what: "result_shift", value: 32.0, expected: "in 0..=31" };
    assert_eq!(refused(activations(), &wrong, (M, N), 9), error);
    let scales = QuantizedMultipliers { multipliers: &[1; N], exponents: &[0; N - 1] };
    let wrong = Requantize::<i8, _>::new(DoubleRounding { scales, zero_point: 0 });
    assert_eq!(refused(activations(), &wrong, (M, N), 9), length("exponents", N, N - 1));
}

#[test]
fn weights_beyond_the_depth_of_their_format() {
    for &tier in Tier::available() {
        for format in WeightFormat::ALL {
            let max = format.max_depth(false);
            let (weights, multipliers) = (vec![0; max + 1], vec![0; (max + 1).div_ceil(GROUP)]);
            let weights = MatRef::row_vector(&weights);
            let packed = match format {
                WeightFormat::I8 => PackedMat::for_tier(weights, tier),
                WeightFormat::I4 => PackedMat::i4_for_tier(weights, tier),
                WeightFormat::I2Group64 => {
                    let multipliers = vec![0; (max + 1).div_ceil(GROUP_I2)];
                    PackedMat::i2_grouped_for_tier(weights, MatRef::row_vector(&multipliers), tier)
                }
                _ => PackedMat::i4_grouped_for_tier(weights, MatRef::row_vector(&multipliers), tier),
            };
            assert_eq!(packed.unwrap_err(), Error::Depth { k: max + 1, max });
            assert!(max <= MAX_DEPTH);
        }
    }
}

#[test]
fn weights_and_multipliers_beyond_four_bits() {
    for &tier in Tier::available() {
        for value in [-128, -9, -8, 8, 127] {
            let mut weights = [7; 40];
            weights[39] = value;
            let weights = MatRef::new(&weights, 1, 40).unwrap();
            let error = Error::Parameter { what: "4-bit weight", value: value.into(), expected: "in -7..=7" };
            assert_eq!(PackedMat::i4_for_tier(weights, tier).unwrap_err(), error);
            let multipliers = MatRef::new(&[1, 1], 1, 2).unwrap();
            assert_eq!(PackedMat::i4_grouped_for_tier(weights, multipliers, tier).unwrap_err(), error);
        }
        let weights = MatRef::new(&[7; 40], 1, 40).unwrap();
        for value in [128u8, 255] {
            let error = Error::Parameter { what: "group multiplier", value: value.into(), expected: "in 0..=127" };
            let multipliers = [127, value];
            let multipliers = MatRef::row_vector(&multipliers);
            assert_eq!(PackedMat::i4_grouped_for_tier(weights, multipliers, tier).unwrap_err(), error);
        }
        for found in [(1, 1), (1, 3), (2, 1), (0, 0)] {
            let multipliers = vec![1; found.0 * found.1];
            let multipliers = MatRef::new(&multipliers, found.0, found.1).unwrap();
            let error = Error::Shape { what: "group multipliers", expected: (1, 2), found };
            assert_eq!(PackedMat::i4_grouped_for_tier(weights, multipliers, tier).unwrap_err(), error);
        }
    }
}

#[test]
fn weights_and_multipliers_beyond_two_bits() {
    for &tier in Tier::available() {
        let pack = |weights: &[i8], multipliers: &[i8]| {
            PackedMat::i2_grouped_for_tier(MatRef::row_vector(weights), MatRef::row_vector(multipliers), tier)
        };
        for value in [-128, -3, 2, 127] {
            let mut weights = [1; 70];
            weights[69] = value;
            let error = Error::Parameter { what: "2-bit weight", value: value.into(), expected: "in -2..=1" };
            assert_eq!(pack(&weights, &[1, 1]).unwrap_err(), error);
        }
        for value in [-128, -64, 64, 127] {
            let error = Error::Parameter { what: "group multiplier", value: value.into(), expected: "in -63..=63" };
            assert_eq!(pack(&[-2; 70], &[-63, value]).unwrap_err(), error);
        }
        for found in [0, 1, 3] {
            let error = Error::Shape { what: "group multipliers", expected: (1, 2), found: (1, found) };
            assert_eq!(pack(&[-2; 70], &vec![1; found]).unwrap_err(), error);
        }
    }
}

#[test]
fn tiers_that_this_machine_lacks() {
    for tier in Tier::ALL.into_iter().filter(|tier| !tier.is_available()) {
        let error = PackedMat::for_tier(MatRef::row_vector(&[1, 2]), tier).unwrap_err();
        assert_eq!(error, Error::TierUnavailable { tier, available: Tier::available() });
    }
}
