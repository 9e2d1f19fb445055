//! The commands on the model of the example `digits` and on PyTorch models.

mod common;

use common::{Folder, KEPT, digits, expect_refused, frames, json, output, pytorch, skinny, stdout, text};
use serde_json::Value;
use skinny::compress::Core;

/// The words of the line that begins with `begin`.
fn line<'t>(text: &'t str, begin: &str) -> Vec<&'t str> {
    let line = text.lines().find(|line| line.starts_with(begin));
    line.unwrap_or_else(|| panic!("no line {begin} in\n{text}")).split_whitespace().collect()
}

#[test]
fn inspect_tells_layers_and_tensors() {
    let told = stdout(&["inspect", &digits()]);
    assert_eq!(line(&told, "gru.l0"), ["gru.l0", "GRU", "80", "->", "128", "1", "-", "80,640", "322,560", "79,872"]);
    assert_eq!(line(&told, "  weight_ih"), ["weight_ih", "384", "x", "80", "-", "f32", "30,720", "122,880", "30,720"]);
    assert!(told.contains("features.mean"), "{told}");

    let model = json(&["inspect", &digits(), "--json"]);
    assert_eq!((&model["problem"], &model["kind"]), (&Value::Null, &"safetensors".into()));
    let sum =
        |of: &str| model["layers"].as_array().unwrap().iter().map(|layer| layer[of].as_u64().unwrap()).sum::<u64>();
    for of in ["parameters", "bytes", "macs_per_step"] {
        assert_eq!(model["total"][of], sum(of), "{of}");
    }
}

#[test]
fn inspect_tells_strides_activations_and_what_a_step_costs() {
    let model = json(&[&["inspect", &pytorch("convolution"), "--json"][..], &KEPT].concat());
    let conv = &model["layers"][0];
    assert_eq!((&conv["stride"], &conv["activation"]), (&2.into(), &"clip=0.5".into()));
    // A convolution runs once per output frame.
    assert_eq!(conv["macs_per_step"], 10 * 13 * 5);
    assert_eq!(model["total"]["stride"], 2);
    let lstm = stdout(&[&["inspect", &pytorch("lstm_projection")][..], &KEPT].concat());
    assert_eq!(line(&lstm, "rnn.l1")[..5], ["rnn.l1", "LSTM", "5", "->", "5"]);
    assert_eq!(line(&lstm, "  weight_hr")[1..4], ["5", "x", "12"]);
}

#[test]
fn inspect_shows_the_tensors_of_what_it_does_not_understand() {
    let told = output(&["inspect", &pytorch("gru"), "--layers", "fc"]);
    assert_eq!(told.status.code(), Some(1));
    let (answer, error) = (String::from_utf8(told.stdout).unwrap(), String::from_utf8(told.stderr).unwrap());
    assert!(answer.contains("not understood: ") && answer.contains("gru.weight_ih_l0"), "{answer}");
    assert_eq!(error.lines().count(), 1, "{error}");
    let told = output(&["inspect", &pytorch("gru"), "--layers", "fc", "--json"]);
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    assert!(told["problem"].is_string() && told["layers"].is_null() && told["tensors"].as_array().unwrap().len() > 8);
}

#[test]
fn compress_makes_a_model_that_runs_and_a_plot() {
    let folder = Folder::new();
    let (small, plot) = (folder.path("new/folder/small.safetensors"), folder.path("new/plots/small.svg"));
    let told = stdout(&["compress", &digits(), "--out", &small, "--budget", "0.5", "--plot", &plot]);
    assert!(line(&told, "gru.l0.weight_ih").contains(&"int8"), "{told}");
    assert!(std::fs::read_to_string(&plot).unwrap().contains("<svg"));

    let inspected = json(&["inspect", &small, "--json"]);
    assert_eq!(inspected["kind"], "skinny");
    let stored: Vec<&Value> =
        inspected["layers"].as_array().unwrap().iter().map(|layer| &layer["weights"][0]["stored_as"]).collect();
    assert!(stored.iter().all(|stored| **stored == "int8"), "{stored:?}");
    assert!(
        inspected["total"]["parameters"].as_u64()
            < json(&["inspect", &digits(), "--json"])["total"]["parameters"].as_u64()
    );

    let input = folder.file("x.npy", frames(50, 80));
    let output = folder.path("y.npy");
    stdout(&["run", &digits(), "--input", &input, "--output", &output]);
    let compared = json(&["run", &small, "--input", &input, "--compare", &output, "--json"]);
    assert!(compared["comparison"]["signal_to_noise_db"].as_f64().unwrap() > 5.0, "{compared}");
    expect_refused(
        &["run", &small, "--input", &input, "--compare", &output, "--min-db", "90", "--json"],
        1,
        "--min-db asks for 90",
    );
}

#[test]
fn compress_weighs_by_calibration_and_reports_to_programs() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("calibration")).unwrap();
    folder.file("calibration/a.npy", frames(60, 13));
    folder.file("calibration/notes.md", "not a recording");
    let (model, calibration) = (pytorch("lstm"), folder.path("calibration"));
    let compress = |out: &str, more: &[&str]| -> Vec<String> {
        let arguments = ["compress", &model, "--out", out, "--rank", "6", "--calibration", &calibration];
        [&arguments[..], &KEPT, more].concat().into_iter().map(str::to_owned).collect()
    };
    let small = folder.path("small.safetensors");
    let arguments = compress(&small, &["--json"]);
    let report = json(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    // Of the only sequence the last quarter is held out.
    assert_eq!((&report["calibration_frames"], &report["held_out_frames"]), (&45.into(), &15.into()));
    let layers = report["layers"].as_array().unwrap();
    assert!(layers.len() > 1 && layers.iter().all(|layer| layer["only_this_db"].is_f64()), "{layers:?}");
    assert!(!report["budgets"].as_array().unwrap().is_empty() && report["verdict"].is_string());
    assert!(report["output_signal_to_noise_db"].as_f64().unwrap() > 0.0);
    for matrix in report["matrices"].as_array().unwrap() {
        assert_eq!(
            matrix["singular_values"].as_array().unwrap().len() as u64,
            matrix["n"].as_u64().min(matrix["k"].as_u64()).unwrap()
        );
    }
    // The bytes are the same again, and `--quiet` prints nothing.
    let again = folder.path("again.safetensors");
    let quiet = compress(&again, &["--quiet"]);
    let quiet = output(&quiet.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(quiet.status.success() && quiet.stdout.is_empty() && quiet.stderr.is_empty());
    assert_eq!(std::fs::read(small).unwrap(), std::fs::read(again).unwrap());
}

#[test]
fn run_has_pytorchs_outputs_from_every_kind_of_file() {
    let folder = Folder::new();
    for name in ["lstm", "gru", "gru_bidirectional", "convolution"] {
        let model = pytorch(name);
        let run = |more: &[&str]| stdout(&[&["run", &model][..], &KEPT, more].concat());
        let mut last = None;
        for kind in ["npy", "npz", "csv", "safetensors"] {
            let out = folder.path(&format!("{name}.{kind}"));
            run(&[
                "--input",
                &model,
                "--input-name",
                "x",
                "--output",
                &out,
                "--chunk",
                "7",
                "--compare",
                &model,
                "--compare-name",
                "y",
                "--min-db",
                "100",
            ]);
            if let Some(last) = &last {
                let same = run(&["--input", &model, "--input-name", "x", "--compare", &out]);
                assert!(same.starts_with("inf dB, largest difference 0.000e0"), "{kind}, {last}: {same}");
            }
            last = Some(kind);
        }
    }
}

#[test]
fn run_transcribes_recordings_of_any_rate_and_number_of_channels() {
    let folder = Folder::new();
    let recording = |name: &str| common::text(&common::repository(&format!("examples/digits/recordings/{name}.wav")));
    let transcribe =
        |file: &str, more: &[&str]| stdout(&[&["run", &digits(), "--input", file, "--transcribe"][..], more].concat());
    for (name, word) in [("7_jackson_45", "seven\n"), ("3_theo_46", "three\n")] {
        assert_eq!(transcribe(&recording(name), &[]), word);
        assert_eq!(transcribe(&recording(name), &["--precision", "int8", "--chunk", "1"]), word);
        // The same at 16 kHz in stereo. Each new sample is the mean of its neighbours.
        let samples: Vec<i16> =
            hound::WavReader::open(recording(name)).unwrap().samples().map(Result::unwrap).collect();
        let spec = hound::WavSpec {
            channels: 2,
            sample_rate: 16_000,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let file = folder.path("stereo.wav");
        let mut writer = hound::WavWriter::create(&file, spec).unwrap();
        for pair in samples.windows(2) {
            for sample in [pair[0], pair[0], (pair[0] / 2) + (pair[1] / 2), (pair[0] / 2) + (pair[1] / 2)] {
                writer.write_sample(sample).unwrap();
            }
        }
        writer.finalize().unwrap();
        assert_eq!(transcribe(&file, &[]), word);
    }
    let text = json(&["run", &digits(), "--input", &recording("7_jackson_45"), "--transcribe", "--json"]);
    assert_eq!(text["text"], "seven");
    // Sound and text need a file that describes its features and its classes.
    let (gru, seven) = (pytorch("gru"), recording("7_jackson_45"));
    let refused = |more: &[&str], what: &str| expect_refused(&[&["run", &gru][..], &KEPT, more].concat(), 2, what);
    refused(&["--input", &seven, "--output", &folder.path("y.npy")], "how its features are made");
    let input = folder.file("x.npy", frames(4, 13));
    refused(&["--input", &input, "--transcribe"], "what the classes stand for");
}

#[test]
fn run_goes_on_from_states() {
    let folder = Folder::new();
    let values: Vec<f32> = (0..20 * 13).map(|i| (i % 17) as f32 / 10.0 - 0.8).collect();
    let model = pytorch("lstm");
    let file = |name: &str, values: &[f32]| folder.file(name, common::npy(values.len() / 13, 13, values));
    let (whole, first, second) =
        (file("x.npy", &values), file("x1.npy", &values[..9 * 13]), file("x2.npy", &values[9 * 13..]));
    let out = |name: &str| folder.path(name);
    let run = |input: &str, output: &str, more: &[&str]| {
        stdout(&[&["run", &model, "--input", input, "--output", output][..], &KEPT, more].concat())
    };
    run(&whole, &out("y.csv"), &[]);
    for kind in ["npz", "safetensors"] {
        let states = out(&format!("h.{kind}"));
        run(&first, &out("y1.csv"), &["--hn", &states]);
        run(&second, &out("y2.csv"), &["--h0", &states]);
        let read = |name: &str| std::fs::read_to_string(out(name)).unwrap();
        assert_eq!(read("y1.csv") + &read("y2.csv"), read("y.csv"));
    }
    let tensors = json(&["inspect", &pytorch("lstm"), "--keep", "x", "--keep", "y", "--json"]);
    assert_eq!(tensors["problem"], Value::Null);
    let other = pytorch("gru");
    expect_refused(
        &[&["run", &other, "--input", &first, "--output", &out("y.csv"), "--h0", &out("h.npz")][..], &KEPT].concat(),
        2,
        "gru.l0.h, gru.l1.h",
    );
}

#[test]
fn run_in_other_precisions_is_close() {
    let model = pytorch("gru");
    let decibels = |precision: &str| {
        let arguments = [
            "run",
            &model,
            "--input",
            &model,
            "--input-name",
            "x",
            "--compare",
            &model,
            "--compare-name",
            "y",
            "--precision",
            precision,
            "--json",
        ];
        let compared = json(&[&arguments[..], &KEPT].concat());
        compared["comparison"]["signal_to_noise_db"].as_f64().unwrap()
    };
    let [f32, int8, int4, int2] = ["f32", "int8", "int4", "int2"].map(decibels);
    assert!(f32 > 100.0 && int8 > 25.0 && int8 < f32 && int4 < int8 && int2 < int4, "{f32} {int8} {int4} {int2}");
}

#[test]
fn bench_tells_layers_precisions_and_time_batches() {
    let told = json(&["bench", "--shape", "linear:40x32,gru:32x2:rank=8", "--json"]);
    assert_eq!(told["layers"].as_array().unwrap().len(), 3);
    assert!(told["f32_us_per_step"].as_f64().unwrap() > 0.0);
    let layer = &told["layers"][1];
    let us = |of: &str| layer[of].as_f64().unwrap();
    assert!((us("products_us_per_step") + us("rest_us_per_step") - us("us_per_step")).abs() < 1e-6);
    // Factors of rank 8 in int8. A step reads the recurrent ones, and the input's once per 4 steps.
    assert!(us("bytes_per_step") >= f64::from(8 * (96 + 32)) * 1.25);
    let firsts: Vec<u64> =
        told["streams"].as_array().unwrap().iter().map(|s| s["first_output_after_frames"].as_u64().unwrap()).collect();
    assert_eq!(firsts, [1, 2, 4, 8]);

    let told = stdout(&[&["bench", &pytorch("lstm_bidirectional"), "--core", "cortex-a76"][..], &KEPT].concat());
    assert!(told.contains("us, cortex-a76") && told.contains("the end"), "{told}");
    assert_eq!(line(&told, "rnn.l0")[..3], ["rnn.l0", "bidirectional", "LSTM"]);
}

#[test]
fn bench_predicts_the_papers_model() {
    let paper = ["bench", "--paper", "--rank-share", "0.1", "--predict"];
    let told = json(&[&paper[..], &["--json"]].concat());
    let core = &told["predicted"]["cortex-a53"];
    assert_eq!(core["layers"].as_array().unwrap().len(), 7);
    // 50 steps per second, as the first convolution has a stride of 2.
    let number = |value: &Value| value.as_f64().unwrap();
    let us = number(&core["us_per_step"]);
    assert!((number(&core["ms_per_second_of_sound"]) - 0.05 * us).abs() < 1e-9 * us);
    assert!(number(&core["us_per_step_range"][0]) <= us && us <= number(&core["us_per_step_range"][1]));
    let told = stdout(&paper);
    assert!(told.contains("at 0.1 of the rank") && told.contains("ms per s of sound"), "{told}");

    // A core from a file stands beside those of the crate.
    let folder = Folder::new();
    let core = Core { name: "overclocked".into(), bytes_per_us: 3100.0, ..Core::named("cortex-a53").unwrap() };
    let file = folder.file("core.txt", core.to_string());
    let told = json(&[&paper[..], &["--json", "--core", &file]].concat());
    let faster = number(&told["predicted"]["overclocked"]["us_per_step"]);
    assert!(0.5 * us < faster && faster < 0.9 * us, "{faster} us, {us}");
    assert_eq!(number(&told["predicted"]["cortex-a53"]["us_per_step"]), us);
}

#[test]
fn gemm_tells_each_tier() {
    let told = json(&["gemm", "--n", "96", "--k", "40", "--batch", "1..2", "--precision", "int4-groups", "--json"]);
    let rows = told.as_array().unwrap();
    assert!(rows.len() >= 2 && rows[0]["tier"] == "portable" && rows[0]["us_per_call"].as_f64().unwrap() > 0.0);
}

#[test]
fn completions_and_pages_know_the_commands() {
    for shell in ["bash", "fish", "zsh", "elvish", "powershell"] {
        assert!(stdout(&["completions", shell]).contains("compress"), "{shell}");
    }
    assert!(stdout(&["man"]).contains(".TH skinny 1"));
    let folder = Folder::new();
    stdout(&["man", "--out", &folder.path("man")]);
    assert!(std::fs::read_to_string(folder.path("man/skinny.1")).unwrap().contains("Exit codes"));
    for name in ["skinny-inspect", "skinny-compress", "skinny-run", "skinny-bench", "skinny-gemm"] {
        let page = std::fs::read_to_string(folder.path(&format!("man/{name}.1"))).unwrap();
        assert!(page.contains("Examples"), "{name}");
    }
}

#[test]
fn long_help_teaches_and_short_help_is_short() {
    for command in ["inspect", "compress", "run", "bench", "gemm", "completions", "man"] {
        let (short, long) = (stdout(&[command, "-h"]), stdout(&[command, "--help"]));
        assert!(long.contains("Examples:\n") && !short.contains("Examples:"), "{command}");
        assert!(long.len() > short.len(), "{command}");
    }
}

#[test]
fn a_pipe_that_breaks_is_no_panic() {
    let shell = |line: &str| {
        let program = text(assert_cmd::cargo::cargo_bin("skinny").as_path());
        let line = line.replace("SKINNY", &program).replace("MODEL", &digits());
        assert_cmd::Command::new("bash").args(["-o", "pipefail", "-c", &line]).output().unwrap()
    };
    for line in
        ["SKINNY completions zsh | true", "SKINNY inspect MODEL --json | head -c 1 > /dev/null", "SKINNY --help | true"]
    {
        let output = shell(line);
        assert!(output.stderr.is_empty(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{line}");
    }
}

#[test]
fn tiers_give_the_same_bits() {
    let folder = Folder::new();
    let input = folder.file("x.npy", frames(20, 80));
    let run = |tier: Option<&str>, name: &str| {
        let mut command = skinny();
        if let Some(tier) = tier {
            command.env("SKINNY_TIER", tier);
        }
        command
            .args(["run", &digits(), "--input", &input, "--output", &folder.path(name), "--precision", "int8"])
            .assert()
            .success();
        std::fs::read(folder.path(name)).unwrap()
    };
    assert_eq!(run(None, "a.npy"), run(Some("portable"), "b.npy"));
}
