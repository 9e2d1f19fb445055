//! Calls that do not fit a layer are refused before anything is written, whichever layer it is.

#[path = "common/random.rs"]
mod random;

use random::Random;
use skinny::factored::{
    Affine, Bidirectional, DepthwiseConvolution, Embedding, Function, Gru, LayerNorm, Linear, LowRank, LowRankLinear,
    Lstm, Mapping, OverTime, Recurrent, Reduction, Rnn, Scratch, Slice, Weight, Windows,
};
use skinny::quant::{QuantizedMatI2, QuantizedMatI4};
use skinny::{Error, Mat, MatMut, MatRef, Result};

const FILL: f32 = 7.0;

fn mat(rows: usize, cols: usize) -> Mat<f32> {
    Mat::from_vec(Random::new(rows as u64 * 31 + cols as u64).floats(rows * cols, -1.0, 1.0), rows, cols).unwrap()
}

fn weight(n: usize, k: usize) -> Weight {
    Weight::dense(mat(n, k)).unwrap()
}

fn is_about_shape<T: std::fmt::Debug>(what: &str, result: &Result<T>) {
    assert!(matches!(result, Err(Error::Shape { .. } | Error::Length { .. })), "{what}: {result:?}");
}

/// Calls `forward`, of `input` features to `output`, with an input and an output of one feature more, one frame more and
/// one less.
fn expect_refusals(
    what: &str,
    (input, output): (usize, usize),
    mut forward: impl FnMut(MatRef<'_, f32>, MatMut<'_, f32>) -> Result<()>,
) {
    let time = 3;
    for (depth, rows, cols) in [
        (input + 1, time, output),
        (input - 1, time, output),
        (input, time, output + 1),
        (input, time, output - 1),
        (input, time + 1, output),
        (input, time - 1, output),
    ] {
        let x = vec![0.0; time * depth];
        let mut out = vec![FILL; rows * cols];
        let result = forward(MatRef::new(&x, time, depth).unwrap(), MatMut::new(&mut out, rows, cols).unwrap());
        is_about_shape(&format!("{what}: {depth} to {rows} x {cols}"), &result);
        assert_eq!(out, vec![FILL; rows * cols], "{what}");
    }
    let (x, mut out) = (vec![0.0; time * input], vec![FILL; time * output]);
    forward(MatRef::new(&x, time, input).unwrap(), MatMut::new(&mut out, time, output).unwrap()).unwrap();
    assert!(out.iter().all(|&y| y != FILL), "{what}: {out:?}");
}

#[test]
fn layers_without_state_refuse_other_shapes() {
    let mut scratch = Scratch::new();
    let affine = Affine::new(vec![2.0; 5], vec![0.5; 5]).unwrap();
    expect_refusals("affine", (5, 5), |x, out| affine.forward(x, out));
    let norm = LayerNorm::new(5, None, None, 1e-5).unwrap();
    expect_refusals("layer norm", (5, 5), |x, out| norm.forward(x, out));
    let mapping = Mapping::new(Function::Tanh, 5).unwrap();
    expect_refusals("mapping", (5, 5), |x, out| mapping.forward(x, out));
    let slice = Slice::new(1..4, 5).unwrap();
    expect_refusals("slice", (5, 3), |x, out| slice.forward(x, out));
    for weight in [weight(6, 5), LowRank::from_factors(mat(6, 2), mat(2, 5)).unwrap().into()] {
        let linear = Linear::new(weight, None).unwrap();
        expect_refusals("linear", (5, 6), |x, out| linear.forward(x, out, &mut scratch));
        let linear = linear.quantize(skinny::Tier::Portable).unwrap();
        expect_refusals("linear in 8 bits", (5, 6), |x, out| linear.forward(x, out, &mut scratch));
    }
    // With one feature less an index has none.
    let embedding = Embedding::new(mat(4, 3)).unwrap();
    for (depth, rows, cols) in [(2, 3, 3), (0, 3, 3), (1, 3, 4), (1, 4, 3)] {
        let (x, mut out) = (vec![0.0; 3 * depth], vec![FILL; rows * cols]);
        let result = embedding.forward(MatRef::new(&x, 3, depth).unwrap(), MatMut::new(&mut out, rows, cols).unwrap());
        is_about_shape("embedding", &result);
    }
}

/// A step and a sequence, each with a state of a layer of another width, and steps of another depth.
fn expect_refusals_of_recurrent<L: Recurrent>(what: &str, layer: &L, other: &L)
where
    L::State: std::fmt::Debug + PartialEq,
{
    let (input, output) = (layer.input_size(), layer.output_size());
    let mut scratch = Scratch::new();
    expect_refusals(what, (input, output), |x, out| layer.forward(x, &mut layer.state()?, out, &mut scratch));
    let mut foreign = other.state().unwrap();
    let before = foreign.clone();
    let (x, mut out) = (vec![0.25; 2 * input], vec![FILL; 2 * output]);
    is_about_shape(what, &layer.step(&x[..input], &mut foreign, &mut scratch).map(drop));
    let out = MatMut::new(&mut out, 2, output).unwrap();
    is_about_shape(what, &layer.forward(MatRef::new(&x, 2, input).unwrap(), &mut foreign, out, &mut scratch));
    assert_eq!(foreign, before, "{what}");
    let mut state = layer.state().unwrap();
    for depth in [input - 1, input + 1] {
        is_about_shape(what, &layer.step(&x[..depth], &mut state, &mut scratch).map(drop));
    }
    assert_eq!(state, layer.state().unwrap(), "{what}");
}

#[test]
fn recurrent_layers_refuse_other_shapes_and_states() {
    let gru = |hidden| Gru::new(weight(3 * hidden, 5), weight(3 * hidden, hidden), None, None).unwrap();
    let lstm = |hidden| Lstm::new(weight(4 * hidden, 5), weight(4 * hidden, hidden), None, None).unwrap();
    let rnn = |hidden| Rnn::new(weight(hidden, 5), weight(hidden, hidden), None, None).unwrap();
    expect_refusals_of_recurrent("gru", &gru(6), &gru(7));
    expect_refusals_of_recurrent("lstm", &lstm(6), &lstm(7));
    expect_refusals_of_recurrent("rnn", &rnn(6), &rnn(7));
    let both = Bidirectional::new(gru(6), gru(6)).unwrap();
    let mut scratch = Scratch::new();
    expect_refusals("bidirectional", (5, 12), |x, out| both.forward(x, out, &mut scratch));
}

#[test]
fn layers_over_time_refuse_other_shapes_and_states() {
    let mut out = [FILL; 64];
    for reduction in Reduction::ALL {
        let layer = OverTime::new(reduction, 4);
        let mut foreign = OverTime::new(reduction, 5).state().unwrap();
        let x = [0.5; 20];
        is_about_shape("state", &layer.push(MatRef::new(&x, 5, 4).unwrap(), &mut foreign));
        let out = MatMut::new(&mut out[..4], 1, 4).unwrap();
        is_about_shape("state at the end", &layer.finish(&mut foreign, out));
        let mut state = layer.state().unwrap();
        is_about_shape("depth", &layer.push(MatRef::new(&x, 4, 5).unwrap(), &mut state));
        assert_eq!(state, layer.state().unwrap());
    }
    let windows = Windows::new(3, 1, 1);
    let layer = DepthwiseConvolution::new(mat(3, 4), None, windows).unwrap();
    let x = [0.5; 20];
    let frames = MatRef::new(&x, 5, 4).unwrap();
    let mut state = layer.state().unwrap();
    is_about_shape(
        "depth",
        &layer.forward(MatRef::new(&x, 4, 5).unwrap(), &mut state, MatMut::new(&mut out, 16, 4).unwrap()),
    );
    let ready = layer.outputs(&state, 5);
    assert_eq!(ready, 4);
    is_about_shape("width", &layer.forward(frames, &mut state, MatMut::new(&mut out[..20], 4, 5).unwrap()));
    is_about_shape("rows", &layer.forward(frames, &mut state, MatMut::new(&mut out[..12], 3, 4).unwrap()));
    let mut foreign = DepthwiseConvolution::new(mat(3, 5), None, windows).unwrap().state().unwrap();
    is_about_shape("state", &layer.forward(frames, &mut foreign, MatMut::new(&mut out, 16, 4).unwrap()));
    assert!(out.iter().all(|&y| y == FILL));
    // More rows than are ready stay as they are.
    assert_eq!(layer.forward(frames, &mut state, MatMut::new(&mut out, 16, 4).unwrap()).unwrap(), ready);
    assert!(out[..16].iter().all(|&y| y != FILL) && out[16..].iter().all(|&y| y == FILL));
    let last = MatMut::new(&mut out[..4], 1, 4).unwrap();
    assert_eq!(layer.finish(&mut state, last).unwrap(), 1);
    // The next sequence begins as the first did.
    let mut again = [FILL; 16];
    layer.forward(frames, &mut state, MatMut::new(&mut again, 4, 4).unwrap()).unwrap();
    let mut fresh = [FILL; 16];
    layer.forward(frames, &mut layer.state().unwrap(), MatMut::new(&mut fresh, 4, 4).unwrap()).unwrap();
    assert_eq!(again, fresh);
    layer.reset(&mut state);
    layer.forward(frames, &mut state, MatMut::new(&mut again, 4, 4).unwrap()).unwrap();
    assert_eq!(again, fresh);
}

#[test]
fn a_reduction_begins_anew_after_its_end() {
    for (reduction, expected) in
        [(Reduction::Last, -3.0), (Reduction::Mean, -2.0), (Reduction::Sum, -4.0), (Reduction::Max, -1.0)]
    {
        let layer = OverTime::new(reduction, 1);
        let mut state = layer.state().unwrap();
        for _ in 0..2 {
            layer.push(MatRef::new(&[-1.0, -3.0], 2, 1).unwrap(), &mut state).unwrap();
            assert_eq!(layer.outputs_at_end(&state), 1);
            let mut y = [FILL];
            layer.finish(&mut state, MatMut::new(&mut y, 1, 1).unwrap()).unwrap();
            assert_eq!(y, [expected], "{reduction:?}");
            assert_eq!(layer.outputs_at_end(&state), 0);
        }
    }
}

fn is_not_finite<T: std::fmt::Debug>(what: &str, result: &Result<T>) {
    assert!(matches!(result, Err(Error::NotFinite { .. })), "{what}: {result:?}");
}

#[test]
fn parameters_that_do_not_fit_are_refused() {
    is_about_shape("shift", &Affine::new(vec![1.0; 2], vec![1.0; 3]));
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        is_not_finite("scale", &Affine::new(vec![1.0, bad], vec![1.0; 2]));
        is_not_finite("shift", &Affine::new(vec![1.0; 2], vec![1.0, bad]));
        is_not_finite("mean", &Affine::batch_norm(&[bad], &[1.0], None, None, 0.0));
        is_not_finite("variance", &Affine::batch_norm(&[0.0], &[bad], None, None, 0.0));
        is_not_finite("epsilon", &Affine::batch_norm(&[0.0], &[1.0], None, None, bad));
        is_not_finite("epsilon of layer norm", &LayerNorm::new(2, None, None, bad));
        let taps = Mat::from_vec(vec![1.0, bad], 1, 2).unwrap();
        is_not_finite("taps", &DepthwiseConvolution::new(taps, None, Windows::new(1, 1, 0)));
        is_not_finite("U", &LowRank::from_factors(Mat::from_vec(vec![bad], 1, 1).unwrap(), mat(1, 2)));
        is_not_finite("V", &LowRank::from_factors(mat(2, 1), Mat::from_vec(vec![bad], 1, 1).unwrap()));
        is_not_finite("slope", &Mapping::new(Function::HardSigmoid { slope: bad, offset: 0.0 }, 2));
        is_not_finite("offset", &Mapping::new(Function::HardSigmoid { slope: 0.0, offset: bad }, 2));
        is_not_finite("slope of leaky", &Mapping::new(Function::LeakyRelu(bad), 2));
    }
    for length in [1, 3] {
        let wrong = vec![1.0; length];
        is_about_shape("weight", &Affine::batch_norm(&[0.0; 2], &[1.0; 2], Some(&wrong), None, 0.0));
        is_about_shape("bias", &Affine::batch_norm(&[0.0; 2], &[1.0; 2], None, Some(&wrong), 0.0));
        is_about_shape("weight", &LayerNorm::new(2, Some(wrong.clone()), None, 1e-5));
        is_about_shape("bias", &LayerNorm::new(2, None, Some(wrong.clone()), 1e-5));
        is_about_shape("bias", &DepthwiseConvolution::new(mat(3, 2), Some(wrong.clone()), Windows::new(3, 1, 0)));
        is_about_shape("rnn", &Rnn::new(weight(2, 4), weight(2, 2), Some(wrong.clone()), None));
        is_about_shape("rnn", &Rnn::new(weight(2, 4), weight(2, 2), None, Some(wrong)));
    }
    for length in [5, 7] {
        let wrong = || Some(vec![1.0; length]);
        is_about_shape("gru", &Gru::new(weight(6, 4), weight(6, 2), wrong(), None));
        is_about_shape("gru", &Gru::new(weight(6, 4), weight(6, 2), None, wrong()));
        is_about_shape("lstm", &Lstm::new(weight(8, 4), weight(8, 2), wrong(), None));
        is_about_shape("lstm", &Lstm::new(weight(8, 4), weight(8, 2), None, wrong()));
    }
    is_about_shape("taps", &DepthwiseConvolution::new(mat(2, 4), None, Windows::new(3, 1, 0)));
    is_about_shape("taps", &DepthwiseConvolution::new(mat(4, 4), None, Windows::new(3, 1, 0)));
    let folded = Affine::new(vec![1.0; 3], vec![1.0; 3]).unwrap();
    is_about_shape("features", &folded.fold_into(&Linear::new(weight(4, 3), None).unwrap()));
    let [u, v] = [mat(4, 2), mat(3, 5)].map(|w| LowRank::from_factors(w, mat(0, 0)).is_err());
    assert!(u && v);
    assert!(LowRankLinear::with_shared_u(mat(8, 2), [mat(3, 4), mat(2, 4)]).is_err());
}

#[test]
fn the_variance_of_a_batch_is_positive_with_epsilon() {
    let norm = |variance, epsilon| Affine::batch_norm(&[0.5], &[variance], None, None, epsilon);
    for (variance, epsilon) in [(0.0, 0.0), (-1.0, 2.0), (1.0, -1.0), (1.0, -2.0)] {
        assert!(matches!(norm(variance, epsilon), Err(Error::Parameter { .. })), "{variance} {epsilon}");
    }
    for (variance, epsilon) in [(0.0, 4.0), (4.0, 0.0), (5.0, -1.0), (1.0, 3.0)] {
        let affine = norm(variance, epsilon).unwrap();
        assert_eq!((affine.scale(), affine.shift()), (&[0.5][..], &[-0.25][..]), "{variance} {epsilon}");
    }
    let affine = Affine::batch_norm(&[0.5], &[4.0], Some(&[3.0]), Some(&[1.0]), 0.0).unwrap();
    assert_eq!((affine.scale(), affine.shift()), (&[1.5][..], &[0.25][..]));
}

#[test]
fn parameters_and_bytes_are_counted() {
    let affine = Affine::new(vec![1.0; 7], vec![0.0; 7]).unwrap();
    assert_eq!((affine.parameters(), affine.bytes()), (14, 56));
    let norm = |weight, bias| LayerNorm::new(7, weight, bias, 1e-5).unwrap();
    for (norm, parameters) in [
        (norm(None, None), 0),
        (norm(Some(vec![1.0; 7]), None), 7),
        (norm(None, Some(vec![1.0; 7])), 7),
        (norm(Some(vec![1.0; 7]), Some(vec![1.0; 7])), 14),
    ] {
        assert_eq!((norm.parameters(), norm.bytes()), (parameters, 4 * parameters));
    }
    let taps = |bias| DepthwiseConvolution::new(mat(3, 7), bias, Windows::new(3, 1, 0)).unwrap();
    assert_eq!((taps(None).parameters(), taps(None).bytes()), (21, 84));
    assert_eq!((taps(Some(vec![1.0; 7])).parameters(), taps(Some(vec![1.0; 7])).bytes()), (28, 112));
    let rnn = |bias: Option<Vec<f32>>| Rnn::new(weight(7, 5), weight(7, 7), bias.clone(), bias).unwrap();
    assert_eq!((rnn(None).parameters(), rnn(None).bytes()), (84, 336));
    assert_eq!((rnn(Some(vec![1.0; 7])).parameters(), rnn(Some(vec![1.0; 7])).bytes()), (98, 392));
}

#[test]
fn weights_quantized_elsewhere_have_scales_that_fit() {
    for bad in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        let of_2 = QuantizedMatI2::from_parts(Mat::zeros(2, 3).unwrap(), Mat::zeros(2, 1).unwrap(), vec![1.0, bad]);
        assert!(matches!(of_2, Err(Error::Parameter { .. } | Error::NotFinite { .. })), "{of_2:?}");
        let of_4 = QuantizedMatI4::from_parts(Mat::zeros(2, 3).unwrap(), None, vec![1.0, bad]);
        assert!(matches!(of_4, Err(Error::Parameter { .. } | Error::NotFinite { .. })), "{of_4:?}");
    }
    let parts = |scales| QuantizedMatI2::from_parts(Mat::zeros(2, 3).unwrap(), Mat::zeros(2, 1).unwrap(), scales);
    is_about_shape("scales", &parts(vec![1.0]));
    is_about_shape("scales", &parts(vec![1.0; 3]));
    parts(vec![1.0; 2]).unwrap();
}
