//! What a product takes on a core, predicted from counted cycles and bytes.

use super::bytes::bytes;
use crate::kernels::WeightFormat;

/// A roofline model of a core. A product takes the time to read its weights from memory or the time of its arithmetic,
/// whichever is longer, and then what every call takes.
///
/// ```text
/// time   = max(bytes / bytes_per_us, macs / macs_per_cycle / cycles_per_us) + call / cycles_per_us
/// call   = call_cycles + batch (column_cycles + input_cycles k)
/// ```
///
/// Cycles are counted: scripts/armcount runs this crate's public calls, and llvm-mca's model of the core says what they
/// take if every load finds its line in L1. Bandwidth is what one core reads from memory. Published figures of it differ
/// by more than anything else here, so [`bytes_per_us_range`](Self::bytes_per_us_range) has the lowest and the highest.
///
/// Weights are assumed to come from memory, which is right for models larger than the caches. Gates and states are left
/// out; they take a few percent of a wide layer. `f32` weights are given the arithmetic of 8 bits, which they do not
/// reach. Nothing of this has been measured on such a core.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Core {
    /// Its name.
    pub name: &'static str,
    /// Its clock in MHz.
    pub cycles_per_us: f64,
    /// Bytes per microsecond that one core reads from memory: the figure that predictions use.
    pub bytes_per_us: f64,
    /// The lowest and the highest figure for it that is published or simulated.
    pub bytes_per_us_range: [f64; 2],
    /// Multiply-accumulates per cycle of products in 8 bits, at batches of 1, 2, 4 and 8.
    pub i8_macs_per_cycle: [f64; 4],
    /// The same in 4 bits with one scale per output.
    pub i4_macs_per_cycle: [f64; 4],
    /// The same in groups with multipliers.
    pub grouped_macs_per_cycle: [f64; 4],
    /// Cycles of any call.
    pub call_cycles: f64,
    /// Cycles of a call for each vector of its batch.
    pub column_cycles: f64,
    /// Cycles of a call for each activation, which is rounded to 8 bits and packed.
    pub input_cycles: f64,
}

/// The batches that the rates are for.
const BATCHES: [usize; 4] = [1, 2, 4, 8];

/// The number of steps whose input products are computed at once, unless the caller says otherwise.
const TIME_BATCH: usize = 4;

impl Core {
    /// Cortex-A53 at 1.2 GHz, as in the Raspberry Pi 3; tier `neon`.
    ///
    /// 1.8 GB/s is what farm's authors state for a Raspberry Pi 3. The simulated core of scripts/simulate reads 2.76 GB/s.
    /// The highest figure follows from the times that tract's authors give for an A53 board, which take at least 3.1.
    pub const CORTEX_A53: Core = Core {
        name: "cortex-a53",
        cycles_per_us: 1200.0,
        bytes_per_us: 1800.0,
        bytes_per_us_range: [1800.0, 3100.0],
        i8_macs_per_cycle: [2.82, 3.20, 3.79, 3.77],
        i4_macs_per_cycle: [3.02, 3.26, 3.68, 3.68],
        grouped_macs_per_cycle: [2.71, 2.78, 3.65, 3.66],
        call_cycles: 680.0,
        column_cycles: 507.0,
        input_cycles: 3.4,
    };

    /// Cortex-A72 at 1.8 GHz, as in the Raspberry Pi 4; tier `neon`.
    ///
    /// The simulated core reads 3.83 GB/s. One core of the board moves 5.5 GB/s in STREAM's copy, reads and writes
    /// together, and in tinymembench's (geerlingguy/sbc-reviews#110). 4 GB/s is between the two.
    pub const CORTEX_A72: Core = Core {
        name: "cortex-a72",
        cycles_per_us: 1800.0,
        bytes_per_us: 4000.0,
        bytes_per_us_range: [3830.0, 5500.0],
        i8_macs_per_cycle: [7.38, 7.58, 7.65, 7.66],
        i4_macs_per_cycle: [7.48, 7.26, 7.28, 7.30],
        grouped_macs_per_cycle: [6.97, 6.37, 6.59, 6.60],
        call_cycles: 398.0,
        column_cycles: 261.0,
        input_cycles: 1.3,
    };

    /// Cortex-A76 at 2.4 GHz, as in the Raspberry Pi 5; tier `dotprod`. Its cycles are those of the Neoverse N1, which has
    /// the same pipelines.
    ///
    /// One core reads 9.1 GB/s on the board with 8 GB and 9.4 on that with 4 GB (raspberrypi/firmware#1876, "C scan 64" of
    /// tinymembench); the simulated core reads 9.2.
    pub const CORTEX_A76: Core = Core {
        name: "cortex-a76",
        cycles_per_us: 2400.0,
        bytes_per_us: 9300.0,
        bytes_per_us_range: [9100.0, 9400.0],
        i8_macs_per_cycle: [16.88, 23.19, 27.36, 27.34],
        i4_macs_per_cycle: [17.2, 21.2, 23.9, 24.0],
        grouped_macs_per_cycle: [14.5, 14.8, 15.1, 14.8],
        call_cycles: 263.0,
        column_cycles: 181.0,
        input_cycles: 0.9,
    };

    /// The cores above.
    pub const ALL: [Core; 3] = [Core::CORTEX_A53, Core::CORTEX_A72, Core::CORTEX_A76];

    /// The same core with another memory.
    #[must_use]
    pub fn with_bytes_per_us(self, bytes_per_us: f64) -> Self {
        Self { bytes_per_us, ..self }
    }

    /// Microseconds of one product of `n x k` weights with `batch` vectors; a batch of 0 counts as 1.
    pub fn call_us(&self, n: usize, k: usize, format: Option<WeightFormat>, batch: usize) -> f64 {
        let columns = batch.max(1) as f64;
        let memory = bytes(n, k, format) / self.bytes_per_us;
        let arithmetic = n as f64 * k as f64 * columns / self.macs_per_cycle(format, batch) / self.cycles_per_us;
        let call = self.call_cycles + columns * (self.column_cycles + self.input_cycles * k as f64);
        memory.max(arithmetic) + call / self.cycles_per_us
    }

    /// Microseconds per time step for a product with `n x k` weights. A recurrent product is computed at every step;
    /// others read their weights once per 4 steps.
    pub fn product_us(&self, n: usize, k: usize, format: Option<WeightFormat>, recurrent: bool) -> f64 {
        self.step_us(n, k, format, if recurrent { 1 } else { TIME_BATCH })
    }

    /// Microseconds per time step for a product that is computed once for `time_batch` steps.
    pub fn step_us(&self, n: usize, k: usize, format: Option<WeightFormat>, time_batch: usize) -> f64 {
        self.call_us(n, k, format, time_batch) / time_batch.max(1) as f64
    }

    /// Multiply-accumulates per cycle, between the counted batches on a straight line.
    fn macs_per_cycle(&self, format: Option<WeightFormat>, batch: usize) -> f64 {
        let rates = match format {
            None | Some(WeightFormat::I8) => self.i8_macs_per_cycle,
            Some(WeightFormat::I4) => self.i4_macs_per_cycle,
            Some(WeightFormat::I4Group32 | WeightFormat::I2Group64) => self.grouped_macs_per_cycle,
        };
        let after = BATCHES.iter().position(|&counted| batch <= counted).unwrap_or(BATCHES.len() - 1);
        let Some(before) = after.checked_sub(1).filter(|_| batch < BATCHES[after]) else { return rates[after] };
        let share = (batch - BATCHES[before]) as f64 / (BATCHES[after] - BATCHES[before]) as f64;
        rates[before] + share * (rates[after] - rates[before])
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    /// A core whose figures are easy to work with.
    const ROUND: Core = Core {
        name: "round",
        cycles_per_us: 1000.0,
        bytes_per_us: 2000.0,
        bytes_per_us_range: [1000.0, 4000.0],
        i8_macs_per_cycle: [2.0, 4.0, 8.0, 10.0],
        i4_macs_per_cycle: [1.0, 1.0, 1.0, 1.0],
        grouped_macs_per_cycle: [0.5, 0.5, 0.5, 0.5],
        call_cycles: 500.0,
        column_cycles: 100.0,
        input_cycles: 1.0,
    };

    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9 * expected, "{found} for {expected}");
    }

    #[test]
    fn a_product_takes_the_longer_of_memory_and_arithmetic_and_the_call() {
        let i8 = Some(WeightFormat::I8);
        // 200,000 weights and 1000 scales are 204,000 bytes: 102 us; their arithmetic at batch 1 takes 100 us. The call
        // takes 500 + 100 + 200 cycles.
        near(ROUND.call_us(1000, 200, i8, 1), 102.0 + 0.8);
        // At batch 8: 1.6 million multiply-accumulates at 10 a cycle.
        near(ROUND.call_us(1000, 200, i8, 8), 160.0 + 0.5 + 8.0 * 0.3);
        near(ROUND.step_us(1000, 200, i8, 8), (160.0 + 0.5 + 8.0 * 0.3) / 8.0);
        // In 4 bits and in groups, arithmetic decides here.
        near(ROUND.call_us(1000, 200, Some(WeightFormat::I4), 1), 200.0 + 0.8);
        near(ROUND.call_us(1000, 200, Some(WeightFormat::I4Group32), 1), 400.0 + 0.8);
        near(ROUND.with_bytes_per_us(1000.0).call_us(1000, 200, i8, 1), 204.0 + 0.8);
        near(ROUND.call_us(0, 0, i8, 0), 0.6);
        near(ROUND.product_us(1000, 200, i8, true), ROUND.call_us(1000, 200, i8, 1));
        near(ROUND.product_us(1000, 200, i8, false), ROUND.call_us(1000, 200, i8, 4) / 4.0);
    }

    #[test]
    fn rates_lie_on_lines_between_the_counted_batches() {
        let rates: Vec<f64> =
            [0, 1, 2, 3, 4, 5, 6, 8, 9, 1000].iter().map(|&m| ROUND.macs_per_cycle(None, m)).collect();
        assert_eq!(rates, [2.0, 2.0, 4.0, 6.0, 8.0, 8.5, 9.0, 10.0, 10.0, 10.0]);
    }

    /// Every figure that predictions use lies within the range stated beside it.
    #[test]
    fn bandwidths_lie_in_their_ranges() {
        for core in Core::ALL {
            let [low, high] = core.bytes_per_us_range;
            assert!(0.0 < low && low <= core.bytes_per_us && core.bytes_per_us <= high, "{}", core.name);
        }
    }
}
