//! `skinny compress`: what it chooses, refuses and warns of.

mod common;

use common::{Folder, KEPT, expect_refused, frames, json, output, pytorch, stdout};

#[test]
fn a_ratio_is_kept_or_nothing_is_written() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("data")).unwrap();
    for name in ["a", "b", "c"] {
        folder.file(&format!("data/{name}.npy"), frames(20, 13));
    }
    let (model, out, data) = (pytorch("lstm"), folder.path("out.safetensors"), folder.path("data"));
    let begin = ["compress", &model, "--out", &out, "--calibration", &data];
    let with = |more: &[&'static str]| [&begin[..], &KEPT, more].concat();
    // A cut to rank 1 cannot be made good by any precision.
    expect_refused(&with(&["--rank", "1", "--min-db", "60"]), 1, "--min-db 60: the outputs reach");
    expect_refused(&with(&["--layer-precision", "fc=int4", "--min-db", "60"]), 1, "at best, with the layers of");
    assert!(!std::path::Path::new(&out).exists());

    let report = json(&with(&["--min-db", "70", "--json"]));
    assert!(report["output_signal_to_noise_db"].as_f64().is_none_or(|ratio| ratio >= 70.0), "{report}");
    let precise = |layer: &serde_json::Value| layer["precision"] != "int8" && !layer["cheaper"].is_null();
    assert!(report["layers"].as_array().unwrap().iter().any(precise), "{report}");
    let told = stdout(&with(&["--min-db", "70"]));
    assert!(told.contains("since ") && told.contains("only this layer, dB"), "{told}");
    expect_refused(&with(&["--layer-rank", "nothing=full"]), 2, "--layer-rank: ");
    expect_refused(&with(&["--keep-dense", "nothing"]), 2, "--keep-dense: ");
    for arguments in [&["--min-db", "nan"][..], &["--layer-rank", "fc=0"], &["--layer-rank", "fc"]] {
        assert_eq!(output(&with(arguments)).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn without_data_layers_of_unknown_range_are_named() {
    let folder = Folder::new();
    let (model, out) = (pytorch("gru"), folder.path("out.safetensors"));
    let begin = ["compress", &model, "--out", &out];
    let warnings = |more: &[&str]| {
        let told = output(&[&begin[..], &KEPT, more].concat());
        assert!(told.status.success());
        String::from_utf8(told.stderr).unwrap().lines().filter(|line| line.contains("nothing is known")).count()
    };
    assert_eq!(warnings(&[]), 1); // the first layer alone
    assert_eq!(warnings(&["--precision", "int8x16"]), 0);
    assert_eq!(warnings(&["--layer-precision", "gru.l0=f32"]), 0);
    // There is nothing to measure a ratio with.
    let told = output(&[&begin[..], &KEPT, &["--min-db", "30"]].concat());
    assert!(told.status.code() == Some(2) && String::from_utf8_lossy(&told.stderr).contains("--calibration"));
}

#[test]
fn layers_keep_the_rank_that_they_are_given() {
    let folder = Folder::new();
    let (model, out) = (pytorch("gru"), folder.path("out.safetensors"));
    let options = ["--rank", "2", "--layer-rank", "gru.l0.weight_hh=5", "--keep-dense", "gru.l1", "--json"];
    let report = json(&[&["compress", &model, "--out", &out][..], &KEPT, &options].concat());
    let rank = |name: &str| {
        let matrices = report["matrices"].as_array().unwrap();
        matrices.iter().find(|matrix| matrix["name"] == name).unwrap()["rank"].clone()
    };
    assert_eq!((rank("gru.l0.weight_ih"), rank("gru.l0.weight_hh")), (2.into(), 5.into()));
    assert!(rank("gru.l1.weight_ih").is_null() && rank("gru.l1.weight_hh").is_null());
}
