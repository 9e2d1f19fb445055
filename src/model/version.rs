//! The versions of model files, and what each added.

use alloc::format;

use super::file::header_error;
use crate::error::{FileError, Result};

/// A version of the format. Each has all that the earlier ones have. A file is written in the earliest that has what the
/// model needs; of a file that is read, nothing may be newer than the version it states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Version {
    #[default]
    One,
    Two,
}

impl Version {
    /// Since when layers read any earlier values, of several inputs and outputs.
    pub const GRAPHS: Self = Self::Two;
    /// Since when there are other layers than linear, convolutional, GRU and LSTM.
    pub const LAYERS: Self = Self::Two;
    /// Since when weights have 2 bits.
    pub const TWO_BITS: Self = Self::Two;
    /// Since when 8-bit weights are multiplied with activations in 16 bits.
    pub const WIDE_ACTIVATIONS: Self = Self::Two;

    const ALL: [Self; 2] = [Self::One, Self::Two];

    /// What a file calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::One => "1",
            Self::Two => "2",
        }
    }

    /// The version of this name.
    pub fn named(name: &str) -> Result<Self> {
        let version = Self::ALL.into_iter().find(|version| version.name() == name);
        version.ok_or_else(|| FileError::Version { found: name.into(), supported: "1 or 2" }.into())
    }

    /// Fails if an entry is newer than this version.
    pub fn expect(self, since: Self, entry: &str) -> Result<()> {
        if since <= self {
            return Ok(());
        }
        Err(header_error(format!(
            "{entry} is unknown in version {}; it came with version {}",
            self.name(),
            since.name()
        )))
    }
}
