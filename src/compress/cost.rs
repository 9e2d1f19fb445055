//! What a weight costs: parameters, bytes, or predicted time.

use crate::kernels::{GROUP, WeightFormat};

/// What a budget is counted in.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Cost {
    /// Weights.
    Parameters,
    /// Bytes of weights and scales in this format; none is `f32`.
    Bytes(Option<WeightFormat>),
    /// Predicted microseconds of a time step on a core, weights in this format.
    Latency(Core, Option<WeightFormat>),
}

/// A core, as simply as it can be: a product takes as long as its weights take to come from memory or as its
/// multiply-accumulates take, whichever is longer, and a little for the call.
///
/// ```text
/// time = max(bytes / bandwidth, macs / rate) + call
/// ```
///
/// Rates are those of this crate's int8 kernels by llvm-mca's model of the core (benches/README.md) times the clock;
/// bandwidths are what one core of the board draws from DRAM (published STREAM-like figures, collected in the project's
/// design notes: assumptions here, not measurements of this crate). Weights are taken to come from DRAM, which is right
/// for models larger than the caches. The rates serve every format, although 4 bits take up to 29% more arithmetic on
/// these cores and `f32` several times as much, and the time of a call is a guess. So it is for comparing cuts of a
/// model, not for promises.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Core {
    /// Its name.
    pub name: &'static str,
    /// Bytes a microsecond from memory.
    pub bytes_a_us: f64,
    /// Multiply-accumulates a microsecond at batch 1.
    pub macs_a_us: f64,
    /// Multiply-accumulates a microsecond at batch 4.
    pub macs_a_us_batched: f64,
    /// Microseconds of a call: activations quantized and packed, epilogue.
    pub call_us: f64,
}

/// Steps whose input products are done at once, in the model.
const TIME_BATCH: f64 = 4.0;

impl Core {
    /// Cortex-A53, Raspberry Pi 3: 1.2 GHz, 1.8 GB/s; 2.82 and 3.79 multiply-accumulates a cycle (tier neon).
    pub const CORTEX_A53: Core = Core {
        name: "cortex-a53",
        bytes_a_us: 1800.0,
        macs_a_us: 2.82 * 1200.0,
        macs_a_us_batched: 3.79 * 1200.0,
        call_us: 1.0,
    };

    /// Cortex-A72, Raspberry Pi 4: 1.8 GHz, 4 GB/s; 7.38 and 7.65 multiply-accumulates a cycle (tier neon).
    pub const CORTEX_A72: Core = Core {
        name: "cortex-a72",
        bytes_a_us: 4000.0,
        macs_a_us: 7.38 * 1800.0,
        macs_a_us_batched: 7.65 * 1800.0,
        call_us: 0.5,
    };

    /// Cortex-A76, Raspberry Pi 5: 2.4 GHz, 10 GB/s; 16.88 and 27.36 multiply-accumulates a cycle, those of Neoverse
    /// N1, which has the same pipes (tier dotprod).
    pub const CORTEX_A76: Core = Core {
        name: "cortex-a76",
        bytes_a_us: 10_000.0,
        macs_a_us: 16.88 * 2400.0,
        macs_a_us_batched: 27.36 * 2400.0,
        call_us: 0.3,
    };

    /// The cores above.
    pub const ALL: [Core; 3] = [Core::CORTEX_A53, Core::CORTEX_A72, Core::CORTEX_A76];

    /// Microseconds a time step of a product of `n x k` weights. A recurrent one is done at every step; others share
    /// their weights over a time batch of 4.
    pub fn product_us(&self, n: usize, k: usize, format: Option<WeightFormat>, recurrent: bool) -> f64 {
        let (macs, bytes) = (n as f64 * k as f64, bytes(n, k, format));
        if recurrent {
            (bytes / self.bytes_a_us).max(macs / self.macs_a_us) + self.call_us
        } else {
            (bytes / self.bytes_a_us).max(macs * TIME_BATCH / self.macs_a_us_batched) / TIME_BATCH
                + self.call_us / TIME_BATCH
        }
    }
}

/// Bytes of `n x k` weights with their scales.
fn bytes(n: usize, k: usize, format: Option<WeightFormat>) -> f64 {
    let (n, k) = (n as f64, k as f64);
    match format {
        None => 4.0 * n * k,
        Some(WeightFormat::I8) => n * k + 4.0 * n,
        Some(WeightFormat::I4) => n * k / 2.0 + 4.0 * n,
        // A byte for each group, the last of a row included.
        Some(WeightFormat::I4Group32) => n * k / 2.0 + n * (k / GROUP as f64).ceil() + 4.0 * n,
    }
}

impl Cost {
    /// The unit, as error messages name it.
    pub fn unit(&self) -> &'static str {
        match self {
            Cost::Parameters => "parameters",
            Cost::Bytes(_) => "bytes",
            Cost::Latency(..) => "us per step",
        }
    }

    /// What one `n x k` matrix costs.
    pub fn matrix(&self, n: usize, k: usize, recurrent: bool) -> f64 {
        match self {
            Cost::Parameters => n as f64 * k as f64,
            Cost::Bytes(format) => bytes(n, k, *format),
            Cost::Latency(core, format) => core.product_us(n, k, *format, recurrent),
        }
    }

    /// What two factors of an `n x k` matrix cost.
    pub fn factors(&self, n: usize, k: usize, rank: usize, recurrent: bool) -> f64 {
        self.matrix(rank, k, recurrent) + self.matrix(n, rank, recurrent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_of_weights_and_scales_and_groups() {
        for (n, k) in [(3usize, 64usize), (5, 32), (2, 70), (7, 2)] {
            let groups = k.div_ceil(GROUP);
            for (format, expected) in [
                (None, 4 * n * k),
                (Some(WeightFormat::I8), n * k + 4 * n),
                (Some(WeightFormat::I4), n * k / 2 + 4 * n),
                (Some(WeightFormat::I4Group32), n * k / 2 + n * groups + 4 * n),
            ] {
                assert_eq!(Cost::Bytes(format).matrix(n, k, false), expected as f64, "{n} x {k}, {format:?}");
            }
        }
        // Of factors, the groups of each.
        let cost = Cost::Bytes(Some(WeightFormat::I4Group32));
        assert_eq!(cost.factors(6, 40, 4, true), (4 * 20 + 4 * 2 + 16) as f64 + (6 * 2 + 6 + 24) as f64);
    }
}
