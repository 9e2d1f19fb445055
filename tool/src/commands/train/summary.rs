//! The rows of the study as tables in Markdown: the settings of each part with every seed, and paired differences of
//! methods.

use std::collections::BTreeMap;

use super::claims;
use super::results::Row;

/// All tables.
pub fn tables(rows: &[Row]) -> String {
    let mut studies: Vec<&str> = Vec::new();
    for row in rows {
        if !studies.contains(&row.study.as_str()) {
            studies.push(&row.study);
        }
    }
    let mut text = String::new();
    for study in studies {
        let rows: Vec<&Row> = rows.iter().filter(|row| row.study == study).collect();
        text.push_str(&of_study(study, &rows));
    }
    text + &claims::tables(rows)
}

/// A measured quantity with its number of decimals.
type Measure = (fn(&Row) -> f64, usize);

const TEST: Measure = (|row| row.cer_test, 1);
const TEST_STAGE_1: Measure = (|row| row.cer_test_stage_1, 1);
const VALIDATION: Measure = (|row| row.cer, 1);
const VALIDATION_STAGE_1: Measure = (|row| row.cer_stage_1, 1);
const AT_CUT: Measure = (|row| row.cer_cut, 1);
const NU: Measure = (|row| row.nu, 2);
const RANK_90: Measure = (|row| row.rank_90, 0);

fn of_study(study: &str, rows: &[&Row]) -> String {
    let settings = Settings::of(rows);
    let cuts = cuts(rows);
    let ends = |measure| cuts.iter().map(move |(cut, title)| (title.clone(), Some(cut.as_str()), measure));
    let (test, validation, cut) = (ends(TEST), ends(VALIDATION), ends(AT_CUT));
    let stage_1 = |title: &str, measure| std::iter::once((title.to_string(), None, measure));
    [
        format!("### {}\n\nCER of the test data in percent: mean (seed by seed).\n\n", title(study)),
        settings.table(stage_1("stage 1", TEST_STAGE_1).chain(test)),
        "\nCER of the validation data.\n\n".into(),
        settings.table(stage_1("stage 1", VALIDATION_STAGE_1).chain(validation)),
        "\nAfter stage 1: nu, rank for 90% of the variance, and CER of the validation data right after each cut.\n\n"
            .into(),
        settings.table(stage_1("nu", NU).chain(stage_1("rank for 90%", RANK_90)).chain(cut)),
        "\n".into(),
    ]
    .concat()
}

/// The title of a part of `skinny study`; other rows have their own.
fn title(study: &str) -> &str {
    match study {
        "main" => "Six methods: 45 epochs, transition at 30",
        "cause" => "Without alignment, with other periods, and with a constant penalty",
        "longer" => "Six methods: 120 epochs, transition at 80",
        "strength" => "Strengths of the penalty",
        "transition" => "Transitions",
        "speaker" => "A speaker left out",
        "sentences" => "Sentences",
        other => other,
    }
}

/// Each cut with its title: ranks in order, then shares of the variance.
fn cuts(rows: &[&Row]) -> Vec<(String, String)> {
    let keys: BTreeMap<_, _> = rows.iter().map(|row| ((row.rank().unwrap_or(usize::MAX), &row.cut), *row)).collect();
    let title = |row: &Row| match row.rank() {
        // Models of a rank have equally many parameters, and those of a share do not.
        Some(_) => format!("{} ({:.1}k)", row.cut.replace('-', " "), row.parameters as f64 / 1000.0),
        None => row.cut.replace('-', " "),
    };
    keys.into_values().map(|row| (row.cut.clone(), title(row))).collect()
}

/// The settings of a part, in the order of their first rows, each with its rows.
struct Settings<'a> {
    /// The names of the settings that differ.
    names: Vec<&'static str>,
    rows: Vec<(Vec<String>, Vec<&'a Row>)>,
}

impl<'a> Settings<'a> {
    fn of(rows: &[&'a Row]) -> Self {
        let labels: Vec<_> = rows.iter().map(|row| labels(row)).collect();
        let names = labels.first().map(|labels| labels.each_ref().map(|(name, _)| *name)).unwrap_or_default();
        let differs = |i: usize| {
            let mut found = labels.iter().map(|labels| &labels[i].1).filter(|label| !label.is_empty());
            let first = found.next();
            i == 0 || found.any(|label| Some(label) != first)
        };
        let shown: Vec<usize> = (0..names.len()).filter(|&i| differs(i)).collect();
        let mut groups: Vec<(Vec<String>, Vec<&Row>)> = Vec::new();
        for (row, labels) in rows.iter().zip(&labels) {
            let key: Vec<String> = shown.iter().map(|&i| labels[i].1.clone()).collect();
            match groups.iter_mut().find(|(other, _)| *other == key) {
                Some((_, group)) => group.push(row),
                None => groups.push((key, vec![row])),
            }
        }
        Self { names: shown.into_iter().map(|i| names[i]).collect(), rows: groups }
    }

    /// A table with a column for each title: the measure of the rows with that cut, or of any row if there is none.
    fn table<'c>(&self, columns: impl Iterator<Item = (String, Option<&'c str>, Measure)>) -> String {
        let columns: Vec<_> = columns.collect();
        let titles = columns.iter().map(|(title, ..)| title.as_str());
        let heads: Vec<&str> = self.names.iter().copied().chain(["seeds"]).chain(titles).collect();
        let mut text = format!("| {} |\n|{}\n", heads.join(" | "), "---|".repeat(heads.len()));
        for (labels, rows) in &self.rows {
            let mut seeds: Vec<u64> = rows.iter().map(|row| row.seed).collect();
            seeds.sort_unstable();
            seeds.dedup();
            let cells = columns.iter().map(|(_, cut, (measure, digits))| {
                let rows = rows.iter().filter(|row| cut.is_none_or(|cut| row.cut == cut));
                // A seed that was run twice counts once.
                let values: BTreeMap<u64, f64> = rows.map(|row| (row.seed, measure(row))).collect();
                cell(&values.into_values().filter(|value| value.is_finite()).collect::<Vec<_>>(), *digits)
            });
            let cells: Vec<String> = cells.collect();
            // A model from scratch has nothing to show of stage 1.
            if cells.iter().all(String::is_empty) {
                continue;
            }
            let cells: Vec<String> = labels.iter().cloned().chain([seeds.len().to_string()]).chain(cells).collect();
            text.push_str(&format!("| {} |\n", cells.join(" | ")));
        }
        text
    }
}

/// The settings of a row with their names. Empty where a setting has no effect.
fn labels(row: &Row) -> [(&'static str, String); 10] {
    let some = |holds: bool, text: String| if holds { text } else { String::new() };
    let (penalized, settled) = (row.lambda_rec > 0.0 || row.lambda_nonrec > 0.0, row.settle > 0.0);
    let lambda = if row.lambda_rec == row.lambda_nonrec {
        row.lambda_rec.to_string()
    } else {
        format!("{} recurrent, {} other", row.lambda_rec, row.lambda_nonrec)
    };
    [
        ("method", format!("`{}`", row.method)),
        ("lambda", some(penalized, lambda)),
        ("rise", some(penalized, row.rise.to_string())),
        ("align", row.align.to_string()),
        ("epochs", some(!settled, row.epochs.to_string())),
        ("transition", if settled { "settled".into() } else { some(row.transition > 0, row.transition.to_string()) }),
        ("precision", row.precision.clone()),
        ("distillation", some(row.distill > 0.0, row.distill.to_string())),
        ("batches", row.batches.to_string()),
        ("left out", row.leave_out.clone()),
    ]
}

/// The mean, and each value if there are several.
fn cell(values: &[f64], digits: usize) -> String {
    if values.is_empty() {
        return String::new();
    }
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let each: Vec<_> = values.iter().map(|value| format!("{value:.digits$}")).collect();
    if values.len() == 1 { each[0].clone() } else { format!("{mean:.digits$} ({})", each.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::row;
    use super::*;

    #[test]
    fn a_part_has_a_line_for_each_setting_and_a_column_for_each_cut() {
        let mut rows = vec![
            row("main", "trace", 8, 1, [3.0, 4.0]),
            row("main", "trace", 16, 1, [3.0, 3.5]),
            row("main", "none", 16, 1, [f64::NAN, 5.0]),
            row("main", "trace", 8, 2, [2.0, 5.0]),
            // The same run once more.
            row("main", "trace", 8, 2, [2.0, 5.0]),
        ];
        (rows[2].lambda_rec, rows[2].lambda_nonrec) = (0.0, 0.0);
        let text = tables(&rows);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[..8],
            [
                "### Six methods: 45 epochs, transition at 30",
                "",
                "CER of the test data in percent: mean (seed by seed).",
                "",
                "| method | seeds | stage 1 | rank 8 (8.0k) | rank 16 (16.0k) |",
                "|---|---|---|---|---|",
                "| `trace` | 2 | 2.5 (3.0, 2.0) | 4.5 (4.0, 5.0) | 3.5 |",
                "| `none` | 1 |  |  | 5.0 |",
            ]
        );
    }

    #[test]
    fn settings_that_differ_have_a_column() {
        let mut rows = vec![row("strength", "trace", 8, 1, [3.0, 4.0]); 3];
        rows[1].lambda_nonrec = 0.001;
        (rows[2].settle, rows[2].transition) = (0.1, 21);
        let text = tables(&rows);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[4..9],
            [
                "| method | lambda | transition | seeds | stage 1 | rank 8 (8.0k) |",
                "|---|---|---|---|---|---|",
                "| `trace` | 0.002 | 30 | 1 | 3.0 | 4.0 |",
                "| `trace` | 0.002 recurrent, 0.001 other | 30 | 1 | 3.0 | 4.0 |",
                "| `trace` | 0.002 | settled | 1 | 3.0 | 4.0 |",
            ]
        );
    }
}
