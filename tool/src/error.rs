//! Why the program ends without doing what it was asked for.

use std::fmt;
use std::path::Path;

/// The result of all that can fail.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// Why the program ends. Each is one sentence, for one line on standard error.
#[derive(Debug)]
pub enum Failure {
    /// The input or the usage is at fault: exit code 2.
    Input(String),
    /// The work was done and the answer is no: exit code 1.
    No(String),
    /// Nobody reads the output any more, and nothing is left to say.
    Closed,
}

impl Failure {
    /// What the process ends with.
    pub fn code(&self) -> u8 {
        match self {
            Failure::Closed => 0,
            Failure::No(_) => 1,
            Failure::Input(_) => 2,
        }
    }

    /// A fault of the input, in words.
    pub fn input(sentence: impl Into<String>) -> Self {
        Failure::Input(sentence.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Names from files may hold anything; a message is one line and commands no terminal.
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

/// Names the file that an error is about.
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
