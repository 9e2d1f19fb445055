//! Means with confidence intervals, for the few seeds that a study has.

/// The mean of independent values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mean {
    pub value: f64,
    /// Half the width of the 95% confidence interval, for values that are roughly normal. None for a single value.
    pub margin: Option<f64>,
}

impl Mean {
    /// None without values.
    pub fn of(values: &[f64]) -> Option<Self> {
        let count = values.len() as f64;
        let value = values.iter().sum::<f64>() / count;
        let variance = values.iter().map(|other| (other - value).powi(2)).sum::<f64>() / (count - 1.0);
        match values.len() {
            0 => None,
            1 => Some(Self { value, margin: None }),
            n => Some(Self { value, margin: Some(student_quantile(n - 1) * (variance / count).sqrt()) }),
        }
    }
}

/// The 97.5% quantile of Student's t distribution: 95% of the distribution lie between its negative and itself.
fn student_quantile(freedom: usize) -> f64 {
    // With one degree of freedom it is 12.7; it falls with the degrees.
    let (mut low, mut high) = (1.0, 13.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if student_within(middle, freedom) < 0.95 { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

/// The share of Student's t distribution between `-t` and `t`, for a whole number of degrees of freedom (Abramowitz and
/// Stegun, 26.7.3 and 26.7.4).
fn student_within(t: f64, freedom: usize) -> f64 {
    let angle = (t / (freedom as f64).sqrt()).atan();
    let (sin, cos) = angle.sin_cos();
    // The sum of the even or of the odd powers of the cosine, each with a factor more than the one before.
    let first = if freedom.is_multiple_of(2) { 1.0 } else { cos };
    let (mut term, mut sum) = (first, 0.0);
    for power in (freedom % 2..freedom.saturating_sub(1)).step_by(2) {
        sum += term;
        term *= (power + 1) as f64 / (power + 2) as f64 * cos * cos;
    }
    if freedom.is_multiple_of(2) { sin * sum } else { (angle + sin * sum) / std::f64::consts::FRAC_PI_2 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `scipy.stats.t.ppf(0.975, freedom)`.
    #[test]
    fn quantiles_are_those_of_scipy() {
        for (freedom, expected) in [
            (1, 12.706204736174694),
            (2, 4.302652729749462),
            (3, 3.1824463052837078),
            (4, 2.7764451051977934),
            (5, 2.5705818356363146),
            (6, 2.4469118511449786),
            (29, 2.045229642132703),
            (100, 1.9839715185235518),
        ] {
            let found = student_quantile(freedom);
            assert!((found - expected).abs() < 1e-9, "{freedom}: {found}, not {expected}");
        }
    }

    /// `scipy.stats.ttest_rel(a, b).confidence_interval()` of two lists of six error rates.
    #[test]
    fn intervals_are_those_of_scipy() {
        let a = [9.1, 8.4, 8.4, 7.7, 10.1, 9.3];
        for (b, mean, [low, high]) in [
            ([13.1, 9.7, 9.9, 12.0, 12.5, 13.9], -3.016666666666666, [-4.555322084184272, -1.4780112491490602]),
            ([13.4, 8.9, 7.1, 11.0, 12.6, 13.7], -2.283333333333333, [-4.6601757087260065, 0.09350904205933963]),
        ] {
            let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
            let found = Mean::of(&differences).unwrap();
            let margin = found.margin.unwrap();
            for (found, expected) in [(found.value, mean), (found.value - margin, low), (found.value + margin, high)] {
                assert!((found - expected).abs() < 1e-9, "{found}, not {expected}");
            }
        }
    }

    #[test]
    fn one_value_has_no_interval_and_none_no_mean() {
        assert_eq!(Mean::of(&[3.0]), Some(Mean { value: 3.0, margin: None }));
        assert_eq!(Mean::of(&[]), None);
        assert_eq!(Mean::of(&[2.0, 2.0]), Some(Mean { value: 2.0, margin: Some(0.0) }));
    }
}
