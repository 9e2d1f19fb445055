//! Outputs compared with a reference, for reports.

use serde_json::{Value, json};
use skinny::Mat;
use skinny::compress::Comparison;

/// Compares outputs with a reference, both `time x features`. The error says how their shapes differ.
pub fn of(outputs: &Mat<f32>, reference: &Mat<f32>) -> Result<Comparison, String> {
    let ((rows, cols), (other_rows, other_cols)) = (outputs.view().shape(), reference.view().shape());
    let mut comparison = Comparison::default();
    match comparison.add(outputs.view(), reference.view()) {
        Ok(()) => Ok(comparison),
        Err(_) => Err(format!("expected the outputs' shape {rows} x {cols}, found {other_rows} x {other_cols}")),
    }
}

/// The comparison as JSON. A ratio that is not finite becomes `null`.
pub fn json(comparison: &Comparison) -> Value {
    json!({
        "signal_to_noise_db": finite(comparison.decibels()),
        "identical": comparison.decibels() == f64::INFINITY,
        "largest_difference": comparison.largest(),
        "top1_agreement": comparison.agreement(),
        "frames": comparison.frames(),
    })
}

/// A ratio, unless it is infinite or NaN.
pub fn finite(ratio: f64) -> Option<f64> {
    Some(ratio).filter(|ratio| ratio.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_shape_is_told() {
        let matrix = |cols| Mat::<f32>::zeros(2, cols).unwrap();
        assert_eq!(of(&matrix(2), &matrix(2)).unwrap().frames(), 2);
        assert!(of(&matrix(2), &matrix(3)).unwrap_err().contains("2 x 2, found 2 x 3"));
    }
}
