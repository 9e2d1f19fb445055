//! Adam that keeps factored weights aligned with their singular directions.
//!
//! # Why
//!
//! `W = U V` equals `(U Q) (Q^T V)` for every orthogonal `Q`. The model, its loss and the trace norm penalty do not
//! depend on `Q`. Neither does a step of gradient descent: it takes the factors `U Q` and `Q^T V` to the same `W` as
//! `U` and `V`. Adam's step does, because it scales each element separately to about the learning rate. If a singular
//! direction lies in one column of `U`, it moves by such a step in that column. If it is spread over `c` columns, it
//! moves by all their steps, which add up to `sqrt(c)` times as much.
//!
//! Nothing pulls the columns back to singular directions, so training drifts away from them. The largest singular
//! values then run away, few directions hold all of a weight, and the run stalls where a dense weight would keep
//! learning.
//!
//! # The remedy
//!
//! Every few batches ([`Schedule::align`](super::Schedule::align)) the factors are rotated into the basis `Q` of the
//! eigenvectors of `U^T U + V V^T`. For balanced factors, these are the singular directions of `W`: column `i` of `U Q`
//! and row `i` of `Q^T V` are singular vectors times `sqrt(sigma_i)`. Both the penalty and the transition make factors
//! balanced.
//!
//! | | becomes | |
//! |---|---|---|
//! | factors | `U Q`, `Q^T V` | `W` does not change |
//! | first moments | `m_U Q`, `Q^T m_V` | means of gradients, which rotate like the factors |
//! | second moments | `v_U (Q * Q)`, `(Q * Q)^T v_V` | elementwise `Q * Q`: mean squares of sums of uncorrelated numbers |
//!
//! # Related methods
//!
//! With a period of one batch, this is Adam in the singular basis of `W`: training is the same from `U` and `V` as from
//! `U Q` and `Q^T V`, for any `Q`. (A decomposition leaves signs open, but they do not affect Adam.) The basis changes
//! slowly, so a longer period works as well and costs less.
//!
//! The method is related to SOAP (Vyas et al., arXiv 2409.11321), which is Adam in the eigenbasis of Shampoo's
//! preconditioners (Gupta et al., arXiv 1802.09568). Let `G` be the gradient of `W`; the gradient of `U` is then
//! `G V^T`. Shampoo's matrix for the columns of `U` is the mean of `V G^T G V^T`. If `G` is white, this is a multiple
//! of `V V^T`, and the matrix for the rows of `V` is likewise a multiple of `U^T U`. So for white gradients SOAP uses
//! the same basis for factors.
//!
//! The differences: here the basis is known without accumulating products of gradients; only the free side is rotated;
//! and the factors themselves move to the new basis, so the steps between rotations are plain Adam.

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
    /// The moments of the parameters that had a gradient.
    pub(super) states: BTreeMap<String, AdamState<2>>,
}

impl AlignedAdam {
    /// An optimizer without moments.
    pub(super) fn new() -> Self {
        // PyTorch's epsilon, not burn's.
        Self { adam: AdamConfig::new().with_epsilon(1e-8).build(), states: BTreeMap::new() }
    }

    /// Updates a parameter by one step.
    pub(super) fn step(&mut self, name: &str, parameter: &mut Tensor<2>, gradient: Tensor<2>, rate: f64) {
        let state = self.states.remove(name);
        let (moved, state) = self.adam.step(rate, parameter.clone().without_autodiff(), gradient, state);
        *parameter = leaf(moved);
        self.states.extend(state.map(|state| (name.to_string(), state)));
    }

    /// Rotates the factors of a weight, and their moments, into the singular basis. Dense weights do not change.
    ///
    /// # Errors
    /// [`Error::NotFinite`](crate::Error::NotFinite) for factors that are not finite,
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

/// The eigenvectors of `U^T U + V V^T` in columns, in descending order of eigenvalue. Computed in `f64`, because a
/// penalty acts on small directions most.
pub(super) fn eigenvectors(u: &Mat<f32>, v: &Mat<f32>) -> Result<Mat<f32>> {
    expect_finite("factor U", u.as_slice())?;
    expect_finite("factor V", v.as_slice())?;
    let (n, rank) = (u.rows(), v.rows());
    // U stacked on V^T has the sum as its Gram matrix.
    let factors = faer::Mat::from_fn(n + v.cols(), rank, |row, i| {
        f64::from(if row < n { u.view().row(row)[i] } else { v.view().row(i)[row - n] })
    });
    let Eigen { values, vectors } = Eigen::new(&gram(factors.as_ref()));
    let mut order: Vec<usize> = (0..rank).collect();
    order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
    to_f32(faer::Mat::from_fn(rank, rank, |row, i| vectors[(row, order[i])]).as_ref())
}
