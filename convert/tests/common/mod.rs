//! Shared by the tests: fixtures, tensors, runs, damage.

#![allow(dead_code, reason = "not every test needs all of it")]

use std::path::Path;
use std::sync::Arc;

use safetensors::SafeTensors;
use skinny::MatRef;
use skinny::model::{Model, Session};
use skinny_convert::{Selection, convert};

/// The bytes of a file in `fixtures`.
pub fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    std::fs::read(&path).unwrap_or_else(|cause| panic!("{}: {cause}", path.display()))
}

/// A tensor: its name, type, dimensions and bytes.
pub type Named = (String, String, Vec<usize>, Vec<u8>);

/// The tensors of a safetensors file, by name.
pub fn tensors(bytes: &[u8]) -> Vec<Named> {
    let file = SafeTensors::deserialize(bytes).unwrap();
    let mut tensors: Vec<Named> = file
        .tensors()
        .into_iter()
        .map(|(name, view)| (name, format!("{:?}", view.dtype()), view.shape().to_vec(), view.data().to_vec()))
        .collect();
    tensors.sort();
    tensors
}

/// Fails unless a file is refused with a message that has `what` in it.
pub fn expect_refused(file: &[u8], what: &str) {
    let message = convert(file, &Selection::default()).map(|converted| converted.format).unwrap_err().to_string();
    assert!(message.contains(what), "no {what} in: {message}");
}

/// The outputs of a model over `rows` frames.
pub fn run(model: Model, x: &[f32], rows: usize) -> Vec<f32> {
    let mut session = Session::new(Arc::new(model)).unwrap();
    let mut y = session.push(MatRef::new(x, rows, x.len() / rows).unwrap()).unwrap().as_slice().to_vec();
    y.extend_from_slice(session.finish().unwrap().as_slice());
    y
}

pub fn largest_difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).map(|(found, expected)| (found - expected).abs()).fold(0.0, f32::max)
}

/// Calls `check` with the file cut short and with single bytes changed, at this many places each.
pub fn damage(file: &[u8], places: usize, check: impl Fn(&[u8])) {
    let step = file.len().div_ceil(places);
    for at in (0..file.len()).step_by(step) {
        check(&file[..at]);
        let mut damaged = file.to_vec();
        for change in [0x01, 0x80, 0xff, damaged[at] ^ b'.'] {
            damaged[at] ^= change;
            check(&damaged);
            damaged[at] ^= change;
        }
    }
}
