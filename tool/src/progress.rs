//! Progress bars for work that takes longer than a second. They appear only on a terminal.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Work shorter than this shows no bar.
const PATIENCE: Duration = Duration::from_secs(1);

/// The progress of one task. The bar appears once the task has taken a second, or is expected to take two.
pub struct Progress {
    bar: ProgressBar,
    start: Instant,
    /// Whether the bar has yet to appear.
    waiting: bool,
}

impl Progress {
    /// Starts a task now. Nothing is drawn unless `may_draw`.
    pub fn new(what: &'static str, may_draw: bool) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()).with_prefix(what);
        let colour = if coloured() { ".cyan" } else { "" };
        let template = format!("{{prefix}} [{{bar:30{colour}}}] {{pos}}/{{len}} {{elapsed}} {{msg}}");
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style);
        }
        Self { bar, start: Instant::now(), waiting: may_draw }
    }

    /// Shows that `done` of `all` parts are done, and that `next` comes next.
    pub fn at(&mut self, done: usize, all: usize, next: &str) {
        self.bar.set_length(all as u64);
        self.bar.set_position(done as u64);
        self.bar.set_message(next.to_owned());
        if self.waiting {
            let elapsed = self.start.elapsed();
            let expected = elapsed.mul_f64(all as f64 / done.max(1) as f64);
            if elapsed >= PATIENCE || (done > 0 && expected >= 2 * PATIENCE) {
                self.waiting = false;
                self.bar.set_draw_target(ProgressDrawTarget::stderr());
                self.bar.enable_steady_tick(Duration::from_millis(200));
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Whether standard error shows colours.
fn coloured() -> bool {
    anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never
}
