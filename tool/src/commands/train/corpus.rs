//! Shared by all data sets: splits, features, their statistics, batches.

use std::path::Path;

use skinny::audio::{Features, FrontEnd, MelBands, Normalization, Stft};
use skinny::train::{Batch, Data, Random};

use crate::error::{About as _, Result};
use crate::files::wav::{Recording, recording};

/// Sequences per batch of validation.
const BATCH: usize = 50;

/// Utterances that statistics are measured on.
const MEASURED: usize = 200;

/// Samples per second.
pub const RATE: u32 = 8000;

/// Bands of a frame.
const BANDS: usize = 40;

/// The features of the example `digits`: 25 ms windows every 12 ms, two frames per step.
pub fn features() -> Features {
    let mut stft = Stft::new(200, 96);
    stft.fft = 256;
    let mut features = Features::log_mel(RATE, stft, MelBands::new(BANDS, 60.0, 4000.0));
    features.stack = 2;
    features.tail = 1600;
    features
}

/// The samples of a recording at [`RATE`].
pub fn read(path: &Path) -> Result<Vec<f32>> {
    let Recording { samples, rate } = recording(path)?;
    match rate {
        RATE => Ok(samples),
        _ => Err(format!("expected {RATE} Hz, found {rate}")).about(path),
    }
}

/// Samples and their text.
pub type Utterance = (Vec<f32>, String);

/// A sequence to be transcribed: its features and its text.
pub type Example = (Vec<f32>, String);

/// What differs between data sets.
pub trait Source {
    /// The description of the data set.
    fn about(&self) -> About;

    /// One utterance to train on.
    fn utterance(&self, random: &mut Random) -> Utterance;

    /// The utterances of a batch. Their lengths are similar, which keeps padding low.
    fn utterances(&self, random: &mut Random) -> Vec<Utterance>;
}

/// The description of a data set, which model files repeat.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// The letters of the classes: class 0 is the blank, class `i` the `i`-th letter.
    pub alphabet: &'static str,
    /// The part that is used for training.
    pub data: &'static str,
    pub attribution: &'static str,
    pub licence: &'static str,
}

/// A data set in memory.
pub struct Corpus {
    source: Box<dyn Source>,
    about: About,
    validation: Vec<Batch>,
    /// The utterances to test on.
    pub test: Vec<Example>,
    front_end: FrontEnd,
}

impl Corpus {
    /// Utterances that the source draws are for training. `validation` chooses settings. `test` is measured at the end.
    pub fn new(source: Box<dyn Source>, validation: &[Utterance], test: &[Utterance]) -> Result<Self> {
        let about = source.about();
        let front_end = FrontEnd::new(features())?;
        let mut corpus = Self { source, about, validation: Vec::new(), test: Vec::new(), front_end };
        // The normalization does not depend on the seed of a run, so runs do not differ by it.
        let mut normalized = features();
        normalized.normalization = Some(corpus.statistics(&mut Random::new(0))?);
        corpus.front_end = FrontEnd::new(normalized)?;
        for examples in corpus.examples(validation)?.chunks(BATCH) {
            corpus.validation.push(batch(examples, about.alphabet)?);
        }
        corpus.test = corpus.examples(test)?;
        Ok(corpus)
    }

    /// How the features are made, including their normalization.
    pub fn made(&self) -> &Features {
        self.front_end.features()
    }

    pub fn about(&self) -> &About {
        &self.about
    }

    fn examples(&mut self, utterances: &[Utterance]) -> skinny::Result<Vec<Example>> {
        utterances.iter().map(|(samples, text)| Ok((self.features(samples)?, text.clone()))).collect()
    }

    fn features(&mut self, samples: &[f32]) -> skinny::Result<Vec<f32>> {
        Ok(self.front_end.whole(samples)?.as_slice().to_vec())
    }

    /// Mean and standard deviation of each band over training utterances.
    fn statistics(&mut self, random: &mut Random) -> skinny::Result<Normalization> {
        let (mut sums, mut squares, mut count) = (vec![0.0f64; BANDS], vec![0.0f64; BANDS], 0.0);
        for _ in 0..MEASURED {
            let (samples, _) = self.source.utterance(random);
            for frame in self.features(&samples)?.chunks_exact(BANDS) {
                for (band, &value) in frame.iter().enumerate() {
                    sums[band] += f64::from(value);
                    squares[band] += f64::from(value).powi(2);
                }
                count += 1.0;
            }
        }
        let mean: Vec<f64> = sums.iter().map(|sum| sum / count).collect();
        let std = squares.iter().zip(&mean).map(|(square, mean)| (square / count - mean * mean).sqrt() as f32);
        Ok(Normalization { std: std.collect(), mean: mean.iter().map(|&mean| mean as f32).collect() })
    }
}

impl Data for Corpus {
    fn batch(&mut self, random: &mut Random) -> skinny::Result<Batch> {
        let utterances = self.source.utterances(random);
        batch(&self.examples(&utterances)?, self.about.alphabet)
    }

    fn validation(&self) -> &[Batch] {
        &self.validation
    }
}

/// The batch of these sequences.
fn batch(examples: &[Example], alphabet: &str) -> skinny::Result<Batch> {
    // A letter without a class becomes the blank, which a batch refuses.
    let class = |letter| alphabet.chars().position(|other| other == letter).map_or(0, |i| i + 1);
    let pairs: Vec<_> =
        examples.iter().map(|(features, text)| (features.clone(), text.chars().map(class).collect())).collect();
    Batch::new(&pairs, features().width())
}

/// The steps of the network over this many samples.
pub fn steps(samples: usize) -> usize {
    let Features { stft, stack, tail, .. } = features();
    (samples + tail).checked_sub(stft.window).map_or(0, |rest| (rest / stft.hop + 1) / stack)
}

/// The fewest steps that can write a text: one per letter, and a blank between two equal letters.
pub fn least_steps(text: &str) -> usize {
    text.len() + text.as_bytes().windows(2).filter(|pair| pair[0] == pair[1]).count()
}
