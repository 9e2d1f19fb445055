//! The recurrence of a GRU on the CPU, as one operation of burn's graph with its own gradient.
//!
//! With tensor operations, a step of a small layer costs several times its arithmetic in bookkeeping, and the gradient
//! of the recurrent weight needs a product and a sum at every step. Here that gradient is one product over all steps.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Flex};
use burn::tensor::{DType, Tensor, TensorData};
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

use crate::factored::gates::{sigmoid, tanh};

/// The states of all steps, `(steps batch) x hidden`, for sequences that start from zero, with all sequences of a step
/// together. `x` is `(steps batch) x 3 hidden`, the input products with their biases, with gates in the order r, z, n;
/// `w` is `3 hidden x hidden`; `b` is `1 x 3 hidden`. `None` if the tensors are not `f32` on the CPU; layers then run
/// step by step.
pub(super) fn states(x: &Tensor<2>, w: &Tensor<2>, b: &Tensor<2>, batch: usize) -> Option<Tensor<2>> {
    let [rows, _] = x.dims();
    let hidden = w.dims()[1];
    if [x, w, b].iter().any(|tensor| tensor.dtype() != DType::F32) {
        return None;
    }
    let constant = |tensor: &Tensor<2>| tensor.clone().try_into_primitive::<Flex>().ok();
    if let (Some(x), Some(w), Some(b)) = (constant(x), constant(w), constant(b)) {
        let Sweep { states, .. } = Sweep::forward(&numbers(&x), numbers(&w), &numbers(&b), batch);
        return Some(Tensor::from_primitive::<Flex>(primitive(states, [rows, hidden])));
    }
    let tracked = |tensor: &Tensor<2>| tensor.clone().try_into_primitive::<Autodiff<Flex>>().ok();
    let [x, w, b] = [tracked(x)?, tracked(w)?, tracked(b)?];
    let prepared = Gradient.prepare::<NoCheckpointing>([x.node(), w.node(), b.node()]).compute_bound().stateful();
    let sweep = Sweep::forward(&numbers(x.primitive()), numbers(w.primitive()), &numbers(b.primitive()), batch);
    let states = primitive(sweep.states.clone(), [rows, hidden]);
    Some(Tensor::from_primitive::<Autodiff<Flex>>(match prepared {
        OpsKind::Tracked(prepared) => prepared.finish(sweep, states),
        OpsKind::UnTracked(prepared) => prepared.finish(states),
    }))
}

/// Row by row.
fn numbers(tensor: &FloatTensor<Flex>) -> Vec<f32> {
    tensor.to_contiguous().storage::<f32>().to_vec()
}

fn primitive(values: Vec<f32>, shape: [usize; 2]) -> FloatTensor<Flex> {
    FloatTensor::<Flex>::from_data(TensorData::new(values, shape))
}

/// What the forward pass keeps for the gradient.
#[derive(Clone, Debug)]
struct Sweep {
    batch: usize,
    hidden: usize,
    /// `3 hidden x hidden`.
    w: Vec<f32>,
    /// `(steps batch) x hidden`.
    states: Vec<f32>,
    /// `(steps batch) x 4 hidden`: r, z, n and what r multiplies, `W_hn h + b_hn`.
    gates: Vec<f32>,
}

/// The gradients of a loss.
struct Gradients3 {
    x: Vec<f32>,
    w: Vec<f32>,
    b: Vec<f32>,
}

impl Sweep {
    fn forward(x: &[f32], w: Vec<f32>, b: &[f32], batch: usize) -> Self {
        let hidden = b.len() / 3;
        let rows = x.len() / b.len().max(1);
        let mut states = vec![0.0; rows * hidden];
        let mut gates = vec![0.0; rows * 4 * hidden];
        // Transposed once, rather than at every step.
        let mut w_t = vec![0.0; w.len()];
        MatMut::from_row_major_slice_mut(&mut w_t, hidden, 3 * hidden)
            .copy_from(matrix(&w, 3 * hidden, hidden).transpose());
        let mut products = vec![0.0; batch * 3 * hidden];
        let start = vec![0.0; batch * hidden];
        for first in (0..rows).step_by(batch.max(1)) {
            let (past, now) = states.split_at_mut(first * hidden);
            let h = if first == 0 { &start[..] } else { &past[(first - batch) * hidden..] };
            product(&mut products, Accum::Replace, matrix(h, batch, hidden), matrix(&w_t, hidden, 3 * hidden));
            for (i, row) in (first..first + batch).enumerate() {
                let (x_rz, x_n) = x[row * 3 * hidden..][..3 * hidden].split_at(2 * hidden);
                let (p_rz, p_n) = products[i * 3 * hidden..][..3 * hidden].split_at(2 * hidden);
                let (b_rz, b_n) = b.split_at(2 * hidden);
                let (rz, nq) = gates[row * 4 * hidden..][..4 * hidden].split_at_mut(2 * hidden);
                let (n, q) = nq.split_at_mut(hidden);
                update(rz, [x_rz, p_rz, b_rz], |_, [x, p, b]| sigmoid(x + p + b));
                update(q, [p_n, b_n], |_, [p, b]| p + b);
                let (r, z) = rz.split_at(hidden);
                update(n, [x_n, r, q], |_, [x, r, q]| tanh(x + r * q));
                // (1 - z) n + z h
                let h = &h[i * hidden..][..hidden];
                update(&mut now[i * hidden..][..hidden], [z, n, h], |_, [z, n, h]| n + z * (h - n));
            }
        }
        Self { batch, hidden, w, states, gates }
    }

    /// The gradients of a loss, given its gradient `of_states` with respect to the states.
    fn backward(&self, of_states: &[f32]) -> Gradients3 {
        let Self { batch, hidden, ref w, ref states, ref gates } = *self;
        let rows = states.len() / hidden.max(1);
        let mut of_x = vec![0.0; rows * 3 * hidden];
        // With respect to the recurrent products: the same as for x, except that r multiplies n's.
        let mut of_products = vec![0.0; rows * 3 * hidden];
        let mut of_h = vec![0.0; batch * hidden];
        let start = vec![0.0; batch * hidden];
        for first in (0..rows).step_by(batch.max(1)).rev() {
            let h = if first == 0 { &start[..] } else { &states[(first - batch) * hidden..][..batch * hidden] };
            for (i, row) in (first..first + batch).enumerate() {
                let [r, z, n, q] = parts(&gates[row * 4 * hidden..], hidden);
                let (h, d) = (&h[i * hidden..][..hidden], &mut of_h[i * hidden..][..hidden]);
                update(d, [&of_states[row * hidden..]], |d, [of_state]| d + of_state);
                let (x_rz, x_n) = of_x[row * 3 * hidden..][..3 * hidden].split_at_mut(2 * hidden);
                let (x_r, x_z) = x_rz.split_at_mut(hidden);
                update(x_n, [d, z, n], |_, [d, z, n]| d * (1.0 - z) * (1.0 - n * n));
                update(x_z, [d, z, n, h], |_, [d, z, n, h]| d * (h - n) * z * (1.0 - z));
                update(x_r, [x_n, r, q], |_, [x_n, r, q]| x_n * q * r * (1.0 - r));
                let (p_rz, p_n) = of_products[row * 3 * hidden..][..3 * hidden].split_at_mut(2 * hidden);
                p_rz.copy_from_slice(x_rz);
                update(p_n, [x_n, r], |_, [x_n, r]| x_n * r);
                // The part that does not go through the product.
                update(d, [z], |d, [z]| d * z);
            }
            let of_products = matrix(&of_products[first * 3 * hidden..][..batch * 3 * hidden], batch, 3 * hidden);
            product(&mut of_h, Accum::Add, of_products, matrix(w, 3 * hidden, hidden));
        }
        let mut of_w = vec![0.0; w.len()];
        if let Some(later) = rows.checked_sub(batch) {
            // The states before the first step are zero.
            let of_products = matrix(&of_products[batch * 3 * hidden..], later, 3 * hidden);
            let before = matrix(&states[..later * hidden], later, hidden);
            product(&mut of_w, Accum::Replace, of_products.transpose(), before);
        }
        let mut of_b = vec![0.0; 3 * hidden];
        for row in of_products.chunks_exact(3 * hidden) {
            for (sum, value) in of_b.iter_mut().zip(row) {
                *sum += value;
            }
        }
        Gradients3 { x: of_x, w: of_w, b: of_b }
    }
}

fn matrix(values: &[f32], rows: usize, cols: usize) -> MatRef<'_, f32> {
    MatRef::from_row_major_slice(&values[..rows * cols], rows, cols)
}

/// `out = a b` or `out += a b`, on one thread, so that the order of a sum is fixed.
fn product(out: &mut [f32], accum: Accum, a: MatRef<'_, f32>, b: MatRef<'_, f32>) {
    let out = MatMut::from_row_major_slice_mut(out, a.nrows(), b.ncols());
    matmul(out, accum, a, b, 1.0, Par::Seq);
}

/// The first `N` blocks of `len` values.
fn parts<const N: usize>(values: &[f32], len: usize) -> [&[f32]; N] {
    std::array::from_fn(|i| &values[i * len..][..len])
}

/// Maps each element of `out` together with the values at the same index. Few slices per loop, so that loops vectorize.
fn update<const N: usize>(out: &mut [f32], values: [&[f32]; N], f: impl Fn(f32, [f32; N]) -> f32) {
    let values = values.map(|values| &values[..out.len()]);
    for (i, out) in out.iter_mut().enumerate() {
        *out = f(*out, values.map(|values| values[i]));
    }
}

/// The operation in burn's graph.
#[derive(Debug)]
struct Gradient;

impl Backward<Flex, 3> for Gradient {
    type State = Sweep;

    fn backward(self, ops: Ops<Sweep, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let sweep = ops.state;
        let of_states = numbers(&gradients.consume::<Flex>(&ops.node));
        let Gradients3 { x, w, b } = sweep.backward(&of_states);
        let Sweep { hidden, .. } = sweep;
        let rows = x.len() / (3 * hidden).max(1);
        let shapes = [[rows, 3 * hidden], [3 * hidden, hidden], [1, 3 * hidden]];
        for ((parent, values), shape) in ops.parents.into_iter().zip([x, w, b]).zip(shapes) {
            if let Some(parent) = parent {
                gradients.register::<Flex>(parent.id, primitive(values, shape));
            }
        }
    }
}
