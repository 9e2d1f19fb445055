//! What can be wrong with the description of a core.

use alloc::string::String;
use core::fmt;

use super::{Error, Quoted};

/// Why the description of a core was refused.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct CoreError {
    /// The line, counted from 1; `None` if the whole text is at fault.
    pub line: Option<usize>,
    /// The key, or the whole line if it has none.
    pub key: String,
    /// What is wrong with it.
    pub problem: CoreProblem,
}

/// What is wrong with a line of the description of a core.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum CoreProblem {
    /// The line is not `key = value`.
    NoValue,
    /// There is no such key.
    Unknown,
    /// An earlier line has the key.
    Twice {
        /// The earlier line.
        first: usize,
    },
    /// No line has the key.
    Missing,
    /// The value has another number of numbers.
    Count {
        /// How many there must be.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// A word of the value is no number.
    NotANumber {
        /// The word.
        found: String,
    },
    /// A number is outside its range.
    Range {
        /// The number.
        value: f64,
        /// The range, in words.
        expected: &'static str,
    },
}

impl From<CoreError> for Error {
    fn from(error: CoreError) -> Self {
        Error::Core(error)
    }
}

impl fmt::Display for CoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("description of a core")?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        write!(f, ": {}: ", Quoted(&self.key))?;
        match &self.problem {
            CoreProblem::NoValue => f.write_str("expected `key = value`"),
            CoreProblem::Unknown => f.write_str("no such key"),
            CoreProblem::Twice { first } => write!(f, "line {first} has it already"),
            CoreProblem::Missing => f.write_str("missing"),
            CoreProblem::Count { expected: 1, found } => write!(f, "expected one value, found {found}"),
            CoreProblem::Count { expected, found } => write!(f, "expected {expected} numbers, found {found}"),
            CoreProblem::NotANumber { found } => write!(f, "`{}` is no number", Quoted(found)),
            CoreProblem::Range { value, expected } => write!(f, "{value} must be {expected}"),
        }
    }
}
