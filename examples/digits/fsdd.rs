//! Recordings of the Free Spoken Digit Dataset, and strings of digits made from them. `train.py` uses the same recipe,
//! so both measure the same strings.

use std::path::{Path, PathBuf};

/// The words for the digits, which the network outputs.
pub const WORDS: [&str; 10] = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];

/// The longest pause within a string, in samples: 300 ms.
pub const MAX_PAUSE: usize = 2400;

/// A recording of one digit, described by its file name. Recordings are ordered by speaker, digit and index, which is
/// the order that the recipe draws from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Recording {
    pub speaker: String,
    /// 0 to 9.
    pub digit: usize,
    /// Which of the speaker's recordings of this digit.
    pub index: u32,
    pub path: PathBuf,
}

impl Recording {
    /// The recording in a file named `{digit}_{speaker}_{index}.wav`; `None` for any other name.
    pub fn from_path(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.strip_suffix(".wav")?;
        let (digit, rest) = name.split_once('_')?;
        let (speaker, index) = rest.split_once('_')?;
        let of = |text: &str, fits: fn(char) -> bool| !text.is_empty() && text.chars().all(fits);
        // `parse` alone would accept a sign.
        let number = |text: &str| of(text, |c| c.is_ascii_digit());
        let named = of(speaker, |c| c.is_ascii_alphanumeric() || c == '-');
        (digit.len() == 1 && number(digit) && number(index) && named).then_some(())?;
        let (digit, index) = (digit.parse().ok()?, index.parse().ok()?);
        Some(Self { speaker: speaker.into(), digit, index, path: path.into() })
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014): one word of state, a few lines in any language, the same everywhere.
pub struct SplitMix64(pub u64);

impl SplitMix64 {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// The high word of the product of `n` and the next 64 bits: below `n`, uniform up to a bias of `n / 2^64`.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }
}

/// Recordings of one speaker, each with the number of samples of silence after it; 0 after the last.
pub type DigitString<'a> = Vec<(&'a Recording, usize)>;

/// Draws `count` strings of `length` digits from these sorted recordings. The result depends only on the recordings and
/// the seed.
///
/// One [`SplitMix64`] draws, for each string in turn: the speaker; then for each digit the recording, among all of that
/// speaker's in sorted order, and, except after the last, a pause of 0 to [`MAX_PAUSE`] samples.
pub fn draw(recordings: &[Recording], length: usize, count: usize, seed: u64) -> Vec<DigitString<'_>> {
    let speakers: Vec<_> = recordings.chunk_by(|a, b| a.speaker == b.speaker).collect();
    let mut random = SplitMix64(seed);
    let mut string = || {
        let own = speakers[random.below(speakers.len())];
        let mut part = |position| {
            let recording = &own[random.below(own.len())];
            (recording, if position + 1 < length { random.below(MAX_PAUSE + 1) } else { 0 })
        };
        (0..length).map(&mut part).collect()
    };
    (0..if speakers.is_empty() { 0 } else { count }).map(|_| string()).collect()
}
