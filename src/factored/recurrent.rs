//! What recurrent layers share: input products batched over time.

use alloc::vec::Vec;

use super::scratch::Scratch;
use super::weight::Weight;
use crate::error::{Error, Result};
use crate::kernels::Activation;
use crate::matrix::{MatMut, MatRef, grow};

/// Computes `weight_ih x + bias_ih` for the rows of `x` (time steps), a time batch at once, and calls `step` for one
/// after another, with its index and that product.
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
    // Out of the scratch while the products use the rest of it.
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

/// Computes `weight_hh h + bias_hh` into `gates`, which grows to hold it, and returns it.
pub(super) fn recurrent_product<'g>(
    weight_hh: &Weight,
    bias_hh: Option<&[f32]>,
    h: &[f32],
    gates: &'g mut Vec<f32>,
    scratch: &mut Scratch,
) -> Result<&'g [f32]> {
    grow(gates, weight_hh.n())?;
    let gates = &mut gates[..weight_hh.n()];
    let out = MatMut::row_vector(gates);
    weight_hh.apply(MatRef::row_vector(h), bias_hh, Activation::Identity, out, scratch)?;
    Ok(gates)
}
