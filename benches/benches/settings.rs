//! Criterion's settings, which the benches share.

use std::time::Duration;

use criterion::Criterion;

/// With these settings `cargo bench` takes a few minutes on a small board. Timings repeat to about a percent well
/// before criterion's default of five seconds, and its default of 100 000 resamples costs more there than the
/// measurement.
pub fn settings() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600))
        .sample_size(20)
        .nresamples(5000)
}
