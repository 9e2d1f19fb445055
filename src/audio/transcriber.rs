//! From sound to text.

use std::sync::Arc;

use super::entries::entry_error;
use super::{Features, FrontEnd, GreedyDecoder, Labels};
use crate::error::Result;
use crate::model::{Model, Session};

/// A stream of sound on its way to text: features, the model, greedy CTC decoding, all as the model's file says.
///
/// However the samples are cut into calls, the text is the same.
#[derive(Debug)]
pub struct Transcriber {
    front_end: FrontEnd,
    session: Session,
    decoder: GreedyDecoder,
}

impl Transcriber {
    /// A stream that has not begun, of samples at the rate of the model's [features](Features).
    ///
    /// # Errors
    /// [`Error::File`](crate::Error::File) that names the entry of the model file which is missing, or makes no sense;
    /// [`Error::Allocation`](crate::Error::Allocation).
    pub fn new(model: &Arc<Model>) -> Result<Self> {
        let features = Features::of_model(model)?
            .ok_or_else(|| entry_error("features.*", "missing: how features are made of sound is not known"))?;
        let labels = Labels::of_model(model)?
            .ok_or_else(|| entry_error("labels", "missing, as is alphabet: what the classes stand for is not known"))?;
        let session = Session::new(Arc::clone(model))?;
        Ok(Self { front_end: FrontEnd::new(features)?, session, decoder: GreedyDecoder::new(labels) })
    }

    /// The same for samples of `rate` Hz, which are resampled if the features are made of another rate.
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

    /// Takes the next samples, any number of them, and returns the text that they add, with the spaces in it.
    ///
    /// # Errors
    /// Those of [`FrontEnd::push`], [`Session::push`] and [`GreedyDecoder::push`]; the stream cannot go on and should be
    /// [reset](Self::reset).
    pub fn push(&mut self, samples: &[f32]) -> Result<&str> {
        self.decoder.push(self.session.push(self.front_end.push(samples)?)?)
    }

    /// Ends the stream and returns all that was said, without spaces at the ends. The transcriber is as new.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn finish(&mut self) -> Result<String> {
        self.decoder.push(self.session.push(self.front_end.finish()?)?)?;
        self.decoder.push(self.session.finish()?)?;
        let text = self.decoder.text().to_owned();
        self.decoder.reset();
        Ok(text)
    }

    /// Back to the start of a stream.
    pub fn reset(&mut self) {
        self.front_end.reset();
        self.session.reset();
        self.decoder.reset();
    }
}
