//! Layers and whole models, as streams.

use std::sync::Arc;

use serde_json::Value;
use skinny::model::{Model, Session};
use skinny::{Mat, MatRef, Tier};

use crate::json::{cases, floats, frames, integers, path, same, text};

#[path = "../common/state_dict.rs"]
mod state_dict;

/// The model file of a case.
fn file(case: &Value) -> Vec<u8> {
    let mut file = state_dict::StateDict::new().metadata("skinny", &case["model"].to_string());
    for (name, tensor) in case["tensors"].as_object().unwrap() {
        let bytes: Vec<u8> = match text(&tensor["dtype"]) {
            "F32" => floats(&tensor["values"]).iter().flat_map(|value| value.to_le_bytes()).collect(),
            "I8" => integers::<i8>(&tensor["values"]).into_iter().map(|value| value as u8).collect(),
            _ => integers(&tensor["values"]),
        };
        file = file.tensor(name, text(&tensor["dtype"]), &integers(&tensor["shape"]), &bytes);
    }
    file.bytes()
}

/// Runs the stream of a case in pieces of `piece` frames.
fn check(name: &str, case: &Value, file: &[u8], tier: Tier, time_batch: usize, piece: usize) {
    let at = || format!("{name}, {tier}, time batch {time_batch}, pieces of {piece}");
    let model = Model::from_bytes(file, tier).unwrap_or_else(|error| panic!("{}: {error}", at()));
    let names: Vec<String> = model.outputs().map(|(name, _)| name.to_string()).collect();
    let mut session = Session::new(Arc::new(model)).unwrap().with_time_batch(time_batch).unwrap();
    for (name, values) in case.get("states").and_then(Value::as_object).into_iter().flatten() {
        session.set_state(name, &floats(values)).unwrap();
    }
    let inputs: Vec<Mat<f32>> = case["inputs"].as_array().unwrap().iter().map(frames).collect();
    let mut found = vec![Vec::new(); names.len()];
    let collect = |session: &Session, found: &mut Vec<Vec<f32>>| {
        for (found, name) in found.iter_mut().zip(&names) {
            found.extend_from_slice(session.output(name).unwrap().as_slice());
        }
    };
    for first in (0..inputs[0].rows()).step_by(piece) {
        let last = (first + piece).min(inputs[0].rows());
        let part = |x: &'_ Mat<f32>| x.as_slice()[first * x.cols()..last * x.cols()].to_vec();
        let parts: Vec<Vec<f32>> = inputs.iter().map(part).collect();
        let views: Vec<MatRef<'_, f32>> =
            parts.iter().zip(&inputs).map(|(part, x)| MatRef::new(part, last - first, x.cols()).unwrap()).collect();
        session.push_all(&views).unwrap();
        collect(&session, &mut found);
    }
    session.flush().unwrap();
    collect(&session, &mut found);
    let states: Vec<(String, Vec<f32>)> = session.states().map(|(name, values)| (name, values.to_vec())).collect();
    session.finish().unwrap();
    collect(&session, &mut found);
    for (found, expected) in found.iter().zip(case["outputs"].as_array().unwrap()) {
        same(found, frames(expected).as_slice(), at());
    }
    for (name, expected) in case.get("end_states").and_then(Value::as_object).into_iter().flatten() {
        let state = states.iter().find(|(other, _)| other == name).unwrap_or_else(|| panic!("{}: no {name}", at()));
        same(&state.1, &floats(expected), format_args!("{}, {name}", at()));
    }
}

#[test]
fn layers_of_every_kind() {
    for case in cases("layers.json", 200) {
        let file = file(&case);
        for &tier in Tier::available() {
            check(text(&case["name"]), &case, &file, tier, 1, 1);
            check(text(&case["name"]), &case, &file, tier, 4, 3);
            check(text(&case["name"]), &case, &file, tier, 10, 1000);
        }
    }
}

#[test]
fn files_that_are_read_and_files_that_are_refused() {
    for case in cases("files.json", 50) {
        let read = Model::from_bytes(&file(&case), Tier::Portable);
        assert_eq!(read.is_ok(), case["is_read"].as_bool().unwrap(), "{}: {:?}", case["name"], read.err());
    }
}

#[test]
fn a_whole_model_and_its_stream() {
    for case in cases("stream.json", 1) {
        let file = std::fs::read(path(text(&case["file"]))).unwrap();
        for &tier in Tier::available() {
            for (time_batch, piece) in [(1, 1), (2, 5), (7, 2), (10, 1000)] {
                check("the whole model", &case, &file, tier, time_batch, piece);
            }
        }
    }
}
