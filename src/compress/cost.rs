//! What a weight costs: parameters, bytes, or predicted time.

use crate::kernels::{GROUP, GROUP_I2, WeightFormat};

/// What a budget is counted in.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Cost {
    /// Weights.
    Parameters,
    /// Bytes of weights and scales in this format; `None` is `f32`.
    Bytes(Option<WeightFormat>),
    /// Predicted microseconds per time step on a core, with weights in this format.
    Latency(Core, Option<WeightFormat>),
}

/// A roofline model of a core. A product takes the time to read its weights from memory or the time of its
/// multiply-accumulates, whichever is longer, plus a constant for the call.
///
/// ```text
/// time = max(bytes / bandwidth, macs / rate) + call
/// ```
///
/// Rates are llvm-mca's figures for this crate's int8 kernels (benches/README.md) times the clock. Bandwidths are
/// published figures, of the STREAM kind, for one core of the board; this crate has not measured them. Weights are
/// assumed to come from DRAM, which is right for models larger than the caches. The same rates serve every format,
/// although 4 and 2 bits take up to 29% more arithmetic on these cores and `f32` several times as much. The time of a call is
/// a guess. So use the model to compare ways to compress a model, not to predict its speed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Core {
    /// Its name.
    pub name: &'static str,
    /// Bytes per microsecond from memory.
    pub bytes_per_us: f64,
    /// Multiply-accumulates per microsecond at batch 1.
    pub macs_per_us: f64,
    /// Multiply-accumulates per microsecond at batch 4.
    pub macs_per_us_batched: f64,
    /// Microseconds per call: quantizing and packing the activations, and the epilogue.
    pub call_us: f64,
}

/// Number of steps whose input products the model computes at once.
const TIME_BATCH: f64 = 4.0;

impl Core {
    /// Cortex-A53, Raspberry Pi 3: 1.2 GHz, 1.8 GB/s; 2.82 and 3.79 multiply-accumulates per cycle (tier neon).
    pub const CORTEX_A53: Core = Core {
        name: "cortex-a53",
        bytes_per_us: 1800.0,
        macs_per_us: 2.82 * 1200.0,
        macs_per_us_batched: 3.79 * 1200.0,
        call_us: 1.0,
    };

    /// Cortex-A72, Raspberry Pi 4: 1.8 GHz, 4 GB/s; 7.38 and 7.65 multiply-accumulates per cycle (tier neon).
    pub const CORTEX_A72: Core = Core {
        name: "cortex-a72",
        bytes_per_us: 4000.0,
        macs_per_us: 7.38 * 1800.0,
        macs_per_us_batched: 7.65 * 1800.0,
        call_us: 0.5,
    };

    /// Cortex-A76, Raspberry Pi 5: 2.4 GHz, 10 GB/s; 16.88 and 27.36 multiply-accumulates per cycle (tier dotprod). The
    /// figures are for Neoverse N1, which has the same pipelines.
    pub const CORTEX_A76: Core = Core {
        name: "cortex-a76",
        bytes_per_us: 10_000.0,
        macs_per_us: 16.88 * 2400.0,
        macs_per_us_batched: 27.36 * 2400.0,
        call_us: 0.3,
    };

    /// The cores above.
    pub const ALL: [Core; 3] = [Core::CORTEX_A53, Core::CORTEX_A72, Core::CORTEX_A76];

    /// Microseconds per time step for a product with `n x k` weights. A recurrent product is computed at every step;
    /// others read their weights once per 4 steps.
    pub fn product_us(&self, n: usize, k: usize, format: Option<WeightFormat>, recurrent: bool) -> f64 {
        let (macs, bytes) = (n as f64 * k as f64, bytes(n, k, format));
        if recurrent {
            (bytes / self.bytes_per_us).max(macs / self.macs_per_us) + self.call_us
        } else {
            (bytes / self.bytes_per_us).max(macs * TIME_BATCH / self.macs_per_us_batched) / TIME_BATCH
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
        Some(WeightFormat::I2Group64) => n * k / 4.0 + n * (k / GROUP_I2 as f64).ceil() + 4.0 * n,
    }
}

impl Cost {
    /// The unit's name in error messages.
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
    fn bytes_include_weights_scales_and_groups() {
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
            let expected = (n * k) as f64 / 4.0 + (n * k.div_ceil(64) + 4 * n) as f64;
            assert_eq!(Cost::Bytes(Some(WeightFormat::I2Group64)).matrix(n, k, false), expected, "{n} x {k}");
        }
        // For factors, the groups of each factor count.
        let cost = Cost::Bytes(Some(WeightFormat::I4Group32));
        assert_eq!(cost.factors(6, 40, 4, true), (4 * 20 + 4 * 2 + 16) as f64 + (6 * 2 + 6 + 24) as f64);
    }
}
