//! Who does the work: the caller's thread, or a pool that the caller chose.

use core::ops::Range;

#[cfg(feature = "rayon")]
use super::pack::even_part;

/// The threads that a [`Workspace`](super::Workspace) may use.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Threads {
    /// The caller's thread alone.
    #[default]
    Caller,
    /// A rayon pool, for products whose weights are large enough to be worth waking it.
    #[cfg(feature = "rayon")]
    Pool(std::sync::Arc<rayon::ThreadPool>),
}

/// The least bytes of weights for each thread. Waking a pool and waiting for it takes some 5 to 10 microseconds on
/// phone-class cores, in which one core streams 20 to 80 KB of weights: with less, a second thread costs more than it
/// brings.
#[cfg(feature = "rayon")]
const BYTES_PER_THREAD: usize = 64 * 1024;

impl Threads {
    /// Calls `run` with contiguous ranges that together are `0..units`, and returns when all calls have ended.
    /// `bytes` is what all units stream from memory.
    pub(crate) fn split(&self, units: usize, bytes: usize, run: impl Fn(Range<usize>) + Sync) {
        match self {
            Threads::Caller => {
                let _ = bytes;
                run(0..units);
            }
            #[cfg(feature = "rayon")]
            Threads::Pool(pool) => {
                let parts = pool.current_num_threads().min(bytes / BYTES_PER_THREAD).min(units);
                if parts <= 1 {
                    return run(0..units);
                }
                let part = |i| even_part(units, parts, i);
                let run = &run;
                pool.in_place_scope(|scope| {
                    for i in 1..parts {
                        scope.spawn(move |_| run(part(i)));
                    }
                    run(part(0));
                });
            }
        }
    }
}
