//! ONNX files, against onnxruntime's outputs. `fixtures/onnx_files.py` makes them.

mod common;

use std::sync::Arc;

use common::{expect_refused, fixture, largest_difference};
use skinny::model::{Layer, Model, Session, TensorFile};
use skinny::{MatRef, Tier};
use skinny_convert::{Converted, Format, Selection, convert};

const FILES: [&str; 8] =
    ["gru", "bidirectional", "convolutions", "words", "fixed", "stepwise", "dynamic_quantized", "static_quantized"];

/// The model in a file, and what was assumed.
fn model(name: &str) -> (Model, Vec<String>) {
    let file = fixture(&format!("onnx_{name}.onnx"));
    let converted = convert(&file, &Selection::default()).unwrap_or_else(|cause| panic!("{name}: {cause}"));
    let Converted { format, bytes, assumptions } = converted;
    assert_eq!(format, Format::Onnx);
    (Model::from_bytes(&bytes, Tier::Portable).unwrap(), assumptions)
}

#[test]
fn outputs_are_onnxruntime_s() {
    for name in FILES {
        let reference = fixture(&format!("onnx_{name}.safetensors"));
        let reference = TensorFile::new(&reference).unwrap();
        let (shape, x) = reference.floats("x").unwrap();
        let model = Arc::new(model(name).0);
        // Integers in place of activations are off by half a step of their scale.
        let bound = match name {
            "dynamic_quantized" => 0.03,
            "static_quantized" => 0.1,
            _ => 1e-5,
        };
        let expected = reference.tensors().into_iter().filter(|tensor| tensor.name.starts_with("y."));
        let mut compared = 0;
        for tensor in expected {
            let output = tensor.name.strip_prefix("y.").unwrap();
            // States leave with the session.
            if model.outputs().all(|(name, _)| name != output) {
                continue;
            }
            let (_, y) = reference.floats(&tensor.name).unwrap();
            let mut session = Session::new(Arc::clone(&model)).unwrap();
            session.push(MatRef::new(&x, shape[0], shape[1]).unwrap()).unwrap();
            let mut outputs = session.output(output).unwrap().as_slice().to_vec();
            session.finish().unwrap();
            outputs.extend_from_slice(session.output(output).unwrap().as_slice());
            let difference = largest_difference(&outputs, &y);
            assert!(difference < bound, "{name}, {output}: {difference}");
            // Outputs that hardly differ from each other would show nothing.
            let spread = y.iter().fold(f32::MIN, |a, &b| a.max(b)) - y.iter().fold(f32::MAX, |a, &b| a.min(b));
            assert!(spread > 0.1, "{name}, {output}: {spread}");
            compared += 1;
        }
        assert_eq!(compared, model.outputs().len(), "{name}");
    }
}

#[test]
fn states_are_the_session_s() {
    let (model, assumptions) = model("stepwise");
    let inputs: Vec<(&str, usize)> = model.inputs().collect();
    assert_eq!((&inputs[..], model.outputs().len()), (&[("x", 5)][..], 1));
    for name in ["input h is a state", "input c is a state", "output h_next is left out", "output c_next is left out"] {
        assert!(assumptions.iter().any(|assumption| assumption.contains(name)), "{name}: {assumptions:?}");
    }
    assert!(model.is_streaming());
    let (gru, assumptions) = self::model("gru");
    assert!(gru.is_streaming() && assumptions.iter().any(|assumption| assumption.contains("output hn is left out")));
}

#[test]
fn nodes_are_folded_into_layers() {
    let (model, _) = model("convolutions");
    let kinds: Vec<&str> = model.layers().map(|(_, layer)| layer.kind()).collect();
    assert!(!kinds.contains(&"scale and shift"), "{kinds:?}");
    let (model, _) = self::model("words");
    let kinds: Vec<&str> = model.layers().map(|(_, layer)| layer.kind()).collect();
    assert_eq!(kinds.iter().filter(|&&kind| kind == "layer normalization").count(), 2, "{kinds:?}");
    let embeddings = model.layers().filter(|(_, layer)| matches!(layer, Layer::Embedding(_))).count();
    assert_eq!(embeddings, 1);
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    for (name, message) in [
        ("peepholes", "(LSTM): peepholes (P) are not supported"),
        ("state", "(LSTM): its initial state (initial_h) is not 0"),
        ("cell", "(LSTM): reads the last cell state (Y_c)"),
        ("transposed", "(ConvTranspose): is not supported"),
        ("attention", "(MatMul): multiplies two values"),
        ("sine", "(Sin): is not supported"),
        ("unrolled", "(Gather): takes single frames of a sequence, as a recurrent cell does that an exporter unrolled"),
        ("external", "tensor c1: its data lies in another file, weights.bin"),
    ] {
        expect_refused(&fixture(&format!("onnx_refused_{name}.onnx")), message);
    }
    let options = Selection { prefix: Some("a".into()), ..Selection::default() };
    let refused = convert(&fixture("onnx_gru.onnx"), &options).unwrap_err().to_string();
    assert!(refused.contains("an ONNX file describes its layers"), "{refused}");
}

#[test]
fn no_damage_panics() {
    for name in FILES {
        common::damage(&fixture(&format!("onnx_{name}.onnx")), 400, |damaged| {
            if let Ok(converted) = convert(damaged, &Selection::default()) {
                drop(Model::from_bytes(&converted.bytes, Tier::Portable));
            }
        });
    }
}

/// A model of one node, `kind(x, c)`, whose constant has these dimensions and bytes.
fn with_constant(kind: &str, dims: &[u64], raw: &[u8]) -> Vec<u8> {
    let field = |number: u8, bytes: &[u8]| [&[number << 3 | 2][..], &varint(bytes.len() as u64), bytes].concat();
    let dims: Vec<u8> = dims.iter().flat_map(|&dim| [vec![8], varint(dim)].concat()).collect();
    let tensor = [&dims[..], &[0x10, 7], &field(8, b"c"), &field(9, raw)].concat();
    let node = [field(1, b"c"), field(2, b"y"), field(4, kind.as_bytes())].concat();
    let graph = [field(1, &node), field(5, &tensor), field(12, &field(1, b"y"))].concat();
    [&[8, 8][..], &field(7, &graph)].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

#[test]
fn sizes_are_checked_before_memory_is_taken() {
    let huge = i64::MAX.to_le_bytes();
    expect_refused(&with_constant("ConstantOfShape", &[1], &huge), "is too large");
    expect_refused(&with_constant("Identity", &[u64::MAX >> 1, 2], &huge), "its dimensions are");
    expect_refused(&with_constant("Identity", &[u64::MAX], &huge), "its dimensions are");
    // A length of 2^63 bytes, and a number that never ends.
    expect_refused(&[&[8, 8, 0x3a][..], &varint(1 << 63)].concat(), "damaged, or cut short");
    expect_refused(&[&[8, 8, 0x3a][..], &[0xff; 40]].concat(), "damaged, or cut short");
}
