//! What a weight costs: parameters, bytes, or predicted time.

use super::bytes::bytes;
use super::core::Core;
use crate::kernels::WeightFormat;

/// What a budget is counted in.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Cost {
    /// Weights.
    Parameters,
    /// Bytes of weights and scales in this format; `None` is `f32`.
    Bytes(Option<WeightFormat>),
    /// Predicted microseconds per time step on a core, with weights in this format.
    Latency(Core, Option<WeightFormat>),
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
    use crate::kernels::GROUP;

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
