//! The rows of the study as one table for people. Each setting has its mean over seeds, with the least and the greatest
//! value.

use std::collections::BTreeMap;

use super::results::Row;

/// A table in Markdown, with its settings ordered by names and numbers.
pub fn table(rows: &[Row]) -> String {
    let mut settings: BTreeMap<_, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        let study = if row.leave_out.is_empty() { row.study.clone() } else { format!("without {}", row.leave_out) };
        // Strengths are not negative, so their bits sort like the numbers.
        let key = (study, row.method.clone(), row.lambda_rec.to_bits(), row.transition, rank(row));
        settings.entry(key).or_default().push(row);
    }
    let mut text = String::from(
        "| study | method | lambda | transition | cut | seeds | parameters | nu | CER stage 1 | at the cut | after stage 2 | test | test, int8 |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for ((study, ..), rows) in settings {
        let row = rows[0];
        let spread = |of: &dyn Fn(&Row) -> f64, digits| spread(rows.iter().map(|row| of(row)), digits);
        let cells = [
            study,
            row.method.clone(),
            row.lambda_rec.to_string(),
            row.transition.to_string(),
            row.cut.clone(),
            rows.len().to_string(),
            spread(&|row| row.parameters as f64, 0),
            spread(&|row| row.nu, 2),
            spread(&|row| row.cer_stage_1, 2),
            spread(&|row| row.cer_cut, 2),
            spread(&|row| row.cer, 2),
            spread(&|row| row.cer_test, 2),
            spread(&|row| row.cer_test_int8, 2),
        ];
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    text
}

/// The sort key of cuts: ranks as numbers, then shares.
fn rank(row: &Row) -> (usize, String) {
    let rank = row.cut.strip_prefix("rank-").and_then(|rank| rank.parse().ok());
    (rank.unwrap_or(usize::MAX), row.cut.clone())
}

/// `mean (least to greatest)`, or a dash if there are no values.
fn spread(values: impl Iterator<Item = f64>, digits: usize) -> String {
    let values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    let Some(least) = values.iter().copied().reduce(f64::min) else { return "-".into() };
    let most = values.iter().copied().fold(least, f64::max);
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    if least == most {
        format!("{mean:.digits$}")
    } else {
        format!("{mean:.digits$} ({least:.digits$} to {most:.digits$})")
    }
}
