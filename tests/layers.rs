//! The fully connected layer and its weights: dense, factored, in 8 and 4 bits, in batches.

#[path = "common/layers.rs"]
mod common;

use common::{Random, bits, product_bound};
use skinny::factored::{Linear, LowRank, Scratch, Weight};
use skinny::kernels::{Activation, PackedMat, Sums, WeightFormat, Workspace, gemm};
use skinny::quant::{QuantizedActivations, QuantizedMat, ZeroPoint};
use skinny::{Mat, MatMut, MatRef, Tier};

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
