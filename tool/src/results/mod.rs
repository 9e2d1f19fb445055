//! What was measured on a machine, as a file that anyone can check, fit and draw.

pub mod file;
mod statistics;

use serde::{Deserialize, Serialize};
use skinny::kernels::WeightFormat;

pub use self::statistics::{Time, rounded};
use crate::machine::{Machine, Moment};

/// The version of the files that this program writes and reads.
pub const VERSION: u32 = 1;

/// The measurements of a machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Results {
    pub version: u32,
    /// The program that measured, with its version.
    pub program: String,
    /// The day, as in `2026-11-28`.
    pub date: String,
    /// Whether times are of the machine, or of an emulator and mean nothing.
    pub times: Times,
    /// What the one who measured wants to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    pub machine: Machine,
    /// How long it took.
    pub seconds: f64,
    /// Measurements for which no time was left.
    pub left_out: usize,
    pub answers: Answers,
    /// One measurement, at the beginning, now and then, and at the end.
    pub checks: Vec<Check>,
    pub streams: Vec<Stream>,
    pub products: Vec<Product>,
    pub layers: Vec<Layer>,
}

/// What times are worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Times {
    Measured,
    Emulated,
}

/// Hashes of outputs, which are the same on every machine and tier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answers {
    pub expected: String,
    pub found: Vec<Answer>,
}

/// The hash of the outputs of a tier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    pub tier: String,
    pub hash: String,
}

/// The same product at another time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// Seconds since the beginning.
    pub at: f64,
    pub us: Time,
    pub moment: Moment,
}

/// How fast one core reads memory in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    /// The bytes that are read again and again.
    pub bytes: u64,
    /// The time to read them once.
    pub us: Time,
}

/// The time of a product of `n x k` weights with a batch of vectors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Product {
    pub tier: String,
    #[serde(with = "format")]
    pub weights: WeightFormat,
    pub n: usize,
    pub k: usize,
    pub batch: usize,
    pub values: Values,
    pub from: From,
    /// Bytes of weights and scales that it reads.
    pub bytes: usize,
    pub us: Time,
}

/// What goes into a product and comes out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Values {
    /// Bytes, as kernels take them.
    I8,
    /// Floats, which are rounded to bytes in each call, as layers do.
    F32,
}

/// Where the weights of a product come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum From {
    /// The nearest cache that holds them, since the same product is computed again and again.
    Cache,
    /// Memory, since there are as many copies of them as no cache holds.
    Memory,
}

/// The time of a step of a layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    pub tier: String,
    /// As `skinny bench --shape` takes it: `gru:256`.
    pub shape: String,
    #[serde(with = "format")]
    pub weights: WeightFormat,
    pub us: Time,
}

/// Formats under the names that tables and options have for them.
mod format {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};
    use skinny::kernels::WeightFormat;

    use crate::precision;

    pub fn serialize<S: Serializer>(format: &WeightFormat, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(precision::name(Some(*format)))
    }

    pub fn deserialize<'d, D: Deserializer<'d>>(deserializer: D) -> Result<WeightFormat, D::Error> {
        let name = String::deserialize(deserializer)?;
        let names = || WeightFormat::ALL.map(|format| precision::name(Some(format))).join(", ");
        let found = WeightFormat::ALL.into_iter().find(|&format| precision::name(Some(format)) == name);
        found.ok_or_else(|| D::Error::custom(format_args!("weights in `{name}`: expected one of {}", names())))
    }
}

impl Results {
    /// The best tier that was measured.
    pub fn best_tier(&self) -> &str {
        self.machine.tiers.last().map_or("portable", String::as_str)
    }

    /// How many times as long the first measurement took at the end.
    pub fn slowdown(&self) -> Option<f64> {
        let (first, last) = (self.checks.first()?, self.checks.last()?);
        (self.checks.len() > 1).then(|| last.us.least() / first.us.least())
    }

    /// The tiers whose answers are wrong.
    pub fn wrong(&self) -> Vec<&str> {
        let Answers { expected, found } = &self.answers;
        found.iter().filter(|answer| answer.hash != *expected).map(|answer| answer.tier.as_str()).collect()
    }

    /// Bytes per microsecond from the largest memory that was streamed.
    pub fn bytes_per_us(&self) -> Option<f64> {
        let largest = self.streams.iter().max_by_key(|stream| stream.bytes)?;
        Some(largest.bytes as f64 / largest.us.least())
    }
}
