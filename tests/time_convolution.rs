//! The convolution over time against its definition in `f64`, and against itself: any tier, any cut of the sequence.

#[path = "common/layers.rs"]
mod common;

use common::{Random, bits};
use skinny::factored::{Linear, LowRank, Scratch, TimeConvolution, TimeConvolutionState, Weight};
use skinny::kernels::Activation;
use skinny::{Error, Mat, MatMut, MatRef, Tier};

/// Kernel, stride and padding: windows that overlap, touch and lie apart, with full padding and with none.
const GEOMETRIES: [(usize, usize, usize); 10] =
    [(1, 1, 0), (3, 1, 1), (3, 2, 2), (5, 3, 0), (4, 4, 3), (2, 5, 1), (1, 3, 0), (7, 2, 6), (2, 9, 0), (6, 1, 3)];

/// PyTorch's `Conv1d` of one sequence, `time x in`, from its definition. Outputs are `time x out`. A sequence without
/// frames has no outputs here, whatever the padding; PyTorch refuses it.
fn conv1d(
    weight: &[f32],
    [out, input, kernel]: [usize; 3],
    bias: &[f32],
    (stride, padding): (usize, usize),
    x: &Mat<f32>,
) -> Vec<Vec<f64>> {
    let mut outputs = Vec::new();
    for start in (0..x.rows() + 2 * padding).step_by(stride) {
        if x.rows() == 0 || start + kernel > x.rows() + 2 * padding {
            break;
        }
        let output = |o: usize| {
            let mut sum = f64::from(bias[o]);
            for c in 0..input {
                for k in 0..kernel {
                    if let Some(t) = (start + k).checked_sub(padding).filter(|&t| t < x.rows()) {
                        sum += f64::from(weight[(o * input + c) * kernel + k]) * f64::from(x.view().row(t)[c]);
                    }
                }
            }
            sum
        };
        outputs.push((0..out).map(output).collect());
    }
    outputs
}

/// The outputs of a sequence that comes in pieces of `cut` frames.
fn outputs(layer: &TimeConvolution, x: &Mat<f32>, cut: usize, state: &mut TimeConvolutionState) -> Vec<f32> {
    let mut scratch = Scratch::new();
    let (input, output) = (layer.input_size(), layer.output_size());
    let mut all = Vec::new();
    for piece in x.as_slice().chunks(cut * input) {
        let piece = MatRef::new(piece, piece.len() / input, input).unwrap();
        let ready = layer.outputs(state, piece.rows());
        // The buffer has one row more than there are outputs.
        let mut out = Mat::from_vec(vec![f32::NAN; (ready + 1) * output], ready + 1, output).unwrap();
        assert_eq!(layer.forward(piece, state, out.view_mut(), &mut scratch), Ok(ready));
        assert!(out.view().row(ready).iter().all(|y| y.is_nan()));
        all.extend_from_slice(&out.as_slice()[..ready * output]);
    }
    let ready = layer.outputs_at_end(state);
    let mut out = Mat::zeros(ready, output).unwrap();
    assert_eq!(layer.finish(state, out.view_mut(), &mut scratch), Ok(ready));
    all.extend(out.into_vec());
    all
}

#[test]
fn a_convolution_of_pytorch_is_its_definition_however_the_sequence_is_cut() {
    let (input, output) = (5, 7);
    for (kernel, stride, padding) in GEOMETRIES {
        let mut random = Random((kernel * 100 + stride) as u64);
        let (weight, bias) = (random.vec(output * input * kernel, 0.5), random.vec(output, 1.0));
        let shape = [output, input, kernel];
        let layer = TimeConvolution::from_conv1d(&weight, shape, Some(bias.clone()), stride, padding).unwrap();
        assert_eq!((layer.input_size(), layer.output_size(), layer.kernel()), (input, output, kernel));
        assert_eq!((layer.stride(), layer.padding()), (stride, padding));
        // One state serves several sequences in turn.
        let mut state = layer.state().unwrap();
        for time in [0, 1, 2, 3, 10, 31] {
            let x = random.mat(time, input, 1.0);
            let what = format!("kernel {kernel}, stride {stride}, padding {padding}, {time} frames");
            let whole = outputs(&layer, &x, time.max(1), &mut state);
            let exact = conv1d(&weight, shape, &bias, (stride, padding), &x);
            assert_eq!(whole.len(), exact.len() * output, "{what}");
            for (&out, exact) in whole.iter().zip(exact.iter().flatten()) {
                assert!((f64::from(out) - exact).abs() < 1e-5, "{what}: {out} for {exact}");
            }
            for cut in 1..=8 {
                assert_eq!(bits(&outputs(&layer, &x, cut, &mut state)), bits(&whole), "{what}, cut {cut}");
            }
            // A sequence that is abandoned leaves nothing behind.
            let mut out = Mat::zeros(time + 1, output).unwrap();
            layer.forward(x.view(), &mut state, out.view_mut(), &mut Scratch::new()).unwrap();
            layer.reset(&mut state);
            assert_eq!(bits(&outputs(&layer, &x, 3, &mut state)), bits(&whole), "{what}, after a reset");
        }
    }
}

#[test]
fn padding_alone_makes_no_outputs() {
    // Twice the padding exceeds the kernel.
    let layer = TimeConvolution::from_conv1d(&[1.0; 5], [1, 1, 5], Some(vec![3.0]), 1, 4).unwrap();
    let (mut state, mut scratch) = (layer.state().unwrap(), Scratch::new());
    let (mut out, none) = ([0.0; 9], Mat::zeros(0, 1).unwrap());
    let mut finish = |state: &mut TimeConvolutionState, expected: &[f32]| {
        assert_eq!(layer.outputs_at_end(state), expected.len());
        let count = layer.finish(state, MatMut::new(&mut out, 9, 1).unwrap(), &mut scratch).unwrap();
        assert_eq!(&out[..count], expected);
    };
    finish(&mut state, &[]);
    layer.forward(none.view(), &mut state, MatMut::new(&mut [], 0, 1).unwrap(), &mut Scratch::new()).unwrap();
    finish(&mut state, &[]);
    // One frame is in each of five windows: one ends with it, four end in the padding.
    let x = MatRef::new(&[2.0], 1, 1).unwrap();
    layer.forward(x, &mut state, MatMut::new(&mut [0.0], 1, 1).unwrap(), &mut Scratch::new()).unwrap();
    finish(&mut state, &[5.0; 4]);
    finish(&mut state, &[]);
    layer.forward(x, &mut state, MatMut::new(&mut [0.0], 1, 1).unwrap(), &mut Scratch::new()).unwrap();
    layer.reset(&mut state);
    finish(&mut state, &[]);
}

#[test]
fn tiers_and_cuts_do_not_change_a_bit() {
    let (input, output) = (9, 20);
    for (kernel, stride, padding) in GEOMETRIES {
        let mut random = Random(kernel as u64);
        let dense = Weight::dense(random.mat(output, kernel * input, 0.5)).unwrap();
        let (u, v) = (random.mat(output, 4, 0.5), random.mat(4, kernel * input, 0.5));
        for weight in [dense, LowRank::from_factors(u, v).unwrap().into()] {
            let linear = Linear::new(weight, Some(random.vec(output, 0.5))).unwrap();
            let layer = TimeConvolution::new(linear, kernel, stride, padding).unwrap();
            let layer = layer.with_activation(Activation::ClippedRelu(1.5));
            let x = random.mat(29, input, 1.0);
            let exact = outputs(&layer, &x, 29, &mut layer.state().unwrap());
            let of_tier = |&tier: &Tier| {
                let layer = layer.quantize(tier).unwrap();
                let whole = outputs(&layer, &x, 29, &mut layer.state().unwrap());
                for cut in [1, 2, 3, 8, 28] {
                    let pieces = outputs(&layer, &x, cut, &mut layer.state().unwrap());
                    assert_eq!(bits(&pieces), bits(&whole), "{tier}, cut {cut}");
                }
                whole
            };
            let of_tiers: Vec<_> = Tier::available().iter().map(of_tier).collect();
            for (y, exact) in of_tiers[0].iter().zip(&exact) {
                assert!((0.0..=1.5).contains(y) && (y - exact).abs() < 0.1, "{y} for {exact}");
            }
            assert!(of_tiers.windows(2).all(|pair| bits(&pair[0]) == bits(&pair[1])), "tiers differ");
        }
    }
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_moves() {
    let linear = |n, k| Linear::new(Weight::dense(Mat::zeros(n, k).unwrap()).unwrap(), None).unwrap();
    let parameter = |what, expected| Error::Parameter { what, value: 0.0, expected };
    let refused = TimeConvolution::new(linear(2, 6), 0, 1, 0).unwrap_err();
    assert_eq!(refused, parameter("kernel", "at least 1"));
    let refused = TimeConvolution::new(linear(2, 6), 3, 0, 0).unwrap_err();
    assert_eq!(refused, parameter("stride", "at least 1"));
    let refused = TimeConvolution::new(linear(2, 6), 3, 1, 3).unwrap_err();
    assert_eq!(refused, Error::Parameter { what: "padding", value: 3.0, expected: "below the kernel" });
    let refused = TimeConvolution::new(linear(2, 7), 3, 1, 0).unwrap_err();
    assert_eq!(refused, Error::Shape { what: "weight", expected: (2, 9), found: (2, 7) });
    let refused = TimeConvolution::new(linear(2, 0), 3, 1, 0).unwrap_err();
    assert_eq!(refused, Error::Shape { what: "weight", expected: (2, 3), found: (2, 0) });
    let refused = TimeConvolution::from_conv1d(&[0.0; 11], [2, 2, 3], None, 1, 0).unwrap_err();
    assert_eq!(refused, Error::Length { what: "matrix data", expected: 12, found: 11 });
    assert!(TimeConvolution::from_conv1d(&[], [2, usize::MAX, 3], None, 1, 0).is_err());

    let layer = TimeConvolution::new(linear(2, 6), 3, 1, 1).unwrap();
    let mut state = layer.state().unwrap();
    let mut scratch = Scratch::new();
    let x = Mat::zeros(4, 2).unwrap();
    let mut out = Mat::from_vec(vec![7.0; 4], 2, 2).unwrap();
    let refused = layer.forward(x.view(), &mut state, out.view_mut(), &mut scratch).unwrap_err();
    assert_eq!(refused, Error::Shape { what: "output", expected: (3, 2), found: (2, 2) });
    let refused = layer.forward(out.view(), &mut state, Mat::zeros(3, 3).unwrap().view_mut(), &mut scratch);
    assert_eq!(refused.unwrap_err(), Error::Shape { what: "output", expected: (3, 2), found: (3, 3) });
    assert_eq!((out.as_slice(), layer.outputs(&state, 4)), (&[7.0; 4][..], 3));

    // The state is another layer's, whose frames take the same space.
    let other = TimeConvolution::new(linear(2, 5), 5, 1, 4).unwrap();
    let mut other = other.state().unwrap();
    let refused = layer.forward(x.view(), &mut other, MatMut::new(&mut [0.0; 8], 4, 2).unwrap(), &mut scratch);
    assert_eq!(refused.unwrap_err(), Error::Shape { what: "state", expected: (2, 2), found: (4, 1) });
    assert_eq!(layer.outputs(&state, usize::MAX), usize::MAX - 2);
}

#[cfg(feature = "svd")]
#[test]
fn a_factored_convolution_of_full_rank_is_the_dense_one() {
    use skinny::factored::RankPolicy;

    let mut random = Random(2);
    let layer = TimeConvolution::from_conv1d(&random.vec(12 * 4 * 3, 0.5), [12, 4, 3], None, 2, 1).unwrap();
    let factored = layer.factor(RankPolicy::Variance(1.0)).unwrap();
    assert_eq!(factored.linear().weight().rank(), Some(12));
    let x = random.mat(20, 4, 1.0);
    let run = |layer: &TimeConvolution| outputs(layer, &x, 20, &mut layer.state().unwrap());
    for (a, b) in run(&layer).iter().zip(run(&factored)) {
        assert!((a - b).abs() < 1e-5, "{b} for {a}");
    }
}
