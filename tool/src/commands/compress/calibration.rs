//! Calibration sequences: features as they are, with the states that they begin with, or recordings whose features are made
//! as the model's file describes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use skinny::Mat;
use skinny::model::{Model, Sequence, Session};

use crate::console::Console;
use crate::error::{About, Result};
use crate::files::{self, Array, Kind, wav};

/// The sequences in at most `limit` files of a folder, ordered by name.
pub fn read(folder: &Path, limit: usize, model: &Model, console: Console) -> Result<Vec<Sequence>> {
    let mut paths = files::list(folder)?;
    paths.retain(|path| path.is_file() && Kind::of(path).is_ok());
    // Spreads the choice over the folder, because names often begin with the words or the speaker.
    let step = paths.len().div_ceil(limit).max(1);
    let paths: Vec<PathBuf> = paths.into_iter().step_by(step).collect();
    let states: BTreeMap<String, usize> =
        Session::new(Arc::new(model.clone()))?.states().map(|(name, values)| (name, values.len())).collect();
    let mut sequences = Vec::new();
    let mut progress = console.progress("reading");
    for (i, path) in paths.iter().enumerate() {
        progress.at(i, paths.len(), &path.display().to_string());
        match Kind::of(path)? {
            Kind::Wav => sequences.push(Sequence::new(wav::features(path, model)?)),
            _ => sequences.extend(features(files::arrays(path)?, model, &states).about(path)?),
        }
    }
    match sequences.is_empty() {
        true => Err("has no recordings (.wav) and no features (.npy, .npz, .safetensors, .csv)").about(folder),
        false => Ok(sequences),
    }
}

/// The arrays of a file as sequences. Arrays called as a state are what all of them begin with. Of a model with several
/// inputs, the arrays that are called as the inputs are one sequence.
fn features(arrays: files::Named, model: &Model, states: &BTreeMap<String, usize>) -> Result<Vec<Sequence>, String> {
    let (initial, frames): (files::Named, files::Named) =
        arrays.into_iter().partition(|(name, _)| states.contains_key(name));
    let told = |name: &str, cause: String| if name.is_empty() { cause } else { format!("{name}: {cause}") };
    for (name, array) in &initial {
        let (expected, found) = (states[name], array.values.len());
        if found != expected {
            return Err(told(name, format!("expected a state of {expected} values, found {found}")));
        }
        if let Some(index) = array.values.iter().position(|value| !value.is_finite()) {
            return Err(told(name, format!("element {index} is {}, all must be finite", array.values[index])));
        }
    }
    let matrix = |name: &str, array: Array, width| array.frames(width).map_err(|cause| told(name, cause));
    let sequences: Vec<Sequence> = match model.inputs().len() {
        1 => {
            let one = |(name, array): (String, Array)| matrix(&name, array, model.input_size()).map(Sequence::new);
            frames.into_iter().map(one).collect::<Result<_, String>>()?
        }
        _ => {
            let mut by_name: BTreeMap<String, Array> = frames.into_iter().collect();
            let inputs: Vec<Mat<f32>> = model
                .inputs()
                .map(|(name, width)| match by_name.remove(name) {
                    Some(array) => matrix(name, array, width),
                    None => Err(format!("has no array `{name}`, an input of the model")),
                })
                .collect::<Result<_, String>>()?;
            if let Some(name) = by_name.keys().next() {
                return Err(format!("`{name}` is neither an input nor a state of the model"));
            }
            if let Some(other) = inputs.iter().find(|input| input.rows() != inputs[0].rows()) {
                return Err(format!("inputs have {} frames and {}", inputs[0].rows(), other.rows()));
            }
            vec![Sequence::of_inputs(inputs)]
        }
    };
    let begun = |sequence: Sequence| {
        initial.iter().fold(sequence, |sequence, (name, array)| sequence.with_state(name, array.values.clone()))
    };
    Ok(sequences.into_iter().map(begun).collect())
}
