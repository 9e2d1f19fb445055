//! Compares outputs with a reference.

use serde_json::{Value, json};
use skinny::{Mat, MatRef};

/// How far outputs are from a reference, over any number of frames.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    signal: f64,
    noise: f64,
    /// The largest absolute difference.
    pub largest: f32,
    /// Frames in which both have the same greatest output.
    agreeing: usize,
    /// Frames compared.
    pub frames: usize,
}

impl Comparison {
    /// Compares outputs with a reference, both `time x features`. The error says how their shapes differ.
    pub fn of(outputs: &Mat<f32>, reference: &Mat<f32>) -> Result<Self, String> {
        let ((rows, cols), (other_rows, other_cols)) = (outputs.view().shape(), reference.view().shape());
        if (rows, cols) != (other_rows, other_cols) {
            return Err(format!("expected the outputs' shape {rows} x {cols}, found {other_rows} x {other_cols}"));
        }
        let mut comparison = Self::default();
        comparison.add(outputs.view(), reference.view());
        Ok(comparison)
    }

    /// Adds frames of one shape.
    pub fn add(&mut self, outputs: MatRef<'_, f32>, reference: MatRef<'_, f32>) {
        for (&y, &expected) in outputs.as_slice().iter().zip(reference.as_slice()) {
            self.signal += f64::from(expected).powi(2);
            self.noise += (f64::from(expected) - f64::from(y)).powi(2);
            self.largest = self.largest.max((expected - y).abs());
        }
        for row in 0..outputs.rows() {
            self.agreeing += usize::from(greatest(outputs.row(row)) == greatest(reference.row(row)));
        }
        self.frames += outputs.rows();
    }

    /// The signal-to-noise ratio in dB, infinite for identical outputs.
    pub fn decibels(&self) -> f64 {
        if self.noise == 0.0 { f64::INFINITY } else { 10.0 * (self.signal / self.noise).log10() }
    }

    /// The share of frames in which both have the same greatest output.
    pub fn agreement(&self) -> f64 {
        if self.frames == 0 { 1.0 } else { self.agreeing as f64 / self.frames as f64 }
    }

    /// The comparison as JSON. A ratio that is not finite becomes `null`.
    pub fn json(&self) -> Value {
        json!({
            "signal_to_noise_db": Some(self.decibels()).filter(|ratio| ratio.is_finite()),
            "identical": self.noise == 0.0,
            "largest_difference": self.largest,
            "top1_agreement": self.agreement(),
            "frames": self.frames,
        })
    }
}

/// The index of the first greatest element.
fn greatest(row: &[f32]) -> Option<usize> {
    (0..row.len()).reduce(|best, i| if row[i] > row[best] { i } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(values: &[f32], cols: usize) -> Mat<f32> {
        Mat::from_vec(values.to_vec(), values.len() / cols, cols).unwrap()
    }

    #[test]
    fn differences_are_measured() {
        let (y, reference) = (matrix(&[1.0, 0.0, 0.0, 10.0], 2), matrix(&[1.0, 0.0, 1.0, 10.0], 2));
        let comparison = Comparison::of(&y, &reference).unwrap();
        assert!((comparison.decibels() - 10.0 * 102f64.log10()).abs() < 1e-9);
        assert_eq!((comparison.largest, comparison.agreement(), comparison.frames), (1.0, 1.0, 2));
        let other = Comparison::of(&matrix(&[0.0, 1.0], 2), &matrix(&[1.0, 0.0], 2)).unwrap();
        assert_eq!(other.agreement(), 0.0);
        assert_eq!(Comparison::of(&y, &y).unwrap().decibels(), f64::INFINITY);
        assert!(Comparison::of(&y, &matrix(&[1.0; 6], 3)).unwrap_err().contains("2 x 2, found 2 x 3"));
    }
}
