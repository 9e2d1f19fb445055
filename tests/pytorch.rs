//! Models that PyTorch wrote, next to PyTorch's own outputs (tests/pytorch/make.py makes the fixtures).

use std::path::Path;
use std::sync::Arc;

use skinny::kernels::WeightFormat;
use skinny::model::{ImportOptions, Layer, Model, Session};
use skinny::{Error, FileError, Mat, MatRef, TensorProblem, Tier};

struct Fixture {
    name: String,
    model: Model,
    x: Mat<f32>,
    y: Mat<f32>,
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pytorch").join(name)).unwrap()
}

fn options() -> ImportOptions {
    ImportOptions { keep: vec!["x".into(), "y".into()], ..ImportOptions::default() }
}

fn fixture(name: &str) -> Fixture {
    let model = Model::from_pytorch(&bytes(&format!("{name}.safetensors")), &options()).unwrap();
    let matrix = |name| {
        let attachment = &model.attachments()[name];
        let &[rows, cols] = attachment.shape() else { panic!("{name}: {:?}", attachment.shape()) };
        Mat::from_vec(attachment.values().to_vec(), rows, cols).unwrap()
    };
    Fixture { name: name.into(), x: matrix("x"), y: matrix("y"), model }
}

fn fixtures() -> Vec<Fixture> {
    let names = [
        "linear",
        "gru",
        "gru_no_bias",
        "gru_bidirectional",
        "lstm",
        "lstm_projection",
        "lstm_bidirectional",
        "convolution",
        "gru_f16",
        "gru_bf16",
    ];
    names.map(fixture).into()
}

/// All outputs of a stream that comes in pieces of `chunk` frames.
fn stream(session: &mut Session, x: &Mat<f32>, chunk: usize) -> Vec<f32> {
    let mut outputs = Vec::new();
    for frames in x.as_slice().chunks(chunk * x.cols()) {
        let frames = MatRef::new(frames, frames.len() / x.cols(), x.cols()).unwrap();
        outputs.extend_from_slice(session.push(frames).unwrap().as_slice());
    }
    outputs.extend_from_slice(session.finish().unwrap().as_slice());
    outputs
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn outputs_in_f32_are_pytorchs() {
    for Fixture { name, model, x, y } in fixtures() {
        let outputs = stream(&mut Session::new(Arc::new(model)).unwrap(), &x, x.rows());
        let difference = largest_difference(&outputs, y.as_slice());
        assert!(difference < 1e-5, "{name}: {difference}");
    }
}

#[test]
fn neither_pieces_nor_time_batches_nor_tiers_nor_files_change_a_bit() {
    for Fixture { name, model, x, .. } in fixtures() {
        let mut variants = vec![(name.clone(), vec![model.clone()])];
        for format in WeightFormat::ALL {
            let of_tiers = Tier::available().iter().map(|&tier| model.quantize_to(format, tier).unwrap());
            variants.push((format!("{name} {format:?}"), of_tiers.collect()));
        }
        for (name, of_tiers) in variants {
            let mut session = Session::new(Arc::new(of_tiers[0].clone())).unwrap();
            let expected = bits(&stream(&mut session, &x, x.rows()));
            let file = of_tiers[0].to_bytes().unwrap();
            let loaded = Tier::available().iter().map(|&tier| Model::from_bytes(&file, tier).unwrap());
            for model in of_tiers.iter().cloned().chain(loaded) {
                assert_eq!(model.to_bytes().unwrap(), file, "{name}: another file");
                let model = Arc::new(model);
                for time_batch in [1, 2, 4, 7] {
                    let mut session = Session::new(Arc::clone(&model)).unwrap().with_time_batch(time_batch).unwrap();
                    for chunk in [1, 2, 3, 8, 100] {
                        assert_eq!(bits(&stream(&mut session, &x, chunk)), expected, "{name}, {time_batch}, {chunk}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_session_can_be_forked_and_reset() {
    for Fixture { name, model, x, .. } in fixtures() {
        let mut session = Session::new(Arc::new(model)).unwrap();
        let whole = stream(&mut session, &x, x.rows());
        let first = x.cols() * 9;
        let (head, tail) = x.as_slice().split_at(first);
        let (head, tail) =
            (Mat::from_vec(head.to_vec(), 9, x.cols()), Mat::from_vec(tail.to_vec(), x.rows() - 9, x.cols()));
        let mut outputs = session.push(head.unwrap().view()).unwrap().as_slice().to_vec();
        let mut fork = session.clone();
        let tail = tail.unwrap();
        let rest = stream(&mut session, &tail, 4);
        assert_eq!(bits(&stream(&mut fork, &tail, 3)), bits(&rest), "{name}");
        outputs.extend(rest);
        assert_eq!(bits(&outputs), bits(&whole), "{name}");
        session.push(tail.view()).unwrap();
        session.reset();
        assert_eq!(bits(&stream(&mut session, &x, 5)), bits(&whole), "{name}");
    }
}

#[test]
fn sessions_on_many_threads_share_a_model() {
    let Fixture { model, x, .. } = fixture("gru");
    let model = Arc::new(model.quantize_to(WeightFormat::I8, Tier::select().unwrap()).unwrap());
    let expected = bits(&stream(&mut Session::new(Arc::clone(&model)).unwrap(), &x, 25));
    std::thread::scope(|scope| {
        for chunk in 1..=8 {
            let (model, x, expected) = (Arc::clone(&model), &x, &expected);
            scope.spawn(move || {
                let mut session = Session::new(model).unwrap();
                for _ in 0..20 {
                    assert_eq!(&bits(&stream(&mut session, x, chunk)), expected);
                }
            });
        }
    });
}

#[test]
fn layers_are_what_the_state_dict_says() {
    let kinds = |name| {
        let model = fixture(name).model;
        model.layers().map(|(name, layer)| format!("{name}: {}", layer.kind())).collect::<Vec<_>>()
    };
    assert_eq!(kinds("lstm_projection"), ["rnn.l0: LSTM", "rnn.l1: LSTM", "fc: linear"]);
    assert_eq!(kinds("gru_bidirectional")[..2], ["gru.l0: bidirectional GRU", "gru.l1: bidirectional GRU"]);
    let model = fixture("convolution").model;
    assert!(matches!(model.layers().next(), Some((_, Layer::TimeConvolution(_)))));
    assert_eq!((model.stride(), model.input_size(), model.output_size()), (2, 13, 7));
}

#[test]
fn a_state_dict_that_cannot_be_used_is_refused_with_its_reason() {
    let refused = |name: &str, options: &ImportOptions| match Model::from_pytorch(&bytes(name), options) {
        Err(Error::File(error)) => error,
        other => panic!("{name}: {other:?}"),
    };
    let tensor = |tensor: &str, problem| FileError::Tensor { tensor: tensor.into(), problem };
    let gru = "gru.safetensors";
    // Tensors that nobody keeps.
    assert_eq!(refused(gru, &ImportOptions::default()), tensor("x", TensorProblem::Unexpected));
    let with = |layers: &str| ImportOptions { layers: Some(layers.into()), ..options() };
    assert_eq!(refused(gru, &with("gru fc other")), tensor("other.weight", TensorProblem::Missing));
    assert_eq!(refused(gru, &with("gru")), tensor("fc.bias", TensorProblem::Unexpected));
    assert!(matches!(refused(gru, &with("fc gru")), FileError::Layer { .. }));
    assert!(matches!(refused(gru, &with("gru:bogus fc")), FileError::Header { .. }));
    let keep = |name: &str| ImportOptions { keep: vec![name.into()], ..ImportOptions::default() };
    assert_eq!(refused(gru, &keep("z")), tensor("z", TensorProblem::Missing));
    let file = bytes(gru);
    for len in [0, 7, 8, 100, file.len() - 1] {
        let error = Model::from_pytorch(&file[..len], &options());
        assert!(matches!(error, Err(Error::File(FileError::Container { .. }))), "{len}: {error:?}");
    }
}
