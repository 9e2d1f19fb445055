//! From a model file and sound to text: features, the network, the decoder.

use std::sync::Arc;

use skinny::model::{ImportOptions, Model, Session};
use skinny::{MatRef, Tier};

use crate::ctc::{Alphabet, GreedyDecoder};
use crate::features::{FeatureConfig, FrontEnd};

/// Why a model file cannot be used, in words.
pub type Failure = Box<dyn std::error::Error>;

/// Tensors of the model file that belong to its features.
const FEATURES: [&str; 2] = ["features.mean", "features.std"];

/// Reads a model file: PyTorch's, in `f32`, or one that `skinny compress` or `skinny train` made.
pub fn read(bytes: &[u8], tier: Tier) -> Result<Model, Failure> {
    let options = ImportOptions { keep: FEATURES.map(String::from).into(), ..ImportOptions::default() };
    Ok(Model::read(bytes, &options, tier)?)
}

fn entry<'a>(model: &'a Model, key: &str) -> Result<&'a str, Failure> {
    Ok(model.metadata().get(key).ok_or_else(|| format!("the model file's metadata has no {key}"))?)
}

/// The sound that the model takes, in samples a second.
pub fn sample_rate(model: &Model) -> Result<u32, Failure> {
    Ok(FeatureConfig::from_metadata(model.metadata())?.sample_rate)
}

/// The characters that the classes stand for.
pub fn alphabet(model: &Model) -> Result<Alphabet, Failure> {
    Ok(Alphabet::new(entry(model, "alphabet")?))
}

/// The features that the model was trained on.
pub fn front_end(model: &Model) -> Result<FrontEnd, Failure> {
    let config = FeatureConfig::from_metadata(model.metadata())?;
    let [mean, std] = FEATURES.map(|name| {
        let missing = || format!("the model file has no tensor {name}");
        Ok::<_, String>(model.attachments().get(name).ok_or_else(missing)?.values())
    });
    Ok(FrontEnd::new(config, mean?, std?)?)
}

/// One stream of sound on its way to text. Memory is kept from piece to piece.
pub struct Transcriber<'a> {
    front_end: FrontEnd,
    session: Session,
    decoder: GreedyDecoder<'a>,
    /// Features on their way to the network, a row a time step.
    steps: Vec<f32>,
}

impl<'a> Transcriber<'a> {
    /// A stream that has not begun.
    pub fn new(model: &Arc<Model>, alphabet: &'a Alphabet) -> Result<Self, Failure> {
        Ok(Self {
            front_end: front_end(model)?,
            session: Session::new(Arc::clone(model))?,
            decoder: GreedyDecoder::new(alphabet),
            steps: Vec::new(),
        })
    }

    /// Takes the next samples, as many as there happen to be.
    pub fn push(&mut self, samples: &[f32]) -> skinny::Result<()> {
        self.front_end.push(samples, &mut self.steps);
        self.run()
    }

    /// Ends the stream and returns what was said.
    pub fn finish(mut self) -> skinny::Result<String> {
        self.front_end.finish(&mut self.steps);
        self.run()?;
        decode(self.session.finish()?, &mut self.decoder);
        Ok(self.decoder.text().to_owned())
    }

    /// Takes the features that are ready through the network.
    fn run(&mut self) -> skinny::Result<()> {
        let width = self.front_end.step_len();
        let frames = MatRef::new(&self.steps, self.steps.len() / width, width)?;
        decode(self.session.push(frames)?, &mut self.decoder);
        self.steps.clear();
        Ok(())
    }
}

fn decode(scores: MatRef<'_, f32>, decoder: &mut GreedyDecoder<'_>) {
    for step in 0..scores.rows() {
        decoder.push(scores.row(step));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LOW_RANK, MODEL, RECORDINGS, wav};

    fn transcribe(model: &Arc<Model>, samples: &[f32], chunk: usize) -> String {
        let alphabet = alphabet(model).unwrap();
        let mut transcriber = Transcriber::new(model, &alphabet).unwrap();
        samples.chunks(chunk).for_each(|chunk| transcriber.push(chunk).unwrap());
        transcriber.finish().unwrap()
    }

    #[test]
    fn the_text_does_not_depend_on_how_sound_comes_nor_on_the_tier_nor_on_a_file_between() {
        let samples: Vec<f32> =
            RECORDINGS[..5].iter().flat_map(|(name, bytes)| wav::decode(*bytes, name, 8000).unwrap()).collect();
        let low_rank = Arc::new(read(LOW_RANK, Tier::Portable).unwrap());
        let expected = transcribe(&low_rank, &samples, samples.len());
        assert!(!expected.is_empty());
        let file = low_rank.to_bytes().unwrap();
        for &tier in Tier::available() {
            let model = Arc::new(read(LOW_RANK, tier).unwrap());
            for chunk in [1, 77, 800, 4001] {
                assert_eq!(transcribe(&model, &samples, chunk), expected, "{tier}, chunks of {chunk}");
            }
            let loaded = Arc::new(read(&file, tier).unwrap());
            assert_eq!(transcribe(&loaded, &samples, 800), expected, "{tier}, from a file");
        }
    }

    #[test]
    fn a_file_that_is_no_model_is_refused() {
        assert!(read(&MODEL[..100], Tier::Portable).is_err());
        assert!(read(b"not a model", Tier::Portable).is_err());
    }
}
