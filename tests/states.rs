//! A session's states by name: a state that is set reads back, and a stream that continues from it has the same bits.
#![cfg(feature = "safetensors")]

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use skinny::kernels::WeightFormat;
use skinny::model::{Attachment, ImportOptions, Model, Session};
use skinny::{Error, FileError, Mat, MatRef, TensorProblem, Tier};

fn model(name: &str) -> Model {
    let options = ImportOptions { keep: vec!["x".into(), "y".into()], ..ImportOptions::default() };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/pytorch/{name}.safetensors"));
    Model::load_pytorch(path, &options).unwrap()
}

fn frames(model: &Model) -> Mat<f32> {
    let x = &model.attachments()["x"];
    Mat::from_vec(x.values().to_vec(), x.shape()[0], x.shape()[1]).unwrap()
}

fn rows(x: &Mat<f32>, range: Range<usize>) -> MatRef<'_, f32> {
    MatRef::new(&x.as_slice()[range.start * x.cols()..range.end * x.cols()], range.len(), x.cols()).unwrap()
}

fn run(session: &mut Session, x: MatRef<'_, f32>) -> Vec<f32> {
    let mut outputs = session.push(x).unwrap().as_slice().to_vec();
    outputs.extend_from_slice(session.flush().unwrap().as_slice());
    outputs
}

fn states(session: &Session) -> Vec<(String, Vec<f32>)> {
    session.states().map(|(name, values)| (name, values.to_vec())).collect()
}

#[test]
fn a_stream_goes_on_from_states_of_another() {
    for name in ["gru", "lstm", "lstm_projection"] {
        let f32 = model(name);
        for model in [f32.clone(), f32.quantize_to(WeightFormat::I8, Tier::Portable).unwrap()] {
            let (x, model) = (frames(&model), Arc::new(model));
            let expected = run(&mut Session::new(Arc::clone(&model)).unwrap(), x.view());
            for cut in [1, 4, 7, x.rows() - 1] {
                let mut first = Session::new(Arc::clone(&model)).unwrap();
                let mut second = Session::new(Arc::clone(&model)).unwrap().with_time_batch(3).unwrap();
                let mut outputs = run(&mut first, rows(&x, 0..cut));
                for (name, values) in states(&first) {
                    second.set_state(&name, &values).unwrap();
                }
                assert_eq!(states(&first), states(&second));
                outputs.extend(run(&mut second, rows(&x, cut..x.rows())));
                let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&outputs), bits(&expected), "{name}, {cut}");
            }
        }
    }
}

#[test]
fn names_and_lengths_are_those_of_the_layers() {
    let of = |name: &str| {
        let session = Session::new(Arc::new(model(name))).unwrap();
        session.states().map(|(name, values)| (name, values.len())).collect::<Vec<_>>()
    };
    assert_eq!(of("gru"), [("gru.l0.h".to_string(), 12), ("gru.l1.h".to_string(), 12)]);
    let projected = [("rnn.l0.h", 5), ("rnn.l0.c", 12), ("rnn.l1.h", 5), ("rnn.l1.c", 12)];
    assert_eq!(of("lstm_projection"), projected.map(|(name, len)| (name.to_string(), len)));
    for without in ["linear", "lstm_bidirectional"] {
        assert!(of(without).is_empty(), "{without}");
    }
}

#[test]
fn what_is_no_state_is_refused_by_name_and_changes_nothing() {
    let model = Arc::new(model("lstm"));
    let mut session = Session::new(Arc::clone(&model)).unwrap();
    run(&mut session, frames(&model).view());
    let before = states(&session);
    for name in ["rnn.l0", "rnn.l0.x", "rnn.l2.h", "fc.h", "", ".h", "h", "rnn.l0.h.h"] {
        let error = session.set_state(name, &[0.0; 12]).unwrap_err();
        let expected = FileError::Tensor { tensor: name.into(), problem: TensorProblem::Unexpected };
        assert_eq!(error, Error::File(expected));
    }
    for (values, told) in [
        (vec![0.0; 11], "tensor rnn.l0.c: state: expected 12 elements, found 11"),
        (vec![], "tensor rnn.l0.c: state: expected 12 elements, found 0"),
        ([[1.0; 11].to_vec(), vec![f32::NAN]].concat(), "tensor rnn.l0.c: state: element 11 is NaN, must be finite"),
    ] {
        assert_eq!(session.set_state("rnn.l0.c", &values).unwrap_err().to_string(), told);
    }
    assert_eq!(states(&session), before);
}

#[test]
fn frames_of_another_width_are_refused_and_change_nothing() {
    let model = Arc::new(model("gru"));
    let (x, width) = (frames(&model), model.input_size());
    let mut expected = Session::new(Arc::clone(&model)).unwrap();
    let mut session = expected.clone();
    let mut outputs = session.push(rows(&x, 0..1)).unwrap().as_slice().to_vec();
    for (rows, found) in [(1, width - 1), (1, width + 1), (width, 2), (0, 1)] {
        let frames = Mat::<f32>::zeros(rows, found).unwrap();
        let refused = session.push(frames.view()).unwrap_err();
        assert_eq!(refused, Error::Shape { what: "frames", expected: (rows, width), found: (rows, found) });
    }
    outputs.extend(run(&mut session, rows(&x, 1..x.rows())));
    assert_eq!(outputs, run(&mut expected, x.view()));
}

#[test]
fn an_attachment_has_as_many_values_as_its_shape_says() {
    let refused = |shape: &[usize], len: usize| Attachment::new(shape.to_vec(), vec![0.0; len]).unwrap_err();
    let length = |expected, found| Error::Length { what: "attachment", expected, found };
    assert_eq!(refused(&[2, 3], 5), length(6, 5));
    assert_eq!(refused(&[2, 3], 7), length(6, 7));
    assert_eq!(refused(&[], 0), length(1, 0));
    assert_eq!(refused(&[usize::MAX, 2], 1), length(usize::MAX, 1));
    assert!(matches!(refused(&[2, 0], 0), Error::Parameter { what: "dimension of an attachment", .. }));
}

#[test]
fn a_flush_changes_no_output() {
    let model = Arc::new(model("convolution"));
    let x = frames(&model);
    let mut session = Session::new(Arc::clone(&model)).unwrap();
    let mut expected = session.push(x.view()).unwrap().as_slice().to_vec();
    expected.extend_from_slice(session.finish().unwrap().as_slice());
    let mut outputs = Vec::new();
    for t in 0..x.rows() {
        outputs.extend_from_slice(session.push(rows(&x, t..t + 1)).unwrap().as_slice());
        outputs.extend_from_slice(session.flush().unwrap().as_slice());
    }
    outputs.extend_from_slice(session.finish().unwrap().as_slice());
    assert_eq!(outputs, expected);
    assert_eq!(session.flush().unwrap().rows(), 0);
}

#[test]
fn numbers_of_a_quantized_model_are_its_own_in_f32() {
    for name in ["gru", "lstm_projection", "lstm_bidirectional", "convolution"] {
        let f32 = model(name);
        let again = f32.dequantize().unwrap();
        assert_eq!(again.to_bytes().unwrap(), f32.to_bytes().unwrap(), "{name}");
        for format in WeightFormat::ALL {
            let quantized = f32.quantize_to(format, Tier::Portable).unwrap();
            let numbers = quantized.dequantize().unwrap();
            assert_eq!((numbers.bytes(), numbers.parameters()), (f32.bytes(), f32.parameters()));
            // Rounded numbers are already on the grid; at most their scales are rounded again.
            let bytes = |model: &Model| model.to_bytes().unwrap();
            assert_ne!(bytes(&numbers), bytes(&f32), "{name}");
            let twice = numbers.quantize_to(format, Tier::Portable).unwrap().dequantize().unwrap();
            assert_eq!(twice.bytes(), numbers.bytes());
        }
    }
}
