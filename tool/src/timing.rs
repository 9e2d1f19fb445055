//! How long a call takes.

use std::time::{Duration, Instant};

/// About how long a run of calls takes.
const RUN: Duration = Duration::from_millis(10);

/// The number of runs. The fastest one counts, because other work on the machine only makes runs longer.
const RUNS: usize = 21;

/// The seconds per call, as the mean over the fastest of many runs. A run takes about a hundredth of a second.
pub fn seconds_per_call<E>(mut call: impl FnMut() -> Result<(), E>) -> Result<f64, E> {
    let mut time = |calls: u32| {
        let start = Instant::now();
        for _ in 0..calls {
            call()?;
        }
        Ok(start.elapsed())
    };
    // The first call touches memory for the first time.
    time(1)?;
    let once = time(2)? / 2;
    let calls = (RUN.as_nanos() / once.as_nanos().max(1)).clamp(1, 1_000_000) as u32;
    // Long calls need fewer runs.
    let runs = if once > 10 * RUN { 5 } else { RUNS };
    let mut fastest = Duration::MAX;
    for _ in 0..runs {
        fastest = fastest.min(time(calls)?);
    }
    Ok(fastest.as_secs_f64() / f64::from(calls))
}
