//! What is in the files of vectors.

use std::path::Path;

use serde_json::Value;
use skinny::Mat;

pub fn path(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("reference/vectors").join(name)
}

/// The cases of a file: at least `least`, so that an empty file is no success.
pub fn cases(name: &str, least: usize) -> Vec<Value> {
    let text = std::fs::read(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut file: Value = serde_json::from_slice(&text).unwrap();
    let Value::Array(cases) = file["cases"].take() else { panic!("{name} has no cases") };
    assert!(cases.len() >= least, "{name} has {} cases", cases.len());
    cases
}

pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no string"))
}

pub fn integer<T: TryFrom<i64>>(value: &Value) -> T {
    value.as_i64().and_then(|value| T::try_from(value).ok()).unwrap_or_else(|| panic!("{value} does not fit"))
}

pub fn integers<T: TryFrom<i64>>(value: &Value) -> Vec<T> {
    value.as_array().unwrap_or_else(|| panic!("{value} is no array")).iter().map(integer).collect()
}

/// Rows of integers.
pub fn matrix<T: TryFrom<i64>>(value: &Value) -> Mat<T> {
    let rows: Vec<Vec<T>> = value.as_array().unwrap().iter().map(integers).collect();
    let (n, k) = (rows.len(), rows[0].len());
    Mat::from_vec(rows.into_iter().flatten().collect(), n, k).unwrap()
}

/// Floats by their bits; `nan` is any NaN.
pub fn floats(value: &Value) -> Vec<f32> {
    let float = |word| match word {
        "nan" => f32::NAN,
        bits => f32::from_bits(u32::from_str_radix(bits, 16).unwrap()),
    };
    text(value).split_whitespace().map(float).collect()
}

pub fn float(value: &Value) -> f32 {
    floats(value)[0]
}

/// Rows of floats. No row is empty, but there may be no rows.
pub fn frames(value: &Value) -> Mat<f32> {
    let rows: Vec<Vec<f32>> = value.as_array().unwrap().iter().map(floats).collect();
    let (n, k) = (rows.len(), rows.first().map_or(1, Vec::len));
    Mat::from_vec(rows.into_iter().flatten().collect(), n, k).unwrap()
}

/// Fails unless the floats are the same bits, or both are NaN.
#[track_caller]
pub fn same(found: &[f32], expected: &[f32], what: impl std::fmt::Display) {
    let bits = |values: &[f32]| -> Vec<String> {
        values.iter().map(|x| if x.is_nan() { "nan".into() } else { format!("{:08x}", x.to_bits()) }).collect()
    };
    assert_eq!(bits(found), bits(expected), "{what}: {found:?} instead of {expected:?}");
}
