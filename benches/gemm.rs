//! Small-batch products, i8 in and i8 out with a float scale for each output feature:
//!
//!     cargo bench --bench gemm                            all groups
//!     cargo bench --bench gemm -- 'gemm 6144x320 neon'    one of them
//!     cargo bench --bench gemm -- --test                  each once, checked and not timed
//!
//! A group is a shape (output features x depth) on a tier, its members are batches, and criterion's `elem/s` are
//! multiply-accumulates a second. Weights are packed before the clock starts. Before it is timed, each product is
//! compared with the oracle, to the bit.

mod support;

use std::hint::black_box;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use skinny::kernels::{Activations, PackedMat, RequantizeFloat, Scales, Workspace, gemm, reference};
use skinny::{Mat, MatMut, MatRef, Tier};
use support::random_bytes;

/// The largest batch: what fills one pass over the weights.
const BATCH: usize = 10;

/// Operands of one shape, and what the oracle makes of them.
struct Product {
    n: usize,
    k: usize,
    weights: Mat<i8>,
    /// `BATCH` columns; smaller batches take the first.
    x: Mat<i8>,
    scales: Scales,
    expected: Vec<i8>,
}

impl Product {
    fn new(n: usize, k: usize) -> Self {
        let (weights, x) = (random_bytes(1, n, k), random_bytes(2, BATCH, k));
        // Spreads the outputs over the bytes, with a few beyond them.
        let scale = 1.0 / (80.0 * (k as f32).sqrt());
        let expected = reference::gemm(weights.view(), x.view())
            .iter()
            .map(|&sum| (sum as f32 * scale).round_ties_even().clamp(-128.0, 127.0) as i8)
            .collect();
        Self { n, k, weights, x, scales: Scales::new(vec![scale; n]).expect("finite"), expected }
    }

    /// Checks and times the product on `tier` at each of `batches`.
    fn bench(&self, c: &mut Criterion, tier: Tier, batches: impl IntoIterator<Item = usize>) {
        let packed = PackedMat::for_tier(self.weights.view(), tier).expect("an available tier");
        let mut group = c.benchmark_group(format!("gemm {}x{} {tier}", self.n, self.k));
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

/// The table of the paper, on every tier that this machine has. The weights, 1.9 MB, exceed the caches of most boards:
/// at small batches this is memory bandwidth.
fn paper(c: &mut Criterion) {
    let product = Product::new(6144, 320);
    for &tier in Tier::available() {
        product.bench(c, tier, 1..=BATCH);
    }
}

/// What low-rank speech layers are made of, on the tier that would be chosen: the factors of a layer 1024 -> 1024 at rank
/// 128 and of larger and smaller ones, and the stacked gates of a GRU with 256 hidden units. Weights stay in L2.
fn low_rank(c: &mut Criterion) {
    let tier = Tier::select().expect("SKINNY_TIER names a tier of this machine");
    for (n, k) in [(1024, 128), (128, 1024), (128, 128), (512, 32), (2048, 256), (3 * 256, 256)] {
        Product::new(n, k).bench(c, tier, [1, 2, 4, 8]);
    }
}

criterion_group! { name = benches; config = support::settings(); targets = paper, low_rank }
criterion_main!(benches);
