//! One-sided Jacobi rotations: slow, simple, and always convergent.
//!
//! This is the last resort for eigenvalues if the fast methods fail, and the reference for singular values in tests.
//! Each rotation is exact up to rounding, and small singular values keep their digits next to large ones.

use alloc::vec::Vec;

/// Limit on sweeps over all pairs of columns, after which only rounding is left. Even ten sweeps are rarely needed.
const SWEEPS: usize = 60;

/// Rotates pairs of `columns` until all are orthogonal, and the same pairs of `others` with them. `A` becomes `A R`
/// with an orthogonal `R`; its columns are then `U S` of the singular value decomposition, in no order.
pub(super) fn orthogonalize(columns: &mut [Vec<f64>], others: &mut [Vec<f64>]) {
    let tolerance = f64::EPSILON * columns.first().map_or(0, Vec::len) as f64;
    for _ in 0..SWEEPS {
        let mut rotated = false;
        for j in 1..columns.len() {
            for i in 0..j {
                let [p, q] = pair(columns, i, j);
                let (pp, qq, pq) = (dot(p, p), dot(q, q), dot(p, q));
                if pq.abs() <= tolerance * (pp * qq).sqrt() {
                    continue;
                }
                rotated = true;
                // The smaller of the two angles at which the columns become orthogonal.
                let half = (qq - pp) / (2.0 * pq);
                let tangent = half.signum() / (half.abs() + half.hypot(1.0));
                let cosine = tangent.hypot(1.0).recip();
                rotate(p, q, cosine, cosine * tangent);
                let [p, q] = pair(others, i, j);
                rotate(p, q, cosine, cosine * tangent);
            }
        }
        if !rotated {
            return;
        }
    }
}

/// Columns `i` and `j`, `i` before `j`.
fn pair(columns: &mut [Vec<f64>], i: usize, j: usize) -> [&mut [f64]; 2] {
    let (before, from_j) = columns.split_at_mut(j);
    [&mut before[i], &mut from_j[0]]
}

/// The dot product in eight partial sums, so that it vectorizes.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (a, b) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f64 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a.zip(b) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    sums.iter().sum::<f64>() + rest
}

fn rotate(p: &mut [f64], q: &mut [f64], cosine: f64, sine: f64) {
    for (p, q) in p.iter_mut().zip(q) {
        (*p, *q) = (cosine * *p - sine * *q, sine * *p + cosine * *q);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use alloc::vec;

    use super::*;

    /// The singular values of a `rows x cols` matrix in descending order.
    pub(in crate::factored) fn singular_values(w: &[f32], rows: usize, cols: usize) -> Vec<f64> {
        let greatest = w.iter().fold(0.0f64, |greatest, &w| greatest.max(f64::from(w).abs()));
        let unit = if greatest > 0.0 { greatest } else { 1.0 };
        let at = |row: usize, column: usize| f64::from(w[row * cols + column]) / unit;
        let mut columns: Vec<Vec<f64>> = if rows >= cols {
            (0..cols).map(|column| (0..rows).map(|row| at(row, column)).collect()).collect()
        } else {
            (0..rows).map(|row| (0..cols).map(|column| at(row, column)).collect()).collect()
        };
        let count = columns.len();
        orthogonalize(&mut columns, &mut vec![Vec::new(); count]);
        let mut sigma: Vec<f64> = columns.iter().map(|column| dot(column, column).sqrt() * unit).collect();
        sigma.sort_by(|a, b| b.total_cmp(a));
        sigma
    }

    #[test]
    fn small_singular_values_keep_their_digits() {
        // Columns of very different lengths at known angles: those of [1, 1; 0, 1] times 1 and 1e-12.
        let (small, large) = (1e-12f32, 1.0f32);
        let sigma = singular_values(&[large, small, 0.0, small], 2, 2);
        // The product is |det| = 1e-12, the sum of squares is that of the elements.
        assert!((sigma[0] * sigma[1] / f64::from(small) - 1.0).abs() < 1e-14, "{sigma:?}");
        assert!((sigma[0] - 1.0).abs() < 1e-14, "{sigma:?}");
    }

    #[test]
    fn columns_become_orthogonal_and_the_rotations_say_how() {
        let columns: Vec<Vec<f64>> =
            (0..9).map(|j| (0..13).map(|i| ((i * 7 + j * j * 5) % 11) as f64 - 5.0).collect()).collect();
        let identity = |j: usize| (0..9).map(|i| f64::from(u8::from(i == j))).collect::<Vec<f64>>();
        let (mut rotated, mut rotations) = (columns.clone(), (0..9).map(identity).collect::<Vec<_>>());
        orthogonalize(&mut rotated, &mut rotations);
        for j in 0..9 {
            for i in 0..j {
                assert!(dot(&rotated[i], &rotated[j]).abs() < 1e-12 && dot(&rotations[i], &rotations[j]).abs() < 1e-14);
            }
            let product = |row: usize| (0..9).map(|i| columns[i][row] * rotations[j][i]).sum::<f64>();
            assert!((0..13).all(|row| (product(row) - rotated[j][row]).abs() < 1e-12));
        }
    }
}
