//! NumPy's `.npz`: a zip archive of `.npy` files.

use crate::archive::{self, Archive};
use crate::error::{Error, Result};
use crate::format::Format;
use crate::npy;
use crate::tensor::Tensor;

/// The arrays of an archive in its order, by their names without `.npy`.
///
/// # Errors
/// [`Error::Container`] if it is no archive or holds no arrays, [`Error::Tensor`] if an array cannot be read.
pub fn decode(bytes: &[u8]) -> Result<Vec<(String, Tensor)>> {
    let damaged = || Error::container(Format::Npz, "it is damaged: it has no zip directory");
    let archive = Archive::new(bytes).ok_or_else(damaged)?;
    let mut arrays = Vec::new();
    for (name, data) in archive.files() {
        let name = name.strip_suffix(".npy").unwrap_or(name);
        let tensor = data.and_then(|data| npy::decode(&data));
        arrays.push((name.to_owned(), tensor.map_err(|cause| Error::tensor(name, cause))?));
    }
    if arrays.is_empty() { Err(Error::container(Format::Npz, "it holds no arrays")) } else { Ok(arrays) }
}

/// An uncompressed archive of `float32` arrays, as `numpy.savez` writes it.
///
/// # Errors
/// A sentence, if the archive would exceed the 4 GiB that fit its format.
pub fn encode<'a>(arrays: impl IntoIterator<Item = (&'a str, &'a [usize], &'a [f32])>) -> Result<Vec<u8>, String> {
    let file = |(name, shape, values): (&str, &[usize], &[f32])| (format!("{name}.npy"), npy::encode(shape, values));
    archive::encode(&arrays.into_iter().map(file).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrays() -> Vec<(String, Tensor)> {
        let array = |shape: &[usize]| Tensor::from_f32(shape.to_vec(), &vec![0.25; shape.iter().product()]);
        vec![("x".into(), array(&[3, 2])), ("gru.l0.h".into(), array(&[4]))]
    }

    fn encoded() -> Vec<u8> {
        encode([("x", &[3, 2][..], &[0.25; 6][..]), ("gru.l0.h", &[4], &[0.25; 4])]).unwrap()
    }

    /// `numpy.savez_compressed(f, x=numpy.arange(6, dtype=numpy.float32).reshape(2, 3))`, written by Python's zipfile.
    const DEFLATED: &[u8] = include_bytes!("../tests/fixtures/deflated.npz");

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(decode(&encoded()).unwrap(), arrays());
    }

    #[test]
    fn an_archive_of_numpy_is_read() {
        let expected = Tensor::from_f32(vec![2, 3], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(decode(DEFLATED).unwrap(), [("x".to_string(), expected)]);
    }

    #[test]
    fn no_damage_goes_unnoticed_or_panics() {
        for archive in [encoded(), DEFLATED.to_vec()] {
            let whole = decode(&archive).unwrap();
            for end in 0..archive.len() {
                assert!(decode(&archive[..end]).is_err(), "{end}");
            }
            for at in 0..archive.len() {
                let mut damaged = archive.clone();
                damaged[at] ^= 0x5a;
                // Dates, versions and the like may be anything; numbers may not.
                if let Ok(arrays) = decode(&damaged) {
                    assert!(arrays.iter().all(|(_, array)| whole.iter().any(|(_, other)| other == array)), "{at}");
                }
            }
        }
    }
}
