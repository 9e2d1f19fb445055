//! What a product takes on a core, predicted from counted cycles and bytes.

use alloc::string::String;

use super::bytes::bytes;
use crate::kernels::WeightFormat;

/// A small model of a core. A product takes the time to read its weights from memory or the time of its arithmetic,
/// whichever is longer, a share of the shorter one, and then what every call takes.
///
/// ```text
/// memory     = bytes / bytes_per_us
/// arithmetic = macs / macs_per_cycle / cycles_per_us
/// call       = call_cycles + batch (column_cycles + input_cycles k)
/// time       = max(memory, arithmetic) + exposed min(memory, arithmetic) + call / cycles_per_us
/// ```
///
/// Cycles are counted: scripts/armcount runs this crate's public calls, and llvm-mca's model of the core says what they
/// take if every load finds its line in L1. Bandwidth is what one core reads from memory. Published figures of it differ
/// by more than anything else here, so [`bytes_per_us_range`](Self::bytes_per_us_range) has the lowest and the highest.
///
/// Weights are assumed to come from memory, which is right for models larger than the caches. Gates and states are left
/// out; they take a few percent of a wide layer. `f32` weights are given the arithmetic of 8 bits, which they do not
/// reach. docs/performance.md holds this kind of model against times of real boards ("Against silicon").
///
/// A core is written down as text: a line `key = value` for each field here, with sources as comments. The crate brings
/// [a few](Core::all), in `src/compress/cores/`; others are parsed.
///
/// ```
/// use skinny::compress::Core;
///
/// let slow = Core::named("cortex-a53").unwrap();
/// let text = slow.to_string().replace("cycles_per_us = 1200", "cycles_per_us = 1400 # overclocked");
/// let fast: Core = text.parse()?;
/// assert_eq!(fast, Core { cycles_per_us: 1400.0, ..slow });
///
/// let refused = text.replace("call_cycles", "callcycles").parse::<Core>().unwrap_err();
/// assert_eq!(refused.to_string(), "description of a core: call_cycles: missing");
/// # Ok::<(), skinny::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Core {
    /// Its name, one word.
    pub name: String,
    /// Its clock in MHz.
    pub cycles_per_us: f64,
    /// Bytes per microsecond that one core reads from memory: the figure that predictions use.
    pub bytes_per_us: f64,
    /// The lowest and the highest figure for it that is published or simulated.
    pub bytes_per_us_range: [f64; 2],
    /// The share of the shorter of memory and arithmetic that the longer one does not hide: 0 if they overlap entirely.
    pub exposed: f64,
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
    /// The same core with another memory.
    #[must_use]
    pub fn with_bytes_per_us(&self, bytes_per_us: f64) -> Self {
        Self { bytes_per_us, ..self.clone() }
    }

    /// Microseconds of one product of `n x k` weights with `batch` vectors; a batch of 0 counts as 1.
    pub fn call_us(&self, n: usize, k: usize, format: Option<WeightFormat>, batch: usize) -> f64 {
        let columns = batch.max(1) as f64;
        let memory = bytes(n, k, format) / self.bytes_per_us;
        let arithmetic = n as f64 * k as f64 * columns / self.macs_per_cycle(format, batch) / self.cycles_per_us;
        let call = self.call_cycles + columns * (self.column_cycles + self.input_cycles * k as f64);
        memory.max(arithmetic) + self.exposed * memory.min(arithmetic) + call / self.cycles_per_us
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
    fn round() -> Core {
        Core {
            name: "round".into(),
            cycles_per_us: 1000.0,
            bytes_per_us: 2000.0,
            bytes_per_us_range: [1000.0, 4000.0],
            exposed: 0.25,
            i8_macs_per_cycle: [2.0, 4.0, 8.0, 10.0],
            i4_macs_per_cycle: [1.0, 1.0, 1.0, 1.0],
            grouped_macs_per_cycle: [0.5, 0.5, 0.5, 0.5],
            call_cycles: 500.0,
            column_cycles: 100.0,
            input_cycles: 1.0,
        }
    }

    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9 * expected, "{found} for {expected}");
    }

    #[test]
    fn a_product_takes_the_longer_of_memory_and_arithmetic_and_the_call() {
        let (core, i8) = (round(), Some(WeightFormat::I8));
        // 200,000 weights and 1000 scales are 204,000 bytes: 102 us; their arithmetic at batch 1 takes 100 us, of which a
        // quarter is exposed. The call takes 500 + 100 + 200 cycles.
        near(core.call_us(1000, 200, i8, 1), 102.0 + 25.0 + 0.8);
        // At batch 8: 1.6 million multiply-accumulates at 10 a cycle, and a quarter of memory's time.
        near(core.call_us(1000, 200, i8, 8), 160.0 + 25.5 + 0.5 + 8.0 * 0.3);
        near(core.step_us(1000, 200, i8, 8), (160.0 + 25.5 + 0.5 + 8.0 * 0.3) / 8.0);
        // In 4 bits and in groups, arithmetic decides here: 104,000 and 111,000 bytes.
        near(core.call_us(1000, 200, Some(WeightFormat::I4), 1), 200.0 + 13.0 + 0.8);
        near(core.call_us(1000, 200, Some(WeightFormat::I4Group32), 1), 400.0 + 13.875 + 0.8);
        near(core.with_bytes_per_us(1000.0).call_us(1000, 200, i8, 1), 204.0 + 25.0 + 0.8);
        let hidden = Core { exposed: 0.0, ..core.clone() };
        near(hidden.call_us(1000, 200, i8, 1), 102.0 + 0.8);
        near(core.call_us(0, 0, i8, 0), 0.6);
        near(core.product_us(1000, 200, i8, true), core.call_us(1000, 200, i8, 1));
        near(core.product_us(1000, 200, i8, false), core.call_us(1000, 200, i8, 4) / 4.0);
    }

    #[test]
    fn rates_lie_on_lines_between_the_counted_batches() {
        let core = round();
        let rates: Vec<f64> = [0, 1, 2, 3, 4, 5, 6, 8, 9, 1000].iter().map(|&m| core.macs_per_cycle(None, m)).collect();
        assert_eq!(rates, [2.0, 2.0, 4.0, 6.0, 8.0, 8.5, 9.0, 10.0, 10.0, 10.0]);
    }
}
