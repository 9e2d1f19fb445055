//! Every command on bad files: it must print one line on standard error and exit with 2.

mod common;

use common::{Folder, KEPT, digits, expect_refused, frames, output, pytorch};

/// Bytes that no command can use, with their descriptions.
fn bad() -> Vec<(&'static str, Vec<u8>)> {
    let model = std::fs::read(digits()).unwrap();
    let header = |json: &str, data: &[u8]| [&(json.len() as u64).to_le_bytes(), json.as_bytes(), data].concat();
    vec![
        ("empty", Vec::new()),
        ("short", b"skinny".to_vec()),
        ("truncated in its header", model[..300].to_vec()),
        ("truncated in its data", model[..model.len() - 5].to_vec()),
        ("zip (.pt)", [b"PK\x03\x04\x14\0\0\0\0\0archive/data.pkl", &[0; 64][..]].concat()),
        ("pickle", b"\x80\x02}q\x00(X\x06\x00\x00\x00weightq\x01ctorch._utils\n_rebuild_tensor_v2\n".to_vec()),
        ("onnx", b"\x08\x07\x12\x07pytorch\x1a\x052.0.1:\xd2\x01\n\x8b\x01\n\x05input\x12\x06output".to_vec()),
        ("png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0".to_vec()),
        ("header longer than memory", [&u64::MAX.to_le_bytes()[..], b"{}"].concat()),
        ("header of no JSON", header("{\"x\": [}", &[])),
        ("tensor beyond the end", header(r#"{"w":{"dtype":"F32","shape":[9,9],"data_offsets":[0,324]}}"#, &[0; 8])),
        (
            "dimensions that overflow",
            header(r#"{"w":{"dtype":"I8","shape":[4611686018427387904,4,1],"data_offsets":[0,0]}}"#, &[]),
        ),
        (
            "numbers that overflow",
            header(r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[18446744073709551612,0]}}"#, &[]),
        ),
    ]
}

#[test]
fn models_that_are_none() {
    let folder = Folder::new();
    let input = folder.file("x.npy", frames(4, 80));
    let out = folder.path("out.safetensors");
    let commands = |model: &str| -> Vec<Vec<String>> {
        let owned = |arguments: &[&str]| arguments.iter().map(|&argument| argument.to_owned()).collect();
        vec![
            owned(&["inspect", model]),
            owned(&["inspect", model, "--json"]),
            owned(&["compress", model, "--out", &out, "--budget", "0.5"]),
            owned(&["run", model, "--input", &input, "--output", &out]),
            owned(&["bench", model]),
            owned(&["bench", model, "--json"]),
        ]
    };
    let check = |model: &str| {
        for arguments in commands(model) {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            expect_refused(&arguments, 2, model);
            assert!(output(&arguments).stdout.is_empty(), "{arguments:?}");
        }
    };
    for (what, bytes) in bad() {
        check(&folder.file(&format!("{what}.safetensors"), bytes));
    }
    check(&folder.path("missing.safetensors"));
    check(&folder.path("."));
    assert!(!std::path::Path::new(&out).exists());
}

#[test]
fn inputs_references_and_states_that_are_none() {
    let folder = Folder::new();
    let model = pytorch("gru");
    let input = folder.file("x.npy", frames(4, 13));
    let out = folder.path("out.npy");
    let check = |file: &str| {
        let run = ["run", &model, "--output", &out];
        let with = |more: &[&str]| expect_refused(&[&run[..], &KEPT, more].concat(), 2, file);
        with(&["--input", file]);
        with(&["--input", &input, "--compare", file]);
        with(&["--input", &input, "--h0", file]);
    };
    for (what, bytes) in bad() {
        for kind in ["npy", "npz", "safetensors", "csv", "wav"] {
            check(&folder.file(&format!("{what}.{kind}"), &bytes));
        }
    }
    for name in [
        "missing.npy",
        "missing.npz",
        "missing.csv",
        "missing.safetensors",
        "missing.wav",
        ".",
        "missing.xyz",
        "missing",
    ] {
        check(&folder.path(name));
    }
    for (name, bytes) in [
        ("too wide.npy", frames(4, 14)),
        ("transposed.npy", frames(13, 4)),
        ("nan.csv", [["nan"; 13].join(",").into_bytes(), b"\n".to_vec()].concat()),
        ("cut.npy", frames(4, 13)[..200].to_vec()),
        ("uneven.csv", b"1,2,3\n1,2\n".to_vec()),
    ] {
        check(&folder.file(name, bytes));
    }
    assert!(!std::path::Path::new(&out).exists());
}

#[test]
fn calibration_that_is_none() {
    let folder = Folder::new();
    let (model, out) = (pytorch("gru"), folder.path("out.safetensors"));
    let check = |calibration: &str, what: &str| {
        let arguments = ["compress", &model, "--out", &out, "--rank", "4", "--calibration", calibration];
        expect_refused(&[&arguments[..], &KEPT].concat(), 2, what);
    };
    check(&folder.path("missing"), "missing");
    let file = folder.file("file", b"x");
    check(&file, "file");
    for (i, (_, bytes)) in bad().into_iter().enumerate() {
        let name = folder.path(&i.to_string());
        std::fs::create_dir(&name).unwrap();
        check(&name, "no recordings");
        let file = folder.file(&format!("{i}/x.npy"), bytes);
        check(&name, &file);
    }
    assert!(!std::path::Path::new(&out).exists());
}

#[test]
fn outputs_that_cannot_be_written() {
    let folder = Folder::new();
    let model = pytorch("gru");
    let input = folder.file("x.npy", frames(4, 13));
    let file = folder.file("file", b"x");
    let below = |name: &str| format!("{file}/{name}");
    let refused = |arguments: &[&str], what: &str| expect_refused(&[arguments, &KEPT[..]].concat(), 2, what);
    for out in [below("a/b.safetensors"), folder.path(".")] {
        refused(&["compress", &model, "--out", &out], &out);
    }
    let out = folder.path("small.safetensors");
    refused(&["compress", &model, "--out", &out, "--plot", &below("a.svg")], &below("a.svg"));
    for out in [below("y.npy"), folder.path("y.xyz"), folder.path("y"), folder.path("y.wav")] {
        refused(&["run", &model, "--input", &input, "--output", &out], &out);
    }
    for out in [below("h.npz"), folder.path("h.npy")] {
        refused(&["run", &model, "--input", &input, "--hn", &out], &out);
    }
    expect_refused(&["man", "--out", &below("man")], 2, &file);
    // Bad paths are found before the work, so nothing was written.
    assert!(!std::path::Path::new(&out).exists());
}

#[test]
fn numbers_that_make_no_sense() {
    let folder = Folder::new();
    let (model, out) = (pytorch("gru"), folder.path("out.safetensors"));
    let input = folder.file("x.npy", frames(4, 13));
    let refused = |arguments: &[&str], what: &str| expect_refused(&[arguments, &KEPT[..]].concat(), 2, what);
    let compress = ["compress", &model, "--out", &out];
    let larger = ["compress", &digits(), "--out", &out];
    for (limit, told) in [
        (["--budget", "0.01"], "the smallest possible with ranks of 16 is 0."),
        (["--latency", "0.01"], "the smallest possible on cortex-a53 is"),
    ] {
        expect_refused(&[&larger[..], &limit].concat(), 2, told);
    }
    // A core is one of the crate's or a file that describes one; clap adds a hint to what is wrong.
    let core = folder.file("core.txt", "name = mine\ncycles_per_us = fast\n");
    for (core, told) in [
        (core.as_str(), "line 2: cycles_per_us: `fast` is no number"),
        ("pentium", "cortex-a76 or a file that describes a core"),
    ] {
        let output = output(&[&compress[..], &["--core", core]].concat());
        let found = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && found.contains(told), "{core}: {found}");
    }
    refused(&[&compress[..], &["--bytes", "1"]].concat(), "--bytes 1: the smallest possible is");
    refused(&[&compress[..], &["--parameters", "1"]].concat(), "--parameters 1: the smallest possible");
    refused(&[&compress[..], &["--layer-precision", "no=f32"]].concat(), "gru.l0, gru.l1, fc");
    refused(&["run", &model, "--input", &input, "--output", &out, "--chunk", "0"], "--chunk 0");
    refused(&["run", &model, "--input", &input, "--output", &out, "--time-batch", "0"], "--time-batch");
    refused(&["bench", &model, "--time-batch", "99"], "--time-batch");
    expect_refused(&["bench", "--shape", "gru:8,linear:9x4"], 2, "--shape");
    expect_refused(&["gemm", "--precision", "f32"], 2, "--precision f32");
    expect_refused(&["gemm", "--threads", "0"], 2, "--threads 0");
    expect_refused(&["gemm", "--n", "1000000000", "--k", "1000000000"], 2, "--n 1000000000");
    expect_refused(&["bench", "--shape", "gru:65536x9"], 2, "more weights");
    // For wrong usage the message is clap's, which may be longer than a line.
    for arguments in [
        &["compress", &model, "--out", &out, "--budget", "30"][..],
        &["compress", &model],
        &["compress", &model, "--out", &out, "--budget", "0.5", "--rank", "4"],
        &["run", &model, "--input", &input],
        &["bench"],
        &["bench", "--shape", "rnn:4"],
        &["bench", "--shape", "gru:4", "--rank-share", "0.5"],
        &["bench", "--paper", "--rank-share", "25"],
        &["bench", "--paper", "--shape", "gru:4"],
        &["nonsense"],
        &[],
    ] {
        let output = output(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty());
    }
    let told = output(&["compress", &model, "--out", &out, "--budget", "30"]);
    assert!(String::from_utf8_lossy(&told.stderr).contains("30% is 0.3"));
    assert!(!std::path::Path::new(&out).exists());
}

#[test]
fn a_tier_that_does_not_exist() {
    let refused = common::skinny().env("SKINNY_TIER", "sse").args(["inspect", &digits()]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("portable"));
}
