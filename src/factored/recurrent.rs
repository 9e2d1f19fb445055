//! Code shared by recurrent layers: their trait, and input products batched over time.

use alloc::vec::Vec;

use super::dense::DenseWeight;
use super::quantization::Quantization;
use super::scratch::Scratch;
use super::weight::Weight;
use crate::error::{Error, Result};
use crate::kernels::{Activation, Tier};
use crate::matrix::{MatMut, MatRef, grow};

/// A recurrent layer, for code that is generic over its kind.
///
/// # Example
/// ```
/// use skinny::factored::{Gru, Recurrent, Scratch, Weight};
/// use skinny::{Mat, MatMut, MatRef, Result};
///
/// /// The outputs of a whole sequence, from a state of zeros.
/// fn whole<L: Recurrent>(layer: &L, x: MatRef<'_, f32>) -> Result<Mat<f32>> {
///     let mut out = Mat::zeros(x.rows(), layer.output_size())?;
///     layer.forward(x, &mut layer.state()?, out.view_mut(), &mut Scratch::new())?;
///     Ok(out)
/// }
///
/// let weight = |seed: f32| Weight::dense(Mat::from_vec(vec![seed; 12], 6, 2)?);
/// let gru = Gru::new(weight(0.25)?, weight(-0.5)?, None, None)?;
/// assert_eq!(whole(&gru, MatRef::new(&[1.0; 10], 5, 2)?)?.rows(), 5);
/// # Ok::<(), skinny::Error>(())
/// ```
pub trait Recurrent: Sized {
    /// The state between time steps.
    type State: Clone;

    /// Input features.
    fn input_size(&self) -> usize;

    /// Output features.
    fn output_size(&self) -> usize;

    /// A state for this layer, all zeros.
    ///
    /// # Errors
    /// [`Error::Allocation`].
    fn state(&self) -> Result<Self::State>;

    /// Resets a state to zeros, for the start of a sequence.
    fn reset(&self, state: &mut Self::State);

    /// Runs one time step: takes `x` (`input` elements), advances `state` and returns the output, which the state
    /// holds.
    ///
    /// # Errors
    /// [`Error::Length`] for an input or a state that does not fit; the state is untouched then. [`Error::Allocation`].
    fn step<'s>(&self, x: &[f32], state: &'s mut Self::State, scratch: &mut Scratch) -> Result<&'s [f32]>;

    /// Runs a sequence of time steps, or a piece of one: takes `x` (`time x input`), advances `state` and writes the
    /// outputs to `out` (`time x output`). Results are bit-identical however a sequence is split into pieces.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::Length`] for operands that do not fit; state and output are untouched then. On
    /// [`Error::Allocation`] the state may have advanced by a part of the sequence.
    fn forward(
        &self,
        x: MatRef<'_, f32>,
        state: &mut Self::State,
        out: MatMut<'_, f32>,
        scratch: &mut Scratch,
    ) -> Result<()>;

    /// The same layer in 8, 4 or 2 bits, for the kernels of `tier`.
    ///
    /// # Errors
    /// Those of [`Weight::quantize_to`].
    fn quantize_to(&self, format: impl Into<Quantization>, tier: Tier) -> Result<Self>;

    /// Number of weights and biases; a shared factor counts once.
    fn parameters(&self) -> usize;

    /// Bytes of weights and biases in memory; a shared factor counts once.
    fn bytes(&self) -> usize;
}

/// Implements [`Recurrent`] for a layer through its inherent methods of the same names.
macro_rules! recurrent_by_methods {
    ($layer:ty, $state:ty) => {
        impl $crate::factored::Recurrent for $layer {
            type State = $state;

            fn input_size(&self) -> usize {
                self.input_size()
            }

            fn output_size(&self) -> usize {
                self.output_size()
            }

            fn state(&self) -> $crate::Result<$state> {
                self.state()
            }

            fn reset(&self, state: &mut $state) {
                state.reset();
            }

            fn step<'s>(&self, x: &[f32], state: &'s mut $state, scratch: &mut Scratch) -> $crate::Result<&'s [f32]> {
                self.step(x, state, scratch)
            }

            fn forward(
                &self,
                x: MatRef<'_, f32>,
                state: &mut $state,
                out: MatMut<'_, f32>,
                scratch: &mut Scratch,
            ) -> $crate::Result<()> {
                self.forward(x, state, out, scratch)
            }

            fn quantize_to(
                &self,
                format: impl Into<$crate::factored::Quantization>,
                tier: $crate::kernels::Tier,
            ) -> $crate::Result<Self> {
                self.quantize_to(format, tier)
            }

            fn parameters(&self) -> usize {
                self.parameters()
            }

            fn bytes(&self) -> usize {
                self.bytes()
            }
        }
    };
}
pub(super) use recurrent_by_methods;

/// Computes `weight_ih x + bias_ih` for the rows of `x` (time steps), one time batch at a time, and calls `step` for
/// each row in order, with its index and its product.
pub(super) fn for_each_step(
    weight_ih: &Weight,
    bias_ih: Option<&[f32]>,
    x: MatRef<'_, f32>,
    scratch: &mut Scratch,
    mut step: impl FnMut(usize, &[f32], &mut Scratch) -> Result<()>,
) -> Result<()> {
    let width = weight_ih.n();
    let time_batch = scratch.time_batch().min(x.rows());
    let len = time_batch.checked_mul(width).ok_or(Error::TooLarge {
        what: "gates of a time batch",
        rows: time_batch,
        cols: width,
    })?;
    // Taken out of the scratch while the products use the rest of it.
    let mut gates = core::mem::take(&mut scratch.input_gates);
    let done = grow(&mut gates, len).and_then(|()| {
        let mut start = 0;
        while start < x.rows() {
            let steps = time_batch.min(x.rows() - start);
            let x = x.rows_range(start..start + steps);
            let mut gates = MatMut::from_checked(&mut gates[..steps * width], steps, width);
            weight_ih.apply(x, bias_ih, Activation::Identity, gates.reborrow(), scratch)?;
            for i in 0..steps {
                step(start + i, gates.view().row(i), scratch)?;
            }
            start += steps;
        }
        Ok(())
    });
    scratch.input_gates = gates;
    done
}

/// The input product and the recurrent product of a single time step, biases included, in the memory of `scratch`. Where a
/// layer has a few units, what leads to the products takes as long as they do.
#[inline]
pub(super) fn both_products<'s>(
    [weight_ih, weight_hh]: [&Weight; 2],
    [bias_ih, bias_hh]: [Option<&[f32]>; 2],
    [x, h]: [&[f32]; 2],
    scratch: &'s mut Scratch,
) -> Result<[&'s mut [f32]; 2]> {
    let (weight_ih, weight_hh) = match (weight_ih, weight_hh) {
        (Weight::Dense(ih), Weight::Dense(hh)) if ih.takes_vectors() && hh.takes_vectors() => (ih, hh),
        weights => return both_products_of_any(weights.into(), [bias_ih, bias_hh], [x, h], scratch),
    };
    let Scratch { input_gates, recurrent_gates, vector, workspace, .. } = scratch;
    let input = part(input_gates, weight_ih.n())?;
    weight_ih.apply_vector(x, bias_ih, input, vector, workspace)?;
    let recurrent = part(recurrent_gates, weight_hh.n())?;
    weight_hh.apply_vector(h, bias_hh, recurrent, vector, workspace)?;
    Ok([input, recurrent])
}

/// As [`both_products`], for weights of which one is not a single matrix, or takes 16 bits.
#[inline(never)]
fn both_products_of_any<'s>(
    [weight_ih, weight_hh]: [&Weight; 2],
    [bias_ih, bias_hh]: [Option<&[f32]>; 2],
    [x, h]: [&[f32]; 2],
    scratch: &'s mut Scratch,
) -> Result<[&'s mut [f32]; 2]> {
    // Taken out of the scratch while the products use the rest of it.
    let mut input = core::mem::take(&mut scratch.input_gates);
    let mut recurrent = core::mem::take(&mut scratch.recurrent_gates);
    let done = part(&mut input, weight_ih.n())
        .and_then(|input| product(weight_ih, bias_ih, x, input, scratch))
        .and_then(|()| part(&mut recurrent, weight_hh.n()))
        .and_then(|recurrent| product(weight_hh, bias_hh, h, recurrent, scratch));
    (scratch.input_gates, scratch.recurrent_gates) = (input, recurrent);
    done?;
    Ok([&mut scratch.input_gates[..weight_ih.n()], &mut scratch.recurrent_gates[..weight_hh.n()]])
}

/// The first `len` elements of a buffer, which grows to have them.
#[inline]
fn part(buffer: &mut Vec<f32>, len: usize) -> Result<&mut [f32]> {
    grow(buffer, len)?;
    Ok(&mut buffer[..len])
}

/// `gates * hidden`: the number of rows of the stacked gates.
pub(super) fn gate_rows(gates: usize, hidden: usize) -> Result<usize> {
    hidden.checked_mul(gates).ok_or(Error::TooLarge { what: "weight_hh", rows: hidden, cols: gates })
}

/// The sum of `of` over the matrices of `weights`; a shared matrix counts once.
fn total<'w>(weights: impl IntoIterator<Item = &'w Weight>, of: impl Fn(&DenseWeight) -> usize) -> usize {
    let mut matrices = Vec::new();
    weights.into_iter().for_each(|weight| weight.add_matrices(&mut matrices));
    matrices.into_iter().map(of).sum()
}

/// Number of elements of weights and biases.
pub(super) fn parameters<'w>(weights: impl IntoIterator<Item = &'w Weight>, biases: [Option<&[f32]>; 2]) -> usize {
    total(weights, DenseWeight::parameters) + biases.into_iter().flatten().map(<[f32]>::len).sum::<usize>()
}

/// Bytes of weights and biases.
pub(super) fn bytes<'w>(weights: impl IntoIterator<Item = &'w Weight>, biases: [Option<&[f32]>; 2]) -> usize {
    total(weights, DenseWeight::bytes) + biases.into_iter().flatten().map(size_of_val).sum::<usize>()
}

/// `out = weight x + bias` for one vector.
#[inline(never)]
pub(super) fn product(
    weight: &Weight,
    bias: Option<&[f32]>,
    x: &[f32],
    out: &mut [f32],
    scratch: &mut Scratch,
) -> Result<()> {
    match weight {
        Weight::Dense(weight) if weight.takes_vectors() => {
            weight.apply_vector(x, bias, out, &mut scratch.vector, &scratch.workspace)
        }
        _ => weight.apply(MatRef::row_vector(x), bias, Activation::Identity, MatMut::row_vector(out), scratch),
    }
}
