//! The fully connected layer and its weights: dense, factored, in 8 and 4 bits, in batches.

#[path = "common/layers.rs"]
mod common;

use common::{Random, bits, product_bound};
use skinny::factored::{
    Bidirectional, Gru, Linear, LowRank, LowRankLinear, Lstm, RankPolicy, Recurrent, Scratch, TimeConvolution, Weight,
};
use skinny::kernels::{Activation, PackedMat, Sums, WeightFormat, Workspace, gemm};
use skinny::model::{Layer, Model};
use skinny::quant::{QuantizedActivations, QuantizedMat, QuantizedMatI4, ZeroPoint};
use skinny::{Error, FileError, Mat, MatMut, MatRef, Tier};

#[test]
fn a_linear_layer_in_8_bits_is_within_the_bound_of_its_steps() {
    const K: usize = 61;
    let (n, k, m) = (37, K, 5);
    let mut random = Random(11);
    let (w, bias, x) = (random.mat(n, k, 0.4), random.vec(n, 1.0), random.mat(m, k, 3.0));
    let dense = Linear::new(Weight::dense(w.clone()).unwrap(), Some(bias)).unwrap();
    let (mut exact, mut out) = (vec![0.0; m * n], vec![0.0; m * n]);
    let mut scratch = Scratch::new();
    dense.forward(x.view(), MatMut::new(&mut exact, m, n).unwrap(), &mut scratch).unwrap();
    for &tier in Tier::available() {
        let layer = dense.quantize(tier).unwrap();
        layer.forward(x.view(), MatMut::new(&mut out, m, n).unwrap(), &mut scratch).unwrap();
        for i in 0..m {
            for j in 0..n {
                let bound = product_bound(w.view().row(j), x.view().row(i), &[0.0; K]);
                let (out, exact) = (f64::from(out[i * n + j]), f64::from(exact[i * n + j]));
                assert!((out - exact).abs() <= bound, "{tier}, {i}, {j}: {out} for {exact}, bound {bound}");
                assert!(bound < 0.5, "a bound of {bound} says nothing");
            }
        }
    }
}

#[test]
fn a_batch_is_its_vectors_one_by_one() {
    let (n, k, m) = (45, 52, 13);
    let mut random = Random(4);
    let x = random.mat(m, k, 1.0);
    let low_rank = LowRank::from_factors(random.mat(n, 9, 1.0), random.mat(9, k, 1.0)).unwrap();
    let dense = Weight::dense(random.mat(n, k, 1.0)).unwrap();
    for weight in [dense, low_rank.into()] {
        let layer = Linear::new(weight, None).unwrap().with_activation(Activation::ClippedRelu(1.5));
        for layer in [layer.clone(), layer.quantize(Tier::select().unwrap()).unwrap()] {
            let (mut all, mut one) = (vec![0.0; m * n], vec![0.0; n]);
            let mut scratch = Scratch::new();
            layer.forward(x.view(), MatMut::new(&mut all, m, n).unwrap(), &mut scratch).unwrap();
            assert!(all.iter().all(|y| (0.0..=1.5).contains(y)));
            for (i, all) in all.chunks(n).enumerate() {
                let x = MatRef::row_vector(x.view().row(i));
                layer.forward(x, MatMut::row_vector(&mut one), &mut scratch).unwrap();
                assert_eq!(bits(&one), bits(all));
            }
        }
    }
}

#[test]
fn the_pipeline_by_hand_is_what_quantize_does() {
    let mut random = Random(6);
    let low_rank = LowRank::from_factors(random.mat(30, 8, 1.0), random.mat(8, 20, 1.0)).unwrap();
    let tier = Tier::select().unwrap();
    let (u, v) = (QuantizedMat::quantize(low_rank.u()).unwrap(), QuantizedMat::quantize(low_rank.v()).unwrap());
    let by_hand = skinny::factored::LowRankLinear::from_quantized(&u, &v, tier).unwrap();
    let at_once = Weight::from(low_rank).quantize(tier).unwrap();
    let x = random.mat(3, 20, 1.0);
    let outputs = [by_hand.into(), at_once].map(|weight: Weight| {
        let mut out = vec![0.0; 90];
        let y = MatMut::new(&mut out, 3, 30).unwrap();
        weight.apply(x.view(), None, Activation::Identity, y, &mut Scratch::new()).unwrap();
        out
    });
    assert_eq!(outputs[0], outputs[1]);
}

#[test]
fn layers_run_in_4_bits_the_same_on_every_tier() {
    let value = |i: usize| ((i * 37 + 11) % 101) as f32 / 50.0 - 1.0;
    let (n, k) = (70, 100);
    let w = Mat::from_vec((0..n * k).map(value).collect(), n, k).unwrap();
    let x: Vec<f32> = (0..3 * k).map(|i| value(i + 5)).collect();
    let x = MatRef::new(&x, 3, k).unwrap();
    let layer = Linear::new(Weight::dense(w).unwrap(), None).unwrap();
    let run = |layer: &Linear| {
        let mut out = Mat::<f32>::zeros(3, n).unwrap();
        layer.forward(x, out.view_mut(), &mut Scratch::new()).unwrap();
        out.into_vec()
    };
    let exact = run(&layer);
    for format in WeightFormat::ALL {
        let portable = run(&layer.quantize_to(format, Tier::Portable).unwrap());
        // A weight is off by half a quantization step at most: 1/14 in 4 bits, 1/254 in 8. An activation is off by
        // 1/254.
        let bound = k as f32 * if format == WeightFormat::I8 { 0.009 } else { 0.08 };
        for (y, exact) in portable.iter().zip(&exact) {
            assert!((y - exact).abs() < bound, "{format:?}: {y} for {exact}");
        }
        for &tier in Tier::available() {
            assert_eq!(run(&layer.quantize_to(format, tier).unwrap()), portable, "{tier} {format:?}");
        }
    }
}

/// With zero points the sums are those of `q - z`, by definition.
#[test]
fn quantized_activations_bring_their_zero_points_to_the_product() {
    let (n, k, m) = (35, 40, 3);
    let mut random = Random(15);
    let w = QuantizedMat::quantize(random.mat(n, k, 1.0).view()).unwrap();
    // All of one sign, so that zero points are far from 0.
    let x: Vec<f32> = random.vec(m * k, 1.0).iter().map(|x| x.abs() + 0.5).collect();
    let mut quantized = QuantizedActivations::new();
    for zero_point in [ZeroPoint::PerColumn, ZeroPoint::None] {
        quantized.quantize(MatRef::new(&x, m, k).unwrap(), zero_point).unwrap();
        assert_eq!((quantized.m(), quantized.k()), (m, k));
        assert!(quantized.zero_points().iter().all(|&z| (z == -128) == (zero_point == ZeroPoint::PerColumn)));
        let sum = |i: usize| {
            let z = quantized.zero_points()[i / n];
            let terms = w.values().row(i % n).iter().zip(quantized.values().row(i / n));
            terms.map(|(&w, &q)| i32::from(w) * (i32::from(q) - z)).sum::<i32>()
        };
        let expected: Vec<i32> = (0..m * n).map(sum).collect();
        for &tier in Tier::available() {
            let packed = PackedMat::for_tier(w.values(), tier).unwrap();
            let mut found = vec![0; m * n];
            let out = MatMut::new(&mut found, m, n).unwrap();
            gemm(&packed, quantized.operand(), &Sums, out, &mut Workspace::new()).unwrap();
            assert_eq!(found, expected, "{tier} {zero_point:?}");
        }
    }
}

/// A matrix without elements may have any number of rows. There is nothing to do, and no loop over those rows.
#[test]
fn an_empty_output_takes_no_time() {
    let weight = Weight::dense(Mat::zeros(usize::MAX, 0).unwrap()).unwrap();
    let out = MatMut::new(&mut [], 0, usize::MAX).unwrap();
    weight.apply(MatRef::new(&[], 0, 0).unwrap(), None, Activation::Relu, out, &mut Scratch::new()).unwrap();
    let weight = Weight::dense(Mat::zeros(0, 3).unwrap()).unwrap();
    let (x, out) = (MatRef::new(&[1.0; 6], 2, 3).unwrap(), MatMut::new(&mut [], 2, 0).unwrap());
    weight.apply(x, None, Activation::Relu, out, &mut Scratch::new()).unwrap();
}

fn dense(random: &mut Random, n: usize, k: usize) -> Weight {
    Weight::dense(random.mat(n, k, 1.0)).unwrap()
}

const INPUT: usize = 7;
const HIDDEN: usize = 6;

fn gru(random: &mut Random) -> Gru {
    let (w, r) = (dense(random, 3 * HIDDEN, INPUT), dense(random, 3 * HIDDEN, HIDDEN));
    Gru::new(w, r, Some(random.vec(3 * HIDDEN, 1.0)), None).unwrap()
}

fn lstm(random: &mut Random) -> Lstm {
    let (w, r) = (dense(random, 4 * HIDDEN, INPUT), dense(random, 4 * HIDDEN, HIDDEN));
    Lstm::new(w, r, Some(random.vec(4 * HIDDEN, 1.0)), Some(random.vec(4 * HIDDEN, 1.0))).unwrap()
}

/// The numbers of weights and biases, by hand. In `f32` each takes four bytes.
#[test]
fn parameters_and_bytes_are_those_of_weights_and_biases() {
    let r = &mut Random(21);
    let thin = LowRank::from_factors(r.mat(9, 2, 1.0), r.mat(2, INPUT, 1.0)).unwrap();
    assert_eq!((thin.parameters(), thin.n(), thin.k(), thin.rank()), (2 * (9 + INPUT), 9, INPUT, 2));
    let convolution = Linear::new(dense(r, 5, 3 * INPUT), Some(r.vec(5, 1.0))).unwrap();
    let convolution = TimeConvolution::new(convolution, 3, 1, 0).unwrap();
    let (w, rz, n) = (dense(r, 3 * HIDDEN, INPUT), dense(r, 2 * HIDDEN, HIDDEN), dense(r, HIDDEN, HIDDEN));
    let before = Gru::reset_before(w, rz, n, None, Some(r.vec(3 * HIDDEN, 1.0))).unwrap();
    let (w, hh, hr) = (dense(r, 4 * HIDDEN, INPUT), dense(r, 4 * HIDDEN, 4), dense(r, 4, HIDDEN));
    let projected = Lstm::with_projection(w, hh, hr, None, None).unwrap();
    let (of_gru, of_lstm) = (3 * HIDDEN * (INPUT + HIDDEN + 1), 4 * HIDDEN * (INPUT + HIDDEN + 2));
    let layers = [
        (Layer::Linear(Linear::new(thin, Some(r.vec(9, 1.0))).unwrap()), 2 * (9 + INPUT) + 9),
        (Layer::TimeConvolution(convolution), 5 * (3 * INPUT + 1)),
        (Layer::Gru(gru(r)), of_gru),
        (Layer::Gru(before), of_gru),
        (Layer::Lstm(lstm(r)), of_lstm),
        (Layer::Lstm(projected), 4 * HIDDEN * (INPUT + 4) + 4 * HIDDEN),
        (Layer::BidirectionalGru(Bidirectional::new(gru(r), gru(r)).unwrap()), 2 * of_gru),
        (Layer::BidirectionalLstm(Bidirectional::new(lstm(r), lstm(r)).unwrap()), 2 * of_lstm),
    ];
    for (layer, parameters) in layers {
        let numbers = (layer.parameters(), layer.bytes());
        assert_eq!(numbers, (parameters, 4 * parameters), "{}", layer.kind());
        for &tier in Tier::available() {
            for format in WeightFormat::ALL {
                let quantized = layer.quantize_to(format, tier).unwrap();
                assert_eq!(quantized.parameters(), parameters, "{}", layer.kind());
            }
        }
        let model = Model::new(vec![("layer".into(), layer)]).unwrap();
        assert_eq!((model.parameters(), model.bytes()), numbers);
    }
    let (first, second) = (dense(r, 5, 3), dense(r, 4, 5));
    let layer = |weight| Layer::Linear(Linear::new(weight, None).unwrap());
    let model = Model::new(vec![("a".into(), layer(first)), ("b".into(), layer(second))]).unwrap();
    assert_eq!((model.parameters(), model.bytes()), (35, 140));
}

#[test]
fn quantized_weights_take_their_panels_and_a_scale_per_row() {
    let w = Random(22).mat(21, 40, 1.0);
    let rounded = QuantizedMat::quantize(w.view()).unwrap();
    let Weight::Dense(f32) = Weight::dense(w).unwrap() else { panic!("not dense") };
    assert_eq!((f32.tier(), f32.stored_as(), f32.format()), (None, None, "f32"));
    for &tier in Tier::available() {
        let quantized = f32.quantize_to(WeightFormat::I8, tier).unwrap();
        assert_eq!(quantized.bytes(), PackedMat::for_tier(rounded.values(), tier).unwrap().bytes() + 4 * 21);
        assert_eq!((quantized.tier(), quantized.stored_as()), (Some(tier), Some(WeightFormat::I8.into())));
        for (format, name) in WeightFormat::ALL.into_iter().zip(["int8", "int4", "int4 in groups of 32"]) {
            let quantized = f32.quantize_to(format, tier).unwrap();
            assert_eq!((quantized.tier(), quantized.stored_as()), (Some(tier), Some(format.into())));
            assert_eq!(quantized.format(), name);
        }
    }
}

/// The largest weight of a row has the largest multiplier, so that those of other groups are as fine as they can be.
#[test]
fn the_multipliers_of_groups_use_their_whole_range() {
    let mut w = Random(23).mat(3, 96, 0.1);
    w.view_mut().row_mut(1)[70] = -5.0;
    let quantized = QuantizedMatI4::quantize_grouped(w.view()).unwrap();
    for row in 0..3 {
        let multipliers = quantized.multipliers().unwrap();
        assert_eq!(multipliers.row(row).iter().max(), Some(&127), "row {row}");
    }
    assert_eq!(quantized.multipliers().unwrap().row(1), [3, 3, 127]);
}

#[test]
fn each_group_has_a_multiplier() {
    let from = |rows, cols| {
        QuantizedMatI4::from_parts(Mat::zeros(2, 40).unwrap(), Some(Mat::zeros(rows, cols).unwrap()), vec![1.0; 2])
    };
    assert!(from(2, 2).is_ok());
    for (rows, cols) in [(2, 1), (2, 3), (1, 2), (1, 4)] {
        let misfit = Error::Shape { what: "group multipliers", expected: (2, 2), found: (rows, cols) };
        assert_eq!(from(rows, cols).err(), Some(misfit));
    }
}

#[test]
fn weights_that_are_not_finite_are_refused_by_place() {
    let mut w = Random(24).mat(3, 5, 1.0);
    w.view_mut().row_mut(2)[3] = f32::INFINITY;
    let refused = Error::NotFinite { what: "weights", index: 13, value: f32::INFINITY };
    assert_eq!(QuantizedMat::quantize(w.view()).err(), Some(refused.clone()));
    assert_eq!(QuantizedMatI4::quantize(w.view()).err(), Some(refused));
}

#[test]
fn two_factors_are_one_weight() {
    let r = &mut Random(25);
    let low_rank = LowRank::from_factors(r.mat(8, 3, 1.0), r.mat(3, 5, 1.0)).unwrap();
    let layer = LowRankLinear::from(low_rank.clone());
    assert_eq!(layer.to_low_rank(), Some(low_rank.clone()));
    assert_eq!(layer.quantize(Tier::Portable).unwrap().to_low_rank(), None);
    let (x, bias) = (r.mat(4, 5, 1.0), r.vec(8, 1.0));
    let (mut found, mut expected) = (vec![0.0; 32], vec![0.0; 32]);
    let mut scratch = Scratch::new();
    let out = MatMut::new(&mut found, 4, 8).unwrap();
    layer.apply(x.view(), Some(&bias), Activation::Relu, out, &mut scratch).unwrap();
    let out = MatMut::new(&mut expected, 4, 8).unwrap();
    Weight::from(low_rank).apply(x.view(), Some(&bias), Activation::Relu, out, &mut scratch).unwrap();
    assert!(found == expected && found.iter().any(|&y| y > 0.0));

    let quantized = |n, k| QuantizedMat::quantize(Mat::zeros(n, k).unwrap().view()).unwrap();
    let refused = LowRankLinear::from_quantized(&quantized(8, 3), &quantized(4, 5), Tier::Portable).unwrap_err();
    assert_eq!(refused, Error::Shape { what: "factor V", expected: (3, 5), found: (4, 5) });
    let nan = Mat::from_vec(vec![0.0, 0.0, f32::NAN], 3, 1).unwrap();
    let refused = LowRankLinear::with_shared_u(nan, [Mat::zeros(1, 4).unwrap()]).unwrap_err();
    assert!(matches!(refused, Error::NotFinite { what: "factor U", index: 2, .. }));
    let refused = RankPolicy::Variance(0.5).rank(&[1.0, f64::NAN]).unwrap_err();
    assert!(matches!(refused, Error::NotFinite { what: "singular values", index: 1, .. }));
}

#[test]
fn a_product_into_another_shape_writes_nothing() {
    let Weight::Dense(f32) = dense(&mut Random(28), 4, 3) else { panic!("not dense") };
    for weight in [f32.clone(), f32.quantize_to(WeightFormat::I8, Tier::Portable).unwrap()] {
        for (rows, cols) in [(2, 5), (1, 4), (3, 4), (4, 2)] {
            let mut out = vec![7.0; rows * cols];
            let misfit = weight.apply(
                MatRef::new(&[1.0; 6], 2, 3).unwrap(),
                None,
                Activation::Identity,
                MatMut::new(&mut out, rows, cols).unwrap(),
                &mut Scratch::new(),
            );
            assert_eq!(misfit, Err(Error::Shape { what: "output", expected: (2, 4), found: (rows, cols) }));
            assert!(out.iter().all(|&y| y == 7.0));
        }
        for len in [0, 3, 5] {
            let (x, bias, mut out) = (MatRef::row_vector(&[1.0; 3]), vec![0.5; len], [7.0; 4]);
            let view = MatMut::row_vector(&mut out);
            let misfit = weight.apply(x, Some(&bias), Activation::Identity, view, &mut Scratch::new());
            assert_eq!(misfit, Err(Error::Length { what: "bias", expected: 4, found: len }));
            assert_eq!(out, [7.0; 4]);
        }
    }
}

/// An infinity counts as the largest finite magnitude of its column, with either sign, with and without zero points.
#[test]
fn infinities_become_the_largest_finite_values() {
    let bounded = |x: [f32; 4]| x.map(|x| if x.is_nan() { 0.0 } else { x.clamp(-2.0, 2.0) });
    for x in [
        [f32::NEG_INFINITY, 1.0, 2.0, -0.5],
        [f32::INFINITY, 1.0, -2.0, 0.5],
        [f32::INFINITY, f32::NEG_INFINITY, 2.0, 1.0],
        [f32::NAN, 1.0, -2.0, 0.5],
        [-f32::NAN, 1.0, -2.0, 0.5],
    ] {
        for zero_point in [ZeroPoint::None, ZeroPoint::PerColumn] {
            let [found, expected] = [x, bounded(x)].map(|x| {
                let mut quantized = QuantizedActivations::new();
                quantized.quantize(MatRef::row_vector(&x), zero_point).unwrap();
                let numbers = (quantized.scales().to_vec(), quantized.zero_points().to_vec());
                (quantized.values().as_slice().to_vec(), numbers)
            });
            assert_eq!(found, expected, "{x:?}, {zero_point:?}");
        }
    }
}

/// Even a sequence without frames must have frames of the right size.
#[test]
fn empty_sequences_of_another_width_are_refused() {
    fn refused<L: Recurrent>(layer: &L) {
        let x = MatRef::new(&[], 0, INPUT + 1).unwrap();
        let out = MatMut::new(&mut [], 0, layer.output_size()).unwrap();
        let misfit = layer.forward(x, &mut layer.state().unwrap(), out, &mut Scratch::new());
        assert_eq!(misfit, Err(Error::Shape { what: "input", expected: (0, INPUT), found: (0, INPUT + 1) }));
    }
    let r = &mut Random(26);
    refused(&gru(r));
    refused(&lstm(r));
    let layer = TimeConvolution::new(Linear::new(dense(r, 4, 3 * INPUT), None).unwrap(), 3, 1, 0).unwrap();
    let (x, out) = (MatRef::new(&[], 0, INPUT + 1).unwrap(), MatMut::new(&mut [], 0, 4).unwrap());
    let misfit = layer.forward(x, &mut layer.state().unwrap(), out, &mut Scratch::new());
    assert!(matches!(misfit, Err(Error::Shape { what: "input", .. })));
}

/// A state belongs to layers of its size.
#[test]
fn the_state_of_a_larger_layer_is_refused() {
    let r = &mut Random(27);
    let large = Gru::new(dense(r, 24, INPUT), dense(r, 24, 8), None, None).unwrap();
    let refused = gru(r).step(&[0.5; INPUT], &mut large.state().unwrap(), &mut Scratch::new()).unwrap_err();
    assert_eq!(refused, Error::Length { what: "hidden state", expected: HIDDEN, found: 8 });
    let large = Lstm::new(dense(r, 32, INPUT), dense(r, 32, 8), None, None).unwrap();
    let refused = lstm(r).step(&[0.5; INPUT], &mut large.state().unwrap(), &mut Scratch::new()).unwrap_err();
    assert_eq!(refused, Error::Length { what: "hidden state", expected: HIDDEN, found: 8 });
}

#[test]
fn onnx_weights_of_another_shape_are_refused() {
    let mat = |n, k| Mat::<f32>::zeros(n, k).unwrap();
    let expected = |what, expected, found| Some(Error::Shape { what, expected, found });
    let gru = |w: Mat<f32>, r: Mat<f32>| Gru::from_onnx(w.view(), r.view(), None, true).err();
    assert_eq!(gru(mat(12, 5), mat(13, 4)), expected("R", (12, 4), (13, 4)));
    assert_eq!(gru(mat(13, 5), mat(12, 4)), expected("W", (12, 5), (13, 5)));
    let lstm = |w: Mat<f32>, r: Mat<f32>| Lstm::from_onnx(w.view(), r.view(), None).err();
    assert_eq!(lstm(mat(16, 5), mat(17, 4)), expected("R", (16, 4), (17, 4)));
    assert_eq!(lstm(mat(17, 5), mat(16, 4)), expected("W", (16, 5), (17, 5)));
}

#[test]
fn models_have_layers_with_names_of_their_own() {
    assert_eq!(Model::new(vec![]).unwrap_err(), Error::Length { what: "layers", expected: 1, found: 0 });
    let layer = || Layer::Linear(Linear::new(dense(&mut Random(1), 3, 3), None).unwrap());
    let twice = Model::new(vec![("a".into(), layer()), ("a".into(), layer())]).unwrap_err();
    let cause = Error::Parameter { what: "layers of this name", value: 2.0, expected: "1" };
    let Error::File(FileError::Layer { .. }) = &twice else { panic!("{twice:?}") };
    assert!(twice.to_string().contains(&cause.to_string()), "{twice}");
}

/// A model streams unless some layer needs the whole sequence, and takes as many frames per output as its strides say.
#[test]
fn one_bidirectional_layer_ends_a_stream() {
    let r = &mut Random(29);
    let both = Bidirectional::new(gru(r), gru(r)).unwrap();
    let convolution = |r: &mut Random, input, stride| {
        let linear = Linear::new(dense(r, INPUT, 4 * input), None).unwrap();
        Layer::TimeConvolution(TimeConvolution::new(linear, 4, stride, 0).unwrap())
    };
    let mut layers = vec![("a".into(), convolution(r, 5, 2)), ("b".into(), convolution(r, INPUT, 3))];
    let model = Model::new(layers.clone()).unwrap();
    assert_eq!((model.is_streaming(), model.stride(), model.input_size(), model.output_size()), (true, 6, 5, INPUT));
    layers.push(("c".into(), Layer::BidirectionalGru(both)));
    let model = Model::new(layers).unwrap();
    assert_eq!((model.is_streaming(), model.stride(), model.output_size()), (false, 6, 2 * HIDDEN));
}
