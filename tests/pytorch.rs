//! Models that PyTorch wrote, against PyTorch's own outputs (tests/pytorch/make.py makes the fixtures).

#[path = "common/layers.rs"]
mod common;

use std::path::Path;
use std::sync::Arc;

use common::{bits, product_bound};
use skinny::factored::{Gru, Linear, Lstm, Scratch, Weight};
use skinny::kernels::WeightFormat;
use skinny::model::{ImportOptions, Layer, Model, Session};
use skinny::{Error, FileError, Mat, MatMut, MatRef, TensorProblem, Tier};

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

/// The error bound of each row of an 8-bit product of `weight` and `x`.
fn bounds(weight: &Weight, x: &[f32]) -> Vec<f64> {
    let w = weight.dequantize().unwrap();
    (0..w.rows()).map(|row| product_bound(w.view().row(row), x, &vec![0.0; x.len()])).collect()
}

fn expect_within(what: &str, out: &[f32], exact: &[f32], bound: impl Fn(usize) -> f64) {
    for (j, (&out, &exact)) in out.iter().zip(exact).enumerate() {
        let (difference, bound) = ((f64::from(out) - f64::from(exact)).abs(), bound(j));
        assert!(difference <= bound, "{what}, {j}: {out} for {exact}, bound {bound}");
        assert!(bound < 0.15, "{what}: a bound of {bound} says nothing");
    }
}

/// One frame through a layer in 8 bits. Errors of the products are `bounds`; the activation has slope 1 at most.
fn linear_in_8_bits(what: &str, layer: &Linear, tier: Tier, x: &[f32]) -> Vec<f32> {
    let mut exact = vec![0.0; layer.output_size()];
    let mut out = exact.clone();
    let mut scratch = Scratch::new();
    let x = MatRef::row_vector(x);
    layer.forward(x, MatMut::row_vector(&mut exact), &mut scratch).unwrap();
    layer.quantize(tier).unwrap().forward(x, MatMut::row_vector(&mut out), &mut scratch).unwrap();
    let bounds = bounds(layer.weight(), x.as_slice());
    expect_within(what, &out, &exact, |j| bounds[j]);
    exact
}

/// Each step in 8 bits, from the state that the steps in `f32` had. sigmoid has slope 1/4 at most and tanh 1, `|h - n|
/// <= 2`, and r multiplies the recurrent product of n.
fn gru_in_8_bits(what: &str, layer: &Gru, tier: Tier, x: &Mat<f32>) -> Mat<f32> {
    let quantized = layer.quantize(tier).unwrap();
    let (hidden, mut scratch) = (layer.hidden_size(), Scratch::new());
    let mut state = layer.state().unwrap();
    let mut outputs = Vec::new();
    for t in 0..x.rows() {
        let mut start = state.clone();
        let before = start.hidden().to_vec();
        let of_x = bounds(layer.weight_ih(), x.view().row(t));
        let of_h = bounds(layer.weight_hh(), &before);
        let w = layer.weight_hh().dequantize().unwrap();
        let exact = layer.step(x.view().row(t), &mut state, &mut scratch).unwrap().to_vec();
        let out = quantized.step(x.view().row(t), &mut start, &mut scratch).unwrap();
        expect_within(&format!("{what}, step {t}"), out, &exact, |j| {
            let [r, z, n] = [j, hidden + j, 2 * hidden + j];
            let product: f64 = w.view().row(n).iter().zip(&before).map(|(w, h)| f64::from((w * h).abs())).sum();
            let product = product + f64::from(layer.bias_hh().map_or(0.0, |bias| bias[n].abs()));
            (of_x[r] + of_h[r]) / 4.0 * product + of_x[n] + of_h[n] + 2.0 * (of_x[z] + of_h[z]) / 4.0
        });
        outputs.extend(exact);
    }
    Mat::from_vec(outputs, x.rows(), hidden).unwrap()
}

/// The same for an LSTM, whose gates and outputs are at most 1.
fn lstm_in_8_bits(what: &str, layer: &Lstm, tier: Tier, x: &Mat<f32>) -> Mat<f32> {
    let quantized = layer.quantize(tier).unwrap();
    let (hidden, mut scratch) = (layer.hidden_size(), Scratch::new());
    let mut state = layer.state().unwrap();
    let mut outputs = Vec::new();
    for t in 0..x.rows() {
        let mut start = state.clone();
        let before = start.clone();
        let of_x = bounds(layer.weight_ih(), x.view().row(t));
        let of_h = bounds(layer.weight_hh(), before.hidden());
        let exact = layer.step(x.view().row(t), &mut state, &mut scratch).unwrap().to_vec();
        let out = quantized.step(x.view().row(t), &mut start, &mut scratch).unwrap();
        expect_within(&format!("{what}, step {t}"), out, &exact, |j| {
            let gate = |gate: usize| of_x[gate * hidden + j] + of_h[gate * hidden + j];
            let cell = f64::from(before.cell()[j].abs());
            gate(0) / 4.0 + cell * gate(1) / 4.0 + gate(2) + gate(3) / 4.0
        });
        outputs.extend(exact);
    }
    Mat::from_vec(outputs, x.rows(), hidden).unwrap()
}

#[test]
fn outputs_in_8_bits_are_within_the_bound_of_each_step() {
    for name in ["linear", "gru", "gru_no_bias", "lstm", "gru_bf16"] {
        let Fixture { model, x, y, .. } = fixture(name);
        for &tier in Tier::available() {
            let mut x = x.clone();
            for (layer_name, layer) in model.layers() {
                let what = format!("{name}, {layer_name}, {tier}");
                x = match layer {
                    Layer::Gru(layer) => gru_in_8_bits(&what, layer, tier, &x),
                    Layer::Lstm(layer) => lstm_in_8_bits(&what, layer, tier, &x),
                    Layer::Linear(layer) => {
                        let outputs = (0..x.rows()).flat_map(|t| linear_in_8_bits(&what, layer, tier, x.view().row(t)));
                        Mat::from_vec(outputs.collect(), x.rows(), layer.output_size()).unwrap()
                    }
                    other => panic!("no bound of a {}", other.kind()),
                };
            }
            // The reference of the bounds is PyTorch's own output.
            assert!(largest_difference(x.as_slice(), y.as_slice()) < 1e-5);
        }
    }
}

/// Errors of steps add up over a sequence. These models show by how much; there is no bound.
#[test]
fn whole_sequences_in_8_bits_stay_near_pytorchs() {
    for Fixture { name, model, x, y } in fixtures() {
        let model = model.quantize_to(WeightFormat::I8, Tier::select().unwrap()).unwrap();
        let outputs = stream(&mut Session::new(Arc::new(model)).unwrap(), &x, x.rows());
        let difference = largest_difference(&outputs, y.as_slice());
        assert!(difference < 0.03, "{name}: {difference}");
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
    // Tensors that no option keeps.
    assert_eq!(refused(gru, &ImportOptions::default()), tensor("x", TensorProblem::Unexpected));
    let with = |layers: &str| ImportOptions { layers: Some(layers.into()), ..options() };
    assert!(matches!(refused(gru, &with("gru fc other")), FileError::LayerList { item, .. } if item == "other"));
    assert_eq!(refused(gru, &with("gru")), tensor("fc.bias", TensorProblem::Unexpected));
    assert!(matches!(refused(gru, &with("fc gru")), FileError::Layer { .. }));
    assert!(matches!(refused(gru, &with("gru:bogus fc")), FileError::LayerList { item, .. } if item == "gru:bogus"));
    let keep = |name: &str| ImportOptions { keep: vec![name.into()], ..ImportOptions::default() };
    assert_eq!(refused(gru, &keep("z")), tensor("z", TensorProblem::Missing));
    let file = bytes(gru);
    for len in [0, 7, 8, 100, file.len() - 1] {
        let error = Model::from_pytorch(&file[..len], &options());
        assert!(matches!(error, Err(Error::File(FileError::Container { .. }))), "{len}: {error:?}");
    }
}
