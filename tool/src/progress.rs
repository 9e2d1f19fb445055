//! Progress bars: of what takes longer than a second, on a terminal.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Work shorter than this goes without a bar.
const PATIENCE: Duration = Duration::from_secs(1);

/// The progress of one task. It shows up when the task has taken a second or is seen to take longer than that.
pub struct Progress {
    bar: ProgressBar,
    start: Instant,
    /// Whether it is still to show up.
    waiting: bool,
}

impl Progress {
    /// A task that begins now; nothing is ever drawn unless it may be.
    pub fn new(what: &'static str, may_draw: bool) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()).with_prefix(what);
        let colour = if coloured() { ".cyan" } else { "" };
        let template = format!("{{prefix}} [{{bar:30{colour}}}] {{pos}}/{{len}} {{elapsed}} {{msg}}");
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style);
        }
        Self { bar, start: Instant::now(), waiting: may_draw }
    }

    /// Tells that `done` of `all` parts are done, and what comes next.
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

/// Whether standard error takes colours.
fn coloured() -> bool {
    anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never
}
