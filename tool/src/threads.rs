//! The threads that products may run on.

use std::sync::Arc;

use skinny::kernels::Threads;

use crate::error::{Failure, Result};

/// The caller's thread for a `count` of 1, or a pool of `count` threads.
pub fn of(count: usize) -> Result<Threads> {
    match count {
        0 | 1025.. => Err(Failure::input(format!("--threads {count}: expected 1 to 1024"))),
        1 => Ok(Threads::Caller),
        _ => {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(count).build();
            let pool = pool.map_err(|cause| Failure::input(format!("--threads {count}: {cause}")))?;
            Ok(Threads::Pool(Arc::new(pool)))
        }
    }
}
