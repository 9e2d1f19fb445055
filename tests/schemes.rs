//! Factorization schemes: stacks of weights, factors that weights share, and layers made of them.

#[path = "common/layers.rs"]
mod common;

use common::{Random, bits, expect_same_bits};
use skinny::factored::{Gru, LowRank, LowRankLinear, Lstm, Scratch, Weight};
use skinny::kernels::{Activation, WeightFormat};
use skinny::{Error, Mat, MatMut, MatRef, Tier};

fn low_rank(random: &mut Random, n: usize, k: usize, rank: usize) -> Weight {
    LowRank::from_factors(random.mat(n, rank, 0.3), random.mat(rank, k, 0.3)).unwrap().into()
}

/// Gates of `n` features, each factored on its own, with different ranks.
fn split(random: &mut Random, gates: usize, n: usize, k: usize) -> Weight {
    Weight::stack((0..gates).map(|gate| low_rank(random, n, k, 5 + 3 * gate)).collect()).unwrap()
}

/// Weights for `input` and for `hidden` features with a shared `U`.
fn joint(random: &mut Random, n: usize, input: usize, hidden: usize, rank: usize) -> [Weight; 2] {
    let (u, v) = (random.mat(n, rank, 0.3), [random.mat(rank, input, 0.3), random.mat(rank, hidden, 0.3)]);
    LowRankLinear::with_shared_u(u, v).unwrap().map(Weight::from)
}

const INPUT: usize = 21;
const HIDDEN: usize = 34;

fn grus() -> Vec<(&'static str, Gru)> {
    let mut random = Random(17);
    let r = &mut random;
    let bias = |r: &mut Random| Some(r.vec(3 * HIDDEN, 0.5));
    let split_after = (split(r, 3, HIDDEN, INPUT), split(r, 3, HIDDEN, HIDDEN));
    let split_before = (split(r, 3, HIDDEN, INPUT), split(r, 2, HIDDEN, HIDDEN), split(r, 1, HIDDEN, HIDDEN));
    // The rank is above the input's depth, which separate factors could not have.
    let [ih, hh] = joint(r, 3 * HIDDEN, INPUT, HIDDEN, 30);
    let [ih_rz, hh_rz] = joint(r, 2 * HIDDEN, INPUT, HIDDEN, 30);
    let [ih_n, hh_n] = joint(r, HIDDEN, INPUT, HIDDEN, 9);
    let ih_before = Weight::stack(vec![ih_rz, ih_n]).unwrap();
    let split_before = Gru::reset_before(split_before.0, split_before.1, split_before.2, None, bias(r));
    vec![
        ("split", Gru::new(split_after.0, split_after.1, bias(r), bias(r)).unwrap()),
        ("split, reset before", split_before.unwrap()),
        ("joint", Gru::new(ih, hh, bias(r), bias(r)).unwrap()),
        ("joint, reset before", Gru::reset_before(ih_before, hh_rz, hh_n, bias(r), bias(r)).unwrap()),
    ]
}

fn lstms() -> Vec<(&'static str, Lstm)> {
    let mut random = Random(18);
    let r = &mut random;
    let split = (split(r, 4, HIDDEN, INPUT), split(r, 4, HIDDEN, HIDDEN));
    let [ih, hh] = joint(r, 4 * HIDDEN, INPUT, HIDDEN, 30);
    let [ih_proj, hh_proj] = joint(r, 4 * HIDDEN, INPUT, 12, 30);
    let weight_hr = low_rank(r, 12, HIDDEN, 7);
    vec![
        ("split", Lstm::new(split.0, split.1, Some(r.vec(4 * HIDDEN, 0.5)), None).unwrap()),
        ("joint", Lstm::new(ih, hh, None, Some(r.vec(4 * HIDDEN, 0.5))).unwrap()),
        ("joint, projected", Lstm::with_projection(ih_proj, hh_proj, weight_hr, None, None).unwrap()),
    ]
}

#[test]
fn tiers_time_batches_and_cuts_do_not_change_a_bit() {
    for (what, layer) in grus() {
        expect_same_bits(what, &layer, &WeightFormat::ALL);
    }
    for (what, layer) in lstms() {
        expect_same_bits(what, &layer, &WeightFormat::ALL);
    }
}

fn apply(weight: &Weight, x: &Mat<f32>, bias: Option<&[f32]>, scratch: &mut Scratch) -> Vec<f32> {
    let mut out = vec![f32::NAN; x.rows() * weight.n()];
    let view = MatMut::new(&mut out, x.rows(), weight.n()).unwrap();
    weight.apply(x.view(), bias, Activation::ClippedRelu(0.7), view, scratch).unwrap();
    out
}

#[test]
fn a_stack_is_its_parts_side_by_side() {
    let mut random = Random(3);
    let tier = Tier::select().unwrap();
    let dense = Weight::dense(random.mat(13, INPUT, 0.5)).unwrap();
    let thin = low_rank(&mut random, 40, INPUT, 6);
    // Formats may differ from part to part.
    let parts = [
        vec![dense.clone(), thin.clone()],
        vec![thin.quantize(tier).unwrap(), dense.quantize_to(WeightFormat::I4, tier).unwrap()],
        vec![dense.clone(), thin.quantize(tier).unwrap(), dense.quantize(tier).unwrap(), thin.clone()],
    ];
    for parts in parts {
        let stack = Weight::stack(parts.clone()).unwrap();
        let n: usize = parts.iter().map(Weight::n).sum();
        assert_eq!((stack.n(), stack.k(), stack.rank()), (n, INPUT, None));
        assert_eq!(stack.bytes(), parts.iter().map(Weight::bytes).sum::<usize>());
        let bias = random.vec(n, 0.5);
        for m in [1, 4, 0, 12] {
            let x = random.mat(m, INPUT, 1.0);
            let mut scratch = Scratch::new();
            let out = apply(&stack, &x, Some(&bias), &mut scratch);
            let mut start = 0;
            for part in &parts {
                let bias = &bias[start..start + part.n()];
                let of_part = apply(part, &x, Some(bias), &mut scratch);
                for row in 0..m {
                    let out = &out[row * n + start..][..part.n()];
                    assert_eq!(bits(out), bits(&of_part[row * part.n()..][..part.n()]));
                }
                start += part.n();
            }
            for row in 0..m {
                let one = Mat::from_vec(x.view().row(row).to_vec(), 1, INPUT).unwrap();
                assert_eq!(bits(&apply(&stack, &one, Some(&bias), &mut scratch)), bits(&out[row * n..][..n]));
            }
        }
        // A stack of stacks is one stack.
        let Weight::Stacked(twice) = Weight::stack(vec![stack.clone(), stack.clone()]).unwrap() else {
            panic!("not a stack");
        };
        assert_eq!(twice.parts().len(), 2 * parts.len());
    }
}

#[test]
fn a_factor_that_weights_share_is_counted_once_and_stays_shared() {
    let shares = |a: &Weight, b: &Weight| match (a, b) {
        (Weight::LowRank(a), Weight::LowRank(b)) => a.shares_u_with(b),
        _ => panic!("not of low rank"),
    };
    let [ih, hh] = joint(&mut Random(1), 3 * HIDDEN, INPUT, HIDDEN, 30);
    let gru = Gru::new(ih, hh, Some(vec![0.0; 3 * HIDDEN]), None).unwrap();
    let parameters = 30 * (3 * HIDDEN + INPUT + HIDDEN) + 3 * HIDDEN;
    assert_eq!((gru.parameters(), gru.bytes()), (parameters, 4 * parameters));
    for &tier in Tier::available() {
        for format in WeightFormat::ALL {
            let quantized = gru.quantize_to(format, tier).unwrap();
            assert!(shares(quantized.weight_ih(), quantized.weight_hh()));
            assert_eq!(quantized.parameters(), parameters);
            let Weight::LowRank(ih) = quantized.weight_ih() else { panic!("not of low rank") };
            let both = quantized.weight_ih().bytes() + quantized.weight_hh().bytes();
            assert_eq!(quantized.bytes(), both - ih.u().bytes() + 4 * 3 * HIDDEN);
        }
    }

    // The same in a stack: each part of the input weights shares its `U` with a part of the recurrent weights.
    let (_, gru) = grus().pop().unwrap();
    let quantized = gru.quantize(Tier::Portable).unwrap();
    let Weight::Stacked(stack) = quantized.weight_ih() else { panic!("not a stack") };
    assert!(shares(&stack.parts()[0], quantized.weight_hh()));
    assert!(shares(&stack.parts()[1], quantized.weight_hh_n().unwrap()));
    let parameters = 30 * (2 * HIDDEN + INPUT + HIDDEN) + 9 * (HIDDEN + INPUT + HIDDEN) + 6 * HIDDEN;
    assert_eq!(quantized.parameters(), parameters);
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut random = Random(1);
    let mut dense = |n, k| Weight::dense(random.mat(n, k, 1.0)).unwrap();
    assert!(matches!(Weight::stack(vec![]), Err(Error::Parameter { .. })));
    let refused = Weight::stack(vec![dense(2, 3), dense(4, 5)]).unwrap_err();
    assert_eq!(refused, Error::Shape { what: "stacked weight", expected: (4, 3), found: (4, 5) });
    let stack = Weight::stack(vec![dense(2, 3), dense(4, 3)]).unwrap();
    let mut out = [7.0; 6];
    let mut scratch = Scratch::new();
    let mut refused = |x: &[f32], bias: Option<&[f32]>, n: usize| {
        let out = MatMut::row_vector(&mut out[..n]);
        stack.apply(MatRef::row_vector(x), bias, Activation::Identity, out, &mut scratch).unwrap_err()
    };
    let error = refused(&[1.0; 4], None, 6);
    assert_eq!(error, Error::Shape { what: "input", expected: (1, 3), found: (1, 4) });
    let error = refused(&[1.0; 3], None, 5);
    assert_eq!(error, Error::Shape { what: "output", expected: (1, 6), found: (1, 5) });
    let error = refused(&[1.0; 3], Some(&[1.0; 5]), 6);
    assert_eq!(error, Error::Length { what: "bias", expected: 6, found: 5 });
    assert_eq!(out, [7.0; 6]);

    let mat = |rows, cols| Mat::<f32>::zeros(rows, cols).unwrap();
    let refused = LowRankLinear::with_shared_u(mat(9, 2), [mat(2, 4), mat(3, 4)]).unwrap_err();
    assert_eq!(refused, Error::Shape { what: "factor V", expected: (2, 4), found: (3, 4) });
    let refused = LowRankLinear::with_shared_u(mat(9, 6), [mat(6, 2), mat(6, 3)]).unwrap_err();
    assert_eq!(refused, Error::Rank { rank: 6, max: 5 });
    let refused = LowRankLinear::with_shared_u(mat(9, 0), [mat(0, 2), mat(0, 3)]).unwrap_err();
    assert_eq!(refused, Error::Rank { rank: 0, max: 5 });
    let nan = Mat::from_vec(vec![f32::NAN; 4], 1, 4).unwrap();
    let refused = LowRankLinear::with_shared_u(mat(9, 1), [mat(1, 2), nan]).unwrap_err();
    assert!(matches!(refused, Error::NotFinite { what: "factor V", index: 0, .. }));
}

#[test]
fn layers_can_be_shared_by_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<LowRankLinear>();
    shared::<Weight>();
}

#[cfg(feature = "svd")]
mod svd {
    use skinny::factored::{RankPolicy, Recurrent, Scheme};

    use super::common::whole;
    use super::*;

    const SCHEMES: [Scheme; 3] = [Scheme::Split, Scheme::PartiallyJoint, Scheme::Joint];

    fn dense(random: &mut Random, n: usize, k: usize) -> Weight {
        Weight::dense(random.mat(n, k, 0.25)).unwrap()
    }

    fn expect_close<L: Recurrent>(what: &str, exact: &L, layer: &L, bound: f32) {
        let x = Random(12).mat(30, exact.input_size(), 1.0);
        for (a, b) in whole(exact, &x).iter().zip(whole(layer, &x)) {
            assert!((a - b).abs() < bound, "{what}: {b} for {a}");
        }
    }

    /// With the reset before the product, the candidate's recurrent weight is a matrix of its own in each scheme.
    #[test]
    fn schemes_of_a_gru_that_resets_before_the_product() {
        let r = &mut Random(8);
        let (w, rz, n) = (dense(r, 3 * HIDDEN, INPUT), dense(r, 2 * HIDDEN, HIDDEN), dense(r, HIDDEN, HIDDEN));
        let gru = Gru::reset_before(w, rz, n, None, None).unwrap();
        let shapes = |weight: &Weight| match weight {
            Weight::Stacked(stack) => stack.parts().iter().map(|part| (part.n(), part.rank())).collect(),
            whole => vec![(whole.n(), whole.rank())],
        };
        for (scheme, ih, hh) in [
            (Scheme::Split, vec![HIDDEN; 3], vec![HIDDEN; 2]),
            (Scheme::PartiallyJoint, vec![3 * HIDDEN], vec![2 * HIDDEN]),
            (Scheme::Joint, vec![2 * HIDDEN, HIDDEN], vec![2 * HIDDEN]),
        ] {
            let factored = gru.factor_scheme(scheme, RankPolicy::Fixed(4), RankPolicy::Fixed(4)).unwrap();
            let of = |rows: Vec<usize>| rows.into_iter().map(|n| (n, Some(4))).collect::<Vec<_>>();
            assert_eq!(shapes(factored.weight_ih()), of(ih), "{scheme:?}");
            assert_eq!(shapes(factored.weight_hh()), of(hh), "{scheme:?}");
            assert_eq!(shapes(factored.weight_hh_n().unwrap()), of(vec![HIDDEN]), "{scheme:?}");
        }
    }

    #[test]
    fn full_rank_is_the_dense_layer_in_every_scheme() {
        let r = &mut Random(4);
        let bias = |r: &mut Random, gates: usize| Some(r.vec(gates * HIDDEN, 0.5));
        let weights = (dense(r, 3 * HIDDEN, INPUT), dense(r, 3 * HIDDEN, HIDDEN));
        let after = Gru::new(weights.0, weights.1, bias(r, 3), bias(r, 3)).unwrap();
        let weights = (dense(r, 3 * HIDDEN, INPUT), dense(r, 2 * HIDDEN, HIDDEN), dense(r, HIDDEN, HIDDEN));
        let before = Gru::reset_before(weights.0, weights.1, weights.2, bias(r, 3), bias(r, 3)).unwrap();
        let weights = (dense(r, 4 * HIDDEN, INPUT), dense(r, 4 * HIDDEN, HIDDEN));
        let lstm = Lstm::new(weights.0, weights.1, bias(r, 4), bias(r, 4)).unwrap();
        let weights = (dense(r, 4 * HIDDEN, INPUT), dense(r, 4 * HIDDEN, 9), dense(r, 9, HIDDEN));
        let projected = Lstm::with_projection(weights.0, weights.1, weights.2, bias(r, 4), bias(r, 4)).unwrap();

        let all = RankPolicy::Variance(1.0);
        let tier = Tier::select().unwrap();
        for scheme in SCHEMES {
            for (what, exact) in [("reset after", &after), ("reset before", &before)] {
                let layer = exact.factor_scheme(scheme, all, all).unwrap();
                expect_close(&format!("{what}, {scheme:?}"), exact, &layer, 1e-5);
                expect_close(&format!("{what}, {scheme:?}, int8"), exact, &layer.quantize(tier).unwrap(), 0.05);
                // From any scheme to any other.
                for next in SCHEMES {
                    let layer = layer.factor_scheme(next, all, all).unwrap();
                    expect_close(&format!("{what}, {scheme:?} to {next:?}"), exact, &layer, 2e-5);
                }
            }
            for (what, exact) in [("lstm", &lstm), ("projected lstm", &projected)] {
                let layer = exact.factor_scheme(scheme, all, all).unwrap();
                expect_close(&format!("{what}, {scheme:?}"), exact, &layer, 1e-5);
                expect_close(&format!("{what}, {scheme:?}, int8"), exact, &layer.quantize(tier).unwrap(), 0.05);
            }
        }
    }

    #[test]
    fn a_scheme_has_the_ranks_that_it_was_asked_for() {
        let r = &mut Random(5);
        let gru = Gru::new(dense(r, 3 * HIDDEN, INPUT), dense(r, 3 * HIDDEN, HIDDEN), None, None).unwrap();
        let (input, recurrent) = (RankPolicy::Fixed(7), RankPolicy::Fixed(4));
        let parameters = |scheme| gru.factor_scheme(scheme, input, recurrent).unwrap().parameters();
        assert_eq!(parameters(Scheme::Split), 3 * 7 * (HIDDEN + INPUT) + 3 * 4 * (HIDDEN + HIDDEN));
        assert_eq!(parameters(Scheme::PartiallyJoint), 7 * (3 * HIDDEN + INPUT) + 4 * (3 * HIDDEN + HIDDEN));
        assert_eq!(parameters(Scheme::Joint), 7 * (3 * HIDDEN + INPUT + HIDDEN));

        // A split layer that is cut further stays split.
        let split = gru.factor_scheme(Scheme::Split, input, recurrent).unwrap();
        let cut = split.factor(RankPolicy::Fixed(2), RankPolicy::Fixed(1)).unwrap();
        assert_eq!(cut.parameters(), 3 * 2 * (HIDDEN + INPUT) + 3 * (HIDDEN + HIDDEN));

        let max = RankPolicy::Fixed(INPUT + HIDDEN + 1);
        let refused = gru.factor_scheme(Scheme::Joint, max, recurrent).unwrap_err();
        assert_eq!(refused, Error::Rank { rank: INPUT + HIDDEN + 1, max: INPUT + HIDDEN });
        let quantized = gru.quantize(Tier::Portable).unwrap();
        let refused = quantized.factor_scheme(Scheme::Split, input, recurrent).unwrap_err();
        assert_eq!(refused, Error::Stored { operation: "factor", expected: "f32", found: "int8" });
    }
}
