//! The threads that products may run on.

use std::sync::Arc;

use skinny::kernels::Threads;

use crate::error::{Failure, Result};

/// The caller's thread alone, or a pool of this many.
pub fn of(count: usize) -> Result<Threads> {
    match count {
        0 => Err(Failure::input("--threads 0: expected at least 1")),
        1 => Ok(Threads::Caller),
        _ => {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(count).build();
            let pool = pool.map_err(|cause| Failure::input(format!("--threads {count}: {cause}")))?;
            Ok(Threads::Pool(Arc::new(pool)))
        }
    }
}
