//! Every later release must read the files of each version of the format, and compute the same numbers.
//! tests/golden/make.py made those of linear layers, in every storage, and of a graph, without this crate.

use std::path::Path;
use std::sync::Arc;

use skinny::model::{Model, Session};
use skinny::{Mat, MatRef, Tier};

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn read(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(format!("{name}.safetensors"))).unwrap()
}

#[test]
fn outputs_are_those_that_the_description_of_the_format_gives() {
    for name in ["f32", "int8", "int8x16", "int4", "int4_groups", "int2"] {
        for &tier in Tier::available() {
            let model = Model::from_bytes(&read(name), tier).unwrap();
            let [x, y] = ["x", "y"].map(|name| model.attachments()[name].values().to_vec());
            assert_eq!(model.metadata()["made"], "by hand");
            let mut session = Session::new(Arc::new(model)).unwrap().with_time_batch(1).unwrap();
            let out = session.push(MatRef::row_vector(&x)).unwrap();
            assert_eq!(out.as_slice(), y, "{name}, {tier}");
        }
    }
}

#[test]
fn graphs_compute_what_they_did() {
    for (name, inputs, outputs) in
        [("graph", ["x", "gain"], ["scores", "sum"]), ("operations", ["token", "sound"], ["all", "end"])]
    {
        for &tier in Tier::available() {
            let model = Arc::new(Model::from_bytes(&read(name), tier).unwrap());
            let frames = |name: String| {
                let attachment = &model.attachments()[&name];
                Mat::from_vec(attachment.values().to_vec(), attachment.shape()[0], attachment.shape()[1]).unwrap()
            };
            let inputs = inputs.map(|name| frames(format!("in.{name}")));
            let mut session = Session::new(model.clone()).unwrap().with_time_batch(1).unwrap();
            let mut found = [Vec::new(), Vec::new()];
            session.push_all(&inputs.each_ref().map(Mat::view)).unwrap();
            for end in [false, true] {
                if end {
                    session.finish().unwrap();
                }
                for (out, name) in found.iter_mut().zip(outputs) {
                    out.extend_from_slice(session.output(name).unwrap().as_slice());
                }
            }
            let expected = outputs.map(|name| frames(format!("out.{name}")).into_vec());
            assert_eq!(found, expected, "{name}, {tier}");
        }
    }
}

#[test]
fn files_come_back_byte_by_byte() {
    let mut files = 0;
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "safetensors") {
            let file = std::fs::read(&path).unwrap();
            for &tier in Tier::available() {
                let model = Model::from_bytes(&file, tier).unwrap_or_else(|error| panic!("{path:?}: {error}"));
                assert!(model.to_bytes().unwrap() == file, "{path:?} on {tier} is written in another way");
            }
            files += 1;
        }
    }
    assert_eq!(files, 16);
}
