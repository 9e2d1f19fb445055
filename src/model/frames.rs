//! The frames of a value, on their way from the node that makes them to those that read them.

use alloc::vec::Vec;
use core::ops::Range;

use crate::error::{Error, Result};
#[cfg(feature = "svd")]
use crate::matrix::Mat;
use crate::matrix::{MatMut, MatRef};

/// The frames of a value that some reader has not taken yet. Its memory never shrinks, so a stream soon stops
/// allocating.
#[derive(Clone, Debug)]
pub(super) struct Frames {
    width: usize,
    /// The frames, row by row, and room for more behind them.
    values: Vec<f32>,
    rows: usize,
}

impl Frames {
    /// No frames of `width` features.
    pub fn new(width: usize) -> Self {
        Self { width, values: Vec::new(), rows: 0 }
    }

    /// Number of frames.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The frames in the range `rows`, which must exist.
    pub fn view(&self, rows: Range<usize>) -> MatRef<'_, f32> {
        MatRef::from_checked(&self.values[rows.start * self.width..rows.end * self.width], rows.len(), self.width)
    }

    /// All frames.
    pub fn all(&self) -> MatRef<'_, f32> {
        self.view(0..self.rows)
    }

    /// Adds `rows` frames behind the others and returns them. The caller writes all of them.
    pub fn append(&mut self, rows: usize) -> Result<MatMut<'_, f32>> {
        let too_large = Error::TooLarge { what: "frames", rows: self.rows.saturating_add(rows), cols: self.width };
        let end = self.rows.checked_add(rows).and_then(|rows| rows.checked_mul(self.width)).ok_or(too_large)?;
        let start = self.rows * self.width;
        if self.values.len() < end {
            let bytes = end.saturating_mul(size_of::<f32>());
            self.values.try_reserve(end - self.values.len()).map_err(|_| Error::Allocation { bytes })?;
            self.values.resize(end, 0.0);
        }
        self.rows += rows;
        Ok(MatMut::from_checked(&mut self.values[start..end], rows, self.width))
    }

    /// Adds a copy of `frames` behind the others.
    pub fn extend(&mut self, frames: MatRef<'_, f32>) -> Result<()> {
        self.append(frames.rows())?.as_mut_slice().copy_from_slice(frames.as_slice());
        Ok(())
    }

    /// Drops the first `rows` frames, which must exist.
    pub fn drop_first(&mut self, rows: usize) {
        self.values.copy_within(rows * self.width..self.rows * self.width, 0);
        self.rows -= rows;
    }

    /// All frames as a matrix.
    #[cfg(feature = "svd")]
    pub fn into_matrix(mut self) -> Result<Mat<f32>> {
        self.values.truncate(self.rows * self.width);
        Mat::from_vec(self.values, self.rows, self.width)
    }

    /// Drops all frames.
    pub fn clear(&mut self) {
        self.rows = 0;
    }
}
