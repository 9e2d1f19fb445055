//! Strings of digits: made on the fly for training, and fixed for validation and testing.
//!
//! Training strings are made as in `train.py` of the example `digits`. Each is one to seven recordings of one speaker,
//! with pauses, changed in speed and level. Half of them have noise.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;

use skinny::train::Random;

use super::augment::{SPEEDS, decibels, level_and_noise, resample};
use super::corpus::{self, About, Corpus, Source, Utterance};
use super::fsdd::{MAX_PAUSE, Recording, WORDS, draw, list};
use crate::error::{Failure, Result};

/// Indexes of recordings for training.
const TRAIN: RangeInclusive<u32> = 5..=40;

/// Indexes of recordings for validation, by which settings are chosen.
const VALIDATION: RangeInclusive<u32> = 41..=44;

/// Indexes of recordings for testing. They serve only for the final measurement.
const TEST: RangeInclusive<u32> = 45..=49;

const ABOUT: About = About {
    // The letters of the digits' names.
    alphabet: " efghinorstuvwxz",
    data: "Free Spoken Digit Dataset, indexes 5..40 of each digit and speaker",
    attribution: "Trained on the Free Spoken Digit Dataset, Zohar Jackson et al., \
                  https://github.com/Jakobovski/free-spoken-digit-dataset, CC BY-SA 4.0",
    licence: "CC BY-SA 4.0, as the data it was trained on",
};

/// A speaker's recordings at each speed: digits and samples.
type Speeds = Vec<Vec<(u8, Vec<f32>)>>;

/// The recordings to train on.
struct Strings {
    speakers: Vec<Speeds>,
    batch_digits: usize,
}

/// Reads a folder. Without `leave_out`, all splits have the same speakers. With it, testing has only that speaker, and
/// the other splits do not.
pub fn read(folder: &Path, batch_digits: usize, leave_out: Option<&str>) -> Result<Corpus> {
    let left_out = |recording: &Recording| leave_out == Some(&recording.speaker);
    let split = |indices, keep: &dyn Fn(&Recording) -> bool| -> Result<Vec<Recording>> {
        let mut recordings = list(folder, &indices)?;
        recordings.retain(keep);
        if recordings.is_empty() {
            Err(Failure::input(format!("{}: no recordings of the wanted speakers", folder.display())))
        } else {
            Ok(recordings)
        }
    };
    let mut speakers: BTreeMap<String, Speeds> = BTreeMap::new();
    for recording in split(TRAIN, &|recording| !left_out(recording))? {
        let samples = corpus::read(&recording.path)?;
        let own = speakers.entry(recording.speaker).or_insert_with(|| vec![Vec::new(); SPEEDS.len()]);
        for (at_speed, speed) in own.iter_mut().zip(SPEEDS) {
            at_speed.push((recording.digit, resample(&samples, speed)));
        }
    }
    let strings = Strings { speakers: speakers.into_values().collect(), batch_digits };
    let validation = drawn(&split(VALIDATION, &|recording| !left_out(recording))?, 4, 150, 2)?;
    let is_tested = |recording: &Recording| leave_out.is_none() || left_out(recording);
    let test = drawn(&split(TEST, &is_tested)?, 5, 200, 1)?;
    Corpus::new(Box::new(strings), &validation, &test)
}

/// Strings of whole recordings, as the example `digits` draws them.
fn drawn(recordings: &[Recording], length: usize, count: usize, seed: u64) -> Result<Vec<Utterance>> {
    let strings = draw(recordings, length, count, seed);
    let samples = |recording: &Recording| corpus::read(&recording.path);
    strings.iter().map(|string| Ok((string.samples(samples)?, string.text()))).collect()
}

impl Strings {
    /// Samples and text of a string.
    fn string(&self, length: usize, random: &mut Random) -> Utterance {
        let speeds = &self.speakers[random.below(self.speakers.len())];
        let own = &speeds[random.below(speeds.len())];
        // A quarter of the joints have no pause, which is the hardest case.
        let pause = |random: &mut Random| {
            if random.below(4) == 0 { 0 } else { random.below(MAX_PAUSE as usize + 1) }
        };
        let mut samples = vec![0.0; pause(random)];
        let mut words = Vec::new();
        for position in 0..length {
            let (digit, recording) = &own[random.below(own.len())];
            words.push(WORDS[usize::from(*digit)]);
            // The level differs from word to word, as between recordings.
            let level = decibels(random.uniform(-3.0, 3.0));
            samples.extend(recording.iter().map(|sample| sample * level));
            if position + 1 < length {
                samples.resize(samples.len() + pause(random), 0.0);
            }
        }
        level_and_noise(&mut samples, random);
        (samples, words.join(" "))
    }
}

impl Source for Strings {
    fn about(&self) -> About {
        ABOUT
    }

    fn utterance(&self, random: &mut Random) -> Utterance {
        self.string(4, random)
    }

    fn utterances(&self, random: &mut Random) -> Vec<Utterance> {
        let length = 1 + random.below(7);
        (0..(self.batch_digits / length).clamp(1, 64)).map(|_| self.string(length, random)).collect()
    }
}
