//! Recordings, and the features that a model's file says are made of them.

use std::path::Path;

use skinny::Mat;
use skinny::model::Model;

use crate::error::{About, Result};

/// The features of a recording, as the model's file says they are made.
pub fn features(path: &Path, _model: &Model) -> Result<Mat<f32>> {
    Err("recordings wait for the front end").about(path)
}

/// The text of a model's outputs.
pub fn transcript(_outputs: &Mat<f32>, _model: &Model, path: &Path) -> Result<String> {
    Err("waits for the front end").about(path)
}

/// Input frames per second of the sound that a model is for, if its file tells.
pub fn frame_rate(_model: &Model) -> Option<f64> {
    None
}
