//! Outputs compared with a reference.

use crate::error::Result;
use crate::matrix::MatRef;

/// How far outputs are from a reference, over any number of frames.
///
/// # Example
/// ```
/// use skinny::{MatRef, compress::Comparison};
///
/// let mut comparison = Comparison::default();
/// let (y, reference) = ([1.0, 0.0, 0.0, 10.0], [1.0, 0.0, 1.0, 10.0]); // two frames of two features
/// comparison.add(MatRef::new(&y, 2, 2)?, MatRef::new(&reference, 2, 2)?)?;
/// assert!((comparison.decibels() - 20.1).abs() < 0.1);
/// assert_eq!((comparison.largest(), comparison.agreement(), comparison.frames()), (1.0, 1.0, 2));
/// # Ok::<(), skinny::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    signal: f64,
    noise: f64,
    largest: f32,
    agreeing: usize,
    frames: usize,
}

impl Comparison {
    /// Adds frames (`time x features`).
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) for outputs of another shape; nothing is added then.
    pub fn add(&mut self, outputs: MatRef<'_, f32>, reference: MatRef<'_, f32>) -> Result<()> {
        outputs.expect_shape("outputs", reference.rows(), reference.cols())?;
        for (&y, &expected) in outputs.as_slice().iter().zip(reference.as_slice()) {
            self.signal += f64::from(expected).powi(2);
            self.noise += (f64::from(expected) - f64::from(y)).powi(2);
            self.largest = self.largest.max((expected - y).abs());
        }
        for row in 0..outputs.rows() {
            self.agreeing += usize::from(greatest(outputs.row(row)) == greatest(reference.row(row)));
        }
        self.frames += outputs.rows();
        Ok(())
    }

    /// The signal-to-noise ratio in dB: infinite for identical outputs, NaN if an output or the reference is NaN.
    pub fn decibels(&self) -> f64 {
        if self.noise == 0.0 { f64::INFINITY } else { 10.0 * (self.signal / self.noise).log10() }
    }

    /// The largest absolute difference.
    pub fn largest(&self) -> f32 {
        self.largest
    }

    /// The share of frames in which both have the same greatest output; 1 without frames.
    pub fn agreement(&self) -> f64 {
        if self.frames == 0 { 1.0 } else { self.agreeing as f64 / self.frames as f64 }
    }

    /// Frames compared.
    pub fn frames(&self) -> usize {
        self.frames
    }
}

/// The index of the first greatest element.
fn greatest(row: &[f32]) -> Option<usize> {
    (0..row.len()).reduce(|best, i| if row[i] > row[best] { i } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    fn compare(y: &[f32], reference: &[f32], cols: usize) -> Comparison {
        let mut comparison = Comparison::default();
        let matrix = |values| MatRef::new(values, y.len() / cols, cols).unwrap();
        comparison.add(matrix(y), matrix(reference)).unwrap();
        comparison
    }

    #[test]
    fn differences_are_measured() {
        let comparison = compare(&[1.0, 0.0, 0.0, 10.0], &[1.0, 0.0, 1.0, 10.0], 2);
        assert!((comparison.decibels() - 10.0 * 102f64.log10()).abs() < 1e-9);
        assert_eq!(compare(&[0.0, 1.0], &[1.0, 0.0], 2).agreement(), 0.0);
        assert_eq!(compare(&[1.0, 2.0], &[1.0, 2.0], 2).decibels(), f64::INFINITY);
        assert_eq!(compare(&[0.0, 1e-3], &[0.0, 0.0], 2).decibels(), f64::NEG_INFINITY);
        assert!(compare(&[0.0, f32::NAN], &[0.0, 0.0], 2).decibels().is_nan());
        assert_eq!(Comparison::default().decibels(), f64::INFINITY);
    }

    #[test]
    fn outputs_of_another_shape_are_refused() {
        let refused = Comparison::default().add(MatRef::row_vector(&[1.0; 3]), MatRef::row_vector(&[1.0; 2]));
        assert_eq!(refused, Err(Error::Shape { what: "outputs", expected: (1, 2), found: (1, 3) }));
    }
}
