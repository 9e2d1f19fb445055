//! The error type: what can go wrong, with the numbers at fault.

mod description;
mod file;

use core::fmt;

pub use description::{CoreError, CoreProblem};
#[cfg(feature = "safetensors")]
pub(crate) use file::Names;
pub(crate) use file::Quoted;
pub use file::{FileError, TensorProblem};

use crate::format::{MAX_I2, MAX_MULTIPLIER_I2, MIN_I2};
use crate::tier::Tier;

/// The result of every fallible call in this crate.
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// Why a call was refused. Nothing was written to the outputs.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// A matrix does not have the dimensions that the call needs.
    Shape {
        /// The argument.
        what: &'static str,
        /// Rows and columns the call needs.
        expected: (usize, usize),
        /// Rows and columns found.
        found: (usize, usize),
    },
    /// A vector or buffer does not have the length that the call needs.
    Length {
        /// The argument.
        what: &'static str,
        /// Elements the call needs.
        expected: usize,
        /// Elements found.
        found: usize,
    },
    /// A product of dimensions does not fit the address space.
    TooLarge {
        /// The argument.
        what: &'static str,
        /// Its rows.
        rows: usize,
        /// Its columns.
        cols: usize,
    },
    /// Memory for a buffer could not be allocated.
    Allocation {
        /// Bytes requested.
        bytes: usize,
    },
    /// The depth `k` is so large that an `i32` sum could overflow.
    Depth {
        /// The depth requested.
        k: usize,
        /// The largest depth that cannot overflow for this kind of operand.
        max: usize,
    },
    /// The machine lacks the requested tier.
    TierUnavailable {
        /// The tier requested.
        tier: Tier,
        /// The tiers this machine has.
        available: &'static [Tier],
    },
    /// `SKINNY_TIER` (or a string given to [`Tier`]'s `FromStr`) names no tier.
    TierUnknown,
    /// A number that must be finite is not.
    NotFinite {
        /// The argument.
        what: &'static str,
        /// Index of the element, counted row by row.
        index: usize,
        /// Its value.
        value: f32,
    },
    /// A parameter is outside its range.
    Parameter {
        /// The parameter.
        what: &'static str,
        /// Its value.
        value: f64,
        /// The range, in words.
        expected: &'static str,
    },
    /// A rank is zero or exceeds the smaller dimension of its matrix.
    Rank {
        /// The rank requested.
        rank: usize,
        /// The largest possible rank, `min(rows, cols)`.
        max: usize,
    },
    /// A weight is stored in a form that the operation cannot start from.
    Stored {
        /// The operation.
        operation: &'static str,
        /// The forms it can start from.
        expected: &'static str,
        /// The form of the weight.
        found: &'static str,
    },
    /// A budget is below the smallest cost that can be reached.
    Budget {
        /// The budget requested.
        asked: f64,
        /// The smallest cost possible.
        least: f64,
        /// The unit of both: "parameters", "bytes", "us per step".
        unit: &'static str,
    },
    /// No choice keeps the signal-to-noise ratio that was asked for.
    Accuracy {
        /// The ratio asked for, in dB.
        asked: f64,
        /// The ratio that the outputs reach at best, in dB.
        reached: f64,
    },
    /// The description of a core was refused.
    Core(CoreError),
    /// A model file was refused.
    File(FileError),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Error::Core(ref error) => error.fmt(f),
            Error::File(ref error) => error.fmt(f),
            Error::Shape { what, expected, found } => {
                write!(f, "{what}: expected {} x {}, found {} x {}", expected.0, expected.1, found.0, found.1)
            }
            Error::Length { what, expected, found } => {
                write!(f, "{what}: expected {expected} elements, found {found}")
            }
            Error::TooLarge { what, rows, cols } => {
                write!(f, "{what}: {rows} x {cols} elements exceed the address space")
            }
            Error::Allocation { bytes } => write!(f, "could not allocate {bytes} bytes"),
            Error::Depth { k, max } => {
                write!(f, "depth k = {k} could overflow an i32 sum; at most {max} is exact")
            }
            Error::TierUnavailable { tier, available } => {
                write!(f, "this machine has no kernel tier {tier}; it has ")?;
                for (i, have) in available.iter().enumerate() {
                    write!(f, "{}{have}", if i == 0 { "" } else { ", " })?;
                }
                Ok(())
            }
            Error::TierUnknown => {
                write!(f, "unknown kernel tier (SKINNY_TIER takes ")?;
                for (i, tier) in Tier::ALL.iter().enumerate() {
                    write!(f, "{}{tier}", if i == 0 { "" } else { "|" })?;
                }
                write!(f, ")")
            }
            Error::NotFinite { what, index, value } => {
                write!(f, "{what}: element {index} is {value}, must be finite")
            }
            Error::Parameter { what, value, expected } => {
                write!(f, "{what} is {value}, must be {expected}")
            }
            Error::Rank { rank, max } => write!(f, "rank {rank} is outside 1..={max}"),
            Error::Stored { operation, expected, found } => {
                write!(f, "cannot {operation} a weight stored as {found}, only as {expected}")
            }
            Error::Budget { asked, least, unit } => {
                write!(f, "a budget of {asked} {unit} is out of reach; the smallest possible is {least} {unit}")
            }
            Error::Accuracy { asked, reached } => {
                write!(f, "the outputs reach {reached:.1} dB at best, {asked} dB were asked for")
            }
        }
    }
}

impl core::error::Error for Error {}

/// Fails unless a vector or buffer has the expected length.
#[inline]
pub(crate) fn expect_length(what: &'static str, expected: usize, found: usize) -> Result<()> {
    if expected == found { Ok(()) } else { Err(Error::Length { what, expected, found }) }
}

/// Fails unless 2-bit weights and their multipliers are in their ranges.
pub(crate) fn expect_i2(weights: &[i8], multipliers: &[i8]) -> Result<()> {
    if let Some(&value) = weights.iter().find(|&&w| !(MIN_I2..=MAX_I2).contains(&w)) {
        return Err(Error::Parameter { what: "2-bit weight", value: value.into(), expected: "in -2..=1" });
    }
    if let Some(&value) = multipliers.iter().find(|m| m.unsigned_abs() > MAX_MULTIPLIER_I2.unsigned_abs()) {
        return Err(Error::Parameter { what: "group multiplier", value: value.into(), expected: "in -63..=63" });
    }
    Ok(())
}
