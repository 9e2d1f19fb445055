//! What is measured, in which order: the same on every machine, but for its tiers and the size of its caches.

use std::time::Duration;

use skinny::Tier;
use skinny::kernels::WeightFormat;

use crate::fit::BATCHES;
use crate::machine::Machine;
use crate::results::{From, Values};
use crate::timing::Runs;

/// What is measured, and for how long.
pub struct Plan {
    pub runs: Runs,
    /// When nothing more is begun.
    pub limit: Duration,
    /// Bytes that are streamed.
    pub streams: Vec<u64>,
    /// What decides comes first, since time may run out.
    pub cases: Vec<Case>,
    pub layers: Vec<LayerCase>,
    /// Bytes of copies that no cache holds.
    pub footprint: u64,
}

/// Products with the same weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    pub tier: Tier,
    pub weights: WeightFormat,
    pub n: usize,
    pub k: usize,
    pub values: Values,
    pub from: From,
    pub batches: Vec<usize>,
}

/// A layer, as `skinny bench --shape` takes it.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerCase {
    pub tier: Tier,
    pub shape: String,
    pub weights: WeightFormat,
}

/// The paper's benchmark.
pub const PAPER: (usize, usize) = (6144, 320);

/// From a cell of a few units to the paper's benchmark: small and large, wide and deep.
const SHAPES: [(usize, usize); 8] =
    [(16, 16), (64, 64), (192, 64), (16, 1024), (1024, 128), (128, 1024), (768, 256), PAPER];

/// Shapes whose weights come from memory.
const FROM_MEMORY: [(usize, usize); 3] = [PAPER, (3072, 1024), (1024, 128)];

/// A shape whose weights fit the second cache of every board.
const MIDDLE: (usize, usize) = (1024, 128);

const QUICK_SHAPES: [(usize, usize); 4] = [(16, 16), (64, 64), (16, 256), (256, 128)];

/// The least and the greatest footprint.
const FOOTPRINT: [u64; 2] = [64 << 20, 256 << 20];

impl Plan {
    /// What a board owner runs: some minutes.
    pub fn full(machine: &Machine) -> Self {
        let (best, others) = tiers();
        let mut cases = Vec::new();
        for weights in WeightFormat::ALL {
            cases.extend(SHAPES.map(|shape| case(best, weights, shape, Values::F32, From::Cache, BATCHES)));
            cases.extend(FROM_MEMORY.map(|shape| case(best, weights, shape, Values::F32, From::Memory, BATCHES)));
        }
        let every = || 1..=10;
        for weights in WeightFormat::ALL {
            cases.extend([PAPER, MIDDLE].map(|shape| case(best, weights, shape, Values::I8, From::Cache, every())));
        }
        for &tier in others.iter().rev() {
            for weights in WeightFormat::ALL {
                cases.push(case(tier, weights, MIDDLE, Values::I8, From::Cache, every()));
                cases.push(case(tier, weights, PAPER, Values::F32, From::Cache, [1, 4]));
            }
        }
        let layer = |shape: String, weights| LayerCase { tier: best, shape, weights };
        let shapes =
            ["gru", "lstm"].into_iter().flat_map(|kind| [16, 64, 256, 1024].map(|units| format!("{kind}:{units}")));
        let layers = shapes
            .flat_map(|shape| [WeightFormat::I8, WeightFormat::I4Group32].map(|weights| layer(shape.clone(), weights)));
        let footprint = footprint(machine);
        Self {
            runs: Runs { run: Duration::from_micros(300), all: Duration::from_millis(120), least: 7 },
            limit: Duration::from_secs(240),
            streams: [16 << 10, 128 << 10, 512 << 10, 2 << 20, 8 << 20, footprint].into(),
            cases,
            layers: layers.collect(),
            footprint,
        }
    }

    /// What shows in a second or two that all of it works.
    pub fn quick(machine: &Machine) -> Self {
        let (best, others) = tiers();
        let mut cases = Vec::new();
        for weights in WeightFormat::ALL {
            cases.extend(QUICK_SHAPES.map(|shape| case(best, weights, shape, Values::F32, From::Cache, BATCHES)));
        }
        cases.push(case(best, WeightFormat::I8, MIDDLE, Values::F32, From::Memory, [1, 4]));
        for &tier in others.iter().rev() {
            cases.extend(
                WeightFormat::ALL.map(|weights| case(tier, weights, (64, 64), Values::I8, From::Cache, [1, 4])),
            );
        }
        let layer = |shape: &str| LayerCase { tier: best, shape: shape.into(), weights: WeightFormat::I8 };
        let footprint = footprint(machine);
        Self {
            runs: Runs { run: Duration::from_micros(100), all: Duration::from_millis(3), least: 3 },
            limit: Duration::from_millis(1500),
            streams: [16 << 10, footprint].into(),
            cases,
            layers: ["gru:16", "lstm:16"].map(layer).into(),
            footprint,
        }
    }

    /// The number of measurements, without streams and checks.
    pub fn len(&self) -> usize {
        self.cases.iter().map(|case| case.batches.len()).sum::<usize>() + self.layers.len()
    }
}

fn case(
    tier: Tier,
    weights: WeightFormat,
    (n, k): (usize, usize),
    values: Values,
    from: From,
    batches: impl IntoIterator<Item = usize>,
) -> Case {
    Case { tier, weights, n, k, values, from, batches: batches.into_iter().collect() }
}

/// The best tier, and the others.
fn tiers() -> (Tier, &'static [Tier]) {
    Tier::available().split_last().map_or((Tier::Portable, &[]), |(&best, others)| (best, others))
}

/// Twice the largest cache, of a memory that has room for it.
fn footprint(machine: &Machine) -> u64 {
    let [least, most] = FOOTPRINT;
    let wanted = machine.largest_cache().map_or(least, |bytes| bytes.saturating_mul(2)).clamp(least, most);
    machine.memory_bytes.map_or(wanted, |memory| wanted.min((memory / 8).max(1 << 20)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_is_in_the_grid() {
        let machine = Machine::here();
        let plan = Plan::full(&machine);
        for &tier in Tier::available() {
            for weights in WeightFormat::ALL {
                let of = plan.cases.iter().filter(|case| case.tier == tier && case.weights == weights);
                let batches: Vec<usize> = of.flat_map(|case| case.batches.clone()).collect();
                assert!((1..=10).all(|batch| batches.contains(&batch)), "{tier} {weights:?}");
            }
        }
        for plan in [plan, Plan::quick(&machine)] {
            for (i, case) in plan.cases.iter().enumerate() {
                assert!(!plan.cases[..i].contains(case), "{case:?} twice");
            }
            assert!(plan.limit < Duration::from_secs(300) && plan.len() > 60);
        }
    }

    #[test]
    fn copies_exceed_caches_but_not_memory() {
        let mut machine = Machine { memory_bytes: Some(8 << 30), cores: Vec::new(), ..Machine::here() };
        assert_eq!(footprint(&machine), 64 << 20);
        machine.cores = vec![crate::machine::Cores {
            caches: vec![crate::machine::Cache { level: 3, bytes: 40 << 20, shared_by: 8 }],
            ..Default::default()
        }];
        assert_eq!(footprint(&machine), 80 << 20);
        machine.memory_bytes = Some(256 << 20);
        assert_eq!(footprint(&machine), 32 << 20);
        machine.memory_bytes = Some(0);
        assert_eq!(footprint(&machine), 1 << 20);
    }
}
