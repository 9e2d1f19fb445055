//! Who does the work: the caller's thread, or a pool that the caller chose.

use core::ops::Range;

#[cfg(feature = "rayon")]
use super::layout::even_part;

/// The threads that a [`Workspace`](super::Workspace) may use.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Threads {
    /// The caller's thread alone.
    #[default]
    Caller,
    /// A rayon pool, for products whose weights are large enough to be worth waking it.
    ///
    /// A caller who runs on a thread of the pool ([`ThreadPool::install`](rayon::ThreadPool::install)) allocates
    /// nothing for that. For any other caller rayon allocates one small job for each further thread that works on a
    /// product, and now and then a block of its queue. The caller takes a part of the product either way.
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
                let run = |part| run(even_part(units, parts, part));
                if pool.current_thread_index().is_some() {
                    join(0..parts, &run);
                } else {
                    let run = &run;
                    pool.in_place_scope(|scope| {
                        for part in 1..parts {
                            scope.spawn(move |_| run(part));
                        }
                        run(0);
                    });
                }
            }
        }
    }
}

/// Calls `run` for each of `parts`, on any threads of the pool that this thread belongs to. The jobs lie on the stack.
#[cfg(feature = "rayon")]
fn join(parts: Range<usize>, run: &(impl Fn(usize) + Sync)) {
    match parts.len() {
        0 => {}
        1 => run(parts.start),
        // The rest first: so this thread offers all the other parts before it begins with the last.
        _ => {
            rayon::join(|| join(parts.start + 1..parts.end, run), || run(parts.start));
        }
    }
}
