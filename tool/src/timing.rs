//! How long a call takes.

use std::time::{Duration, Instant};

/// What a run of calls takes, about.
const RUN: Duration = Duration::from_millis(10);

/// Runs of which the fastest counts: whatever else the machine does makes runs longer, and none shorter.
const RUNS: usize = 21;

/// The seconds that a call takes: the mean over a run of about a hundredth of a second, the fastest of many.
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
    // Of calls that are long by themselves fewer will do.
    let runs = if once > 10 * RUN { 5 } else { RUNS };
    let mut fastest = Duration::MAX;
    for _ in 0..runs {
        fastest = fastest.min(time(calls)?);
    }
    Ok(fastest.as_secs_f64() / f64::from(calls))
}
