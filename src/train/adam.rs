//! Adam that keeps factored weights aligned with their singular directions.
//!
//! # Why
//!
//! `W = U V` is `(U Q) (Q^T V)` for every orthogonal `Q`. The model, its loss and the trace norm penalty do not depend on
//! `Q`, nor does a step of gradient descent: it takes the factors `U Q` and `Q^T V` to the same `W` as `U` and `V`. Adam's
//! step does depend on it, as it scales each number by itself to a length of about the learning rate. A singular direction
//! that lies in one column of `U` moves by such a step in that column; one that is spread over `c` columns moves by the
//! steps of all of them, which add up to `sqrt(c)` times as much. Nothing draws training back to columns that are singular
//! directions, so it drifts away from them: the greatest singular values run away, few directions hold all of a weight,
//! and the run is stuck where a dense weight goes on learning.
//!
//! # What is done about it
//!
//! Every few batches ([`Schedule::align`](super::Schedule::align)) the factors are turned into the basis `Q` of the
//! eigenvectors of `U^T U + V V^T`. Of balanced factors, which a penalty and the transition both make, these are the
//! singular directions of `W`: column `i` of `U Q` and row `i` of `Q^T V` are singular vectors times `sqrt(sigma_i)`.
//!
//! | | becomes | |
//! |---|---|---|
//! | factors | `U Q`, `Q^T V` | `W` is what it was |
//! | first moments | `m_U Q`, `Q^T m_V` | means of gradients, which turn like the factors |
//! | second moments | `v_U (Q * Q)`, `(Q * Q)^T v_V` | elementwise `Q * Q`: mean squares of sums of uncorrelated numbers |
//!
//! # What it is equivalent to
//!
//! With a period of one batch it is Adam in the singular basis of `W`: factors `U` and `V` and factors `U Q` and `Q^T V` go
//! the same way, for any `Q`. (Signs are left open by a decomposition, and Adam does not notice them.) The basis changes
//! slowly, so that a longer period does as well and costs less.
//!
//! It is a relative of SOAP (Vyas et al., arXiv 2409.11321), which is Adam in the eigenbasis of the matrices that Shampoo
//! (Gupta et al., arXiv 1802.09568) scales gradients with. The gradient of `U` is `G V^T`, with `G` that of `W`. Shampoo's
//! matrix for its columns is the mean of `V G^T G V^T`; if `G` is white, this is a multiple of `V V^T`. That for the rows of
//! `V` is likewise a multiple of `U^T U`. SOAP thus takes the same basis for factors, where gradients are white. Here it is
//! known without sums of products of gradients, only the side that is free to turn is turned, and the factors themselves
//! go into the new basis, so that the steps between two turns are those of Adam as it is.

use std::collections::BTreeMap;

use burn::optim::{Adam, AdamConfig, AdamState, Optimizer};
use burn::tensor::Tensor;

use super::tensors::{leaf, matrix, tensor};
use super::weight::Weight;
use crate::error::Result;
use crate::factored::{Eigen, expect_finite};
use crate::linalg::{gram, to_f32};
use crate::matrix::Mat;

/// Adam for named parameters.
#[derive(Clone)]
pub(super) struct AlignedAdam {
    adam: Adam,
    /// Moments of the parameters that had a gradient.
    pub(super) states: BTreeMap<String, AdamState<2>>,
}

impl AlignedAdam {
    /// Without moments.
    pub(super) fn new() -> Self {
        // PyTorch's epsilon, not burn's.
        Self { adam: AdamConfig::new().with_epsilon(1e-8).build(), states: BTreeMap::new() }
    }

    /// Moves a parameter by a step.
    pub(super) fn step(&mut self, name: &str, parameter: &mut Tensor<2>, gradient: Tensor<2>, rate: f64) {
        let state = self.states.remove(name);
        let (moved, state) = self.adam.step(rate, parameter.clone().without_autodiff(), gradient, state);
        *parameter = leaf(moved);
        self.states.extend(state.map(|state| (name.to_string(), state)));
    }

    /// Turns the factors of a weight, and their moments, into the singular basis; dense weights are as they were.
    ///
    /// # Errors
    /// [`Error::NotFinite`](crate::Error::NotFinite) for factors that are not,
    /// [`Error::Allocation`](crate::Error::Allocation).
    pub(super) fn align(&mut self, name: &str, weight: &mut Weight) -> Result<()> {
        let Weight::Factored { u, v } = weight else { return Ok(()) };
        let q = tensor(eigenvectors(&matrix(u)?, &matrix(v)?)?.view(), &u.device());
        let squares = q.clone().square();
        let columns = |of_u: &Tensor<2>, q: &Tensor<2>| of_u.clone().without_autodiff().matmul(q.clone());
        let rows = |of_v: &Tensor<2>, q: &Tensor<2>| q.clone().transpose().matmul(of_v.clone().without_autodiff());
        (*u, *v) = (leaf(columns(u, &q)), leaf(rows(v, &q)));
        if let Some(AdamState { momentum: state }) = self.states.get_mut(&format!("{name}.u")) {
            state.moment_1 = columns(&state.moment_1, &q);
            state.moment_2 = columns(&state.moment_2, &squares);
        }
        if let Some(AdamState { momentum: state }) = self.states.get_mut(&format!("{name}.v")) {
            state.moment_1 = rows(&state.moment_1, &q);
            state.moment_2 = rows(&state.moment_2, &squares);
        }
        Ok(())
    }
}

/// Those of `U^T U + V V^T`, in columns, that of the greatest eigenvalue first. In `f64`, as small directions are the ones
/// that a penalty is about.
pub(super) fn eigenvectors(u: &Mat<f32>, v: &Mat<f32>) -> Result<Mat<f32>> {
    expect_finite("factor U", u.as_slice())?;
    expect_finite("factor V", v.as_slice())?;
    let (n, rank) = (u.rows(), v.rows());
    // U above V^T, whose Gram matrix is the sum.
    let factors = faer::Mat::from_fn(n + v.cols(), rank, |row, i| {
        f64::from(if row < n { u.view().row(row)[i] } else { v.view().row(i)[row - n] })
    });
    let Eigen { values, vectors } = Eigen::new(&gram(factors.as_ref()));
    let mut order: Vec<usize> = (0..rank).collect();
    order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
    to_f32(faer::Mat::from_fn(rank, rank, |row, i| vectors[(row, order[i])]).as_ref())
}
