//! Recordings of the Free Spoken Digit Dataset and strings made of them, as the example `digits` draws them.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use crate::error::{About, Result};
use crate::files;

/// The names of the digits, which the network writes.
pub const WORDS: [&str; 10] = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];

/// The longest pause within a string, in samples: 300 ms.
pub const MAX_PAUSE: u64 = 2400;

/// A recording of one digit, as its file name says.
///
/// Ordered by speaker, digit and index: the order the recipe draws from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Recording {
    /// The speaker.
    pub speaker: String,
    /// 0..=9.
    pub digit: u8,
    /// The number among the speaker's recordings of this digit.
    pub index: u32,
    /// The file.
    pub path: PathBuf,
}

impl Recording {
    /// The recording in a file named `{digit}_{speaker}_{index}.wav`, or `None` for any other name.
    pub fn from_path(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.strip_suffix(".wav")?;
        let (digit, rest) = name.split_once('_')?;
        let (speaker, index) = rest.split_once('_')?;
        let speaker_fits = |c: char| c.is_ascii_alphanumeric() || c == '-';
        // `parse` alone would accept a sign.
        let number = |text: &str| text.chars().all(|c| c.is_ascii_digit());
        if digit.len() != 1 || !number(digit) || !number(index) {
            return None;
        }
        if speaker.is_empty() || !speaker.chars().all(speaker_fits) {
            return None;
        }
        Some(Self {
            speaker: speaker.to_owned(),
            digit: digit.parse().ok()?,
            index: index.parse().ok()?,
            path: path.to_owned(),
        })
    }
}

/// The recordings of a folder with an index in `indices`, sorted. Files with other names, such as a README, are
/// ignored.
pub fn list(folder: &Path, indices: &RangeInclusive<u32>) -> Result<Vec<Recording>> {
    let recordings = sort(&files::list(folder)?, indices);
    if recordings.is_empty() {
        let (first, last) = (indices.start(), indices.end());
        return Err(format!("holds no files {{digit}}_{{speaker}}_{{index}}.wav with an index in {first}..{last}"))
            .about(folder);
    }
    Ok(recordings)
}

fn sort(paths: &[PathBuf], indices: &RangeInclusive<u32>) -> Vec<Recording> {
    let mut recordings: Vec<Recording> = paths.iter().filter_map(|path| Recording::from_path(path)).collect();
    recordings.retain(|recording| indices.contains(&recording.index));
    // A folder lists its files in any order, on which strings must not depend.
    recordings.sort();
    recordings
}

/// SplitMix64 (Steele, Lea and Flood, 2014). It has one word of state, takes a few lines in any language, and is the
/// same everywhere.
#[derive(Clone, Debug)]
pub struct SplitMix64 {
    state: u64,
}

impl SplitMix64 {
    /// A generator with this seed.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `n`: the high word of the product of `n` and the next 64 bits. It is uniform up to a bias of
    /// `n / 2^64`.
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(n)) >> 64) as u64
    }
}

/// Digits of one speaker with pauses between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DigitString<'a> {
    /// The recordings in order, each with the number of silent samples after it. There are none after the last.
    pub parts: Vec<(&'a Recording, usize)>,
}

impl DigitString<'_> {
    /// The spoken text: "three five zero".
    pub fn text(&self) -> String {
        let words: Vec<_> = self.parts.iter().map(|(recording, _)| WORDS[usize::from(recording.digit)]).collect();
        words.join(" ")
    }

    /// The samples of the whole string. `read` returns the samples of one recording.
    ///
    /// # Errors
    /// The first error of `read`.
    pub fn samples<E>(&self, mut read: impl FnMut(&Recording) -> Result<Vec<f32>, E>) -> Result<Vec<f32>, E> {
        let mut samples = Vec::new();
        for (recording, pause) in &self.parts {
            samples.extend(read(recording)?);
            samples.resize(samples.len() + pause, 0.0);
        }
        Ok(samples)
    }
}

/// Draws `count` strings of `length` digits. The same recordings and seed give the same strings.
///
/// One [`SplitMix64`] draws each string in turn. It first draws the speaker. Then for each digit it draws the
/// recording, among all of that speaker's in sorted order, and a pause of 0 to [`MAX_PAUSE`] samples. There is no pause
/// after the last digit.
///
/// # Panics
///
/// When `recordings` is empty or not sorted by speaker.
pub fn draw(recordings: &[Recording], length: usize, count: usize, seed: u64) -> Vec<DigitString<'_>> {
    assert!(!recordings.is_empty(), "recordings to draw from");
    assert!(recordings.is_sorted_by_key(|r| &r.speaker), "recordings sorted by speaker");
    let speakers: Vec<_> = recordings.chunk_by(|a, b| a.speaker == b.speaker).collect();
    let mut random = SplitMix64::new(seed);
    let mut below = |n: usize| random.below(n as u64) as usize;
    (0..count)
        .map(|_| {
            let own = speakers[below(speakers.len())];
            let parts = (0..length)
                .map(|position| {
                    let recording = &own[below(own.len())];
                    let pause = if position + 1 < length { below(MAX_PAUSE as usize + 1) } else { 0 };
                    (recording, pause)
                })
                .collect();
            DigitString { parts }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str) -> Option<Recording> {
        Recording::from_path(Path::new(name))
    }

    /// The names of the whole validation split, in an order that no folder has.
    fn validation_split() -> Vec<Recording> {
        let mut paths = Vec::new();
        for index in (40..50).rev() {
            for speaker in ["yweweler", "theo", "nicolas", "lucas", "jackson", "george"] {
                for digit in 0..10 {
                    paths.push(PathBuf::from(format!("d/{digit}_{speaker}_{index}.wav")));
                }
            }
        }
        paths.push(PathBuf::from("d/README.md"));
        sort(&paths, &(45..=49))
    }

    #[test]
    fn names_are_parsed() {
        let recording = parse("some/where/7_jackson_45.wav").unwrap();
        assert_eq!((recording.digit, recording.index), (7, 45));
        assert_eq!(recording.speaker, "jackson");
        for name in [
            "README.md",
            "7_jackson_45.mp3",
            "7_jackson.wav",
            "7__45.wav",
            "12_jackson_45.wav",
            "7_jackson_+45.wav",
            "7_jackson_.wav",
            "7_jack_son_45.wav",
            "x_jackson_45.wav",
            "7_jackson_99999999999.wav",
            "_jackson_45.wav",
        ] {
            assert_eq!(parse(name), None, "{name}");
        }
    }

    #[test]
    fn a_listing_is_sorted() {
        let recordings = validation_split();
        assert_eq!(recordings.len(), 300);
        let names: Vec<_> = recordings[..6].iter().map(|r| (&*r.speaker, r.digit, r.index)).collect();
        let george = |digit, index| ("george", digit, index);
        assert_eq!(names, [george(0, 45), george(0, 46), george(0, 47), george(0, 48), george(0, 49), george(1, 45)]);
    }

    #[test]
    fn a_folder_that_is_missing_or_without_recordings_is_named() {
        let message = |folder: &Path| list(folder, &(45..=49)).unwrap_err().to_string();
        assert!(message(Path::new("no/such")).starts_with("no/such: there is no such"));
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("1_theo_5.wav"), "").unwrap();
        assert!(message(folder.path()).ends_with("with an index in 45..49"));
    }

    #[test]
    fn the_generator_is_the_published_one() {
        let mut random = SplitMix64::new(0);
        let expected = [0xE220_A839_7B1D_CDAF, 0x6E78_9E6A_A1B9_65F4, 0x06C4_5D18_8009_454F];
        assert_eq!(expected.map(|_| random.next_u64()), expected);
    }

    #[test]
    fn numbers_below_stay_below() {
        let mut random = SplitMix64::new(3);
        let mut seen = [false; 5];
        for _ in 0..200 {
            seen[random.below(5) as usize] = true;
        }
        assert_eq!(seen, [true; 5]);
        assert_eq!(random.below(1), 0);
    }

    #[test]
    fn samples_join_recordings_and_pauses() {
        let recording = parse("2_theo_45.wav").unwrap();
        let string = DigitString { parts: vec![(&recording, 2), (&recording, 0)] };
        assert_eq!(string.text(), "two two");
        let samples = string.samples(|_| Ok::<_, ()>(vec![0.5]));
        assert_eq!(samples, Ok(vec![0.5, 0.0, 0.0, 0.5]));
        assert_eq!(string.samples(|_| Err("no")), Err("no"));
    }

    #[test]
    fn strings_are_those_of_the_example() {
        let recordings = validation_split();
        let strings = draw(&recordings, 5, 2, 1);
        let found: Vec<Vec<_>> = strings
            .iter()
            .map(|string| {
                let parts = string.parts.iter();
                parts.map(|(r, pause)| (r.digit, &*r.speaker, r.index, *pause)).collect()
            })
            .collect();
        // From validation_strings(recordings, 5, 2, 1) of train.py.
        let expected: [[(u8, &str, u32, usize); 5]; 2] = [
            [
                (7, "nicolas", 47, 2331),
                (4, "nicolas", 47, 1066),
                (7, "nicolas", 48, 2106),
                (5, "nicolas", 46, 685),
                (7, "nicolas", 49, 0),
            ],
            [
                (6, "lucas", 45, 1092),
                (5, "lucas", 46, 1046),
                (1, "lucas", 48, 1549),
                (8, "lucas", 45, 1636),
                (8, "lucas", 49, 0),
            ],
        ];
        assert_eq!(found, expected);
    }
}
