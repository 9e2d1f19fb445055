//! Calibration sequences: features as they are, or recordings whose features are made as the model's file describes.

use std::path::{Path, PathBuf};

use skinny::Mat;
use skinny::model::Model;

use crate::console::Console;
use crate::error::{About, Result};
use crate::files::{self, Kind, wav};

/// The sequences (`time x features`) in at most `limit` files of a folder, ordered by name.
pub fn read(folder: &Path, limit: usize, model: &Model, console: Console) -> Result<Vec<Mat<f32>>> {
    let mut paths = files::list(folder)?;
    paths.retain(|path| path.is_file() && Kind::of(path).is_ok());
    // Spreads the choice over the folder, because names often begin with the words or the speaker.
    let step = paths.len().div_ceil(limit).max(1);
    let paths: Vec<PathBuf> = paths.into_iter().step_by(step).collect();
    let mut sequences = Vec::new();
    let mut progress = console.progress("reading");
    for (i, path) in paths.iter().enumerate() {
        progress.at(i, paths.len(), &path.display().to_string());
        match Kind::of(path)? {
            Kind::Wav => sequences.push(wav::features(path, model)?),
            _ => sequences.extend(features(path, model.input_size())?),
        }
    }
    match sequences.is_empty() {
        true => Err("has no recordings (.wav) and no features (.npy, .npz, .safetensors, .csv)").about(folder),
        false => Ok(sequences),
    }
}

/// The arrays of a file as sequences of frames.
fn features(path: &Path, width: usize) -> Result<Vec<Mat<f32>>> {
    let arrays = files::arrays(path)?;
    let frames = arrays.into_iter().map(|(name, array)| {
        let told = |cause| if name.is_empty() { cause } else { format!("{name}: {cause}") };
        array.frames(width).map_err(told).about(path)
    });
    frames.collect()
}
