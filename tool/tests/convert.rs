//! Files of other programs: `skinny convert`, and the commands that read them directly.

mod common;

use common::{Folder, expect_refused, frames, json, output, repository, stdout, text};

/// A file in the converter's fixtures.
fn fixture(name: &str) -> String {
    text(&repository(&format!("convert/tests/fixtures/{name}")))
}

#[test]
fn a_checkpoint_becomes_a_model_file() {
    let folder = Folder::new();
    let (checkpoint, model) = (fixture("torch_checkpoint.pt"), folder.path("model.safetensors"));
    expect_refused(&["convert", &checkpoint, "--out", &model], 2, "--prefix: the file holds model (10 tensors)");
    stdout(&["convert", &checkpoint, "--prefix", "model", "--out", &model]);
    let direct = json(&["inspect", &checkpoint, "--prefix", "model", "--json"]);
    let converted = json(&["inspect", &model, "--json"]);
    assert_eq!((&direct["kind"], &converted["kind"]), (&"pytorch".into(), &"skinny".into()));
    assert_eq!(direct["layers"], converted["layers"]);
    assert_eq!(converted["total"]["parameters"], 3 * 6 * (5 + 6 + 2) + 3 * 6 * (6 + 6 + 2) + 3 * 7);
}

#[test]
fn the_same_bits_come_from_the_file_and_from_its_conversion() {
    let folder = Folder::new();
    let input = folder.file("x.npy", frames(9, 5));
    let (checkpoint, model) = (fixture("torch_checkpoint.pt"), folder.path("model.safetensors"));
    stdout(&["convert", &checkpoint, "--prefix", "model", "--out", &model]);
    let outputs = [&[&checkpoint, "--prefix", "model"][..], &[&model]].map(|file: &[&str]| {
        let out = folder.path("y.npy");
        stdout(&[&["run"], file, &["--input", &input, "--output", &out]].concat());
        std::fs::read(&out).unwrap()
    });
    assert_eq!(outputs[0], outputs[1]);
    let small = folder.path("small.safetensors");
    stdout(&["compress", &checkpoint, "--prefix", "model", "--out", &small, "--precision", "int8"]);
    assert!(std::fs::metadata(&small).unwrap().len() > 0);
}

#[test]
fn tensors_get_new_names() {
    let folder = Folder::new();
    let tensors = folder.path("tensors.safetensors");
    let file = fixture("torch_zip.pt");
    stdout(&["convert", &file, "--tensors", "--rename", "rnn.*=gru.*", "--out", &tensors]);
    let listed = json(&["inspect", &tensors, "--json"]);
    let names: Vec<&str> = listed["tensors"].as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap()).collect();
    assert_eq!(names[..3], ["fc.bias", "fc.weight", "gru.bias_hh_l0"]);
    // safetensors files take the same options.
    let again = json(&["inspect", &tensors, "--rename", "gru.*=rnn.*", "--json"]);
    assert_eq!(again["layers"], json(&["inspect", &file, "--json"])["layers"]);
    expect_refused(&["inspect", &file, "--rename", "x=y"], 2, "--rename x=y: matches no tensor");
    // The message of wrong usage is clap's.
    let told = output(&["inspect", &file, "--rename", "x"]);
    assert_eq!(told.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&told.stderr).contains("rename x: expected OLD=NEW"), "{told:?}");
}

#[test]
fn what_a_file_calls_is_not_called() {
    let folder = Folder::new();
    let out = folder.path("out.safetensors");
    expect_refused(&["convert", &fixture("torch_attack_zip.pt"), "--out", &out], 2, "the file calls posix.system");
    assert!(!std::path::Path::new(&out).exists());
}

#[test]
fn a_keras_model_needs_no_options() {
    let folder = Folder::new();
    let (file, model) = (fixture("keras_functional.keras"), folder.path("model.safetensors"));
    stdout(&["convert", &file, "--out", &model]);
    let (direct, converted) = (json(&["inspect", &file, "--json"]), json(&["inspect", &model, "--json"]));
    assert_eq!(direct["kind"], "keras");
    assert_eq!(direct["layers"], converted["layers"]);
    assert_eq!(direct["layers"][0]["kind"], "bidirectional GRU");
    expect_refused(&["inspect", &file, "--layers", "gru"], 2, "--layers, --keep and --drop do not apply");
    expect_refused(
        &["inspect", &fixture("keras_refused_tanh.keras")],
        2,
        "(Dense): the activation tanh is not supported",
    );
}
