//! What all data sets have in common: splits, features, their statistics, batches.

use skinny::train::{Batch, Data, Random};

use crate::Failure;
use crate::features::{FeatureConfig, FrontEnd};

/// Sequences that are validated on together.
const BATCH: usize = 50;

/// Utterances that statistics are taken of.
const MEASURED: usize = 200;

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
    /// One value a band.
    pub mean: Vec<f32>,
    /// One value a band.
    pub std: Vec<f32>,
    front_end: FrontEnd,
}

impl Corpus {
    /// What a source draws trains; the others choose settings and are measured at the end.
    pub fn new(source: Box<dyn Source>, validation: &[Utterance], test: &[Utterance]) -> Result<Self, Failure> {
        let about = source.about();
        let raw = FrontEnd::new(FEATURES, &[0.0; FEATURES.mels], &[1.0; FEATURES.mels])?;
        let (mean, std) = (Vec::new(), Vec::new());
        let mut corpus = Self { source, about, validation: Vec::new(), test: Vec::new(), mean, std, front_end: raw };
        // The same normalization for all seeds, so that runs differ in nothing else.
        (corpus.mean, corpus.std) = corpus.statistics(&mut Random::new(0));
        corpus.front_end = FrontEnd::new(FEATURES, &corpus.mean, &corpus.std)?;
        let validation = corpus.examples(validation);
        corpus.validation =
            validation.chunks(BATCH).map(|examples| batch(examples, about.alphabet)).collect::<Result<_, _>>()?;
        corpus.test = corpus.examples(test);
        Ok(corpus)
    }

    pub fn about(&self) -> &About {
        &self.about
    }

    fn examples(&mut self, utterances: &[Utterance]) -> Vec<Example> {
        utterances.iter().map(|(samples, text)| (self.features(samples), text.clone())).collect()
    }

    fn features(&mut self, samples: &[f32]) -> Vec<f32> {
        let mut steps = Vec::new();
        self.front_end.push(samples, &mut steps);
        self.front_end.finish(&mut steps);
        steps
    }

    /// Mean and standard deviation of each band over utterances to train on.
    fn statistics(&mut self, random: &mut Random) -> (Vec<f32>, Vec<f32>) {
        let mels = FEATURES.mels;
        let (mut sums, mut squares, mut count) = (vec![0.0f64; mels], vec![0.0f64; mels], 0.0);
        for _ in 0..MEASURED {
            let (samples, _) = self.source.utterance(random);
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

impl Data for Corpus {
    fn batch(&mut self, random: &mut Random) -> skinny::Result<Batch> {
        let utterances = self.source.utterances(random);
        batch(&self.examples(&utterances), self.about.alphabet)
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
    Batch::new(&pairs, FEATURES.step_len())
}

/// Steps of the network over this many samples.
pub fn steps(samples: usize) -> usize {
    let FeatureConfig { window, hop, stack, tail, .. } = FEATURES;
    (samples + tail).checked_sub(window).map_or(0, |rest| (rest / hop + 1) / stack)
}

/// Steps that it takes to write a text: one a letter, and a blank between two alike.
pub fn least_steps(text: &str) -> usize {
    text.len() + text.as_bytes().windows(2).filter(|pair| pair[0] == pair[1]).count()
}
