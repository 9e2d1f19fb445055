//! Criterion's settings, which the benches share.

use std::time::Duration;

use criterion::Criterion;

/// Settings under which `cargo bench` takes a few minutes on a small board: its timings repeat to a percent or so well
/// before criterion's default five seconds, and its default of 100 000 resamples costs more there than the measurement.
pub fn settings() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600))
        .sample_size(20)
        .nresamples(5000)
}
