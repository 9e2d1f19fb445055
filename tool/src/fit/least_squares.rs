//! Least squares of relative errors, for some tens of equations.

/// `sum of coefficients * unknowns = value`, of positive numbers.
#[derive(Clone, Debug)]
pub struct Equation<const N: usize> {
    pub coefficients: [f64; N],
    pub value: f64,
}

/// How often equations that do not fit are given less weight.
const ROUNDS: usize = 20;

/// The relative error from which an equation is given less weight, as Huber does: a few that other work has disturbed
/// then hardly count.
const TOLERATED: f64 = 0.01;

/// The least pivot of equations whose unknowns can be told apart, if the diagonal is 1.
const LEAST_PIVOT: f64 = 1e-9;

impl<const N: usize> Equation<N> {
    pub fn predicted(&self, unknowns: &[f64; N]) -> f64 {
        self.coefficients.iter().zip(unknowns).map(|(c, x)| c * x).sum()
    }
}

/// The unknowns, none of which is negative, with the least relative errors; none if the equations do not determine them.
pub fn solve<const N: usize>(equations: &[&Equation<N>]) -> Option<[f64; N]> {
    let mut free = [true; N];
    loop {
        let unknowns = solve_free(equations, &free)?;
        // The most negative one is 0 in the best solution that has none.
        let share = |i: &usize| -> f64 {
            equations.iter().map(|equation| equation.coefficients[*i] * unknowns[*i] / equation.value).sum()
        };
        let least = (0..N).filter(|&i| unknowns[i] < 0.0).min_by(|a, b| share(a).total_cmp(&share(b)));
        match least {
            None => return Some(unknowns),
            Some(i) => free[i] = false,
        }
    }
}

/// The best unknowns of which only the free ones differ from 0.
fn solve_free<const N: usize>(equations: &[&Equation<N>], free: &[bool; N]) -> Option<[f64; N]> {
    let mut weights = vec![1.0; equations.len()];
    let mut unknowns = [0.0; N];
    for _ in 0..ROUNDS {
        let (mut matrix, mut right) = ([[0.0; N]; N], [0.0; N]);
        for (equation, weight) in equations.iter().zip(&weights) {
            let row = equation.coefficients.map(|c| c / equation.value);
            for i in (0..N).filter(|&i| free[i]) {
                right[i] += weight * row[i];
                for j in (0..N).filter(|&j| free[j]) {
                    matrix[i][j] += weight * row[i] * row[j];
                }
            }
        }
        (0..N).filter(|&i| !free[i]).for_each(|i| matrix[i][i] = 1.0);
        unknowns = eliminate(matrix, right)?;
        for (equation, weight) in equations.iter().zip(&mut weights) {
            let error = (equation.predicted(&unknowns) / equation.value - 1.0).abs();
            *weight = (TOLERATED / error).min(1.0);
        }
    }
    Some(unknowns)
}

/// Solves a symmetric, positive definite system.
fn eliminate<const N: usize>(mut matrix: [[f64; N]; N], mut right: [f64; N]) -> Option<[f64; N]> {
    // Unknowns in units in which the diagonal is 1.
    let mut scales = [0.0; N];
    for (i, scale) in scales.iter_mut().enumerate() {
        *scale = matrix[i][i].sqrt().recip();
        if !scale.is_finite() {
            return None;
        }
    }
    for i in 0..N {
        right[i] *= scales[i];
        (0..N).for_each(|j| matrix[i][j] *= scales[i] * scales[j]);
    }
    for i in 0..N {
        let pivot = matrix[i];
        if pivot[i] < LEAST_PIVOT {
            return None;
        }
        for j in i + 1..N {
            let factor = matrix[j][i] / pivot[i];
            (i..N).for_each(|c| matrix[j][c] -= factor * pivot[c]);
            right[j] -= factor * right[i];
        }
    }
    let mut unknowns = [0.0; N];
    for i in (0..N).rev() {
        let known: f64 = (i + 1..N).map(|j| matrix[i][j] * unknowns[j]).sum();
        unknowns[i] = (right[i] - known) / matrix[i][i];
    }
    (0..N).for_each(|i| unknowns[i] *= scales[i]);
    Some(unknowns)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn equations(rows: &[([f64; 3], f64)]) -> Vec<Equation<3>> {
        rows.iter().map(|&(coefficients, value)| Equation { coefficients, value }).collect()
    }

    fn solved(rows: &[([f64; 3], f64)]) -> Option<[f64; 3]> {
        solve(&equations(rows).iter().collect::<Vec<_>>())
    }

    /// Unknowns of which one is a million times as large as another.
    const TRUE: [f64; 3] = [3e-3, 5.0, 2e3];

    fn rows() -> Vec<([f64; 3], f64)> {
        let row = |i: usize| [(1 + i * i) as f64 * 1e4, (i % 4) as f64, 1.0];
        let value = |row: [f64; 3]| row.iter().zip(TRUE).map(|(c, x)| c * x).sum();
        (0..12).map(row).map(|row| (row, value(row))).collect()
    }

    #[test]
    fn exact_equations_are_solved() {
        let found = solved(&rows()).unwrap();
        assert!(found.iter().zip(TRUE).all(|(found, x)| (found / x - 1.0).abs() < 1e-9), "{found:?}");
    }

    #[test]
    fn two_of_twelve_that_were_disturbed_hardly_count() {
        let mut rows = rows();
        rows[2].1 *= 3.0;
        rows[9].1 *= 1.7;
        let found = solved(&rows).unwrap();
        assert!(found.iter().zip(TRUE).all(|(found, x)| (found / x - 1.0).abs() < 0.03), "{found:?}");
    }

    #[test]
    fn an_unknown_that_would_be_negative_is_none() {
        let rows: Vec<_> = rows().into_iter().map(|(row, value)| (row, value - 6.0 * row[1])).collect();
        let found = solved(&rows).unwrap();
        assert_eq!(found[1], 0.0);
        assert!((found[0] / TRUE[0] - 1.0).abs() < 0.05, "{found:?}");
    }

    #[test]
    fn what_cannot_be_told_apart_is_not_solved() {
        let twice: Vec<_> = rows().into_iter().map(|([a, _, c], value)| ([a, 2.0 * c, c], value)).collect();
        assert_eq!(solved(&twice), None);
        assert_eq!(solved(&rows()[..2]), None);
        assert_eq!(solved(&[]), None);
        assert_eq!(solved(&[([0.0, 1.0, 1.0], 1.0); 5]), None);
    }
}
