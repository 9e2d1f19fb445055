//! Files that Keras wrote, against Keras's outputs. `fixtures/keras_files.py` makes them.

mod common;

use common::{expect_refused, fixture, largest_difference, run};
use skinny::Tier;
use skinny::model::{Layer, Model, TensorFile};
use skinny_convert::{Format, Selection, convert};

/// The model in a file.
fn model(name: &str) -> Model {
    let file = fixture(name);
    let converted = convert(&file, &Selection::default()).unwrap_or_else(|cause| panic!("{name}: {cause}"));
    assert_eq!(converted.format, Format::Keras);
    Model::from_bytes(&converted.bytes, Tier::Portable).unwrap()
}

#[test]
fn outputs_are_keras_s() {
    for name in ["keras_stack", "keras_functional"] {
        let reference = fixture(&format!("{name}.safetensors"));
        let reference = TensorFile::new(&reference).unwrap();
        let ((shape, x), (_, y)) = (reference.floats("x").unwrap(), reference.floats("y").unwrap());
        for kind in ["keras", "h5"] {
            let outputs = run(model(&format!("{name}.{kind}")), &x, shape[0]);
            let difference = largest_difference(&outputs, &y);
            assert!(difference < 1e-5, "{name}.{kind}: {difference}");
            // Outputs that hardly differ from each other would show nothing.
            let spread = y.iter().fold(f32::MIN, |a, &b| a.max(b)) - y.iter().fold(f32::MAX, |a, &b| a.min(b));
            assert!(spread > 0.1, "{name}: {spread}");
        }
    }
}

#[test]
fn both_formats_hold_the_same_model() {
    for name in ["keras_stack", "keras_functional"] {
        let [keras, h5] = ["keras", "h5"].map(|kind| model(&format!("{name}.{kind}")).to_bytes().unwrap());
        assert_eq!(keras, h5, "{name}");
    }
}

#[test]
fn layers_are_of_their_kinds() {
    let model = model("keras_functional.keras");
    let layers: Vec<_> = model.layers().collect();
    let [(_, Layer::BidirectionalGru(both)), (_, Layer::Gru(gru)), (_, Layer::Linear(dense))] = layers[..] else {
        panic!("{:?}", layers.iter().map(|(name, layer)| (name, layer.kind())).collect::<Vec<_>>())
    };
    assert_eq!((both.output_size(), gru.hidden_size(), dense.output_size()), (6, 4, 3));
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    for (name, message) in [
        ("lambda", "(LayerNormalization): not supported; there are Dense,"),
        ("causal", "(Conv1D): padding \"causal\" is not supported"),
        ("tanh", "(Dense): the activation tanh is not supported"),
        ("rnn", "(SimpleRNN): not supported; there are Dense,"),
        ("relu_gru", "(GRU): activation relu is not supported, only tanh"),
        ("sum", "(Bidirectional): merge_mode sum is not supported, only concat"),
        ("residual", "(Add): reads "),
    ] {
        expect_refused(&fixture(&format!("keras_refused_{name}.keras")), message);
    }
    expect_refused(&fixture("keras_refused.weights.h5"), "an HDF5 file of weights without a model");
}

#[test]
fn no_damage_panics() {
    for name in ["keras_functional.h5", "keras_functional.keras", "keras_refused.weights.h5"] {
        common::damage(&fixture(name), 300, |damaged| drop(convert(damaged, &Selection::default())));
    }
}

/// The weights of a `.keras` file have a checksum, so their damage is tried without it.
#[test]
fn no_damaged_weights_panic() {
    let archive = fixture("keras_functional.keras");
    let archive = skinny_convert::archive::Archive::new(&archive).unwrap();
    let files: Vec<(String, Vec<u8>)> =
        archive.files().map(|(name, data)| (name.to_owned(), data.unwrap().into_owned())).collect();
    for name in ["model.weights.h5", "config.json"] {
        let at = files.iter().position(|(other, _)| other == name).unwrap();
        common::damage(&files[at].1, 300, |damaged| {
            let mut files = files.clone();
            files[at].1 = damaged.to_vec();
            drop(convert(&skinny_convert::archive::encode(&files).unwrap(), &Selection::default()));
        });
    }
}
