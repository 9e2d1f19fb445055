//! Terminal output: answers go to standard output, remarks and progress to standard error.

use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal, Write, stderr};

use anstyle::{AnsiColor, Style};
use serde_json::Value;

use crate::error::{Failure, Result};
use crate::progress::Progress;

/// The style of headings.
pub const HEADING: Style = Style::new().bold();

/// The style of text that needs attention.
pub const ATTENTION: Style = AnsiColor::Yellow.on_default().bold();

/// The style of the prefix of an error.
pub const ERROR: Style = AnsiColor::Red.on_default().bold();

/// The two output streams. Styles are written only to a terminal, and never if `NO_COLOR` is set.
#[derive(Clone, Copy, Debug)]
pub struct Console {
    /// Whether to print only answers and errors.
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

    /// Writes an answer as JSON, for programs.
    pub fn json(self, value: &Value) -> Result<()> {
        self.answer(format_args!("{value:#}\n"))
    }

    /// Writes a remark, unless quiet.
    pub fn remark(self, text: impl Display) {
        if !self.quiet {
            self.say(text);
        }
    }

    /// Writes a remark that must not be overlooked, unless quiet.
    pub fn warn(self, text: impl Display) {
        self.remark(format_args!("{ATTENTION}warning:{ATTENTION:#} {text}"));
    }

    /// Writes the error that ends the program.
    pub fn fail(self, failure: &Failure) {
        if !matches!(failure, Failure::Closed) {
            self.say(format_args!("{ERROR}skinny:{ERROR:#} {failure}"));
        }
    }

    fn say(self, text: impl Display) {
        // If standard error is closed, nobody is reading.
        let _ = writeln!(anstream::stderr(), "{text}");
    }

    /// A progress bar for work that may take longer than a second.
    pub fn progress(self, what: &'static str) -> Progress {
        Progress::new(what, !self.quiet && stderr().is_terminal())
    }
}
