//! The threads that run a product: the caller's thread, or a pool that the caller chose.

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
    /// A caller that runs on a thread of the pool ([`ThreadPool::install`](rayon::ThreadPool::install)) allocates
    /// nothing to share its work. For any other caller, rayon allocates one small job per further thread that works on
    /// a product, and now and then a block of its queue. In both cases, the caller takes a part of the product.
    #[cfg(feature = "rayon")]
    Pool(std::sync::Arc<rayon::ThreadPool>),
}

/// The least number of weight bytes per thread.
///
/// Waking a pool and waiting for it takes some 5 to 10 microseconds on phone-class cores. In that time, one core
/// streams 20 to 80 KB of weights. With fewer bytes, a second thread costs more than it saves.
pub(super) const BYTES_PER_THREAD: usize = 64 * 1024;

impl Threads {
    /// Calls `run` with contiguous ranges that together cover `0..units`, and returns when all calls have ended.
    /// `bytes` is the number of bytes that all units stream from memory.
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

/// Calls `run` for each of `parts`, on any threads of the pool that this thread belongs to. The jobs live on the stack.
#[cfg(feature = "rayon")]
fn join(parts: Range<usize>, run: &(impl Fn(usize) + Sync)) {
    match parts.len() {
        0 => {}
        1 => run(parts.start),
        // The rest comes first, so this thread offers all other parts before it begins the last one.
        _ => {
            rayon::join(|| join(parts.start + 1..parts.end, run), || run(parts.start));
        }
    }
}
