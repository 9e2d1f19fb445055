//! Penalties on the weights.

use burn::tensor::Tensor;

use super::weight::{Weight, WeightKind};

/// A penalty term of the loss that grows with the weights.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Penalty {
    /// No penalty: the control.
    #[default]
    None,
    /// `lambda/2 (|U|_F^2 + |V|_F^2)` for factors. Its minimum over all factorizations of `W = U V` is `lambda` times
    /// the trace norm of `W`, the sum of its singular values (Kliegl et al., arXiv 1710.09026). Zero for a dense
    /// weight.
    TraceNorm {
        /// The strength for recurrent weights.
        recurrent: f32,
        /// The strength for non-recurrent weights.
        non_recurrent: f32,
    },
    /// `lambda/2 |W|_F^2`, the baseline. For factors, `W` is their product: the Frobenius decay of Khodak et al., arXiv
    /// 2105.01029.
    L2 {
        /// The strength for recurrent weights.
        recurrent: f32,
        /// The strength for non-recurrent weights.
        non_recurrent: f32,
    },
}

impl Penalty {
    /// The same penalty with its strengths multiplied by `share`.
    pub(super) fn scaled(mut self, share: f32) -> Self {
        match &mut self {
            Penalty::None => {}
            Penalty::TraceNorm { recurrent, non_recurrent } | Penalty::L2 { recurrent, non_recurrent } => {
                *recurrent *= share;
                *non_recurrent *= share;
            }
        }
        self
    }

    /// The sum over these weights, of shape `[1]`; `None` if it is zero for all weights.
    pub fn of<'w>(self, weights: impl IntoIterator<Item = (WeightKind, &'w Weight)>) -> Option<Tensor<1>> {
        let terms = weights.into_iter().filter_map(|(kind, weight)| {
            let strength = |recurrent, non_recurrent| match kind {
                WeightKind::Recurrent => recurrent,
                WeightKind::NonRecurrent => non_recurrent,
            };
            let (lambda, squares) = match (self, weight) {
                (Penalty::None, _) | (Penalty::TraceNorm { .. }, Weight::Dense(_)) => return None,
                (Penalty::TraceNorm { recurrent, non_recurrent }, Weight::Factored { u, v }) => {
                    (strength(recurrent, non_recurrent), square(u.clone()) + square(v.clone()))
                }
                (Penalty::L2 { recurrent, non_recurrent }, weight) => {
                    (strength(recurrent, non_recurrent), square(weight.matrix()))
                }
            };
            (lambda != 0.0).then(|| squares.mul_scalar(0.5 * lambda))
        });
        terms.reduce(|sum, term| sum + term)
    }
}

/// The squared Frobenius norm.
fn square(w: Tensor<2>) -> Tensor<1> {
    w.square().sum()
}
