//! Streaming audio: from sound to features, and from the scores of a CTC model to text.
//!
//! ```text
//! samples -> Resampler -> frames -> spectra -> bands -> logarithm, normalization -> steps of a model
//!            (at another            (Stft)     (MelBands)                            |
//!             rate)                                                        Session: scores -> GreedyDecoder -> text
//! ```
//!
//! [`Features`] describes how a model's features are computed; the model's file contains the description. [`FrontEnd`]
//! computes them, and [`Transcriber`] goes on to text. [`Stft`] and [`Resampler`] can be used on their own. Samples are
//! `f32`, one channel, from -1 to 1 at full scale unless the model was trained on another scale.
//!
//! Each is a stream: samples come in pieces of any length, and the results are bit-identical however they are split.
//! With the settings named beside each option, the values match librosa and torchaudio up to `f32` rounding.
//!
//! # Example
//! ```
//! use std::sync::Arc;
//! use skinny::Mat;
//! use skinny::audio::{Features, Labels, MelBands, Stft, Transcriber};
//! use skinny::factored::{Linear, Weight};
//! use skinny::model::{Layer, Model};
//!
//! // A model with 3 bands and 2 classes, and their description in its file.
//! let weight = Mat::from_vec(vec![0.0, 0.0, 0.0, 1.0, -1.0, 0.0], 2, 3)?;
//! let model = Model::new(vec![("fc".into(), Layer::Linear(Linear::new(Weight::dense(weight)?, None)?))])?;
//! let features = Features::log_mel(8000, Stft::new(256, 128), MelBands::new(3, 0.0, 4000.0));
//! let model = Labels::from_alphabet("u", 0)?.attach(features.attach(model)?)?;
//!
//! // It writes a u where the lowest band is louder than the next one.
//! let hum = |i: i32| (i as f32 * std::f32::consts::TAU * 250.0 / 8000.0).sin();
//! let samples: Vec<f32> = (0..8000).map(|i| if i / 2000 % 2 == 0 { hum(i) } else { 0.0 }).collect();
//! let mut transcriber = Transcriber::new(&Arc::new(model))?;
//! for piece in samples.chunks(100) {
//!     transcriber.push(piece)?;
//! }
//! assert_eq!(transcriber.finish()?, "uu");
//! # Ok::<(), skinny::Error>(())
//! ```

mod ctc;
mod entries;
mod features;
mod frames;
mod front_end;
mod mel;
mod resample;
mod stft;
mod transcriber;
mod window;

pub use ctc::{GreedyDecoder, Labels};
pub use features::{Features, Floor, Log, LogBase, Normalization};
pub use frames::Framing;
pub use front_end::FrontEnd;
pub use mel::{MelBands, MelNorm, MelScale};
pub use resample::Resampler;
pub use stft::{Spectrum, Stft, StftStream};
pub use transcriber::Transcriber;
pub use window::Window;

pub use crate::error_rate::{ErrorCount, edit_distance};

use crate::error::{Error, Result};

/// Fails unless all samples are finite.
fn check_samples(samples: &[f32]) -> Result<()> {
    match samples.iter().position(|sample| !sample.is_finite()) {
        None => Ok(()),
        Some(index) => Err(Error::NotFinite { what: "samples", index, value: samples[index] }),
    }
}

/// Makes room for `more` values.
fn reserve(values: &mut Vec<f32>, more: usize) -> Result<()> {
    let bytes = more.saturating_mul(size_of::<f32>());
    values.try_reserve(more).map_err(|_| Error::Allocation { bytes })
}
