//! Singular values and cuts of matrices of all kinds, shapes and scales, against numpy's singular values.

#[path = "common/matrices.rs"]
mod matrices;

use safetensors::SafeTensors;
use skinny::factored::{LowRank, RankPolicy, singular_values};
use skinny::{Mat, MatRef};

/// The errors that `singular_values` promises and that f32 factors keep, as shares of the norm.
const TOLERANCE: f64 = 1e-6;

/// A matrix of the fixture, with its family and numpy's singular values.
struct Case {
    name: String,
    w: Mat<f32>,
    sigma: Vec<f64>,
}

fn cases() -> Vec<Case> {
    let file = SafeTensors::deserialize(include_bytes!("numpy/singular_values.safetensors")).unwrap();
    let case = |(name, tensor): (String, safetensors::tensor::TensorView<'_>)| {
        let sigma = tensor.data().chunks_exact(8).map(|bytes| f64::from_le_bytes(bytes.try_into().unwrap()));
        let [family, rows, cols, seed, exponent] = name.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let (rows, cols) = (rows.parse().unwrap(), cols.parse().unwrap());
        let w = matrices::matrix(family, rows, cols, seed.parse().unwrap(), exponent.parse().unwrap());
        Case { w: Mat::from_vec(w, rows, cols).unwrap(), sigma: sigma.collect(), name }
    };
    file.tensors().into_iter().map(case).collect()
}

fn norm(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().map(|x| x * x).sum::<f64>().sqrt()
}

fn distance(a: MatRef<'_, f32>, b: MatRef<'_, f32>) -> f64 {
    norm(a.as_slice().iter().zip(b.as_slice()).map(|(&a, &b)| f64::from(a) - f64::from(b)))
}

#[test]
fn singular_values_are_numpys() {
    let cases = cases();
    assert!(cases.len() > 100);
    for Case { name, w, sigma } in cases {
        let found = singular_values(w.view()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(found.len(), sigma.len(), "{name}");
        assert!(found.windows(2).all(|pair| pair[0] >= pair[1]), "{name}: out of order");
        let scale = norm(sigma.iter().copied());
        for (i, (found, sigma)) in found.iter().zip(&sigma).enumerate() {
            assert!((found - sigma).abs() <= TOLERANCE * scale, "{name}: sigma[{i}] is {found}, {sigma} by numpy");
        }
    }
}

#[test]
fn cuts_err_by_what_they_cut_and_never_more_at_a_higher_rank() {
    for Case { name, w, sigma } in cases() {
        let (d, scale) = (sigma.len(), norm(sigma.iter().copied()));
        let mut before = f64::INFINITY;
        let mut ranks = [1, 2, 3, 4, 5, 8, 16, d / 2, d];
        ranks.sort_unstable();
        for rank in ranks.into_iter().filter(|rank| (1..=d).contains(rank)) {
            let cut = LowRank::truncate(w.view(), RankPolicy::Fixed(rank)).unwrap();
            let (product, tail) = (cut.product().unwrap(), norm(sigma[rank..].iter().copied()));
            // An approximation of a number near the largest float may exceed it.
            if product.as_slice().iter().any(|x| !x.is_finite()) {
                continue;
            }
            let error = distance(w.view(), product.view());
            // And the part of the product that f32 cannot hold.
            let rounding = TOLERANCE * scale + f64::from(f32::from_bits(1)) * (w.as_slice().len() as f64).sqrt();
            assert!((error - tail).abs() <= rounding, "{name}, rank {rank}: {error}, {tail} is cut");
            assert!(error <= before + rounding, "{name}, rank {rank}: {error}, {before} at a lower rank");
            before = before.min(error);
        }
    }
}
