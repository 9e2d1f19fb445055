//! What the terminal sees: answers on standard output, remarks and progress on standard error.

use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal, Write, stderr};

use anstyle::{AnsiColor, Style};
use serde_json::Value;

use crate::error::{Failure, Result};
use crate::progress::Progress;

/// How headings look.
pub const HEADING: Style = Style::new().bold();

/// How what deserves attention looks.
pub const ATTENTION: Style = AnsiColor::Yellow.on_default().bold();

/// How an error is introduced.
pub const ERROR: Style = AnsiColor::Red.on_default().bold();

/// The two streams. Styles reach a terminal alone, and none if `NO_COLOR` is set.
#[derive(Clone, Copy, Debug)]
pub struct Console {
    /// Whether all but answers and errors is left out.
    pub quiet: bool,
}

impl Console {
    /// Writes an answer.
    pub fn answer(self, text: impl Display) -> Result<()> {
        let mut out = anstream::stdout().lock();
        let written = write!(out, "{text}").and_then(|()| out.flush());
        written.map_err(|cause| match cause.kind() {
            ErrorKind::BrokenPipe => Failure::Closed,
            _ => Failure::Input(format!("standard output: {cause}")),
        })
    }

    /// Writes an answer for a program.
    pub fn json(self, value: &Value) -> Result<()> {
        self.answer(format_args!("{value:#}\n"))
    }

    /// Says something by the way.
    pub fn remark(self, text: impl Display) {
        if !self.quiet {
            self.say(text);
        }
    }

    /// Says why the program ends.
    pub fn fail(self, failure: &Failure) {
        if !matches!(failure, Failure::Closed) {
            self.say(format_args!("{ERROR}skinny:{ERROR:#} {failure}"));
        }
    }

    fn say(self, text: impl Display) {
        // Whoever closed standard error does not want to hear.
        let _ = writeln!(anstream::stderr(), "{text}");
    }

    /// A bar for something that may take longer than a second.
    pub fn progress(self, what: &'static str) -> Progress {
        Progress::new(what, !self.quiet && stderr().is_terminal())
    }
}
