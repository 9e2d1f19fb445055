//! Reads and writes matrices: `.npy`, `.npz`, safetensors, CSV. [`wav`] reads recordings.

pub mod csv;
pub mod model;
pub mod output;
pub mod tensors;
pub mod wav;

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use skinny::Mat;
use skinny_convert::{Tensor, npy, npz};

use crate::error::{About, Failure, Result};
use crate::report::dimensions;

/// Numbers and their dimensions, as stored in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// The dimensions. Elements along the last one are adjacent.
    pub shape: Vec<usize>,
    /// The numbers.
    pub values: Vec<f32>,
}

/// The arrays of a file with their names. The name is empty in formats that hold only one array.
pub type Named = Vec<(String, Array)>;

/// The kinds of files, by their extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Npy,
    Npz,
    Safetensors,
    Csv,
    Wav,
}

impl Kind {
    /// The kind that the extension says.
    pub fn of(path: &Path) -> Result<Self> {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        Ok(match extension.to_ascii_lowercase().as_str() {
            "npy" => Kind::Npy,
            "npz" => Kind::Npz,
            "safetensors" => Kind::Safetensors,
            "csv" | "txt" => Kind::Csv,
            "wav" => Kind::Wav,
            _ => {
                return Err("has an unknown extension: expected .npy, .npz, .safetensors, .csv or .wav").about(path);
            }
        })
    }
}

/// The bytes of a file.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    if path.is_dir() {
        return Err("is a folder, not a file").about(path);
    }
    let bytes = fs::read(path).map_err(|cause| why(&cause)).about(path)?;
    if bytes.is_empty() { Err("is empty").about(path) } else { Ok(bytes) }
}

/// The operating system's error as a message.
pub fn why(cause: &io::Error) -> String {
    match cause.kind() {
        ErrorKind::NotFound => "there is no such file or folder".into(),
        ErrorKind::PermissionDenied => "no permission".into(),
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => "a part of the path is a file, not a folder".into(),
        ErrorKind::ReadOnlyFilesystem => "the file system is read-only".into(),
        ErrorKind::StorageFull => "the disk is full".into(),
        _ => cause.to_string(),
    }
}

/// The paths in a folder, in order.
pub fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(|cause| why(&cause)).about(folder)?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<PathBuf>>>();
    let mut paths = paths.map_err(|cause| why(&cause)).about(folder)?;
    paths.sort();
    Ok(paths)
}

/// All arrays of a file that is not a recording.
pub fn arrays(path: &Path) -> Result<Named> {
    let kind = Kind::of(path)?;
    let bytes = read(path)?;
    match kind {
        Kind::Npy => Ok(vec![(String::new(), npy::decode(&bytes).and_then(Array::try_from).about(path)?)]),
        Kind::Npz => {
            let named = |(name, tensor)| {
                let array = Array::try_from(tensor).map_err(|cause| format!("{name}: {cause}"));
                Ok((name, array.about(path)?))
            };
            npz::decode(&bytes).about(path)?.into_iter().map(named).collect()
        }
        Kind::Safetensors => tensors::decode(&bytes).about(path),
        Kind::Csv => Ok(vec![(String::new(), csv::decode(&bytes).about(path)?)]),
        Kind::Wav => Err("is a recording, not features").about(path),
    }
}

/// The array with this name, or the only array of a file.
pub fn array(path: &Path, name: Option<&str>) -> Result<Array> {
    let mut arrays = arrays(path)?;
    let listed = |arrays: &Named| arrays.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
    match name {
        Some(name) => match arrays.iter().position(|(other, _)| other == name) {
            Some(i) => Ok(arrays.swap_remove(i).1),
            None if arrays.len() == 1 && arrays[0].0.is_empty() => {
                Err(format!("holds one array without a name, not `{name}`")).about(path)
            }
            None => Err(format!("has no array `{name}`, it has {}", listed(&arrays))).about(path),
        },
        None if arrays.len() == 1 => Ok(arrays.swap_remove(0).1),
        None => Err(format!("holds {} arrays ({}), say which", arrays.len(), listed(&arrays))).about(path),
    }
}

impl TryFrom<Tensor> for Array {
    type Error = String;

    fn try_from(tensor: Tensor) -> Result<Self, String> {
        let values =
            tensor.to_f32().ok_or_else(|| format!("holds elements of type {:?}, not numbers", tensor.dtype))?;
        Ok(Self { shape: tensor.shape, values })
    }
}

impl Array {
    /// The array as a matrix, `time x width`. Leading dimensions of 1 (a batch) are dropped. A vector is one frame, or
    /// frames of one feature. All numbers must be finite.
    pub fn frames(self, width: usize) -> Result<Mat<f32>, String> {
        let finite = self.values.iter().position(|value| !value.is_finite());
        if let Some(index) = finite {
            return Err(format!("element {index} is {}, all must be finite", self.values[index]));
        }
        let mut shape = &self.shape[..];
        while let [1, rest @ ..] = shape
            && rest.len() > 1
        {
            shape = rest;
        }
        let (time, found) = match *shape {
            [len] if len == width => (1, len),
            [len] if width == 1 => (len, 1),
            [time, features] => (time, features),
            _ => return Err(format!("expected time x {width}, found {}", dimensions(&self.shape))),
        };
        if found != width {
            let hint = if time == width { "; transpose it" } else { "" };
            return Err(format!("expected time x {width}, found {}{hint}", dimensions(&self.shape)));
        }
        Mat::from_vec(self.values, time, width).map_err(|cause| cause.to_string())
    }
}

/// Writes a matrix in the format of the extension.
pub fn write(path: &Path, matrix: &Mat<f32>) -> Result<()> {
    let array = Array { shape: vec![matrix.rows(), matrix.cols()], values: matrix.as_slice().to_vec() };
    write_named(path, &[("y".into(), array)])
}

/// Writes arrays in the format of the extension.
pub fn write_named(path: &Path, arrays: &[(String, Array)]) -> Result<()> {
    let bytes = match (Kind::of(path)?, arrays) {
        (Kind::Npy, [(_, array)]) => npy::encode(&array.shape, &array.values),
        (Kind::Csv, [(_, array)]) => csv::encode(array).into_bytes(),
        (Kind::Npz, _) => {
            let arrays = arrays.iter().map(|(name, array)| (name.as_str(), &array.shape[..], &array.values[..]));
            npz::encode(arrays).about(path)?
        }
        (Kind::Safetensors, _) => tensors::encode(arrays).about(path)?,
        (Kind::Wav, _) => return Err("outputs are not sound; write .npy, .npz, .safetensors or .csv").about(path),
        _ => return Err("can hold only one array; write .npz or .safetensors").about(path),
    };
    output::write(path, &bytes)
}

/// Fails unless a file with this extension can hold an array, or several of them.
pub fn expect_arrays(path: &Path, several: bool) -> Result<()> {
    match Kind::of(path)? {
        Kind::Npz | Kind::Safetensors => Ok(()),
        Kind::Npy | Kind::Csv if !several => Ok(()),
        Kind::Wav => Err("outputs are not sound; write .npy, .npz, .safetensors or .csv").about(path),
        _ => Err(Failure::input(format!("{}: can hold only one array; write .npz or .safetensors", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(shape: &[usize]) -> Array {
        Array { shape: shape.to_vec(), values: vec![0.5; shape.iter().product()] }
    }

    #[test]
    fn frames_are_time_by_features() {
        for (shape, width, time) in [
            (&[4, 3][..], 3, 4),
            (&[1, 4, 3], 3, 4),
            (&[1, 1, 3], 3, 1),
            (&[3], 3, 1),
            (&[7], 1, 7),
            (&[1, 3], 3, 1),
            (&[0, 3], 3, 0),
        ] {
            assert_eq!(array(shape).frames(width).unwrap().view().shape(), (time, width), "{shape:?}");
        }
        for (shape, width, message) in [
            (&[3, 4][..], 3, "expected time x 3, found 3 x 4; transpose it"),
            (&[2, 4, 3], 3, "expected time x 3, found 2 x 4 x 3"),
            (&[5], 3, "expected time x 3, found 5"),
            (&[], 3, "expected time x 3, found scalar"),
        ] {
            assert_eq!(array(shape).frames(width).unwrap_err(), message);
        }
        let mut odd = array(&[2, 3]);
        odd.values[4] = f32::NAN;
        assert_eq!(odd.frames(3).unwrap_err(), "element 4 is NaN, all must be finite");
    }

    #[test]
    fn a_name_without_a_kind_is_refused() {
        assert_eq!(Kind::of(Path::new("a/B.NPY")).unwrap(), Kind::Npy);
        assert!(Kind::of(Path::new("a.npy/b")).is_err());
    }
}
