//! The product equals the reference bit for bit, on every tier and in every weight format.

#[path = "common/formulas.rs"]
mod formulas;
#[cfg(unix)]
#[path = "common/guard.rs"]
mod guard;
#[path = "common/random.rs"]
mod random;

use proptest::prelude::*;
use random::Random;
use skinny::kernels::{
    Activation, Activations, Byte, Dequantize, DoubleRounding, Epilogue, FixedPoint, GROUP, GROUP_I2, MAX_DEPTH,
    MAX_DEPTH_ZERO_POINT, Offsets, PackedMat, QuantizedMultipliers, Requantize, RequantizeFloat, Scales, Shift,
    SingleRounding, Sums, WeightFormat, Workspace, gemm, reference,
};
use skinny::{Error, Mat, MatMut, MatRef, Tier};

/// A weight in one format, before any tier has packed it.
struct Weights {
    format: WeightFormat,
    n: usize,
    k: usize,
    values: Vec<i8>,
    /// Of groups of 64 weights if there are 2 bits, else of 32. Used only by formats with groups.
    multipliers: Vec<i8>,
}

impl Weights {
    fn random(format: WeightFormat, n: usize, k: usize, random: &mut Random) -> Self {
        let values = match format {
            WeightFormat::I8 => random.bytes(n * k),
            WeightFormat::I2Group64 => random.quarters(n * k),
            _ => random.nibbles(n * k),
        };
        let multipliers = match format {
            WeightFormat::I2Group64 => random.multipliers_i2(n * k.div_ceil(GROUP_I2)),
            _ => random.multipliers(n * k.div_ceil(GROUP)).into_iter().map(|m| m as i8).collect(),
        };
        Self { format, n, k, values, multipliers }
    }

    fn view(&self) -> MatRef<'_, i8> {
        MatRef::new(&self.values, self.n, self.k).unwrap()
    }

    fn multipliers(&self) -> MatRef<'_, i8> {
        MatRef::new(&self.multipliers, self.n, self.k.div_ceil(self.format.group().unwrap())).unwrap()
    }

    fn unsigned_multipliers(&self) -> Mat<u8> {
        let multipliers = self.multipliers.iter().map(|&m| m as u8).collect();
        Mat::from_vec(multipliers, self.n, self.k.div_ceil(GROUP)).unwrap()
    }

    fn pack(&self, tier: Tier) -> PackedMat {
        match self.format {
            WeightFormat::I8 => PackedMat::for_tier(self.view(), tier),
            WeightFormat::I4 => PackedMat::i4_for_tier(self.view(), tier),
            WeightFormat::I2Group64 => PackedMat::i2_grouped_for_tier(self.view(), self.multipliers(), tier),
            _ => PackedMat::i4_grouped_for_tier(self.view(), self.unsigned_multipliers().view(), tier),
        }
        .unwrap()
    }

    fn reference(&self, x: MatRef<'_, i8>) -> Vec<i32> {
        match self.format {
            WeightFormat::I8 | WeightFormat::I4 => reference::gemm(self.view(), x),
            WeightFormat::I2Group64 => reference::gemm_i2(self.view(), self.multipliers(), x),
            _ => reference::gemm_grouped(self.view(), self.unsigned_multipliers().view(), x),
        }
    }
}

/// `m x k` activations.
fn batch(x: &[i8], m: usize, k: usize) -> MatRef<'_, i8> {
    MatRef::new(&x[..m * k], m, k).unwrap()
}

/// The output of a product, in memory that held something else before.
fn product<E: Epilogue>(
    w: &PackedMat,
    x: Activations<'_>,
    m: usize,
    epilogue: &E,
    fill: E::Output,
    workspace: &mut Workspace,
) -> Vec<E::Output> {
    let mut out = vec![fill; m * w.n()];
    gemm(w, x, epilogue, MatMut::new(&mut out, m, w.n()).unwrap(), workspace).unwrap();
    out
}

fn sums(w: &PackedMat, x: MatRef<'_, i8>, workspace: &mut Workspace) -> Vec<i32> {
    product(w, Activations::new(x), x.rows(), &Sums, 0x5a5a_5a5a, workspace)
}

/// The batches tested for every small shape. Some are more than one group of ten columns.
const MAX_BATCH: usize = 17;

/// Sizes around the multiples of whatever a kernel unrolls by.
const FEATURES: [usize; 20] = [0, 1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 31, 32, 33, 49, 63, 64, 65];
const DEPTHS: [usize; 26] =
    [0, 1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65, 80, 96, 97, 129];

fn small_shapes(format: WeightFormat) {
    let mut random = Random::new(1);
    let mut workspace = Workspace::new();
    for n in FEATURES {
        for k in DEPTHS {
            let weights = Weights::random(format, n, k, &mut random);
            let x = random.bytes(MAX_BATCH * k);
            // Columns do not depend on each other, so the outputs of smaller batches are the first rows of the largest.
            let expected = weights.reference(batch(&x, MAX_BATCH, k));
            for &tier in Tier::available() {
                let packed = weights.pack(tier);
                assert_eq!((packed.n(), packed.k(), packed.tier(), packed.format()), (n, k, tier, format));
                for m in 0..=MAX_BATCH {
                    let found = sums(&packed, batch(&x, m, k), &mut workspace);
                    assert_eq!(found, expected[..m * n], "{tier} {format:?}, batch {m}, n {n}, k {k}");
                }
            }
        }
    }
}

#[test]
fn small_shapes_i8() {
    small_shapes(WeightFormat::I8);
}

#[test]
fn small_shapes_i4() {
    small_shapes(WeightFormat::I4);
}

#[test]
fn small_shapes_i4_grouped() {
    small_shapes(WeightFormat::I4Group32);
}

#[test]
fn small_shapes_i2_grouped() {
    small_shapes(WeightFormat::I2Group64);
}

/// Depths of many groups: more than a kernel takes at once, and a last group that is short.
#[test]
fn deep_products_i2_grouped() {
    let mut random = Random::new(13);
    for (n, k) in [(9, 2048), (17, 2049), (5, 2048 + 64), (3, 4096), (19, 4096 + 80), (2, 9001)] {
        let weights = Weights::random(WeightFormat::I2Group64, n, k, &mut random);
        let x = random.bytes(3 * k);
        let expected = weights.reference(batch(&x, 3, k));
        for &tier in Tier::available() {
            let packed = weights.pack(tier);
            for m in 1..=3 {
                let found = sums(&packed, batch(&x, m, k), &mut Workspace::new());
                assert_eq!(found, expected[..m * n], "{tier}, batch {m}, n {n}, k {k}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn larger_shapes(
        m in 1usize..=33, n in 1usize..400, k in 1usize..600, format in 0usize..4, seed in any::<u64>(),
        extreme in any::<bool>(),
    ) {
        let mut random = Random::new(seed);
        let mut weights = Weights::random(WeightFormat::ALL[format], n, k, &mut random);
        let mut x = random.bytes(m * k);
        if extreme && weights.format == WeightFormat::I8 {
            // Many bytes at the ends of the range: pairs whose products overflow an i16 when they are added.
            for byte in weights.values.iter_mut().chain(&mut x) {
                *byte = if *byte < 100 { -128 } else { 127 };
            }
        }
        let expected = weights.reference(batch(&x, m, k));
        for &tier in Tier::available() {
            let found = sums(&weights.pack(tier), batch(&x, m, k), &mut Workspace::new());
            prop_assert!(found == expected, "{} {:?}, batch {}, n {}, k {}", tier, weights.format, m, n, k);
        }
    }
}

/// The sum of each row of weights, groups included.
fn row_sums(weights: &Weights) -> Vec<i32> {
    weights.reference(MatRef::row_vector(&vec![1; weights.k]))
}

#[test]
fn weights_and_activations_at_the_ends_of_the_range() {
    let mut random = Random::new(2);
    let (n, k, m) = (37, 93, MAX_BATCH);
    let fills: [&[i8]; 6] = [&[-128], &[127], &[-127], &[-128, 127], &[-128, -127], &[-128, -128, -128, -127, 127]];
    for w in fills {
        for x in fills {
            let mut fill = |values: &[i8], len| -> Vec<i8> {
                (0..len).map(|_| values[random.bits() as usize % values.len()]).collect()
            };
            let weights = Weights { format: WeightFormat::I8, n, k, values: fill(w, n * k), multipliers: Vec::new() };
            let x_values = fill(x, m * k);
            let expected = weights.reference(batch(&x_values, m, k));
            for &tier in Tier::available() {
                let packed = weights.pack(tier);
                for m in 1..=m {
                    let found = sums(&packed, batch(&x_values, m, k), &mut Workspace::new());
                    assert_eq!(found, expected[..m * n], "{tier}, batch {m}, weights {w:?}, activations {x:?}");
                }
            }
        }
    }
}

/// Kernels that add two products in 16 bits overflow if all four operands are -128. Here that happens in one place of
/// an otherwise ordinary product, and every place has its turn.
#[test]
fn a_single_extreme_pair_anywhere() {
    let mut random = Random::new(3);
    let (n, k) = (9, 40);
    for row in 0..n {
        for low in 0..k - 8 {
            let mut weights = Weights::random(WeightFormat::I8, n, k, &mut random);
            weights.values[row * k + low] = -128;
            weights.values[row * k + low + 8] = -128;
            let mut x = random.bytes(10 * k);
            for column in 0..10 {
                x[column * k + low] = -128;
                x[column * k + low + 8] = -128;
            }
            let expected = weights.reference(batch(&x, 10, k));
            for &tier in Tier::available() {
                let packed = weights.pack(tier);
                for m in [1, 2, 3, 4, 5, 7, 8, 9, 10] {
                    let found = sums(&packed, batch(&x, m, k), &mut Workspace::new());
                    assert_eq!(found, expected[..m * n], "{tier}, batch {m}, row {row}, depth {low}");
                }
            }
        }
    }
}

/// The largest weights of a format.
fn largest(format: WeightFormat, n: usize, k: usize) -> Weights {
    let (value, multiplier) = match format {
        WeightFormat::I8 => (-128, 127),
        WeightFormat::I2Group64 => (-2, 63),
        _ => (-7, 127),
    };
    let multipliers = vec![multiplier; n * k.div_ceil(format.group().unwrap_or(GROUP))];
    Weights { format, n, k, values: vec![value; n * k], multipliers }
}

/// The magnitude of the weights of [`largest`].
fn magnitude(format: WeightFormat) -> i64 {
    match format {
        WeightFormat::I8 => 128,
        WeightFormat::I4 => 7,
        WeightFormat::I2Group64 => 2 * 63,
        _ => 7 * 127,
    }
}

#[test]
fn the_greatest_depth_of_the_greatest_operands_is_exact() {
    assert_eq!((MAX_DEPTH, MAX_DEPTH_ZERO_POINT), (131_071, 65_793));
    for format in WeightFormat::ALL {
        let k = format.max_depth(false);
        let weights = largest(format, 1, k);
        for (x, sign) in [(-128i8, 128), (127, -127)] {
            let expected = i32::try_from(k as i64 * magnitude(format) * sign).unwrap();
            for &tier in Tier::available() {
                let packed = weights.pack(tier);
                for m in [1, 3, 10] {
                    let x = vec![x; m * k];
                    let found = sums(&packed, batch(&x, m, k), &mut Workspace::new());
                    assert_eq!(found, vec![expected; m], "{tier} {format:?}, batch {m}");
                }
            }
        }
    }
}

#[test]
fn the_greatest_depth_with_a_zero_point_is_exact_and_the_next_is_refused() {
    for format in WeightFormat::ALL {
        let k = format.max_depth(true);
        for &tier in Tier::available() {
            let packed = largest(format, 1, k).pack(tier);
            for (x, z) in [(127i8, -128), (-128, 127), (127, 127), (-128, -128)] {
                let x = vec![x; 2 * k];
                let offsets = Offsets { constant: &[0; 2], row_sum_factor: &[-z; 2] };
                let activations = Activations::with_offsets(batch(&x, 2, k), offsets);
                let found = product(&packed, activations, 2, &Sums, 0, &mut Workspace::new());
                let expected = k as i64 * -magnitude(format) * i64::from(i32::from(x[0]) - z);
                assert_eq!(found, vec![i32::try_from(expected).unwrap(); 2], "{tier} {format:?}, zero point {z}");
            }
            let packed = largest(format, 1, k + 1).pack(tier);
            let x = vec![0; k + 1];
            let offsets = Offsets { constant: &[0], row_sum_factor: &[1] };
            let mut out = [77];
            let activations = Activations::with_offsets(MatRef::row_vector(&x), offsets);
            let result = gemm(&packed, activations, &Sums, MatMut::row_vector(&mut out), &mut Workspace::new());
            assert_eq!((result, out), (Err(Error::Depth { k: k + 1, max: k }), [77]));
            // Without offsets this depth is within the limit.
            sums(&packed, MatRef::row_vector(&x), &mut Workspace::new());
        }
    }
}

#[test]
fn offsets_are_added_to_each_column() {
    let mut random = Random::new(4);
    for format in WeightFormat::ALL {
        for (n, k, m) in [(1, 1, 1), (70, 33, 13), (300, 64, 3), (5, 0, 2)] {
            let weights = Weights::random(format, n, k, &mut random);
            let x = random.bytes(m * k);
            let (constant, row_sum_factor) = (random.integers(m), random.integers(m));
            let mut expected = weights.reference(batch(&x, m, k));
            for (i, sum) in expected.iter_mut().enumerate() {
                let correction = row_sums(&weights)[i % n].wrapping_mul(row_sum_factor[i / n]);
                *sum = sum.wrapping_add(correction).wrapping_add(constant[i / n]);
            }
            let offsets = Offsets { constant: &constant, row_sum_factor: &row_sum_factor };
            for &tier in Tier::available() {
                let activations = Activations::with_offsets(batch(&x, m, k), offsets);
                let found = product(&weights.pack(tier), activations, m, &Sums, 0, &mut Workspace::new());
                assert_eq!(found, expected, "{tier} {format:?}, batch {m}, n {n}, k {k}");
            }
        }
    }
}

#[test]
fn a_batch_split_in_any_way_gives_the_same_bits() {
    let mut random = Random::new(5);
    let (n, k, m) = (67, 75, 23);
    for format in WeightFormat::ALL {
        let weights = Weights::random(format, n, k, &mut random);
        let x = random.bytes(m * k);
        let whole = weights.reference(batch(&x, m, k));
        for &tier in Tier::available() {
            let packed = weights.pack(tier);
            let mut workspace = Workspace::new();
            for first in 0..=m {
                let mut found = sums(&packed, batch(&x, first, k), &mut workspace);
                // The rest, in pieces that each have another size.
                let (mut column, mut piece) = (first, 1);
                while column < m {
                    let columns = piece.min(m - column);
                    found.extend(sums(&packed, batch(&x[column * k..], columns, k), &mut workspace));
                    (column, piece) = (column + columns, piece + 1);
                }
                assert_eq!(found, whole, "{tier} {format:?}, {first} first");
            }
        }
    }
}

#[test]
fn a_workspace_serves_any_sequence_of_products() {
    let mut random = Random::new(6);
    let mut workspace = Workspace::new();
    for _ in 0..200 {
        let format = WeightFormat::ALL[random.bits() as usize % 4];
        let tier = Tier::available()[random.bits() as usize % Tier::available().len()];
        let (n, k, m) = (random.within(0, 90) as usize, random.within(0, 130) as usize, random.within(0, 21) as usize);
        let weights = Weights::random(format, n, k, &mut random);
        let x = random.bytes(m * k);
        let found = sums(&weights.pack(tier), batch(&x, m, k), &mut workspace);
        assert_eq!(found, weights.reference(batch(&x, m, k)), "{tier} {format:?}, batch {m}, n {n}, k {k}");
    }
}

#[cfg(feature = "rayon")]
#[test]
fn any_number_of_threads_gives_the_same_bits() {
    use std::sync::Arc;

    use skinny::kernels::Threads;

    let mut random = Random::new(7);
    // Enough bytes for eight threads to have work even in 4 bits, and a last unit of one row.
    let (n, k, m) = (2561, 417, 13);
    for format in WeightFormat::ALL {
        let weights = Weights::random(format, n, k, &mut random);
        let x = random.bytes(m * k);
        let expected = weights.reference(batch(&x, m, k));
        for threads in 1..=8 {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut workspace = Workspace::with_threads(Threads::Pool(Arc::new(pool)));
            for &tier in Tier::available() {
                let packed = weights.pack(tier);
                for m in [1, 4, m] {
                    let found = sums(&packed, batch(&x, m, k), &mut workspace);
                    assert!(found == expected[..m * n], "{tier} {format:?}, batch {m}, {threads} threads");
                }
            }
        }
    }
}

/// An epilogue that records which thread did which rows.
#[cfg(feature = "rayon")]
#[derive(Default)]
struct Witness(std::sync::Mutex<Vec<(std::thread::ThreadId, std::ops::Range<usize>)>>);

#[cfg(feature = "rayon")]
impl Epilogue for Witness {
    type Output = i32;

    fn check(&self, _m: usize, _n: usize) -> skinny::Result<()> {
        Ok(())
    }

    fn apply(&self, sums: &[i32], rows: std::ops::Range<usize>, _column: usize, out: &mut [i32]) {
        out.copy_from_slice(sums);
        self.0.lock().unwrap().push((std::thread::current().id(), rows));
    }
}

/// A pool is used for products with 64 KB of weights per thread, and for none smaller, whoever calls.
#[cfg(feature = "rayon")]
#[test]
fn a_pool_is_used_for_large_products_alone() {
    use std::sync::Arc;
    use std::thread;

    use skinny::kernels::Threads;

    const PART: usize = 64 * 1024;
    let mut random = Random::new(12);
    let k = 512;
    let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(4).build().unwrap());
    for (format, bytes, parts) in [
        (WeightFormat::I8, PART, 1),
        (WeightFormat::I8, 2 * PART - 32 * k, 1),
        (WeightFormat::I8, 2 * PART, 2),
        (WeightFormat::I8, 3 * PART, 3),
        (WeightFormat::I8, 9 * PART, 4),
        (WeightFormat::I4, 2 * PART - 32 * k, 1),
        (WeightFormat::I4, 2 * PART, 2),
    ] {
        let n = bytes / k * if format == WeightFormat::I4 { 2 } else { 1 };
        let weights = Weights::random(format, n, k, &mut random);
        let x = random.bytes(k);
        let expected = weights.reference(batch(&x, 1, k));
        for &tier in Tier::available() {
            let packed = weights.pack(tier);
            assert_eq!(packed.bytes(), bytes, "{tier} {format:?}");
            let product = || {
                let witness = Witness::default();
                let mut workspace = Workspace::with_threads(Threads::Pool(pool.clone()));
                let x = Activations::new(MatRef::row_vector(&x));
                let found = product(&packed, x, 1, &witness, 0, &mut workspace);
                assert!(found == expected, "{tier} {format:?}, {bytes} bytes");
                (thread::current().id(), witness.0.into_inner().unwrap())
            };
            // Called from outside, the caller does the first part, and the pool all others.
            let (caller, done) = product();
            let rows_of_caller: usize = done.iter().filter(|(id, _)| *id == caller).map(|(_, rows)| rows.len()).sum();
            assert!(rows_of_caller.abs_diff(n / parts) < 32, "{tier}: {rows_of_caller} of {n} rows in {parts} parts");
            // Called from a thread of the pool, idle threads take parts, and blocks show where parts begin.
            let (caller, mut done) = pool.install(product);
            done.sort_by_key(|(_, rows)| rows.start);
            let starts = |part: usize| done.iter().any(|(_, rows)| rows.start.abs_diff(n * part / parts) < 32);
            assert!((0..parts).all(starts), "{tier}: {parts} parts in {done:?}");
            assert!(parts > 1 || done.iter().all(|(id, _)| *id == caller));
        }
    }
}

/// The sums of a product, and what an epilogue must make of them.
struct Case {
    n: usize,
    m: usize,
    packed: Vec<PackedMat>,
    x: Vec<i8>,
    sums: Vec<i32>,
}

impl Case {
    fn random(n: usize, k: usize, m: usize, random: &mut Random) -> Self {
        let weights = Weights::random(WeightFormat::I8, n, k, random);
        let x = random.bytes(m * k);
        let sums = weights.reference(batch(&x, m, k));
        Self { n, m, packed: Tier::available().iter().map(|&tier| weights.pack(tier)).collect(), x, sums }
    }

    /// Compares the outputs of all tiers with `expected(sum, row, column)`, both converted by `bits`.
    fn check<E: Epilogue, B: PartialEq + std::fmt::Debug>(
        &self,
        epilogue: &E,
        fill: E::Output,
        bits: impl Fn(E::Output) -> B,
        expected: impl Fn(i32, usize, usize) -> B,
    ) {
        for packed in &self.packed {
            let x = Activations::new(batch(&self.x, self.m, packed.k()));
            let found = product(packed, x, self.m, epilogue, fill, &mut Workspace::new());
            assert_eq!(found.len(), self.sums.len());
            for (i, (found, &sum)) in found.into_iter().zip(&self.sums).enumerate() {
                let (row, column) = (i % self.n, i / self.n);
                let expected = expected(sum, row, column);
                assert_eq!(bits(found), expected, "{}, sum {sum}, row {row}, column {column}", packed.tier());
            }
        }
    }

    fn check_bytes<O: Byte>(&self, epilogue: &impl Epilogue<Output = O>, expected: impl Fn(i32, usize) -> i32) {
        let expected = |sum, row, _| expected(sum, row).clamp(O::LOW, O::HIGH);
        self.check(epilogue, O::from_clamped(55), Into::into, expected);
    }
}

/// Shapes with more than one block of rows, and tails of every vector.
const EPILOGUE_SHAPES: [(usize, usize, usize); 5] = [(1, 9, 1), (31, 40, 3), (300, 33, 12), (2100, 5, 1), (77, 64, 10)];

#[test]
fn dequantize_equals_its_formula() {
    let mut random = Random::new(8);
    for (n, k, m) in EPILOGUE_SHAPES {
        let case = Case::random(n, k, m, &mut random);
        let (row_scales, column_scales) = (random.floats(n, -0.1, 0.1), random.floats(m, 1e-4, 0.1));
        let bias = random.floats(n, -3.0, 3.0);
        for bias in [None, Some(&bias[..])] {
            for activation in [Activation::Identity, Activation::Relu, Activation::ClippedRelu(20.0)] {
                let epilogue = Dequantize { row_scales: &row_scales, column_scales: &column_scales, bias, activation };
                case.check(&epilogue, f32::NAN, f32::to_bits, |sum, row, column| {
                    let bias = bias.map(|bias| bias[row]);
                    formulas::dequantize(sum, row_scales[row], column_scales[column], bias, activation).to_bits()
                });
            }
        }
    }
}

/// An activation never outputs a negative zero. Which zero `f32::max` returns is up to the target and the optimizer.
#[test]
fn zeros_behind_an_activation_are_positive() {
    let (n, m) = (70, 3);
    let (weights, x) = (vec![0; n * 4], vec![1; m * 4]);
    let row_scales: Vec<f32> = (0..n).map(|row| if row % 2 == 0 { 1.0 } else { -1.0 }).collect();
    for &tier in Tier::available() {
        let packed = PackedMat::for_tier(MatRef::new(&weights, n, 4).unwrap(), tier).unwrap();
        for activation in [Activation::Relu, Activation::ClippedRelu(20.0)] {
            let epilogue = Dequantize { row_scales: &row_scales, column_scales: &[1.0; 3], bias: None, activation };
            let x = Activations::new(batch(&x, m, 4));
            let found = product(&packed, x, m, &epilogue, f32::NAN, &mut Workspace::new());
            assert!(found.iter().all(|y| y.to_bits() == 0), "{tier} {activation:?} {found:?}");
        }
    }
}

fn requantize_equals_its_formulas<O: Byte + std::fmt::Debug>(zero_points: &[O]) {
    let mut random = Random::new(9);
    for (n, k, m) in EPILOGUE_SHAPES {
        let case = Case::random(n, k, m, &mut random);
        let scales = Scales::new(random.floats(n, -0.01, 0.02)).unwrap();
        let bias: Vec<i32> = (0..n).map(|_| random.within(-20_000, 20_000)).collect();
        let multipliers: Vec<i32> = (0..n).map(|_| random.within(1 << 30, i32::MAX)).collect();
        let exponents: Vec<i32> = (0..n).map(|_| random.within(-12, -4)).collect();
        for &zero_point in zero_points {
            let z: i32 = zero_point.into();
            let float = RequantizeFloat::new(&scales, zero_point);
            let formula =
                |sum: i32, row: usize| formulas::requantize_float(sum, scales.as_slice()[row], z, O::LOW, O::HIGH);
            case.check_bytes(&float, formula);
            case.check_bytes(&float.with_bias(&bias), |sum, row| formula(sum + bias[row], row));

            let double = DoubleRounding {
                scales: QuantizedMultipliers { multipliers: &multipliers, exponents: &exponents },
                zero_point: z,
            };
            let formula = |sum: i32, row: usize| formulas::double_rounding(sum, multipliers[row], exponents[row], z);
            case.check_bytes(&Requantize::<O, _>::new(double), formula);
            case.check_bytes(&Requantize::<O, _>::new(double).with_bias(&bias), |sum, row| {
                formula(sum + bias[row], row)
            });

            let single = SingleRounding { scales: double.scales, zero_point: z };
            let formula = |sum: i32, row: usize| formulas::single_rounding(sum, multipliers[row], exponents[row], z);
            case.check_bytes(&Requantize::<O, _>::new(single), formula);
            case.check_bytes(&Requantize::<O, _>::new(single).with_bias(&bias), |sum, row| {
                formula(sum + bias[row], row)
            });

            let fixed = FixedPoint { multiplier: multipliers[0], shift: 9, offset: z };
            let formula = |sum: i32, _| formulas::fixed_point(sum, multipliers[0], 9, z);
            case.check_bytes(&Requantize::<O, _>::new(fixed), formula);
            let shift = Shift { offset: 100 * z, multiplier: 77, shift: 14 };
            let formula = |sum: i32, _| formulas::shift(sum, 100 * z, 77, 14);
            case.check_bytes(&Requantize::<O, _>::new(shift), formula);
        }
    }
}

#[test]
fn requantize_to_i8_equals_its_formulas() {
    requantize_equals_its_formulas::<i8>(&[0, 13, -128, 127]);
}

#[test]
fn requantize_to_u8_equals_its_formulas() {
    requantize_equals_its_formulas::<u8>(&[0, 128, 255]);
}

/// The driver reads and writes nothing beside the caller's slices.
#[cfg(unix)]
#[test]
fn the_callers_slices_are_all_that_is_touched() {
    use guard::{EDGES, Guarded};

    let mut random = Random::new(10);
    for format in WeightFormat::ALL {
        for n in [1, 7, 16, 33, 65] {
            for k in [1, 15, 16, 17, 32, 33, 64] {
                let weights = Weights::random(format, n, k, &mut random);
                let scales = Scales::new(random.floats(n, -0.01, 0.01)).unwrap();
                let row_scales = scales.as_slice();
                for &tier in Tier::available() {
                    let packed = weights.pack(tier);
                    for m in [1, 2, 4, 10, 13] {
                        let x = random.bytes(m * k);
                        let expected = weights.reference(batch(&x, m, k));
                        let column_scales = random.floats(m, 0.1, 1.0);
                        for edge in EDGES {
                            let x = Guarded::new(&x, edge);
                            let x = Activations::new(batch(&x, m, k));
                            let mut workspace = Workspace::new();
                            let mut out = Guarded::new(&vec![0i32; m * n], edge);
                            gemm(&packed, x, &Sums, MatMut::new(&mut out, m, n).unwrap(), &mut workspace).unwrap();
                            assert!(*out == expected[..], "{tier} {format:?}, batch {m}, n {n}, k {k}, {edge:?}");

                            let mut out = Guarded::new(&vec![0i8; m * n], edge);
                            let epilogue = RequantizeFloat::new(&scales, 3i8);
                            gemm(&packed, x, &epilogue, MatMut::new(&mut out, m, n).unwrap(), &mut workspace).unwrap();
                            let mut out = Guarded::new(&vec![0f32; m * n], edge);
                            let epilogue = Dequantize {
                                row_scales,
                                column_scales: &column_scales,
                                bias: None,
                                activation: Activation::Relu,
                            };
                            gemm(&packed, x, &epilogue, MatMut::new(&mut out, m, n).unwrap(), &mut workspace).unwrap();
                        }
                    }
                }
            }
        }
    }
}

/// The caller's slices at every alignment that their elements allow, in every case that the driver treats separately.
#[cfg(unix)]
#[test]
fn the_callers_slices_may_lie_anywhere() {
    use guard::{EDGES, Guarded};

    let mut random = Random::new(11);
    let (n, k) = (33, 64);
    for format in WeightFormat::ALL {
        let weights = Weights::random(format, n, k, &mut random);
        let scales = Scales::new(random.floats(n, -0.01, 0.01)).unwrap();
        for &tier in Tier::available() {
            let packed = weights.pack(tier);
            for m in [1, 3] {
                let x = random.bytes(m * k);
                let expected = weights.reference(batch(&x, m, k));
                let mut workspace = Workspace::new();
                let epilogue = RequantizeFloat::new(&scales, 3i8);
                let requantized = product(&packed, Activations::new(batch(&x, m, k)), m, &epilogue, 0, &mut workspace);
                let everywhere = (0..64).flat_map(|at| EDGES.map(|edge| (at, edge)));
                // For Miri one unaligned place is enough to see a load that needs alignment.
                for (at, edge) in everywhere.filter(|&place| !cfg!(miri) || place == (1, EDGES[0])) {
                    let x = Guarded::apart(&x, edge, at);
                    let x = Activations::new(batch(&x, m, k));
                    let mut out = Guarded::apart(&vec![0i32; m * n], edge, at * 4 % 64);
                    gemm(&packed, x, &Sums, MatMut::new(&mut out, m, n).unwrap(), &mut workspace).unwrap();
                    assert!(*out == expected[..] && out.is_clean(), "{tier} {format:?}, batch {m}, {at} {edge:?}");
                    let mut out = Guarded::apart(&vec![0i8; m * n], edge, at);
                    gemm(&packed, x, &epilogue, MatMut::new(&mut out, m, n).unwrap(), &mut workspace).unwrap();
                    assert!(*out == requantized[..] && out.is_clean(), "{tier} {format:?}, batch {m}, {at} {edge:?}");
                }
            }
        }
    }
}
