//! Some of the features of a frame.

use core::ops::Range;

use super::expect_depth;
use crate::error::{Error, Result};
use crate::matrix::{MatMut, MatRef};

/// A layer that keeps a range of the features of each frame.
///
/// # Example
/// ```
/// use skinny::factored::Slice;
/// use skinny::{MatMut, MatRef};
///
/// let mut out = [0.0; 4];
/// let x = MatRef::new(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2, 3)?;
/// Slice::new(1..3, 3)?.forward(x, MatMut::new(&mut out, 2, 2)?)?;
/// assert_eq!(out, [2.0, 3.0, 5.0, 6.0]);
/// # Ok::<(), skinny::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    range: Range<usize>,
    features: usize,
}

impl Slice {
    /// Makes a layer that keeps the features in `range` of `features`.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a range without features, or beyond the last.
    pub fn new(range: Range<usize>, features: usize) -> Result<Self> {
        if range.start >= range.end || range.end > features {
            let (value, expected) = (range.end as f64, "beyond its start and at most the number of features");
            return Err(Error::Parameter { what: "end of a slice", value, expected });
        }
        Ok(Self { range, features })
    }

    /// The features that it keeps.
    pub fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    /// Features per input frame.
    pub fn input_size(&self) -> usize {
        self.features
    }

    /// Features per output frame.
    pub fn output_size(&self) -> usize {
        self.range.len()
    }

    /// Writes the features that it keeps of each frame of `x` (`time x input`) to `out` (`time x output`).
    ///
    /// # Errors
    /// [`Error::Shape`] for operands that do not fit; `out` is untouched then.
    pub fn forward(&self, x: MatRef<'_, f32>, mut out: MatMut<'_, f32>) -> Result<()> {
        expect_depth("input", x, self.features)?;
        out.expect_shape("output", x.rows(), self.output_size())?;
        for row in 0..x.rows() {
            out.row_mut(row).copy_from_slice(&x.row(row)[self.range.clone()]);
        }
        Ok(())
    }
}
