//! What a model file that may be hostile is put through: by the tests and by the fuzz target.

use std::sync::Arc;

use skinny::model::{ImportOptions, Model, Session};
use skinny::{MatRef, Tier};

/// Reads `data` as a model file of either kind; what is accepted must run, and come back from a file the same.
pub fn load_and_run(data: &[u8]) {
    for model in [Model::from_bytes(data, Tier::Portable), Model::from_pytorch(data, &ImportOptions::default())]
        .into_iter()
        .flatten()
    {
        let file = model.to_bytes().expect("a model that was read can be written");
        let again = Model::from_bytes(&file, Tier::Portable).expect("a file that was written can be read");
        assert_eq!(again.to_bytes().expect("and written again"), file);
        run(model);
    }
}

/// Pushes ordinary and extraordinary frames.
fn run(model: Model) {
    let width = model.input_size();
    let mut session = Session::new(Arc::new(model)).expect("room for a session");
    let values = [0.5, -1.0, f32::NAN, f32::INFINITY, f32::MAX, f32::MIN_POSITIVE, 0.0];
    for rows in [1, 5] {
        let frames: Vec<f32> = values.iter().copied().cycle().take(rows * width).collect();
        session.push(MatRef::new(&frames, rows, width).expect("frames")).expect("frames that fit");
    }
    session.finish().expect("an end");
}
