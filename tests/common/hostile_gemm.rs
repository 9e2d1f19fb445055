//! Products of arguments that may not fit, against a naive oracle, for the tests and the fuzz target.

use skinny::kernels::{
    Activation, Activations, Dequantize, DoubleRounding, Epilogue, FixedPoint, GROUP, GROUP_I2, Offsets, PackedMat,
    QuantizedMultipliers, Requantize, RequantizeFloat, Scales, Shift, SingleRounding, Sums, WeightFormat, Workspace,
    gemm,
};
use skinny::{MatMut, MatRef, Result, Tier};

use crate::{bytes::Bytes, formulas};

/// Reads a product from `data` and runs it on every tier. All tiers refuse it alike, or give the oracle's bits.
pub fn multiply(data: &[u8]) {
    let bytes = &mut Bytes::new(data);
    let format = WeightFormat::ALL[bytes.below(WeightFormat::ALL.len())];
    let (n, m, k) = (bytes.below(70), bytes.below(24), bytes.below(140));
    // What is wrong with the lengths, if anything: 0 most of the time.
    let wrong = bytes.byte();
    let off = |kind: u8| usize::from(wrong == kind);
    let with_offsets = bytes.byte() % 2 == 1;

    let mut weights: Vec<i8> = bytes.cycle(n * k).into_iter().map(|b| b as i8).collect();
    let group = format.group().unwrap_or(GROUP);
    let mut multipliers: Vec<i8> = bytes.cycle(n * k.div_ceil(group)).into_iter().map(|b| b as i8).collect();
    match format {
        _ if wrong == 1 => (),
        WeightFormat::I8 => (),
        WeightFormat::I2Group64 => {
            weights.iter_mut().for_each(|w| *w = (*w).rem_euclid(4) - 2);
            multipliers.iter_mut().for_each(|m| *m = (*m).rem_euclid(127) - 63);
        }
        _ => {
            weights.iter_mut().for_each(|w| *w = (*w).rem_euclid(15) - 7);
            multipliers.iter_mut().for_each(|m| *m &= 127);
        }
    }
    let x: Vec<i8> = bytes.cycle(m * (k + off(2))).into_iter().map(|b| b as i8).collect();
    let column = |bytes: &mut Bytes| -> Vec<i32> { (0..m + off(3)).map(|_| bytes.i32()).collect() };
    let (constant, factor) = if with_offsets { (column(bytes), column(bytes)) } else { (Vec::new(), Vec::new()) };
    let features = n + off(4);
    let bias: Vec<i32> =
        bytes.cycle(4 * features).chunks(4).map(|b| i32::from_le_bytes(b.try_into().unwrap())).collect();
    let floats = |bytes: &mut Bytes, len: usize| -> Vec<f32> {
        bytes.cycle(4 * len).chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    };

    // The oracle: `i64` cannot overflow at these depths.
    let weight = |row: usize, d: usize| {
        let multiplier = match format {
            WeightFormat::I4Group32 | WeightFormat::I2Group64 => {
                i64::from(multipliers[row * k.div_ceil(group) + d / group])
            }
            _ => 1,
        };
        multiplier * i64::from(weights[row * k + d])
    };
    let sums: Vec<i32> = if wrong == 2 {
        Vec::new()
    } else {
        let sum = |column: usize, row: usize| {
            let product = (0..k).map(|d| weight(row, d) * i64::from(x[column * k + d])).sum::<i64>() as i32;
            match with_offsets && wrong != 3 {
                false => product,
                true => {
                    let row_sum = (0..k).map(|d| weight(row, d)).sum::<i64>() as i32;
                    product.wrapping_add(row_sum.wrapping_mul(factor[column])).wrapping_add(constant[column])
                }
            }
        };
        (0..m * n).map(|i| sum(i / n, i % n)).collect()
    };

    let case =
        Case { format, n, k, m, weights, multipliers, x, x_depth: k + off(2), constant, factor, with_offsets, sums };
    let fits = wrong != 2 && !(wrong == 3 && with_offsets);
    let rows_off = off(5);
    let of_bias = fits && wrong != 4;
    let biased = |sum: i32, row: usize| sum.wrapping_add(bias.get(row).copied().unwrap_or(0));
    match bytes.byte() % 7 {
        0 => case.check(&Sums, 0, rows_off, fits, |sum, _, _| sum),
        1 => {
            let (row_scales, column_scales) = (floats(bytes, features), floats(bytes, m));
            let float_bias = floats(bytes, features);
            let activation = match bytes.byte() % 3 {
                0 => Activation::Identity,
                1 => Activation::Relu,
                _ => Activation::ClippedRelu(f32::from(bytes.byte())),
            };
            let epilogue = Dequantize {
                row_scales: &row_scales,
                column_scales: &column_scales,
                bias: Some(&float_bias),
                activation,
            };
            let expected = |sum, row: usize, column: usize| {
                let y = formulas::dequantize(
                    sum,
                    row_scales[row],
                    column_scales[column],
                    Some(float_bias[row]),
                    activation,
                );
                SameFloat(y)
            };
            case.check_as(&epilogue, 0.0, rows_off, of_bias, expected, SameFloat);
        }
        2 => {
            let (scales, zero_point) = (floats(bytes, features), bytes.byte() as i8);
            let Ok(scales) = Scales::new(scales) else { return };
            let epilogue = RequantizeFloat::new(&scales, zero_point).with_bias(&bias);
            case.check(&epilogue, 0, rows_off, of_bias, |sum, row, _| {
                let (sum, scale) = (biased(sum, row), scales.as_slice()[row]);
                formulas::requantize_float(sum, scale, zero_point.into(), -128, 127) as i8
            });
        }
        3 => {
            let (offset, multiplier, shift) = (bytes.i32(), bytes.i32(), bytes.below(34) as u32);
            let epilogue = Requantize::<u8, _>::new(Shift { offset, multiplier, shift }).with_bias(&bias);
            case.check(&epilogue, 0, rows_off, of_bias && shift < 32, |sum, row, _| {
                formulas::shift(biased(sum, row), offset, multiplier, shift).clamp(0, 255) as u8
            });
        }
        4 => {
            let (multiplier, offset, shift) = (bytes.i32(), bytes.i32(), bytes.below(34) as u32);
            let epilogue = Requantize::<i8, _>::new(FixedPoint { multiplier, shift, offset }).with_bias(&bias);
            case.check(&epilogue, 0, rows_off, of_bias && shift < 32, |sum, row, _| {
                formulas::fixed_point(biased(sum, row), multiplier, shift, offset).clamp(-128, 127) as i8
            });
        }
        kind => {
            let multipliers: Vec<i32> = (0..features).map(|_| bytes.i32()).collect();
            let exponents: Vec<i32> = (0..features).map(|_| bytes.below(64) as i32 - 32).collect();
            let zero_point = bytes.i32();
            let scales = QuantizedMultipliers { multipliers: &multipliers, exponents: &exponents };
            let fits = of_bias && exponents.iter().all(|e| (-31..=30).contains(e));
            let (low, high) = (bytes.byte() as i8, bytes.byte() as i8);
            let clamp = |y: i32| y.max(low.into()).min(high.into()) as i8;
            if kind == 5 {
                let rounding = DoubleRounding { scales, zero_point };
                let epilogue = Requantize::<i8, _>::new(rounding).with_bias(&bias).with_range(low, high);
                case.check(&epilogue, 0, rows_off, fits, |sum, row, _| {
                    clamp(formulas::double_rounding(biased(sum, row), multipliers[row], exponents[row], zero_point))
                });
            } else {
                let rounding = SingleRounding { scales, zero_point };
                let epilogue = Requantize::<i8, _>::new(rounding).with_bias(&bias).with_range(low, high);
                case.check(&epilogue, 0, rows_off, fits, |sum, row, _| {
                    clamp(formulas::single_rounding(biased(sum, row), multipliers[row], exponents[row], zero_point))
                });
            }
        }
    }
}

/// The bits of a float, the same for every NaN.
#[derive(Debug, Clone, Copy)]
struct SameFloat(f32);

impl PartialEq for SameFloat {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits() || self.0.is_nan() && other.0.is_nan() || self.0 == 0.0 && other.0 == 0.0
    }
}

/// A product without its epilogue.
struct Case {
    format: WeightFormat,
    n: usize,
    k: usize,
    m: usize,
    weights: Vec<i8>,
    multipliers: Vec<i8>,
    x: Vec<i8>,
    x_depth: usize,
    constant: Vec<i32>,
    factor: Vec<i32>,
    with_offsets: bool,
    /// The oracle's sums, if the operands fit.
    sums: Vec<i32>,
}

impl Case {
    fn pack(&self, tier: Tier) -> Result<PackedMat> {
        let weights = MatRef::new(&self.weights, self.n, self.k)?;
        match self.format {
            WeightFormat::I8 => PackedMat::for_tier(weights, tier),
            WeightFormat::I4 => PackedMat::i4_for_tier(weights, tier),
            WeightFormat::I2Group64 => {
                let multipliers = MatRef::new(&self.multipliers, self.n, self.k.div_ceil(GROUP_I2))?;
                PackedMat::i2_grouped_for_tier(weights, multipliers, tier)
            }
            _ => {
                let multipliers: Vec<u8> = self.multipliers.iter().map(|&m| m as u8).collect();
                let multipliers = MatRef::new(&multipliers, self.n, self.k.div_ceil(GROUP))?;
                PackedMat::i4_grouped_for_tier(weights, multipliers, tier)
            }
        }
    }

    fn can_be_packed(&self) -> bool {
        match self.format {
            WeightFormat::I8 => true,
            WeightFormat::I4 => self.weights.iter().all(|w| (-7..=7).contains(w)),
            WeightFormat::I2Group64 => {
                let multipliers = self.multipliers.iter().all(|m| (-63..=63).contains(m));
                multipliers && self.weights.iter().all(|w| (-2..=1).contains(w))
            }
            _ => self.weights.iter().all(|w| (-7..=7).contains(w)) && self.multipliers.iter().all(|&m| m >= 0),
        }
    }

    fn check<E: Epilogue<Output: PartialEq + std::fmt::Debug>>(
        &self,
        epilogue: &E,
        fill: E::Output,
        rows_off: usize,
        fits: bool,
        expected: impl Fn(i32, usize, usize) -> E::Output,
    ) {
        self.check_as(epilogue, fill, rows_off, fits, expected, |y| y);
    }

    /// Compares `expected` of the oracle's sum, row and column with `seen` of an output.
    fn check_as<E: Epilogue, T: PartialEq + std::fmt::Debug>(
        &self,
        epilogue: &E,
        fill: E::Output,
        rows_off: usize,
        fits: bool,
        expected: impl Fn(i32, usize, usize) -> T,
        seen: impl Fn(E::Output) -> T,
    ) {
        for &tier in Tier::available() {
            let packed = self.pack(tier);
            assert_eq!(packed.is_ok(), self.can_be_packed(), "{packed:?}");
            let Ok(packed) = packed else { continue };
            assert_eq!(packed.unpack().unwrap().as_slice(), self.weights);
            let mut out = vec![fill; (self.m + rows_off) * self.n];
            let values = MatRef::new(&self.x, self.m, self.x_depth).unwrap();
            let x = match self.with_offsets {
                false => Activations::new(values),
                true => Activations::with_offsets(
                    values,
                    Offsets { constant: &self.constant, row_sum_factor: &self.factor },
                ),
            };
            let view = MatMut::new(&mut out, self.m + rows_off, self.n).unwrap();
            let done = gemm(&packed, x, epilogue, view, &mut Workspace::new());
            assert_eq!(done.is_ok(), fits && rows_off == 0, "{done:?}");
            for (i, &y) in out.iter().enumerate() {
                let expected = match done {
                    Ok(()) => expected(self.sums[i], i % self.n, i / self.n),
                    Err(_) => seen(fill),
                };
                assert_eq!(seen(y), expected, "{tier}, {:?}, element {i}", self.format);
            }
        }
    }
}
