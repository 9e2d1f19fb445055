//! Operations against numpy in f64 (tests/numpy/operations.py), as layers of a model that streams: the same bits however
//! frames are cut, in `f32` files and back.
#![cfg(feature = "safetensors")]

#[path = "common/layers.rs"]
mod common;

use std::path::Path;
use std::sync::Arc;

use common::{Random, bits, expect_same_bits};
use skinny::factored::{
    Affine, Bidirectional, DepthwiseConvolution, Embedding, Function, LayerNorm, Linear, LowRank, Mapping, OverTime,
    Reduction, Rnn, RnnFunction, Scratch, Slice, Table, TimeConvolution, Weight, Windows,
};
use skinny::kernels::{Activation, WeightFormat};
use skinny::model::{Graph, Layer, Model, Session, TensorFile};
use skinny::{Error, FileError, Mat, MatMut, MatRef, Tier};

struct Fixture(Vec<u8>);

impl Fixture {
    fn load() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/numpy/operations.safetensors");
        Self(std::fs::read(path).unwrap())
    }

    fn vec(&self, name: &str) -> Vec<f32> {
        TensorFile::new(&self.0).unwrap().floats(name).unwrap().1
    }

    fn mat(&self, name: &str) -> Mat<f32> {
        let (shape, values) = TensorFile::new(&self.0).unwrap().floats(name).unwrap();
        Mat::from_vec(values, shape[0], shape[1]).unwrap()
    }

    fn names(&self) -> Vec<String> {
        TensorFile::new(&self.0).unwrap().tensors().into_iter().map(|tensor| tensor.name).collect()
    }
}

fn stream(model: &Arc<Model>, x: &Mat<f32>, time_batch: usize, cut: usize) -> Vec<f32> {
    let mut session = Session::new(model.clone()).unwrap().with_time_batch(time_batch).unwrap();
    let mut out = Vec::new();
    for piece in x.as_slice().chunks(cut * x.cols()) {
        let piece = MatRef::new(piece, piece.len() / x.cols(), x.cols()).unwrap();
        out.extend_from_slice(session.push(piece).unwrap().as_slice());
    }
    out.extend_from_slice(session.finish().unwrap().as_slice());
    out
}

/// The outputs of a model, which are the same bits however frames are cut and after a file.
fn outputs(model: Model, x: &Mat<f32>) -> Vec<f32> {
    let file = model.to_bytes().unwrap();
    let again = Model::from_bytes(&file, Tier::Portable).unwrap();
    assert_eq!(again.to_bytes().unwrap(), file);
    let whole = stream(&Arc::new(model), x, 4, x.rows());
    let again = Arc::new(again);
    for (time_batch, cut) in [(1, 1), (3, 2), (10, 7)] {
        assert_eq!(bits(&stream(&again, x, time_batch, cut)), bits(&whole), "time batch {time_batch}, cut {cut}");
    }
    whole
}

fn of_layer(layer: Layer, x: &Mat<f32>) -> Vec<f32> {
    outputs(Model::new(vec![("layer".into(), layer)]).unwrap(), x)
}

fn expect_close(what: &str, found: &[f32], expected: &[f32], relative: f32, absolute: f32) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let difference = (found - expected).abs();
        assert!(difference <= relative * expected.abs() + absolute, "{what}, element {i}: {found} for {expected}");
    }
}

const FUNCTIONS: [(&str, Function); 16] = [
    ("tanh", Function::Tanh),
    ("sigmoid", Function::Sigmoid),
    ("relu", Function::Relu),
    ("clipped_relu", Function::ClippedRelu(6.0)),
    ("leaky_relu", Function::LeakyRelu(0.01)),
    ("silu", Function::Silu),
    ("gelu", Function::Gelu),
    ("gelu_tanh", Function::GeluTanh),
    ("hard_sigmoid", Function::HardSigmoid { slope: 0.2, offset: 0.5 }),
    ("hard_swish", Function::HardSwish),
    ("absolute", Function::Absolute),
    ("square", Function::Square),
    ("square_root", Function::SquareRoot),
    ("softmax", Function::Softmax),
    ("log_softmax", Function::LogSoftmax),
    ("normalize", Function::Normalize { epsilon: 1e-3 }),
];

#[test]
fn functions_are_those_of_numpy() {
    let fixture = Fixture::load();
    let x = fixture.mat("function.x");
    for (name, function) in FUNCTIONS {
        let found = of_layer(Layer::Mapping(Mapping::new(function, x.cols()).unwrap()), &x);
        let absolute = if name == "gelu" { 2e-6 } else { 1e-6 };
        expect_close(name, &found, &fixture.vec(&format!("function.{name}")), 2e-6, absolute);
    }
    let named = fixture.names().iter().filter(|name| name.starts_with("function.")).count();
    assert_eq!(named, FUNCTIONS.len() + 1);
}

/// Every target gives these bits.
#[test]
fn functions_have_the_same_bits_everywhere() {
    let mut x: Vec<f32> = Random(5).vec(1000, 9.0);
    x.extend([0.0, -0.0, 1e-38, -1e-38, 1e-45, 60.0, -60.0, 3e38, -3e38]);
    let hash = FUNCTIONS.iter().fold(common::HASH_OF_NOTHING, |hash, (_, function)| {
        let mut y = x.clone();
        y.chunks_mut(37).for_each(|frame| function.apply(frame));
        common::hash(hash, &y)
    });
    assert_eq!(hash, 0x97d2_d683_b9c2_2fb3, "{hash:#x}");
}

#[test]
fn functions_take_any_number() {
    let frame = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, 1e-45, -0.0, 1.0];
    for (name, function) in FUNCTIONS {
        for start in 0..frame.len() {
            function.apply(&mut frame[start..].to_vec());
        }
        function.apply(&mut []);
        let mut nan = [f32::NAN; 3];
        function.apply(&mut nan);
        if matches!(name, "relu" | "clipped_relu" | "hard_sigmoid" | "square_root") {
            assert_eq!(nan.map(f32::to_bits), [0; 3], "{name}");
        }
    }
    let mut frame = [f32::NEG_INFINITY, 1.0, f32::NEG_INFINITY, 1.0];
    Function::Softmax.apply(&mut frame);
    assert_eq!(frame.map(|y| y + 1.0), [1.0, 1.5, 1.0, 1.5]);
    for bad in [Function::ClippedRelu(0.0), Function::Normalize { epsilon: -1.0 }] {
        assert!(matches!(Mapping::new(bad, 3), Err(Error::Parameter { .. })));
    }
    assert!(matches!(Mapping::new(Function::LeakyRelu(f32::NAN), 3), Err(Error::NotFinite { .. })));
}

#[test]
fn normalizations_are_those_of_numpy() {
    let fixture = Fixture::load();
    let x = fixture.mat("norm.x");
    let [mean, variance, weight, bias] =
        ["mean", "variance", "weight", "bias"].map(|p| fixture.vec(&format!("norm.{p}")));
    let norm = Affine::batch_norm(&mean, &variance, Some(&weight), Some(&bias), 1e-5).unwrap();
    expect_close("batch", &of_layer(Layer::Affine(norm), &x), &fixture.vec("norm.batch"), 1e-5, 1e-5);
    let layer = |weight, bias| Layer::LayerNorm(LayerNorm::new(13, weight, bias, 1e-5).unwrap());
    let whole = of_layer(layer(Some(weight), Some(bias)), &x);
    expect_close("layer", &whole, &fixture.vec("norm.layer"), 1e-5, 1e-5);
    expect_close("plain", &of_layer(layer(None, None), &x), &fixture.vec("norm.layer_plain"), 1e-5, 1e-5);

    assert!(Affine::batch_norm(&[0.0], &[-1.0], None, None, 2.0).is_err());
    assert!(Affine::batch_norm(&[0.0], &[0.0], None, None, 0.0).is_err());
    assert!(Affine::batch_norm(&[0.0], &[1.0, 1.0], None, None, 0.0).is_err());
    assert!(LayerNorm::new(3, Some(vec![1.0; 2]), None, 1e-5).is_err());
    assert!(LayerNorm::new(3, None, None, 0.0).is_err());
}

/// A scale and shift folded into a neighbour, in every form of its weight, computes what both do.
#[test]
fn scales_fold_into_both_neighbours() {
    let mut random = Random(3);
    let (input, output) = (6, 9);
    let low_rank =
        |random: &mut Random, n, k| LowRank::from_factors(random.mat(n, 3, 0.5), random.mat(3, k, 0.5)).unwrap();
    let weights = [
        Weight::dense(random.mat(output, input, 0.5)).unwrap(),
        low_rank(&mut random, output, input).into(),
        Weight::stack(vec![low_rank(&mut random, 5, input).into(), Weight::dense(random.mat(4, input, 0.5)).unwrap()])
            .unwrap(),
    ];
    let affine = |random: &mut Random, n| Affine::new(random.vec(n, 2.0), random.vec(n, 1.0)).unwrap();
    let (before, after) = (affine(&mut random, input), affine(&mut random, output));
    let x = random.mat(11, input, 1.0);
    for weight in weights {
        for bias in [None, Some(random.vec(output, 1.0))] {
            let plain = Linear::new(weight.clone(), bias).unwrap();
            let run = |layers: Vec<Layer>| {
                let named = layers.into_iter().enumerate().map(|(i, layer)| (i.to_string(), layer)).collect();
                outputs(Model::new(named).unwrap(), &x)
            };
            let apart = run(vec![Layer::Linear(plain.clone()), Layer::Affine(after.clone())]);
            let folded = after.fold_into(&plain).unwrap();
            assert_eq!(folded.weight().parameters(), weight.parameters());
            expect_close("after", &run(vec![Layer::Linear(folded)]), &apart, 1e-5, 1e-5);
            let plain = plain.with_activation(Activation::Relu);
            let apart = run(vec![Layer::Affine(before.clone()), Layer::Linear(plain.clone())]);
            let folded = before.fold_before(&plain).unwrap();
            assert_eq!(folded.weight().parameters(), weight.parameters());
            expect_close("before", &run(vec![Layer::Linear(folded)]), &apart, 1e-5, 1e-5);
            assert!(matches!(after.fold_into(&plain), Err(Error::Stored { .. })));
            let quantized = plain.quantize(Tier::Portable).unwrap();
            assert!(matches!(before.fold_before(&quantized), Err(Error::Stored { .. })));
            assert!(matches!(after.fold_before(&plain), Err(Error::Length { .. })));
        }
    }
}

#[test]
fn recurrent_layers_without_gates_are_those_of_numpy() {
    let fixture = Fixture::load();
    let x = fixture.mat("rnn.x");
    let [w, r] = ["weight_ih", "weight_hh"].map(|name| Weight::dense(fixture.mat(&format!("rnn.{name}"))).unwrap());
    let [b, c] = ["bias_ih", "bias_hh"].map(|name| fixture.vec(&format!("rnn.{name}")));
    for (name, function) in [("tanh", RnnFunction::Tanh), ("relu", RnnFunction::Relu)] {
        let rnn = Rnn::new(w.clone(), r.clone(), Some(b.clone()), Some(c.clone())).unwrap().with_function(function);
        let expected = fixture.vec(&format!("rnn.{name}"));
        expect_close(name, &of_layer(Layer::Rnn(rnn.clone()), &x), &expected, 1e-5, 1e-5);
        expect_same_bits(name, &rnn, &WeightFormat::ALL);

        // Both directions; the reverse one has the frames from the last to the first.
        let both = Layer::BidirectionalRnn(Bidirectional::new(rnn.clone(), rnn).unwrap());
        let found = of_layer(both, &x);
        let forward: Vec<f32> = found.chunks(18).flat_map(|row| &row[..9]).copied().collect();
        expect_close(name, &forward, &expected, 1e-5, 1e-5);
        let reversed: Vec<f32> = x.as_slice().chunks(6).rev().flatten().copied().collect();
        let rnn = Rnn::new(w.clone(), r.clone(), Some(b.clone()), Some(c.clone())).unwrap().with_function(function);
        let reverse = of_layer(Layer::Rnn(rnn), &Mat::from_vec(reversed, 25, 6).unwrap());
        let found: Vec<f32> = found.chunks(18).rev().flat_map(|row| &row[9..]).copied().collect();
        assert_eq!(bits(&found), bits(&reverse));
    }
    let wrong = Rnn::new(r.clone(), w.clone(), None, None).map(drop);
    assert_eq!(wrong, Err(Error::Shape { what: "weight_hh", expected: (6, 6), found: (9, 6) }));
    assert!(Rnn::new(w, r, Some(vec![0.0; 8]), None).is_err());
}

#[test]
fn a_state_of_a_layer_without_gates_is_set_by_name() {
    let weight = |w: f32| Weight::dense(Mat::from_vec(vec![w], 1, 1).unwrap()).unwrap();
    let rnn = Rnn::new(weight(1.0), weight(2.0), None, None).unwrap().with_function(RnnFunction::Relu);
    let mut session = Session::new(Arc::new(Model::new(vec![("rnn".into(), Layer::Rnn(rnn))]).unwrap())).unwrap();
    session.set_state("rnn.h", &[10.0]).unwrap();
    session.push(MatRef::row_vector(&[0.5])).unwrap();
    assert_eq!(session.flush().unwrap().as_slice(), [20.5]);
    assert_eq!(session.states().map(|(name, h)| (name, h[0])).collect::<Vec<_>>(), [("rnn.h".to_string(), 20.5)]);
    assert!(session.set_state("rnn.c", &[1.0]).is_err());
}

/// All geometries and numbers of groups of the fixture: dense, depthwise, and groups as a graph of slices.
#[test]
fn convolutions_are_those_of_numpy() {
    let fixture = Fixture::load();
    let mut counts = [0; 3];
    for name in fixture.names() {
        let Some(name) = name.strip_suffix(" y") else { continue };
        let numbers: Vec<usize> = name.split(' ').skip(1).map(|number| number.parse().unwrap()).collect();
        let [groups, kernel, stride, dilation, before, after] = numbers.try_into().unwrap();
        let windows = Windows { kernel, stride, dilation, before, after };
        let part = |part: &str| fixture.vec(&format!("{name} {part}"));
        let (x, weight, bias, y) = (fixture.mat(&format!("{name} x")), part("weight"), part("bias"), part("y"));
        let (input, output) = (x.cols(), bias.len());
        let convolution = |weight: &[f32], bias: &[f32], input: usize| {
            let shape = [bias.len(), input, kernel];
            let plain = TimeConvolution::from_conv1d(weight, shape, Some(bias.to_vec()), 1, 0).unwrap();
            TimeConvolution::with_windows(plain.linear().clone(), windows).unwrap()
        };
        let model = if groups == 1 {
            counts[0] += 1;
            Model::new(vec![("conv".into(), Layer::TimeConvolution(convolution(&weight, &bias, input)))]).unwrap()
        } else if groups == input && input == output {
            counts[1] += 1;
            let layer = DepthwiseConvolution::from_conv1d(&weight, input, Some(bias.clone()), windows).unwrap();
            assert_eq!((layer.parameters(), layer.bytes()), (input * kernel + input, 4 * (input * kernel + input)));
            Model::new(vec![("conv".into(), Layer::Depthwise(layer))]).unwrap()
        } else {
            counts[2] += 1;
            let each = (weight.len() / groups, output / groups);
            let of_group = weight.chunks(each.0).zip(bias.chunks(each.1));
            let layers = of_group.map(|(weight, bias)| convolution(weight, bias, input / groups)).collect();
            let mut graph = Graph::new();
            let x = graph.input("x", input).unwrap();
            let y = graph.grouped_convolution("conv", layers, x).unwrap();
            graph.output("y", y).unwrap();
            graph.build().unwrap()
        };
        assert_eq!(model.stride(), stride);
        expect_close(name, &outputs(model, &x), &y, 1e-5, 1e-5);
    }
    assert_eq!(counts, [9, 9, 18]);
}

#[test]
fn windows_that_are_impossible_are_refused() {
    let linear = || Linear::new(Weight::dense(Mat::zeros(2, 6).unwrap()).unwrap(), None).unwrap();
    let plain = Windows::new(3, 1, 0);
    for (windows, what) in [
        (Windows { kernel: 0, ..plain }, "kernel is 0, must be at least 1"),
        (Windows { stride: 0, ..plain }, "stride is 0, must be at least 1"),
        (Windows { dilation: 0, ..plain }, "dilation is 0, must be at least 1"),
        (Windows { before: 3, ..plain }, "padding is 3, must be below the kernel"),
        (
            Windows { before: 1, after: 8, dilation: 4, ..plain },
            "padding is 9, must be below the extent of a window, both ends together",
        ),
        (
            Windows { dilation: usize::MAX, ..plain },
            "window: 3 x 18446744073709551615 elements exceed the address space",
        ),
    ] {
        #[cfg(target_pointer_width = "32")]
        let what = what.replace("18446744073709551615", "4294967295");
        assert_eq!(TimeConvolution::with_windows(linear(), windows).unwrap_err().to_string(), what);
        assert!(DepthwiseConvolution::new(Mat::zeros(windows.kernel, 4).unwrap(), None, windows).is_err());
    }
    // A window may be longer than memory, if the sequence is short.
    let windows = Windows { dilation: usize::MAX / 4, before: usize::MAX / 2 - 4, ..plain };
    let layer = Layer::TimeConvolution(TimeConvolution::with_windows(linear(), windows).unwrap());
    let model = Arc::new(Model::new(vec![("conv".into(), layer)]).unwrap());
    assert_eq!(stream(&model, &Random(1).mat(20, 2, 1.0), 4, 3).len(), 17 * 2);
}

#[test]
fn embeddings_take_rows_in_either_form() {
    let table = Random(2).mat(50, 8, 1.0);
    let layer = Embedding::new(table.clone()).unwrap();
    let indices = Mat::from_vec(vec![0.0, 49.0, 7.0, 7.0, 23.0, 1.0], 6, 1).unwrap();
    let expected: Vec<f32> = indices.as_slice().iter().flat_map(|&i| table.view().row(i as usize)).copied().collect();
    assert_eq!(of_layer(Layer::Embedding(layer.clone()), &indices), expected);

    let model = Model::new(vec![("embedding".into(), Layer::Embedding(layer.clone()))]).unwrap();
    for format in WeightFormat::ALL {
        let small = model.quantize_to(format, Tier::Portable).unwrap();
        assert_eq!((small.parameters(), small.bytes()), (400, 400 + 4 * 50));
        let again = small.dequantize().unwrap();
        assert_eq!(again.bytes(), 1600);
        let found = outputs(small, &indices);
        assert_eq!(found, outputs(again, &indices));
        for (row, &index) in found.chunks(8).zip(indices.as_slice()) {
            let exact = table.view().row(index as usize);
            let half = exact.iter().fold(0.0f32, |most, x| most.max(x.abs())) / 254.0 * 1.001;
            assert!(row.iter().zip(exact).all(|(y, x)| (y - x).abs() <= half));
        }
    }
    let mut out = vec![7.0; 16];
    for bad in [-1.0, 50.0, 0.5, f32::NAN, f32::INFINITY, 1e30] {
        let x = [3.0, bad];
        let out = MatMut::new(&mut out, 2, 8).unwrap();
        assert!(matches!(layer.forward(MatRef::new(&x, 2, 1).unwrap(), out), Err(Error::Parameter { .. })), "{bad}");
    }
    assert_eq!(out, [7.0; 16]);
    let mut session = Session::new(Arc::new(model)).unwrap().with_time_batch(1).unwrap();
    let error = session.push(MatRef::row_vector(&[50.0])).map(drop).unwrap_err();
    assert!(matches!(&error, Error::File(FileError::Layer { layer, .. }) if layer == "embedding"));
    let told = "layer embedding: index into an embedding is 50, must be a whole number below the number of rows";
    assert_eq!(error.to_string(), told);
    session.reset();
    assert_eq!(session.push(MatRef::row_vector(&[49.0])).unwrap().row(0), table.view().row(49));
    assert!(matches!(layer.quantize().unwrap().table(), Table::I8(_)));
}

#[test]
fn one_frame_of_a_sequence_is_that_of_numpy() {
    let fixture = Fixture::load();
    let x = fixture.mat("time.x");
    for reduction in Reduction::ALL {
        let name = reduction.name();
        let model = Model::new(vec![("time".into(), Layer::OverTime(OverTime::new(reduction, 7)))]).unwrap();
        assert!(!model.is_streaming() && model.delay().is_none());
        expect_close(name, &outputs(model, &x), &fixture.vec(&format!("time.{name}")), 1e-7, 0.0);
    }
    // Values that are one frame per sequence meet, and layers follow.
    let mut random = Random(4);
    let fc = Linear::new(Weight::dense(random.mat(3, 14, 0.5)).unwrap(), None).unwrap();
    let mut graph = Graph::new();
    let value = graph.input("x", 7).unwrap();
    let mean = graph.over_time("mean", Reduction::Mean, value).unwrap();
    let last = graph.over_time("last", Reduction::Last, value).unwrap();
    let both = graph.concat("both", &[mean, last]).unwrap();
    let y = graph.layer("fc", Layer::Linear(fc.clone()), both).unwrap();
    let unit = graph.function("unit", Function::Normalize { epsilon: 1e-12 }, y).unwrap();
    let told = |result: Result<skinny::model::Value, Error>| result.unwrap_err().to_string();
    let error = "layer sum: x and x > mean: a frame at a time, and one per sequence";
    assert_eq!(told(graph.add("sum", &[value, mean])), error);
    let error = "layer again: x > mean: its input is one frame for the sequence already";
    assert_eq!(told(graph.over_time("again", Reduction::Sum, mean)), error);
    let conv =
        TimeConvolution::new(Linear::new(Weight::dense(random.mat(1, 14, 1.0)).unwrap(), None).unwrap(), 2, 1, 0);
    let error = "layer conv: x > mean: its input is one frame for the sequence, which has no windows";
    assert_eq!(told(graph.layer("conv", Layer::TimeConvolution(conv.unwrap()), mean)), error);
    graph.output("embedding", unit).unwrap();
    let found = outputs(graph.build().unwrap(), &x);
    let input = [fixture.vec("time.mean"), fixture.vec("time.last")].concat();
    let mut expected = vec![0.0; 3];
    let (x, out) = (MatRef::row_vector(&input), MatMut::row_vector(&mut expected));
    fc.forward(x, out, &mut Scratch::new()).unwrap();
    let norm = expected.iter().map(|y| y * y).sum::<f32>().sqrt();
    expected.iter_mut().for_each(|y| *y /= norm);
    expect_close("embedding", &found, &expected, 1e-5, 1e-6);
}

#[test]
fn slices_keep_their_features() {
    let x = Random(6).mat(9, 5, 1.0);
    let mut graph = Graph::new();
    let value = graph.input("x", 5).unwrap();
    let [a, b] = [0..2, 2..5].map(|range| graph.slice(format!("{range:?}"), range, value).unwrap());
    let swapped = graph.concat("swapped", &[b, a]).unwrap();
    graph.output("y", swapped).unwrap();
    let expected: Vec<f32> = x.as_slice().chunks(5).flat_map(|row| [&row[2..], &row[..2]].concat()).collect();
    assert_eq!(outputs(graph.build().unwrap(), &x), expected);
    for (start, end) in [(0, 0), (2, 1), (0, 6), (5, 6), (usize::MAX, usize::MAX)] {
        assert!(matches!(Slice::new(start..end, 5), Err(Error::Parameter { .. })), "{start}..{end}");
    }
}
