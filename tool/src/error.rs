//! Reasons for the program to fail.

use std::fmt;
use std::path::Path;

/// The result of anything that can fail.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// Why the program ends early. Its message is one sentence on one line of standard error.
#[derive(Debug)]
pub enum Failure {
    /// The input or the usage is wrong: exit code 2.
    Input(String),
    /// The work was done and the answer is no: exit code 1.
    No(String),
    /// The reader of the output has closed it, so there is nothing left to print.
    Closed,
}

impl Failure {
    /// The exit code of the process.
    pub fn code(&self) -> u8 {
        match self {
            Failure::Closed => 0,
            Failure::No(_) => 1,
            Failure::Input(_) => 2,
        }
    }

    /// A failure caused by the input, with its message.
    pub fn input(sentence: impl Into<String>) -> Self {
        Failure::Input(sentence.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Names from files may contain anything. A message must stay on one line and must not control the terminal.
            Failure::Input(sentence) | Failure::No(sentence) => f.write_str(&printable(sentence)),
            Failure::Closed => Ok(()),
        }
    }
}

/// The text with its control characters replaced.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

impl From<skinny::Error> for Failure {
    fn from(error: skinny::Error) -> Self {
        Failure::Input(error.to_string())
    }
}

/// Puts the file's name in front of an error.
pub trait About<T> {
    /// The value, or the failure `FILE: CAUSE`.
    fn about(self, path: &Path) -> Result<T>;
}

impl<T, E: fmt::Display> About<T> for std::result::Result<T, E> {
    fn about(self, path: &Path) -> Result<T> {
        self.map_err(|cause| Failure::Input(format!("{}: {cause}", path.display())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_whatever_a_file_is_called() {
        let failed: Result<()> = Err("gone").about(Path::new("a\nb\u{1b}[31m"));
        let failure = failed.unwrap_err();
        assert_eq!((failure.to_string().as_str(), failure.code()), ("a\u{fffd}b\u{fffd}[31m: gone", 2));
    }
}
