//! What all data sets have in common: splits, features, their statistics, batches.

use std::path::Path;

use skinny::audio::{Features, FrontEnd, MelBands, Normalization, Stft};
use skinny::train::{Batch, Data, Random};

use crate::error::{About as _, Result};
use crate::files::wav::{Recording, recording};

/// Sequences that are validated on together.
const BATCH: usize = 50;

/// Utterances that statistics are taken of.
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

/// What is particular to a data set.
pub trait Source {
    /// What it is and whose.
    fn about(&self) -> About;

    /// One utterance to train on.
    fn utterance(&self, random: &mut Random) -> Utterance;

    /// Those of a batch, of about one length, so that little of it is padding.
    fn utterances(&self, random: &mut Random) -> Vec<Utterance>;
}

/// What is told of a data set, in model files too.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// Class 0 is the blank, class `i` the `i`-th of these.
    pub alphabet: &'static str,
    /// What of it is trained on.
    pub data: &'static str,
    pub attribution: &'static str,
    pub licence: &'static str,
}

/// A data set, at hand.
pub struct Corpus {
    source: Box<dyn Source>,
    about: About,
    validation: Vec<Batch>,
    /// What to test on.
    pub test: Vec<Example>,
    front_end: FrontEnd,
}

impl Corpus {
    /// What a source draws trains; the others choose settings and are measured at the end.
    pub fn new(source: Box<dyn Source>, validation: &[Utterance], test: &[Utterance]) -> Result<Self> {
        let about = source.about();
        let front_end = FrontEnd::new(features())?;
        let mut corpus = Self { source, about, validation: Vec::new(), test: Vec::new(), front_end };
        // The same normalization for all seeds, so that runs differ in nothing else.
        let mut normalized = features();
        normalized.normalization = Some(corpus.statistics(&mut Random::new(0))?);
        corpus.front_end = FrontEnd::new(normalized)?;
        for examples in corpus.examples(validation)?.chunks(BATCH) {
            corpus.validation.push(batch(examples, about.alphabet)?);
        }
        corpus.test = corpus.examples(test)?;
        Ok(corpus)
    }

    /// How the features are made, their normalization included.
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

    /// Mean and standard deviation of each band over utterances to train on.
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

/// Sequences that are transcribed together.
fn batch(examples: &[Example], alphabet: &str) -> skinny::Result<Batch> {
    // A letter of no class is the blank, which a batch refuses.
    let class = |letter| alphabet.chars().position(|other| other == letter).map_or(0, |i| i + 1);
    let pairs: Vec<_> =
        examples.iter().map(|(features, text)| (features.clone(), text.chars().map(class).collect())).collect();
    Batch::new(&pairs, features().width())
}

/// Steps of the network over this many samples.
pub fn steps(samples: usize) -> usize {
    let Features { stft, stack, tail, .. } = features();
    (samples + tail).checked_sub(stft.window).map_or(0, |rest| (rest / stft.hop + 1) / stack)
}

/// Steps that it takes to write a text: one a letter, and a blank between two alike.
pub fn least_steps(text: &str) -> usize {
    text.len() + text.as_bytes().windows(2).filter(|pair| pair[0] == pair[1]).count()
}
