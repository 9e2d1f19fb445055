//! Calibration sequences: recordings by way of the model's own features, or features as they are.

use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use skinny::Mat;
use skinny::model::Model;

use crate::features::{FeatureConfig, FrontEnd};
use crate::{Failure, wav};

/// The sequences (`time x features`) of at most `limit` files of a folder, in the order of their names.
pub fn read(folder: &Path, limit: usize, model: &Model) -> Result<Vec<Mat<f32>>, Failure> {
    let named = |cause: &dyn std::fmt::Display| format!("{}: {cause}", folder.display());
    let entries = std::fs::read_dir(folder).map_err(|cause| named(&cause))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<PathBuf>, std::io::Error>>()?;
    let kind = |path: &Path| path.extension().is_some_and(|kind| kind == "wav" || kind == "safetensors");
    paths.retain(|path| kind(path));
    paths.sort();
    // Spread over the folder: names often begin with what is said or who says it.
    let step = paths.len().div_ceil(limit.max(1)).max(1);
    let mut sequences = Vec::new();
    for path in paths.iter().step_by(step) {
        match path.extension().is_some_and(|kind| kind == "wav") {
            true => sequences.push(recording(path, model)?),
            false => sequences.extend(features(path, model.input_size())?),
        }
    }
    match sequences.is_empty() {
        true => Err(named(&"no .wav and no .safetensors there").into()),
        false => Ok(sequences),
    }
}

/// The features of a recording, as the model's metadata says they are made.
fn recording(path: &Path, model: &Model) -> Result<Mat<f32>, Failure> {
    let config = FeatureConfig::from_metadata(model.metadata()).map_err(|cause| {
        format!(
            "{}: features cannot be made of recordings for this model ({cause}); give them as .safetensors",
            path.display()
        )
    })?;
    let attached = |name: &str| {
        let attachment =
            model.attachments().get(name).ok_or_else(|| format!("--keep {name} is needed for recordings"))?;
        Ok::<_, String>(attachment.values())
    };
    let rate = config.sample_rate;
    let mut front_end = FrontEnd::new(config, attached("features.mean")?, attached("features.std")?)?;
    let mut steps = Vec::new();
    front_end.push(&wav::read(path, rate)?, &mut steps);
    front_end.finish(&mut steps);
    let (width, len) = (front_end.step_len(), steps.len());
    Ok(Mat::from_vec(steps, len / width, width)?)
}

/// The tensors of a file that are sequences of frames.
fn features(path: &Path, width: usize) -> Result<Vec<Mat<f32>>, Failure> {
    let named = |cause: &dyn std::fmt::Display| format!("{}: {cause}", path.display());
    let bytes = std::fs::read(path).map_err(|cause| named(&cause))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|cause| named(&cause))?;
    let mut sequences = Vec::new();
    for (name, tensor) in file.tensors() {
        match (tensor.dtype(), tensor.shape()) {
            (Dtype::F32, &[time, features]) if features == width => {
                let values = tensor.data().as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes));
                sequences.push(Mat::from_vec(values.collect(), time, features)?);
            }
            (dtype, shape) => {
                return Err(
                    named(&format!("{name}: expected F32 of time x {width}, found {dtype:?} of {shape:?}")).into()
                );
            }
        }
    }
    Ok(sequences)
}
