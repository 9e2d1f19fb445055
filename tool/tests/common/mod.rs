//! Shared by the tests of the program: calls, models, a temporary folder.

#![allow(dead_code, reason = "not every test needs all of it")]

use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;

/// The program, as scripts call it.
pub fn skinny() -> Command {
    let mut command = Command::cargo_bin("skinny").expect("the binary of this package");
    for variable in ["SKINNY_TIER", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"] {
        command.env_remove(variable);
    }
    command
}

/// A file of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// The model of the example `digits`.
pub fn digits() -> String {
    text(&repository("examples/digits/model.safetensors"))
}

/// A fixture written by PyTorch. It holds an input `x` and its output `y` beside the model.
pub fn pytorch(name: &str) -> String {
    text(&repository(&format!("tests/pytorch/{name}.safetensors")))
}

/// The options that keep the fixtures' input and output as attachments.
pub const KEPT: [&str; 4] = ["--keep", "x", "--keep", "y"];

pub fn text(path: &Path) -> String {
    path.to_str().expect("a path in UTF-8").to_owned()
}

/// A folder that is removed after the test.
pub struct Folder(TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    pub fn path(&self, name: &str) -> String {
        text(&self.0.path().join(name))
    }

    pub fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::write(&path, bytes).expect("a file in a temporary folder");
        path
    }
}

/// Runs the program.
pub fn output(arguments: &[&str]) -> Output {
    skinny().args(arguments).output().expect("the program runs")
}

/// The standard output of the program, which must succeed.
pub fn stdout(arguments: &[&str]) -> String {
    let output = output(arguments);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {told}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

pub fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&stdout(arguments)).expect("JSON")
}

/// Fails unless the program ends with `code` and one line on standard error that names `what`.
pub fn expect_refused(arguments: &[&str], code: i32, what: &str) {
    let output = output(arguments);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {told}");
    assert_eq!(told.lines().count(), 1, "{arguments:?}: {told}");
    assert!(told.starts_with("skinny: ") && told.contains(what), "{arguments:?}: no {what} in {told}");
    for debug in ["Some(", "Err(", "Error {", "kind:", "\u{1b}"] {
        assert!(!told.contains(debug), "{arguments:?}: {told}");
    }
}

/// A matrix as `.npy`, as numpy writes it.
pub fn npy(rows: usize, cols: usize, values: &[f32]) -> Vec<u8> {
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {cols}), }}");
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    bytes
}

/// Frames that differ from one another.
pub fn frames(rows: usize, cols: usize) -> Vec<u8> {
    let values: Vec<f32> = (0..rows * cols).map(|i| ((i * 37 % 101) as f32 - 50.0) / 40.0).collect();
    npy(rows, cols, &values)
}
