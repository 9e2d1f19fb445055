//! Times the reading of memory by one core.

use std::convert::Infallible;
use std::hint::black_box;

use super::products::microseconds;
use crate::results::{Stream, Time};
use crate::timing::{Runs, samples};

/// Words that are added side by side: several registers of every processor.
const LANES: usize = 32;

/// Reads `bytes` again and again, in order.
pub fn time(bytes: u64, runs: Runs) -> Option<Stream> {
    let words: Vec<u64> = (0..bytes / 8).collect();
    let pass = || {
        black_box(sum(black_box(&words)));
        Ok::<(), Infallible>(())
    };
    let Ok(seconds) = samples(runs, pass);
    microseconds(seconds).map(|us: Time| Stream { bytes, us })
}

fn sum(words: &[u64]) -> u64 {
    let mut lanes = [0u64; LANES];
    for chunk in words.chunks_exact(LANES) {
        lanes.iter_mut().zip(chunk).for_each(|(lane, &word)| *lane = lane.wrapping_add(word));
    }
    lanes.into_iter().fold(0, u64::wrapping_add)
}
