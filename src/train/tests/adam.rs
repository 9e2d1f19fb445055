//! Adam in the singular basis.

use burn::optim::{AdamState, AdaptiveMomentumState};
use burn::tensor::{Device, Tensor};

use super::random_matrix;
use crate::error::Error;
use crate::factored::{LowRank, RankPolicy, singular_values};
use crate::matrix::Mat;
use crate::train::adam::{AlignedAdam, eigenvectors};
use crate::train::tensors::{matrix, parameter, tensor, values};
use crate::train::weight::uniform;
use crate::train::{Random, Weight};

/// Factors in no particular basis, with `U` longer than `V`.
fn factors(n: usize, k: usize, rank: usize, seed: u64) -> (Mat<f32>, Mat<f32>) {
    let mut u = random_matrix(n, rank, seed);
    u.as_mut_slice().iter_mut().for_each(|u| *u *= 3.0);
    (u, random_matrix(rank, k, seed + 1))
}

fn weight(u: &Mat<f32>, v: &Mat<f32>) -> Weight {
    let device = Device::flex();
    Weight::Factored { u: parameter(u.view(), &device), v: parameter(v.view(), &device) }
}

fn parts(weight: &mut Weight) -> (&mut Tensor<2>, &mut Tensor<2>) {
    let Weight::Factored { u, v } = weight else { unreachable!() };
    (u, v)
}

fn product(a: &Mat<f32>, b: &Mat<f32>) -> Mat<f32> {
    let device = Device::flex();
    matrix(&tensor(a.view(), &device).matmul(tensor(b.view(), &device))).unwrap()
}

fn transposed(a: &Mat<f32>) -> Mat<f32> {
    matrix(&tensor(a.view(), &Device::flex()).transpose()).unwrap()
}

fn squared(a: &Mat<f32>) -> Mat<f32> {
    Mat::from_vec(a.as_slice().iter().map(|a| a * a).collect(), a.rows(), a.cols()).unwrap()
}

/// The largest difference, relative to the largest element of `b`.
fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let greatest = b.iter().fold(f32::MIN_POSITIVE, |greatest, b| greatest.max(b.abs()));
    a.iter().zip(b).fold(0.0f32, |difference, (a, b)| difference.max((a - b).abs())) / greatest
}

const SHAPES: [[usize; 3]; 6] = [[6, 9, 6], [9, 4, 4], [24, 20, 3], [5, 5, 1], [1, 1, 1], [40, 33, 33]];

#[test]
fn an_alignment_leaves_the_weight_and_makes_columns_and_rows_orthogonal() {
    for [n, k, rank] in SHAPES {
        let (u, v) = factors(n, k, rank, 1);
        let mut weight = weight(&u, &v);
        let before = weight.to_mat().unwrap();
        AlignedAdam::new().align("w", &mut weight).unwrap();
        let after = weight.to_mat().unwrap();
        assert!(difference(after.as_slice(), before.as_slice()) < 1e-5, "{n} x {k}, rank {rank}");

        let (u, v) = parts(&mut weight);
        let gram = u.clone().transpose().matmul(u.clone()) + v.clone().matmul(v.clone().transpose());
        let gram = matrix(&gram).unwrap();
        let diagonal: Vec<f32> = (0..rank).map(|i| gram.view().row(i)[i]).collect();
        assert!(diagonal.is_sorted_by(|a, b| *a >= b - 1e-5 * a), "{diagonal:?}");
        for i in 0..rank {
            for (j, &element) in gram.view().row(i).iter().enumerate() {
                assert!(i == j || element.abs() < 1e-5 * diagonal[0], "{n} x {k}, rank {rank}: {element}");
            }
        }
    }
}

#[test]
fn balanced_factors_become_singular_vectors_times_roots_of_singular_values() {
    let w = random_matrix(7, 5, 3);
    let (u, v) = LowRank::truncate(w.view(), RankPolicy::Variance(1.0)).unwrap().into_factors();
    let q = eigenvectors(&random_matrix(5, 5, 4), &random_matrix(5, 5, 5)).unwrap();
    let mut turned = weight(&product(&u, &q), &product(&transposed(&q), &v));
    AlignedAdam::new().align("w", &mut turned).unwrap();
    let (found_u, found_v) = parts(&mut turned);
    // Up to the signs of columns and rows.
    let magnitudes = |values: &[f32]| values.iter().map(|value| value.abs()).collect::<Vec<_>>();
    assert!(difference(&magnitudes(&values(found_u.clone())), &magnitudes(u.as_slice())) < 1e-4);
    assert!(difference(&magnitudes(&values(found_v.clone())), &magnitudes(v.as_slice())) < 1e-4);
}

#[test]
fn dense_weights_are_as_they_were_and_factors_that_are_not_finite_are_refused() {
    let w = random_matrix(4, 3, 1);
    let mut dense = Weight::dense(w.view(), &Device::flex());
    AlignedAdam::new().align("w", &mut dense).unwrap();
    assert_eq!(dense.to_mat().unwrap(), w);
    let (mut u, v) = factors(4, 3, 2, 1);
    u.as_mut_slice()[5] = f32::NAN;
    let refused = AlignedAdam::new().align("w", &mut weight(&u, &v));
    assert!(matches!(refused, Err(Error::NotFinite { what: "factor U", index: 5, .. })));
}

/// Adam with given moments for the factors of `w`.
fn adam_with(first: [&Mat<f32>; 2], second: [&Mat<f32>; 2]) -> AlignedAdam {
    let mut adam = AlignedAdam::new();
    for (i, name) in ["w.u", "w.v"].into_iter().enumerate() {
        let of = |moment: &Mat<f32>| tensor(moment.view(), &Device::flex());
        let momentum = AdaptiveMomentumState::new(3, of(first[i]), of(second[i]));
        adam.states.insert(name.into(), AdamState::new(momentum));
    }
    adam
}

fn steps(adam: &mut AlignedAdam, weight: &mut Weight, gradient: [&Mat<f32>; 2]) {
    let (u, v) = parts(weight);
    adam.step("w.u", u, tensor(gradient[0].view(), &Device::flex()), 0.1);
    adam.step("w.v", v, tensor(gradient[1].view(), &Device::flex()), 0.1);
}

/// If all second moments are equal, Adam is gradient descent with momentum, which is independent of the basis. So it
/// makes no difference whether factors and gradients are rotated before a step, or the factors after it.
#[test]
fn first_moments_turn_with_the_factors() {
    for [n, k, rank] in SHAPES {
        let (u, v) = factors(n, k, rank, 1);
        let (m_u, m_v) = factors(n, k, rank, 3);
        let constant = |rows, cols| Mat::from_vec(vec![0.25; rows * cols], rows, cols).unwrap();
        let second = [&constant(n, rank), &constant(rank, k)];
        let zeros = [&Mat::zeros(n, rank).unwrap(), &Mat::zeros(rank, k).unwrap()];

        let mut aligned = weight(&u, &v);
        let mut adam = adam_with([&m_u, &m_v], second);
        adam.align("w", &mut aligned).unwrap();
        steps(&mut adam, &mut aligned, zeros);

        let mut plain = weight(&u, &v);
        steps(&mut adam_with([&m_u, &m_v], second), &mut plain, zeros);
        let moved = difference(plain.to_mat().unwrap().as_slice(), weight(&u, &v).to_mat().unwrap().as_slice());
        assert!(moved > 1e-2, "{moved}");

        let q = eigenvectors(&u, &v).unwrap();
        let (plain_u, plain_v) = parts(&mut plain);
        let expected_u = product(&matrix(plain_u).unwrap(), &q);
        let expected_v = product(&transposed(&q), &matrix(plain_v).unwrap());
        let (found_u, found_v) = parts(&mut aligned);
        assert!(difference(&values(found_u.clone()), expected_u.as_slice()) < 1e-5, "{n} x {k}, rank {rank}");
        assert!(difference(&values(found_v.clone()), expected_v.as_slice()) < 1e-5, "{n} x {k}, rank {rank}");
    }
}

/// The mean over all signs of the elements of a gradient, which are uncorrelated then.
#[test]
fn second_moments_are_the_mean_squares_of_turned_gradients() {
    let (n, k, rank) = (2, 5, 3);
    let (u, v) = factors(n, k, rank, 1);
    let (g_u, g_v) = factors(n, k, rank, 3);
    let mut adam = adam_with([&g_u, &g_v], [&squared(&g_u), &squared(&g_v)]);
    adam.align("w", &mut weight(&u, &v)).unwrap();

    let q = eigenvectors(&u, &v).unwrap();
    let sign = |signs: usize, i: usize| if signs >> i & 1 == 1 { -1.0 } else { 1.0 };
    let mean = |turned: &dyn Fn(usize) -> Mat<f32>| {
        let mut sum: Vec<f32> = Vec::new();
        for signs in 0..1 << rank {
            let turned = turned(signs);
            sum.resize(turned.as_slice().len(), 0.0);
            sum.iter_mut().zip(turned.as_slice()).for_each(|(sum, x)| *sum += x * x / (1 << rank) as f32);
        }
        sum
    };
    let expected_u = mean(&|signs| {
        let mut g = g_u.clone();
        g.as_mut_slice().iter_mut().enumerate().for_each(|(at, g)| *g *= sign(signs, at % rank));
        product(&g, &q)
    });
    let expected_v = mean(&|signs| {
        let mut g = g_v.clone();
        g.as_mut_slice().iter_mut().enumerate().for_each(|(at, g)| *g *= sign(signs, at / k));
        product(&transposed(&q), &g)
    });
    let found = |name: &str| values(adam.states[name].momentum.moment_2.clone());
    assert!(difference(&found("w.u"), &expected_u) < 1e-5);
    assert!(difference(&found("w.v"), &expected_v) < 1e-5);
}

/// The gradient with respect to `W` is that of its largest singular value. Adam's first step is the sign of the
/// gradient, whatever its length.
#[test]
fn a_direction_in_many_columns_moves_by_the_steps_of_all_of_them() {
    let (n, k, rate) = (30, 20, 1e-3);
    let (mut u, mut v) =
        LowRank::truncate(random_matrix(n, k, 1).view(), RankPolicy::Variance(1.0)).unwrap().into_factors();
    let sigma = singular_values(random_matrix(n, k, 1).view()).unwrap()[0] as f32;
    let column = |u: &Mat<f32>| (0..n).map(|row| u.view().row(row)[0]).collect::<Vec<_>>();
    let sum = |values: &[f32]| values.iter().map(|value| value.abs()).sum::<f32>();
    // The singular vectors are these over sqrt(sigma).
    let aligned = rate * (sum(&column(&u)) + sum(v.view().row(0)));
    let moved = |u: &Mat<f32>, v: &Mat<f32>, align: bool| {
        let mut weight = weight(u, v);
        let mut adam = AlignedAdam::new();
        if align {
            adam.align("w", &mut weight).unwrap();
        }
        let truth = LowRank::truncate(weight.to_mat().unwrap().view(), RankPolicy::Fixed(1)).unwrap();
        let g = tensor(truth.product().unwrap().view(), &Device::flex()).neg();
        let (u, v) = parts(&mut weight);
        let (g_u, g_v) = (g.clone().matmul(v.clone().transpose()), u.clone().transpose().matmul(g));
        adam.step("w.u", u, g_u.without_autodiff(), rate.into());
        adam.step("w.v", v, g_v.without_autodiff(), rate.into());
        singular_values(weight.to_mat().unwrap().view()).unwrap()[0] as f32 - sigma
    };
    let q = eigenvectors(&random_matrix(n, k, 2), &random_matrix(k, k, 3)).unwrap();
    (u, v) = (product(&u, &q), product(&transposed(&q), &v));
    let spread = sum(q.view().row(0));
    assert!(spread > 3.0, "{spread}");
    let (mixed, turned) = (moved(&u, &v, false), moved(&u, &v, true));
    assert!((mixed / (spread * aligned) - 1.0).abs() < 0.1, "{mixed} for {spread} x {aligned}");
    assert!(turned < 1.5 * aligned, "{turned} for {aligned}");
}

/// `U V` that is fitted to a linear map of `k` to `n` features, which is seen two noiseless examples at a time.
struct Regression {
    map: Tensor<2>,
    weight: Weight,
    adam: AlignedAdam,
    random: Random,
}

impl Regression {
    fn new(map: Mat<f32>, u: &Mat<f32>, v: &Mat<f32>) -> Self {
        let map = tensor(map.view(), &Device::flex());
        Self { map, weight: weight(u, v), adam: AlignedAdam::new(), random: Random::new(5) }
    }

    fn step(&mut self, rate: f64, align: bool) {
        if align {
            self.adam.align("w", &mut self.weight).unwrap();
        }
        let [_, k] = self.map.dims();
        let seen = uniform(k, 2, 1.0, &mut self.random).unwrap();
        let error = (self.weight.matrix() - self.map.clone()).matmul(tensor(seen.view(), &Device::flex()));
        let gradients = error.square().sum().backward();
        let (u, v) = parts(&mut self.weight);
        let (g_u, g_v) = (u.grad(&gradients).unwrap(), v.grad(&gradients).unwrap());
        self.adam.step("w.u", u, g_u, rate);
        self.adam.step("w.v", v, g_v, rate);
    }

    /// The squared distance to the map, relative to the map's squared norm.
    fn error(&self) -> f32 {
        let norm = |w: Tensor<2>| values(w).iter().map(|w| w * w).sum::<f32>();
        norm(self.weight.matrix() - self.map.clone()) / norm(self.map.clone())
    }
}

#[test]
fn with_a_period_of_one_the_basis_of_the_factors_does_not_matter() {
    let (u, v) = LowRank::truncate(random_matrix(8, 6, 1).view(), RankPolicy::Fixed(4)).unwrap().into_factors();
    let q = eigenvectors(&random_matrix(4, 4, 2), &random_matrix(4, 4, 3)).unwrap();
    let trained = |u: &Mat<f32>, v: &Mat<f32>, align: bool| {
        let mut run = Regression::new(random_matrix(8, 6, 9), u, v);
        (0..20).for_each(|_| run.step(0.02, align));
        run.weight.to_mat().unwrap().into_vec()
    };
    let (turned_u, turned_v) = (product(&u, &q), product(&transposed(&q), &v));
    let aligned = difference(&trained(&turned_u, &turned_v, true), &trained(&u, &v, true));
    let plain = difference(&trained(&turned_u, &turned_v, false), &trained(&u, &v, false));
    assert!(aligned < 1e-4 && plain > 0.05, "{aligned}, {plain}");
}

/// A map whose singular values fall by a factor of 0.7 from 4 on, learned from balanced factors of a random weight.
/// Without alignment, steps that add up keep the factors far from it with every seed.
#[test]
fn a_run_that_stalls_learns_with_alignment() {
    let (n, k) = (40, 30);
    for seed in 1..=3 {
        let balanced = |w: &Mat<f32>| LowRank::truncate(w.view(), RankPolicy::Variance(1.0)).unwrap().into_factors();
        let (mut left, mut right) = balanced(&random_matrix(n, k, seed));
        let sigma = singular_values(random_matrix(n, k, seed).view()).unwrap();
        let target = |i: usize| (4.0 * 0.7f32.powi(i as i32) / sigma[i] as f32).sqrt();
        left.as_mut_slice().iter_mut().enumerate().for_each(|(at, u)| *u *= target(at % k));
        right.as_mut_slice().iter_mut().enumerate().for_each(|(at, v)| *v *= target(at / k));
        let map = product(&left, &right);
        let (u, v) = balanced(&uniform(n, k, 0.2, &mut Random::new(100 + seed)).unwrap());
        let [plain, aligned] = [None, Some(5)].map(|period: Option<usize>| {
            let mut run = Regression::new(map.clone(), &u, &v);
            let mut sum = 0.0;
            for batch in 0..450usize {
                run.step(0.03, period.is_some_and(|period| batch.is_multiple_of(period)));
                sum += if batch < 350 { 0.0 } else { run.error() / 100.0 };
            }
            sum
        });
        assert!(aligned < 0.06 && plain > 3.0 * aligned, "seed {seed}: {plain} without, {aligned} with alignment");
    }
}
