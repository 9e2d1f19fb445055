//! Transcription: from sound to text.

use std::sync::Arc;

use super::entries::entry_error;
use super::{Features, FrontEnd, GreedyDecoder, Labels};
use crate::error::Result;
use crate::model::{Model, Session};

/// Transcribes a stream of sound: features, the model and greedy CTC decoding, all as the model's file describes.
///
/// The text is the same however the samples are split into calls.
#[derive(Debug)]
pub struct Transcriber {
    front_end: FrontEnd,
    session: Session,
    decoder: GreedyDecoder,
}

impl Transcriber {
    /// Starts a stream of samples at the rate of the model's [features](Features).
    ///
    /// # Errors
    /// [`Error::File`](crate::Error::File) with the name of a metadata entry that is missing or malformed;
    /// [`Error::Allocation`](crate::Error::Allocation).
    pub fn new(model: &Arc<Model>) -> Result<Self> {
        let features = Features::of_model(model)?
            .ok_or_else(|| entry_error("features.*", "missing: the model's file does not describe its features"))?;
        let labels = Labels::of_model(model)?.ok_or_else(|| {
            entry_error("labels", "missing, and so is alphabet: the model's file does not name its classes")
        })?;
        let session = Session::new(Arc::clone(model))?;
        Ok(Self { front_end: FrontEnd::new(features)?, session, decoder: GreedyDecoder::new(labels) })
    }

    /// Starts a stream of samples at `rate` Hz, which are resampled if the features' rate is different.
    ///
    /// # Errors
    /// Those of [`FrontEnd::with_input_rate`].
    pub fn with_input_rate(mut self, rate: u32) -> Result<Self> {
        self.front_end = self.front_end.with_input_rate(rate)?;
        Ok(self)
    }

    /// The front end.
    pub fn front_end(&self) -> &FrontEnd {
        &self.front_end
    }

    /// Takes any number of samples and returns the text they add, including spaces.
    ///
    /// # Errors
    /// Those of [`FrontEnd::push`], [`Session::push`] and [`GreedyDecoder::push`]; the stream cannot continue and
    /// should be [reset](Self::reset).
    pub fn push(&mut self, samples: &[f32]) -> Result<&str> {
        self.decoder.push(self.session.push(self.front_end.push(samples)?)?)
    }

    /// Ends the stream and returns its whole text, without spaces at the ends. The transcriber is then reset.
    ///
    /// # Errors
    /// Those of [`push`](Self::push).
    pub fn finish(&mut self) -> Result<String> {
        self.decoder.push(self.session.push(self.front_end.finish()?)?)?;
        self.decoder.push(self.session.finish()?)?;
        let text = self.decoder.text().to_owned();
        self.decoder.reset();
        Ok(text)
    }

    /// Resets to the start of a stream.
    pub fn reset(&mut self) {
        self.front_end.reset();
        self.session.reset();
        self.decoder.reset();
    }
}
