//! The product on every tier and in every weight format equals the reference, bit for bit.

#[path = "common/random.rs"]
mod random;

use proptest::prelude::*;
use random::Random;
use skinny::kernels::{Activations, Epilogue, GROUP, PackedMat, Sums, WeightFormat, Workspace, gemm, reference};
use skinny::{MatMut, MatRef, Tier};

/// A weight in one format, before any tier has packed it.
struct Weights {
    format: WeightFormat,
    n: usize,
    k: usize,
    values: Vec<i8>,
    /// Used by `I4Group32` alone.
    multipliers: Vec<u8>,
}

impl Weights {
    fn random(format: WeightFormat, n: usize, k: usize, random: &mut Random) -> Self {
        let values = if format == WeightFormat::I8 { random.bytes(n * k) } else { random.nibbles(n * k) };
        Self { format, n, k, values, multipliers: random.multipliers(n * k.div_ceil(GROUP)) }
    }

    fn view(&self) -> MatRef<'_, i8> {
        MatRef::new(&self.values, self.n, self.k).unwrap()
    }

    fn multipliers(&self) -> MatRef<'_, u8> {
        MatRef::new(&self.multipliers, self.n, self.k.div_ceil(GROUP)).unwrap()
    }

    fn pack(&self, tier: Tier) -> PackedMat {
        match self.format {
            WeightFormat::I8 => PackedMat::for_tier(self.view(), tier),
            WeightFormat::I4 => PackedMat::i4_for_tier(self.view(), tier),
            _ => PackedMat::i4_grouped_for_tier(self.view(), self.multipliers(), tier),
        }
        .unwrap()
    }

    fn reference(&self, x: MatRef<'_, i8>) -> Vec<i32> {
        match self.format {
            WeightFormat::I8 | WeightFormat::I4 => reference::gemm(self.view(), x),
            _ => reference::gemm_grouped(self.view(), self.multipliers(), x),
        }
    }
}

/// `m x k` activations.
fn batch(x: &[i8], m: usize, k: usize) -> MatRef<'_, i8> {
    MatRef::new(&x[..m * k], m, k).unwrap()
}

/// The output of a product, in memory that held something else.
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

/// The batches that are tested for every small shape: more than one group of ten columns, too.
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
            // A column does not depend on the others, so that smaller batches have the first rows of the largest.
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn larger_shapes(
        m in 1usize..=33, n in 1usize..400, k in 1usize..600, format in 0usize..3, seed in any::<u64>(),
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
