//! Resampling of a stream.

use std::ops::RangeInclusive;

use rubato::audioadapter_buffers::direct::SequentialSlice;
use rubato::{Fft, FixedSync, Resampler as _, WindowFunction};

use super::{check_samples, reserve};
use crate::error::{Error, Result};

/// The accepted sample rates, in Hz.
const RATES: RangeInclusive<u32> = 1000..=768_000;

/// The largest term in the ratio of two rates, in lowest terms.
const MAX_TERM: u32 = 1 << 16;

/// The minimum length of the filter, in samples of the lower rate.
const TAPS: usize = 512;

/// The loudest sample: sums in the longest transform stay below the largest `f32`.
const LOUDEST: f32 = 1e28;

/// Converts samples from one rate to another.
///
/// The crate rubato applies a windowed sinc block by block with Fourier transforms. The window is a squared
/// Blackman-Harris window over at least 512 samples of the lower rate. Up to 0.94 of half the lower rate, levels are
/// kept within 0.1 dB; beyond that half they are below -100 dB. The output is aligned with the input and has
/// `ceil(samples * output_rate / input_rate)` samples.
///
/// The output is bit-identical however the samples are split into calls. It comes block by block, at most
/// [`latency`](Self::latency) samples after the input.
///
/// # Example
/// ```
/// use skinny::audio::Resampler;
///
/// let mut resampler = Resampler::new(44_100, 16_000)?;
/// let tone = |rate: f64, i: usize| (i as f64 * std::f64::consts::TAU * 1000.0 / rate).sin() as f32;
/// let second: Vec<f32> = (0..44_100).map(|i| tone(44_100.0, i)).collect();
///
/// let mut resampled = Vec::new();
/// for piece in second.chunks(4410) {
///     resampled.extend_from_slice(resampler.push(piece)?);
/// }
/// resampled.extend_from_slice(resampler.finish()?);
/// assert_eq!(resampled.len(), 16_000);
/// assert!((1000..15_000).all(|i| (resampled[i] - tone(16_000.0, i)).abs() < 1e-4));
/// # Ok::<(), skinny::Error>(())
/// ```
#[derive(Debug)]
pub struct Resampler {
    rates: (u32, u32),
    /// `None` if the rates are equal.
    fft: Option<Box<Fft<f32>>>,
    /// The samples of an incomplete block.
    block: Vec<f32>,
    /// A block of output.
    resampled: Vec<f32>,
    outputs: Vec<f32>,
    /// Number of samples of the filter's delay still to drop.
    delay: usize,
    /// Number of samples of this stream so far.
    taken: u64,
    given: u64,
}

impl Resampler {
    /// Starts a stream.
    ///
    /// # Errors
    /// [`Error::Parameter`] unless both rates are 1000 to 768000 Hz and their ratio, in lowest terms, has no term above
    /// 65536.
    pub fn new(input_rate: u32, output_rate: u32) -> Result<Self> {
        for (what, rate) in [("input rate", input_rate), ("output rate", output_rate)] {
            if !RATES.contains(&rate) {
                return Err(Error::Parameter { what, value: f64::from(rate), expected: "1000 to 768000" });
            }
        }
        let mut resampler = Self {
            rates: (input_rate, output_rate),
            fft: None,
            block: Vec::new(),
            resampled: Vec::new(),
            outputs: Vec::new(),
            delay: 0,
            taken: 0,
            given: 0,
        };
        if input_rate != output_rate {
            let divisor = greatest_common_divisor(input_rate, output_rate);
            let (input, output) = (input_rate / divisor, output_rate / divisor);
            if input.max(output) > MAX_TERM {
                return Err(Error::Parameter {
                    what: "ratio of the sample rates",
                    value: f64::from(output_rate) / f64::from(input_rate),
                    expected: "one of whole numbers up to 65536",
                });
            }
            // Even, so that the centre of the filter lies on a sample of both rates.
            let units = TAPS.div_ceil(input.min(output) as usize).next_multiple_of(2);
            let (input, output) = (input as usize, output as usize);
            let window = WindowFunction::BlackmanHarris2;
            let fft = Fft::new_custom(input, output, units * input, 1, 1, window, FixedSync::Both);
            let fft = fft.map_err(|_| Error::Parameter {
                what: "input rate",
                value: f64::from(input_rate),
                expected: "one that can be resampled",
            })?;
            resampler.block.reserve_exact(fft.fft_size_in());
            resampler.resampled = vec![0.0; fft.fft_size_out()];
            resampler.delay = fft.fft_size_out() / 2;
            resampler.fft = Some(Box::new(fft));
        }
        Ok(resampler)
    }

    /// The input rate, in samples per second.
    pub fn input_rate(&self) -> u32 {
        self.rates.0
    }

    /// The output rate, in samples per second.
    pub fn output_rate(&self) -> u32 {
        self.rates.1
    }

    /// The longest delay of an output, in input samples: a block and half a filter.
    pub fn latency(&self) -> usize {
        self.fft.as_ref().map_or(0, |fft| fft.fft_size_in() + fft.fft_size_in() / 2)
    }

    /// Takes any number of samples and returns the output that is ready.
    ///
    /// # Errors
    /// [`Error::NotFinite`] for a sample, or [`Error::Parameter`] for a sample beyond 1e28; nothing is changed then.
    /// [`Error::Allocation`]; the stream is reset then.
    pub fn push(&mut self, samples: &[f32]) -> Result<&[f32]> {
        self.check(samples)?;
        self.outputs.clear();
        let done = self.take(samples);
        self.ready(done)
    }

    /// Ends the stream: returns the remaining output and resets.
    ///
    /// # Errors
    /// Those of [`push`](Self::push).
    pub fn finish(&mut self) -> Result<&[f32]> {
        self.outputs.clear();
        let done = self.flush();
        self.reset();
        self.ready(done)
    }

    /// Resets to the start of a stream.
    pub fn reset(&mut self) {
        if let Some(fft) = &mut self.fft {
            fft.reset();
            self.delay = fft.fft_size_out() / 2;
        }
        self.block.clear();
        (self.taken, self.given) = (0, 0);
    }

    /// Fails unless the samples can be resampled.
    pub(super) fn check(&self, samples: &[f32]) -> Result<()> {
        check_samples(samples)?;
        match samples.iter().find(|sample| sample.abs() > LOUDEST) {
            None => Ok(()),
            Some(&sample) => {
                Err(Error::Parameter { what: "sample", value: f64::from(sample), expected: "in -1e28..=1e28" })
            }
        }
    }

    fn ready(&mut self, done: Result<()>) -> Result<&[f32]> {
        match done {
            Ok(()) => Ok(&self.outputs),
            Err(error) => {
                self.reset();
                Err(error)
            }
        }
    }

    fn take(&mut self, samples: &[f32]) -> Result<()> {
        let Some(fft) = &self.fft else {
            reserve(&mut self.outputs, samples.len())?;
            self.outputs.extend_from_slice(samples);
            return Ok(());
        };
        let blocks = samples.len() / fft.fft_size_in() + 1;
        reserve(&mut self.outputs, blocks.saturating_mul(fft.fft_size_out()))?;
        let len = fft.fft_size_in();
        self.taken += samples.len() as u64;
        let mut rest = samples;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(len - self.block.len()));
            self.block.extend_from_slice(now);
            rest = later;
            if self.block.len() == len {
                self.run_block()?;
            }
        }
        Ok(())
    }

    /// Pushes silence until the output is as long as the input requires.
    fn flush(&mut self) -> Result<()> {
        let Some(fft) = &self.fft else { return Ok(()) };
        let len = fft.fft_size_in();
        reserve(&mut self.outputs, 2 * fft.fft_size_out())?;
        let (input, output) = (u128::from(self.rates.0), u128::from(self.rates.1));
        let wanted = (u128::from(self.taken) * output).div_ceil(input) as u64;
        while self.given < wanted {
            self.block.resize(len, 0.0);
            self.run_block()?;
        }
        // The last block may have produced more.
        self.outputs.truncate(self.outputs.len() - (self.given - wanted) as usize);
        Ok(())
    }

    /// Runs a complete block through the filter.
    fn run_block(&mut self) -> Result<()> {
        let Some(fft) = &mut self.fft else { return Ok(()) };
        let (input, output) = (self.block.len(), self.resampled.len());
        let from = SequentialSlice::new(&self.block, 1, input).expect("a block of one channel");
        let mut to = SequentialSlice::new_mut(&mut self.resampled, 1, output).expect("a block of one channel");
        fft.process_into_buffer(&from, &mut to, None).expect("blocks are as long as the resampler says");
        self.block.clear();
        let dropped = self.delay.min(output);
        self.delay -= dropped;
        self.outputs.extend_from_slice(&self.resampled[dropped..]);
        self.given += (output - dropped) as u64;
        Ok(())
    }
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}
