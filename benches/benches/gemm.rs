//! Small-batch products, i8 in and i8 out with a float scale for each output feature:
//!
//!     cargo bench --bench gemm                            all groups
//!     cargo bench --bench gemm -- 'gemm 6144x320 neon'    one of them
//!     cargo bench --bench gemm -- --test                  each once, checked and not timed
//!
//! A group is a shape (output features x depth) of 8-bit or 4-bit weights on a tier. Its members are batches, and
//! criterion's `elem/s` are multiply-accumulates per second. Weights are packed before the clock starts. Before each
//! product is timed, it is compared with the oracle, to the bit.

#![allow(missing_docs, reason = "criterion's macros write functions without")]

mod settings;

use std::hint::black_box;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use skinny::kernels::{
    Activations, MAX_I4, MAX_MULTIPLIER_I2, PackedMat, RequantizeFloat, Scales, WeightFormat, Workspace, gemm,
    reference,
};
use skinny::{Mat, MatMut, MatRef, Tier};
use skinny_benches::random_bytes;

/// The largest batch, which fills one pass over the weights.
const BATCH: usize = 10;

/// The batches of the groups that are not from the paper.
const BATCHES: [usize; 4] = [1, 2, 4, 8];

/// Operands of one shape, and what the oracle makes of them.
struct Product {
    format: WeightFormat,
    n: usize,
    k: usize,
    weights: Mat<i8>,
    /// The multipliers of grouped weights, if they have 4 bits or if they have 2.
    multipliers: Mat<u8>,
    multipliers_i2: Mat<i8>,
    /// `BATCH` columns; smaller batches take the first.
    x: Mat<i8>,
    scales: Scales,
    expected: Vec<i8>,
}

impl Product {
    fn new(format: WeightFormat, n: usize, k: usize) -> Self {
        let (mut weights, x) = (random_bytes(1, n, k), random_bytes(2, BATCH, k));
        match format {
            WeightFormat::I8 => (),
            WeightFormat::I2Group64 => weights.as_mut_slice().iter_mut().for_each(|w| *w >>= 6),
            _ => weights.as_mut_slice().iter_mut().for_each(|w| *w %= MAX_I4 + 1),
        }
        let groups = format.group().map_or(0, |group| k.div_ceil(group));
        let mut multipliers_i2 = random_bytes(3, n, groups);
        let multipliers = multipliers_i2.as_slice().iter().map(|byte| byte.unsigned_abs()).collect();
        let multipliers = Mat::from_vec(multipliers, n, groups).expect("as many values as elements");
        multipliers_i2.as_mut_slice().iter_mut().for_each(|m| *m %= MAX_MULTIPLIER_I2 + 1);

        let sums = match format {
            WeightFormat::I4Group32 => reference::gemm_grouped(weights.view(), multipliers.view(), x.view()),
            WeightFormat::I2Group64 => reference::gemm_i2(weights.view(), multipliers_i2.view(), x.view()),
            _ => reference::gemm(weights.view(), x.view()),
        };
        // Spreads the outputs over the range of a byte, with a few beyond it.
        let mean = sums.iter().map(|&sum| f64::from(sum).abs()).sum::<f64>() / sums.len() as f64;
        let scale = (60.0 / mean) as f32;
        let byte = |&sum: &i32| (sum as f32 * scale).round_ties_even().clamp(-128.0, 127.0) as i8;
        let expected = sums.iter().map(byte).collect();
        let scales = Scales::new(vec![scale; n]).expect("finite");
        Self { format, n, k, weights, multipliers, multipliers_i2, x, scales, expected }
    }

    fn pack(&self, tier: Tier) -> PackedMat {
        let weights = self.weights.view();
        match self.format {
            WeightFormat::I4 => PackedMat::i4_for_tier(weights, tier),
            WeightFormat::I4Group32 => PackedMat::i4_grouped_for_tier(weights, self.multipliers.view(), tier),
            WeightFormat::I2Group64 => PackedMat::i2_grouped_for_tier(weights, self.multipliers_i2.view(), tier),
            _ => PackedMat::for_tier(weights, tier),
        }
        .expect("an available tier")
    }

    /// Checks and times the product on `tier` at each of `batches`.
    fn bench(&self, c: &mut Criterion, tier: Tier, batches: impl IntoIterator<Item = usize>) {
        let packed = self.pack(tier);
        let weights = match self.format {
            WeightFormat::I4 => " i4",
            WeightFormat::I4Group32 => " i4 by groups",
            WeightFormat::I2Group64 => " i2",
            _ => "",
        };
        let mut group = c.benchmark_group(format!("gemm {}x{}{weights} {tier}", self.n, self.k));
        for m in batches {
            self.bench_batch(&mut group, &packed, m);
        }
        group.finish();
    }

    fn bench_batch(&self, group: &mut BenchmarkGroup<'_, WallTime>, packed: &PackedMat, m: usize) {
        let x = MatRef::new(&self.x.as_slice()[..m * self.k], m, self.k).expect("the first columns");
        let epilogue = RequantizeFloat::new(&self.scales, 0i8);
        let mut out = vec![0; m * self.n];
        let mut workspace = Workspace::new();
        let mut call = |out: &mut [i8]| {
            let out = MatMut::new(out, m, self.n).expect("as many outputs as the product has");
            gemm(packed, Activations::new(black_box(x)), &epilogue, out, &mut workspace).expect("shapes fit");
        };

        call(&mut out);
        assert!(out == self.expected[..out.len()], "{} x {} x {m} differs from the oracle", self.n, self.k);

        group.throughput(Throughput::Elements((m * self.n * self.k) as u64));
        group.bench_function(BenchmarkId::from_parameter(m), |b| b.iter(|| call(black_box(&mut out))));
    }
}

/// The table of the paper, on every tier that this machine has. The weights, 1.9 MB, exceed the caches of most
/// boards, so at small batches it measures memory bandwidth.
fn paper(c: &mut Criterion) {
    let product = Product::new(WeightFormat::I8, 6144, 320);
    for &tier in Tier::available() {
        product.bench(c, tier, 1..=BATCH);
    }
}

/// The same in half the bytes, and in a quarter.
fn few_bits(c: &mut Criterion) {
    for format in [WeightFormat::I4, WeightFormat::I4Group32, WeightFormat::I2Group64] {
        Product::new(format, 6144, 320).bench(c, tier(), BATCHES);
    }
}

/// What low-rank speech layers are made of, on the tier that would be chosen: the factors of a layer 1024 -> 1024 at
/// rank 128 and of larger and smaller ones, and the stacked gates of a GRU with 256 hidden units. Weights stay in L2.
fn low_rank(c: &mut Criterion) {
    for (n, k) in [(1024, 128), (128, 1024), (128, 128), (512, 32), (2048, 256), (3 * 256, 256)] {
        Product::new(WeightFormat::I8, n, k).bench(c, tier(), BATCHES);
    }
}

/// The tier that would be chosen.
fn tier() -> Tier {
    Tier::select().expect("SKINNY_TIER names a tier of this machine")
}

criterion_group! { name = benches; config = settings::settings(); targets = paper, few_bits, low_rank }
criterion_main!(benches);
