//! Measuring a machine, and files of results.

mod common;

use std::time::{Duration, Instant};

use common::{Folder, expect_refused, output};
use serde_json::Value;

/// The quick results of this machine, with the options.
fn quick(folder: &Folder, more: &[&str]) -> (String, Value) {
    let file = folder.path("new/machine.json");
    let told = output(&[&["gather", "--quick", "--out", &file][..], more].concat());
    let (answer, remarks) = (String::from_utf8_lossy(&told.stdout), String::from_utf8_lossy(&told.stderr));
    assert!(told.status.success(), "{answer}{remarks}");
    assert!(answer.contains(&file), "{answer}");
    (remarks.into_owned(), serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap())
}

#[test]
fn a_quick_look_says_what_the_machine_is_and_measures_it() {
    let (folder, start) = (Folder::new(), Instant::now());
    let (_, results) = quick(&folder, &["--note", "beside other tests"]);
    // Some seconds more, for a machine that other tests share or that is emulated.
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    assert_eq!((&results["version"], &results["note"]), (&1.into(), &"beside other tests".into()));
    let machine = &results["machine"];
    assert_eq!(machine["architecture"], std::env::consts::ARCH);
    assert_eq!(machine["tiers"][0], "portable");
    // The expected answers, from every tier.
    let answers = &results["answers"];
    let found = answers["found"].as_array().unwrap();
    assert_eq!(found.len(), machine["tiers"].as_array().unwrap().len());
    assert!(found.iter().all(|answer| answer["hash"] == answers["expected"]), "{answers}");
    // The first measurement, and the same one at the end.
    assert!(results["checks"].as_array().unwrap().len() >= 2);
    assert!(!results["streams"].as_array().unwrap().is_empty());
    let products = results["products"].as_array().unwrap();
    let left_out = results["left_out"].as_u64().unwrap();
    assert!(left_out > 0 || products.len() > 60, "{} products", products.len());
    for product in products {
        let us: Vec<f64> = product["us"].as_array().unwrap().iter().map(|us| us.as_f64().unwrap()).collect();
        assert!(us.len() == 4 && us[0] > 0.0 && us.is_sorted(), "{product}");
    }
    // Nothing tells whose machine it is.
    let text = results.to_string();
    for variable in ["USER", "HOSTNAME", "HOME"] {
        if let Some(name) = std::env::var(variable).ok().filter(|name| name.len() > 4) {
            assert!(!text.contains(&name), "{variable}");
        }
    }
}

#[test]
fn times_of_an_emulator_are_called_so() {
    let folder = Folder::new();
    let (remarks, results) = quick(&folder, &["--emulated"]);
    assert!(remarks.contains("its times mean nothing"), "{remarks}");
    assert_eq!(results["times"], "emulated");
    assert_eq!(results["machine"]["cores"], Value::Array(Vec::new()));
    assert!(results["machine"]["emulator"].is_string());
}

#[test]
fn a_file_that_cannot_be_written_is_refused_before_the_work() {
    let folder = Folder::new();
    let file = folder.file("file", "x");
    expect_refused(&["gather", "--out", &format!("{file}/below.json")], 2, "below.json");
    expect_refused(&["gather", "--out", &folder.path(".")], 2, "is a folder");
}

/// From measurements to a core, and from the core to predictions.
#[test]
fn committed_results_become_a_core_that_predicts() {
    let folder = Folder::new();
    let results = common::text(&common::repository("results/amd-epyc.json"));
    let core = folder.path("epyc.core");
    let told = common::stdout(&["gather", "--fit", &results, "--out", &core]);
    assert!(told.contains("left out of the fit: error") && told.contains(&core), "{told}");
    assert!(std::fs::read_to_string(&core).unwrap().starts_with("# AMD EPYC, tier portable.\n"));
    let model = ["--shape", "gru:64", "--predict", "--json", "--core", &core];
    let predicted = common::json(&[&["bench"][..], &model].concat());
    let us = predicted["predicted"]["amd-epyc"]["us_per_step"].as_f64().unwrap();
    // Two products of 192 x 64, which were measured: 4.9 us each at batch 1.
    assert!((6.0..14.0).contains(&us), "{us}");

    let plot = folder.path("new/plot.svg");
    let told = common::stdout(&["results", &results, "--plot", &plot]);
    let row = told.lines().find(|line| line.starts_with("| amd-epyc | AMD EPYC | portable |")).expect(&told);
    assert!(row.contains("| right |"), "{row}");
    assert!(told.contains("| amd-epyc | fitted | a fit to the file |"), "{told}");
    assert!(std::fs::read_to_string(plot).unwrap().contains("<circle"));
}

#[test]
fn files_that_are_no_results_are_refused() {
    let folder = Folder::new();
    let good = std::fs::read_to_string(common::repository("results/amd-epyc.json")).unwrap();
    let check = |file: &str, what: &str| {
        expect_refused(&["gather", "--fit", file], 2, what);
        expect_refused(&["gather", "--fit", file], 2, file);
        if what != "times of an emulator" {
            expect_refused(&["results", file], 2, what);
        }
    };
    for (name, text, what) in [
        ("empty", String::new(), "is empty"),
        ("cut", good[..good.len() / 2].into(), "EOF while parsing"),
        ("other", r#"{"version": 9}"#.into(), "results of version 9; this program reads version 1"),
        ("more", good.replacen("\"date\"", "\"user\": \"me\", \"date\"", 1), "unknown field `user`"),
        ("zero", good.replacen("\"n\":16,", "\"n\":0,", 1), "products[0].n is 0"),
        ("emulated", good.replacen("\"measured\"", "\"emulated\"", 1), "times of an emulator"),
    ] {
        check(&folder.file(&format!("{name}.json"), text), what);
    }
    check(&folder.path("missing.json"), "there is no such file");
    std::fs::create_dir(folder.path("none")).unwrap();
    expect_refused(&["results", &folder.path("none")], 2, "has no results");
    // What was fitted does not replace what it was fitted to.
    let file = folder.file("same.json", &good);
    expect_refused(&["gather", "--fit", &file, "--out", &file], 2, "is the file of results");
    assert_eq!(std::fs::read_to_string(file).unwrap(), good);
}
