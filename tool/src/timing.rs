//! How long a call takes.

use std::time::{Duration, Instant};

/// About how long a run of calls takes.
const RUN: Duration = Duration::from_millis(10);

/// The number of runs. The fastest one counts, because other work on the machine only makes runs longer.
const RUNS: usize = 21;

/// The seconds per call, as the mean over the fastest of many runs. A run takes about a hundredth of a second.
pub fn seconds_per_call<E>(mut call: impl FnMut() -> Result<(), E>) -> Result<f64, E> {
    let (once, calls) = calls(&mut call, RUN)?;
    // Long calls need fewer runs.
    let runs = if once > 10 * RUN { 5 } else { RUNS };
    let mut fastest = f64::INFINITY;
    for _ in 0..runs {
        fastest = fastest.min(time(&mut call, calls)?);
    }
    Ok(fastest)
}

/// How runs are timed whose median counts.
#[derive(Clone, Copy, Debug)]
pub struct Runs {
    /// About how long a run of calls takes. The shorter it is, the fewer runs does other work interrupt.
    pub run: Duration,
    /// How long runs are repeated, and how often at least.
    pub all: Duration,
    pub least: usize,
}

/// The seconds per call, as the mean over each of many runs.
pub fn samples<E>(runs: Runs, mut call: impl FnMut() -> Result<(), E>) -> Result<Vec<f64>, E> {
    let (_, calls) = calls(&mut call, runs.run)?;
    let (start, mut samples) = (Instant::now(), Vec::new());
    while samples.len() < runs.least || start.elapsed() < runs.all {
        samples.push(time(&mut call, calls)?);
    }
    Ok(samples)
}

/// About how long a call takes, and how many of them fill a run.
fn calls<E>(call: &mut impl FnMut() -> Result<(), E>, run: Duration) -> Result<(Duration, u32), E> {
    // The first call touches memory for the first time.
    time(call, 1)?;
    let once = Duration::from_secs_f64(time(call, 2)?);
    Ok((once, (run.as_nanos() / once.as_nanos().max(1)).clamp(1, 1_000_000) as u32))
}

/// The mean of some calls, in seconds.
fn time<E>(call: &mut impl FnMut() -> Result<(), E>, calls: u32) -> Result<f64, E> {
    let start = Instant::now();
    for _ in 0..calls {
        call()?;
    }
    Ok(start.elapsed().as_secs_f64() / f64::from(calls))
}
