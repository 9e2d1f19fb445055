//! Strings of digits to train on, made on the fly, and those to validate and test on.
//!
//! As in `train.py` of the example `digits`: one to seven recordings of one speaker with pauses, changed in speed and level,
//! half of them with noise.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;

use skinny::train::{Batch, Data, Random};

use crate::Failure;
use crate::features::{FeatureConfig, FrontEnd};
use crate::fsdd::{MAX_PAUSE, Recording, WORDS, draw, list};
use crate::wav;

/// The letters of the digits' names; class 0 is the blank, class `i` the `i`-th of these.
pub const ALPHABET: &str = " efghinorstuvwxz";

/// What the weights are trained on.
const TRAIN: RangeInclusive<u32> = 5..=40;

/// What settings are chosen by.
const VALIDATION: RangeInclusive<u32> = 41..=44;

/// What is measured at the end, and nothing else is done with.
const TEST: RangeInclusive<u32> = 45..=49;

/// Recordings are trained on at each of these speeds.
const SPEEDS: [f32; 5] = [0.85, 0.92, 1.0, 1.08, 1.16];

/// Strings that are validated on together.
const BATCH: usize = 50;

/// The features of the example `digits`.
pub const FEATURES: FeatureConfig = FeatureConfig {
    sample_rate: 8000,
    window: 200,
    hop: 96,
    fft: 256,
    mels: 40,
    mel_low_hz: 60.0,
    mel_high_hz: 4000.0,
    log_floor: 1e-6,
    stack: 2,
    tail: 1600,
};

/// A string to be transcribed: its features and its text.
pub type Example = (Vec<f32>, String);

/// The recordings, at hand.
pub struct Strings {
    /// Of each speaker, at each speed: digits and samples.
    speakers: Vec<Vec<Vec<(u8, Vec<f32>)>>>,
    batch_digits: usize,
    validation: Vec<Batch>,
    /// What to test on.
    pub test: Vec<Example>,
    /// One value a band.
    pub mean: Vec<f32>,
    /// One value a band.
    pub std: Vec<f32>,
    front_end: FrontEnd,
}

impl Strings {
    /// Reads a folder. Without `leave_out` the speakers are the same in all splits; with it, that speaker is the only one of
    /// the test and in no other split.
    pub fn read(folder: &Path, batch_digits: usize, leave_out: Option<&str>) -> Result<Self, Failure> {
        let left_out = |recording: &Recording| leave_out == Some(&recording.speaker);
        let split = |indices, keep: &dyn Fn(&Recording) -> bool| -> Result<Vec<Recording>, Failure> {
            let mut recordings = list(folder, indices)?.recordings;
            recordings.retain(keep);
            if recordings.is_empty() { Err("no recordings of the wanted speakers".into()) } else { Ok(recordings) }
        };
        let mut speakers: BTreeMap<String, Vec<Vec<(u8, Vec<f32>)>>> = BTreeMap::new();
        for recording in split(TRAIN, &|recording| !left_out(recording))? {
            let samples = wav::read(&recording.path, FEATURES.sample_rate)?;
            let own = speakers.entry(recording.speaker).or_insert_with(|| vec![Vec::new(); SPEEDS.len()]);
            for (at_speed, speed) in own.iter_mut().zip(SPEEDS) {
                at_speed.push((recording.digit, resample(&samples, speed)));
            }
        }
        let raw = FrontEnd::new(FEATURES, &[0.0; FEATURES.mels], &[1.0; FEATURES.mels])?;
        let mut strings = Self {
            speakers: speakers.into_values().collect(),
            batch_digits,
            validation: Vec::new(),
            test: Vec::new(),
            mean: Vec::new(),
            std: Vec::new(),
            front_end: raw,
        };
        // The same normalization for all seeds, so that runs differ in nothing else.
        (strings.mean, strings.std) = strings.statistics(&mut Random::new(0));
        strings.front_end = FrontEnd::new(FEATURES, &strings.mean, &strings.std)?;
        let validation = strings.drawn(&split(VALIDATION, &|recording| !left_out(recording))?, 4, 150, 2)?;
        strings.validation = validation.chunks(BATCH).map(batch).collect::<Result<_, _>>()?;
        let is_tested = |recording: &Recording| leave_out.is_none() || left_out(recording);
        strings.test = strings.drawn(&split(TEST, &is_tested)?, 5, 200, 1)?;
        Ok(strings)
    }

    /// Strings of whole recordings, as the example `digits` draws them.
    fn drawn(
        &mut self,
        recordings: &[Recording],
        length: usize,
        count: usize,
        seed: u64,
    ) -> Result<Vec<Example>, Failure> {
        let mut examples = Vec::new();
        for string in draw(recordings, length, count, seed) {
            let samples = string.samples(|recording| wav::read(&recording.path, FEATURES.sample_rate))?;
            examples.push((self.features(&samples), string.text()));
        }
        Ok(examples)
    }

    fn features(&mut self, samples: &[f32]) -> Vec<f32> {
        let mut steps = Vec::new();
        self.front_end.push(samples, &mut steps);
        self.front_end.finish(&mut steps);
        steps
    }

    /// Samples and text of a string to train on.
    fn string(&self, length: usize, random: &mut Random) -> (Vec<f32>, String) {
        let speeds = &self.speakers[random.below(self.speakers.len())];
        let own = &speeds[random.below(speeds.len())];
        let decibels = |value: f32| 10f32.powf(value / 20.0);
        // A quarter of the joints have no pause at all: the hardest case.
        let pause = |random: &mut Random| {
            if random.below(4) == 0 { 0 } else { random.below(MAX_PAUSE as usize + 1) }
        };
        let mut samples = vec![0.0; pause(random)];
        let mut words = Vec::new();
        for position in 0..length {
            let (digit, recording) = &own[random.below(own.len())];
            words.push(WORDS[usize::from(*digit)]);
            // Level differs from word to word, as it does between recordings.
            let level = decibels(random.uniform(-3.0, 3.0));
            samples.extend(recording.iter().map(|sample| sample * level));
            if position + 1 < length {
                samples.resize(samples.len() + pause(random), 0.0);
            }
        }
        let level = decibels(random.uniform(-6.0, 6.0));
        let noise = if random.below(2) == 0 { decibels(random.uniform(-80.0, -40.0)) } else { 0.0 };
        for sample in &mut samples {
            *sample *= level;
            if noise > 0.0 {
                *sample += noise * random.normal();
            }
        }
        (samples, words.join(" "))
    }

    /// Mean and standard deviation of each band over strings to train on.
    fn statistics(&mut self, random: &mut Random) -> (Vec<f32>, Vec<f32>) {
        let mels = FEATURES.mels;
        let (mut sums, mut squares, mut count) = (vec![0.0f64; mels], vec![0.0f64; mels], 0.0);
        for _ in 0..200 {
            let (samples, _) = self.string(4, random);
            for frame in self.features(&samples).chunks_exact(mels) {
                for (band, &value) in frame.iter().enumerate() {
                    sums[band] += f64::from(value);
                    squares[band] += f64::from(value).powi(2);
                }
                count += 1.0;
            }
        }
        let mean: Vec<f64> = sums.iter().map(|sum| sum / count).collect();
        let std = squares.iter().zip(&mean).map(|(square, mean)| (square / count - mean * mean).sqrt() as f32);
        (mean.iter().map(|&mean| mean as f32).collect(), std.collect())
    }
}

impl Data for Strings {
    fn batch(&mut self, random: &mut Random) -> skinny::Result<Batch> {
        // Of one length, so that little of a batch is padding.
        let length = 1 + random.below(7);
        let mut examples = Vec::new();
        for _ in 0..(self.batch_digits / length).clamp(1, 64) {
            let (samples, text) = self.string(length, random);
            examples.push((self.features(&samples), text));
        }
        batch(&examples)
    }

    fn validation(&self) -> &[Batch] {
        &self.validation
    }
}

/// Strings that are transcribed together.
pub fn batch(examples: &[Example]) -> skinny::Result<Batch> {
    let class = |letter| ALPHABET.find(letter).map_or(0, |i| i + 1);
    let pairs: Vec<_> =
        examples.iter().map(|(features, text)| (features.clone(), text.chars().map(class).collect())).collect();
    Batch::new(&pairs, FEATURES.step_len())
}

/// Faster or slower, by linear interpolation.
fn resample(samples: &[f32], speed: f32) -> Vec<f32> {
    if speed == 1.0 {
        return samples.to_vec();
    }
    let count = (samples.len().saturating_sub(1) as f32 / speed) as usize;
    (0..count)
        .map(|i| {
            let at = i as f32 * speed;
            let (left, part) = (at as usize, at.fract());
            let right = samples.get(left + 1).copied().unwrap_or(samples[left]);
            samples[left] + part * (right - samples[left])
        })
        .collect()
}
