//! Parameters of ONNX's recurrent operators in the order of gates that the layers here have.

use alloc::vec::Vec;

use crate::error::{Error, Result};
use crate::matrix::{Mat, MatRef, grow};

/// The blocks `gates` of `hidden` rows of `w`, one below the other; `w` has them all.
pub(super) fn reorder(w: MatRef<'_, f32>, hidden: usize, gates: &[usize]) -> Result<Mat<f32>> {
    let mut ordered = Mat::zeros(gates.len() * hidden, w.cols())?;
    let block = hidden * w.cols();
    for (place, &gate) in gates.iter().enumerate() {
        let rows = w.rows_range(gate * hidden..(gate + 1) * hidden);
        ordered.as_mut_slice()[place * block..][..block].copy_from_slice(rows.as_slice());
    }
    Ok(ordered)
}

/// The bias of the input product and that of the recurrent one, which ONNX has in one vector, their gates in `order`.
/// `G * hidden` has been seen not to overflow.
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
