//! Converts parameters of ONNX's recurrent operators to the gate order of this crate's layers.

use alloc::vec::Vec;

use crate::error::{Error, Result};
use crate::matrix::{Mat, MatRef, grow};

/// Stacks the blocks `gates` of `w`, each of `hidden` rows, in the given order. `w` must have them all.
pub(super) fn reorder(w: MatRef<'_, f32>, hidden: usize, gates: &[usize]) -> Result<Mat<f32>> {
    let mut ordered = Mat::zeros(gates.len() * hidden, w.cols())?;
    let block = hidden * w.cols();
    for (place, &gate) in gates.iter().enumerate() {
        let rows = w.rows_range(gate * hidden..(gate + 1) * hidden);
        ordered.as_mut_slice()[place * block..][..block].copy_from_slice(rows.as_slice());
    }
    Ok(ordered)
}

/// Splits ONNX's one bias vector into the biases of the input and the recurrent product, with their gates in `order`.
/// The caller has checked that `G * hidden` does not overflow.
pub(super) fn split_bias<const G: usize>(
    bias: Option<&[f32]>,
    hidden: usize,
    order: [usize; G],
) -> Result<[Option<Vec<f32>>; 2]> {
    let Some(bias) = bias else { return Ok([None, None]) };
    let len = G * hidden;
    let expected = len.checked_mul(2).ok_or(Error::TooLarge { what: "B", rows: 2, cols: len })?;
    if bias.len() != expected {
        return Err(Error::Length { what: "B", expected, found: bias.len() });
    }
    let ordered = |bias: &[f32]| -> Result<_> {
        let mut ordered = Vec::new();
        grow(&mut ordered, len)?;
        for (place, gate) in order.into_iter().enumerate() {
            ordered[place * hidden..][..hidden].copy_from_slice(&bias[gate * hidden..][..hidden]);
        }
        Ok(Some(ordered))
    };
    Ok([ordered(&bias[..len])?, ordered(&bias[len..])?])
}
