//! The GRU, in one direction and in two, against its equations in `f64`, and against itself: any tier, time batch, cut
//! of the sequence and pool.

#[path = "common/layers.rs"]
mod common;

use common::{
    HASH_OF_NOTHING, Random, bits, expect_an_empty_sequence_leaves_the_state, expect_near, expect_same_bits,
    expect_within, floats, forward, hash, misfits_change_nothing, product, product_bound, sigmoid, whole,
};
use skinny::factored::{Bidirectional, Gru, GruState, Linear, LowRank, Quantization, Scratch, Weight};
use skinny::kernels::WeightFormat;
use skinny::{Error, Mat, Tier};

/// A GRU's parameters, with its equations in `f64` as PyTorch documents them.
struct Reference {
    input: usize,
    hidden: usize,
    weight_ih: Mat<f32>,
    weight_hh: Mat<f32>,
    bias_ih: Vec<f32>,
    bias_hh: Vec<f32>,
}

impl Reference {
    fn new(input: usize, hidden: usize, magnitude: f32) -> Self {
        let mut random = Random((input * 1000 + hidden) as u64);
        Self {
            input,
            hidden,
            weight_ih: random.mat(3 * hidden, input, magnitude),
            weight_hh: random.mat(3 * hidden, hidden, magnitude),
            bias_ih: random.vec(3 * hidden, magnitude),
            bias_hh: random.vec(3 * hidden, magnitude),
        }
    }

    fn gru(&self) -> Gru {
        let weight = |w: &Mat<f32>| Weight::dense(w.clone()).unwrap();
        let (bias_ih, bias_hh) = (self.bias_ih.clone(), self.bias_hh.clone());
        Gru::new(weight(&self.weight_ih), weight(&self.weight_hh), Some(bias_ih), Some(bias_hh)).unwrap()
    }

    fn step(&self, x: &[f32], h: &[f64]) -> Vec<f64> {
        let product = |w: &Mat<f32>, row: usize, x: &dyn Fn(usize) -> f64| {
            w.view().row(row).iter().enumerate().map(|(i, &w)| f64::from(w) * x(i)).sum::<f64>()
        };
        let from_input = |row| product(&self.weight_ih, row, &|i| f64::from(x[i])) + f64::from(self.bias_ih[row]);
        let from_hidden = |row| product(&self.weight_hh, row, &|i| h[i]) + f64::from(self.bias_hh[row]);
        (0..self.hidden)
            .map(|j| {
                let [r, z, n] = [j, self.hidden + j, 2 * self.hidden + j];
                let reset = sigmoid(from_input(r) + from_hidden(r));
                let update = sigmoid(from_input(z) + from_hidden(z));
                let new = (from_input(n) + reset * from_hidden(n)).tanh();
                (1.0 - update) * new + update * h[j]
            })
            .collect()
    }
}

#[test]
fn a_gru_in_f32_follows_the_equations() {
    for (input, hidden, magnitude) in [(1, 1, 1.0), (7, 5, 0.7), (40, 33, 0.3), (80, 128, 0.15)] {
        let reference = Reference::new(input, hidden, magnitude);
        let gru = reference.gru();
        let x = Random(3).mat(50, input, 2.0);
        let out = forward(&gru, &x, &mut gru.state().unwrap(), &mut Scratch::new());
        let mut h = vec![0.0; hidden];
        for (t, out) in out.chunks(hidden).enumerate() {
            h = reference.step(x.view().row(t), &h);
            expect_near(&format!("{input} {hidden}, step {t}"), out, &h);
        }
    }
}

#[test]
fn a_gru_in_8_bits_is_within_the_bound_of_its_steps() {
    let reference = Reference::new(20, 16, 0.15);
    let hidden = reference.hidden;
    let exact = reference.gru();
    let x = Random(5).mat(12, reference.input, 1.0);
    let exact_out = forward(&exact, &x, &mut exact.state().unwrap(), &mut Scratch::new());
    for &tier in Tier::available() {
        let gru = exact.quantize(tier).unwrap();
        let out = forward(&gru, &x, &mut gru.state().unwrap(), &mut Scratch::new());
        let mut off = vec![0.0; hidden];
        let mut h = vec![0.0f32; hidden];
        for t in 0..x.rows() {
            let input = |row| product_bound(reference.weight_ih.view().row(row), x.view().row(t), &[0.0; 20]);
            let recurrent = |row| product_bound(reference.weight_hh.view().row(row), &h, &off);
            // sigmoid has slope 1/4 at most, tanh 1; |h - n| <= 2; z <= 1 for the blend's own terms, whose sum it
            // splits.
            off = (0..hidden)
                .map(|j| {
                    let [r, z, n] = [j, hidden + j, 2 * hidden + j];
                    let reset = (input(r) + recurrent(r)) / 4.0;
                    let update = (input(z) + recurrent(z)) / 4.0;
                    let magnitude: f64 = h
                        .iter()
                        .zip(reference.weight_hh.view().row(n))
                        .map(|(h, w)| f64::from((h * w).abs()))
                        .sum::<f64>()
                        + f64::from(reference.bias_hh[n].abs());
                    let new = input(n) + recurrent(n) + reset * magnitude;
                    2.0 * update + new.max(off[j])
                })
                .collect();
            h = exact_out[t * hidden..][..hidden].to_vec();
            expect_within(&format!("{tier}, step {t}"), &out[t * hidden..][..hidden], &h, &off);
        }
    }
}

/// A dense and a factored GRU, in `f32` and for each tier.
fn variants() -> Vec<(&'static str, Gru)> {
    let (input, hidden) = (37, 50);
    let mut random = Random(8);
    let dense = Reference::new(input, hidden, 0.2).gru();
    let mut low_rank = |n, k, rank| LowRank::from_factors(random.mat(n, rank, 0.3), random.mat(rank, k, 0.3)).unwrap();
    let factors = (low_rank(3 * hidden, input, 11), low_rank(3 * hidden, hidden, 19));
    let factored = Gru::new(factors.0, factors.1, None, Some(random.vec(3 * hidden, 0.5))).unwrap();
    vec![("dense", dense), ("factored", factored)]
}

/// The same with the reset before the recurrent product.
fn reset_before_variants() -> Vec<(&'static str, Gru)> {
    let (input, hidden) = (37, 50);
    let mut random = Random(21);
    let bias = |random: &mut Random| Some(random.vec(3 * hidden, 0.5));
    let mut dense = |n, k| Weight::dense(random.mat(n, k, 0.2)).unwrap();
    let weights = (dense(3 * hidden, input), dense(2 * hidden, hidden), dense(hidden, hidden));
    let dense = Gru::reset_before(weights.0, weights.1, weights.2, bias(&mut random), bias(&mut random)).unwrap();
    let mut low_rank = |n, k, rank| LowRank::from_factors(random.mat(n, rank, 0.3), random.mat(rank, k, 0.3)).unwrap();
    let weights = (low_rank(3 * hidden, input, 11), low_rank(2 * hidden, hidden, 19), low_rank(hidden, hidden, 9));
    let factored = Gru::reset_before(weights.0, weights.1, weights.2, None, None).unwrap();
    vec![("dense, reset before", dense), ("factored, reset before", factored)]
}

#[test]
fn tiers_time_batches_and_cuts_do_not_change_a_bit() {
    for (what, layer) in variants().into_iter().chain(reset_before_variants()) {
        expect_same_bits(what, &layer, &[WeightFormat::I8, WeightFormat::I4Group32, WeightFormat::I2Group64]);
        expect_same_bits(what, &layer, &[Quantization::I8X16]);
    }
}

/// The hash pins the bits down, which are the same on every target, compiler and tier.
#[test]
fn results_are_the_same_bits_on_every_machine() {
    let of = |variants: Vec<(&str, Gru)>| {
        let layers =
            variants.into_iter().flat_map(|(_, layer)| [layer.clone(), layer.quantize(Tier::Portable).unwrap()]);
        layers.fold(HASH_OF_NOTHING, |so_far, layer| {
            hash(so_far, &whole(&layer, &Random(10).mat(17, layer.input_size(), 1.0)))
        })
    };
    let hashes = [of(variants()), of(reset_before_variants())];
    assert_eq!(hashes, [0x21b5_9fdc_b374_f885, 0x4b2a_390e_49e6_ee1d], "{hashes:#x?}");
}

/// One step of ONNX's operator `GRU` in one direction, from its documentation: gates z, r, h.
struct OnnxGru {
    hidden: usize,
    w: Mat<f32>,
    r: Mat<f32>,
    b: Vec<f32>,
    linear_before_reset: bool,
}

impl OnnxGru {
    fn step(&self, x: &[f64], h: &[f64]) -> Vec<f64> {
        let size = self.hidden;
        let gate = |m: &Mat<f32>, gate: usize| m.as_slice()[gate * size * m.cols()..][..size * m.cols()].to_vec();
        let bias = |gate: usize| floats(&self.b[gate * size..][..size]);
        let sum = |a: Vec<f64>, b: Vec<f64>| -> Vec<f64> { a.iter().zip(&b).map(|(a, b)| a + b).collect() };
        let times = |a: &[f64], b: &[f64]| -> Vec<f64> { a.iter().zip(b).map(|(a, b)| a * b).collect() };
        let from_x = |g| sum(product(&gate(&self.w, g), x), bias(g));
        let from_h = |g, h: &[f64]| sum(product(&gate(&self.r, g), h), bias(3 + g));
        let z: Vec<f64> = sum(from_x(0), from_h(0, h)).into_iter().map(sigmoid).collect();
        let r: Vec<f64> = sum(from_x(1), from_h(1, h)).into_iter().map(sigmoid).collect();
        let recurrent = if self.linear_before_reset { times(&r, &from_h(2, h)) } else { from_h(2, &times(&r, h)) };
        let new: Vec<f64> = sum(from_x(2), recurrent).into_iter().map(f64::tanh).collect();
        (0..size).map(|i| (1.0 - z[i]) * new[i] + z[i] * h[i]).collect()
    }
}

#[test]
fn a_gru_of_onnx_follows_the_equations_of_the_operator() {
    for linear_before_reset in [false, true] {
        for (input, hidden) in [(1, 1), (7, 5), (30, 33)] {
            let mut random = Random((input * 100 + hidden) as u64);
            let (w, r) = (random.mat(3 * hidden, input, 0.4), random.mat(3 * hidden, hidden, 0.4));
            let onnx = OnnxGru { hidden, w, r, b: random.vec(6 * hidden, 0.5), linear_before_reset };
            let gru = Gru::from_onnx(onnx.w.view(), onnx.r.view(), Some(&onnx.b), linear_before_reset).unwrap();
            assert_eq!(gru.weight_hh_n().is_some(), !linear_before_reset);
            let x = random.mat(40, input, 2.0);
            let mut h = vec![0.0; hidden];
            for (t, out) in whole(&gru, &x).chunks(hidden).enumerate() {
                h = onnx.step(&floats(x.view().row(t)), &h);
                expect_near(&format!("{input} {hidden}, step {t}"), out, &h);
            }
            let without = Gru::from_onnx(onnx.w.view(), onnx.r.view(), None, linear_before_reset).unwrap();
            assert!(without.bias_ih().is_none() && without.bias_hh().is_none());
        }
    }
}

/// The bound of [`a_gru_in_8_bits_is_within_the_bound_of_its_steps`], for the other form.
#[test]
fn a_gru_that_resets_before_is_in_8_bits_within_the_bound_of_its_steps() {
    let (input, hidden) = (20, 16);
    let mut random = Random(33);
    let (w, r) = (random.mat(3 * hidden, input, 0.15), random.mat(3 * hidden, hidden, 0.15));
    let exact = Gru::from_onnx(w.view(), r.view(), None, false).unwrap();
    let x = random.mat(12, input, 1.0);
    let exact_out = whole(&exact, &x);
    for &tier in Tier::available() {
        let out = whole(&exact.quantize(tier).unwrap(), &x);
        let mut off = vec![0.0; hidden];
        let mut h = vec![0.0f32; hidden];
        for t in 0..x.rows() {
            let input = |row| product_bound(w.view().row(row), x.view().row(t), &[0.0; 20]);
            let [z, reset] = [0, hidden].map(|gate| {
                let bound = |j| (input(gate + j) + product_bound(r.view().row(gate + j), &h, &off)) / 4.0;
                (0..hidden).map(bound).collect::<Vec<f64>>()
            });
            // |r * h| is at most |h|, and its error comes from those of h and r. The exact one is not known here:
            // one of a smaller magnitude has a smaller bound.
            let off_reset: Vec<f64> = (0..hidden).map(|j| off[j] + f64::from(h[j].abs()) * reset[j]).collect();
            off = (0..hidden)
                .map(|j| {
                    let new = input(2 * hidden + j) + product_bound(r.view().row(2 * hidden + j), &h, &off_reset);
                    2.0 * z[j] + new.max(off[j])
                })
                .collect();
            h = exact_out[t * hidden..][..hidden].to_vec();
            expect_within(&format!("{tier}, step {t}"), &out[t * hidden..][..hidden], &h, &off);
        }
    }
}

#[test]
fn a_bidirectional_layer_is_one_layer_over_the_sequence_and_one_over_its_reverse() {
    for (forward, reverse) in [(variants(), reset_before_variants()), (reset_before_variants(), variants())] {
        for ((_, forward), (_, reverse)) in forward.into_iter().zip(reverse) {
            let layer = Bidirectional::new(forward.clone(), reverse.clone()).unwrap();
            let tier = Tier::select().unwrap();
            let quantized = (forward.quantize(tier).unwrap(), reverse.quantize(tier).unwrap());
            let mut scratch = Scratch::new();
            for (layer, (forward, reverse)) in
                [(layer.clone(), (forward, reverse)), (layer.quantize(tier).unwrap(), quantized)]
            {
                for time in [0, 1, 9, 4] {
                    let x = Random(9).mat(time, layer.input_size(), 1.0);
                    let backward: Vec<f32> = x.as_slice().rchunks(x.cols()).flatten().copied().collect();
                    let (a, b) =
                        (whole(&forward, &x), whole(&reverse, &Mat::from_vec(backward, time, x.cols()).unwrap()));
                    let mut out = Mat::zeros(time, layer.output_size()).unwrap();
                    layer.forward(x.view(), out.view_mut(), &mut scratch).unwrap();
                    let half = forward.hidden_size();
                    let expected: Vec<f32> =
                        a.chunks(half).zip(b.rchunks(half)).flat_map(|(a, b)| [a, b].concat()).collect();
                    assert_eq!(bits(out.as_slice()), bits(&expected));
                }
            }
        }
    }
    let gru = |input, hidden| Reference::new(input, hidden, 1.0).gru();
    let refused = Bidirectional::new(gru(3, 2), gru(4, 2)).unwrap_err();
    assert_eq!(refused, Error::Shape { what: "reverse layer", expected: (2, 3), found: (2, 4) });
    let layer = Bidirectional::new(gru(3, 2), gru(3, 2)).unwrap();
    let (x, mut out) = (Mat::zeros(5, 3).unwrap(), Mat::zeros(5, 2).unwrap());
    let refused = layer.forward(x.view(), out.view_mut(), &mut Scratch::new()).unwrap_err();
    assert_eq!(refused, Error::Shape { what: "output", expected: (5, 4), found: (5, 2) });
}

#[test]
fn a_nan_in_the_input_of_an_8_bit_layer_counts_as_zero() {
    let layer = Reference::new(8, 6, 0.5).gru().quantize(Tier::select().unwrap()).unwrap();
    let mut scratch = Scratch::new();
    let (mut a, mut b) = (layer.state().unwrap(), layer.state().unwrap());
    let mut x = vec![0.25; 8];
    x[3] = f32::NAN;
    layer.step(&x, &mut a, &mut scratch).unwrap();
    x[3] = 0.0;
    layer.step(&x, &mut b, &mut scratch).unwrap();
    assert_eq!(a, b);
    layer.step(&[f32::INFINITY; 8], &mut a, &mut scratch).unwrap();
    assert!(a.hidden().iter().all(|h| h.abs() <= 1.0));
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_moves() {
    let mut random = Random(1);
    let mut dense = |n, k| Weight::dense(random.mat(n, k, 1.0)).unwrap();
    let refused = Gru::new(dense(6, 3), dense(7, 2), None, None).unwrap_err();
    assert_eq!(refused, Error::Shape { what: "weight_hh", expected: (6, 2), found: (7, 2) });
    let refused = Gru::new(dense(5, 3), dense(6, 2), None, None).unwrap_err();
    assert_eq!(refused, Error::Shape { what: "weight_ih", expected: (6, 3), found: (5, 3) });
    let refused = Gru::new(dense(6, 3), dense(6, 2), None, Some(vec![0.0; 5])).unwrap_err();
    assert_eq!(refused, Error::Length { what: "bias_hh", expected: 6, found: 5 });
    let refused = Linear::new(dense(2, 3), Some(vec![0.0, f32::INFINITY])).unwrap_err();
    assert_eq!(refused, Error::NotFinite { what: "bias", index: 1, value: f32::INFINITY });

    let gru = Gru::new(dense(6, 3), dense(6, 2), None, None).unwrap();
    misfits_change_nothing(&gru);

    let quantized = gru.quantize(Tier::Portable).unwrap();
    assert_eq!(
        quantized.quantize(Tier::Portable).unwrap_err(),
        Error::Stored { operation: "quantize", expected: "f32", found: "int8" }
    );

    let refused = Gru::reset_before(dense(6, 3), dense(4, 2), dense(3, 2), None, None).unwrap_err();
    assert_eq!(refused, Error::Shape { what: "weight_hh_n", expected: (2, 2), found: (3, 2) });
    let refused = Gru::reset_before(dense(6, 3), dense(6, 2), dense(2, 2), None, None).unwrap_err();
    assert_eq!(refused, Error::Shape { what: "weight_hh_rz", expected: (4, 2), found: (6, 2) });
    let (w, r) = (Mat::zeros(6, 3).unwrap(), Mat::zeros(6, 2).unwrap());
    let refused = Gru::from_onnx(w.view(), r.view(), Some(&[0.0; 11]), true).unwrap_err();
    assert_eq!(refused, Error::Length { what: "B", expected: 12, found: 11 });
    let refused = Gru::from_onnx(r.view(), w.view(), None, true).unwrap_err();
    assert_eq!(refused, Error::Shape { what: "W", expected: (9, 2), found: (6, 2) });
    assert!(Scratch::new().with_time_batch(0).is_err() && Scratch::new().with_time_batch(11).is_err());
}

#[test]
fn an_empty_sequence_leaves_the_state() {
    variants().iter().for_each(|(_, layer)| expect_an_empty_sequence_leaves_the_state(layer));
}

#[test]
fn layers_can_be_shared_by_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Gru>();
    shared::<Linear>();
    shared::<GruState>();
    shared::<Scratch>();
}

#[cfg(feature = "rayon")]
#[test]
fn pools_do_not_change_a_bit() {
    // Large enough for a pool to be used: 64 KB of weights per thread.
    let layer = Reference::new(300, 256, 0.1).gru().quantize(Tier::select().unwrap()).unwrap();
    common::expect_the_same_bits_on_pools(&layer);
}

#[cfg(feature = "svd")]
#[test]
fn full_rank_is_the_dense_layer() {
    use skinny::factored::RankPolicy;

    let dense = Reference::new(30, 24, 0.25).gru();
    let all = RankPolicy::Variance(1.0);
    let full = dense.factor(all, RankPolicy::Fixed(24)).unwrap();
    assert_eq!(full.weight_hh().rank(), Some(24));
    let x = Random(12).mat(30, 30, 1.0);
    let run = |gru: &Gru| forward(gru, &x, &mut gru.state().unwrap(), &mut Scratch::new());
    for (a, b) in run(&dense).iter().zip(run(&full)) {
        assert!((a - b).abs() < 1e-4);
    }
    // Factored again, from the product of its factors.
    let cut = full.factor(RankPolicy::Fixed(5), RankPolicy::Fixed(6)).unwrap();
    assert_eq!((cut.weight_ih().rank(), cut.weight_hh().rank()), (Some(5), Some(6)));
    let quantized = cut.quantize(Tier::select().unwrap()).unwrap();
    for (a, b) in run(&cut).iter().zip(run(&quantized)) {
        assert!((a - b).abs() < 0.05);
    }
    assert!(matches!(quantized.factor(all, all), Err(Error::Stored { operation: "factor", .. })));
}
