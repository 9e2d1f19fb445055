//! A table of trained models.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use crate::error::{About, Failure, Result};
use crate::files;

/// Declares a row: its columns with their types and the formats in which they are written.
macro_rules! columns {
    ($($(#[$about:meta])* $name:ident: $type:ty = $format:literal,)*) => {
        /// One trained model. Rates are in percent; nu and ranks are means over the weights at the end of stage 1. What a
        /// model without stage 1 does not have is NaN.
        #[derive(Clone, Debug)]
        pub struct Row {
            $($(#[$about])* pub $name: $type,)*
        }

        impl Row {
            /// The first line of a file.
            fn header() -> String {
                [$(stringify!($name)),*].join(",")
            }

            /// A line of a file.
            pub fn line(&self) -> String {
                [$(format!($format, self.$name)),*].join(",")
            }

            fn parse(line: &str) -> Option<Self> {
                let mut fields = line.split(',');
                let row = Self { $($name: fields.next()?.parse().ok()?,)* };
                fields.next().is_none().then_some(row)
            }
        }
    };
}

columns! {
    study: String = "{}",
    method: String = "{}",
    lambda_rec: f32 = "{}",
    lambda_nonrec: f32 = "{}",
    /// The share of stage 1 over which the penalty rises.
    rise: f32 = "{}",
    /// Batches between alignments; 0 for never.
    align: usize = "{}",
    cut: String = "{}",
    /// Epochs of both stages.
    epochs: usize = "{}",
    /// Epochs of stage 1, if there are two stages.
    transition: usize = "{}",
    /// The tolerance of ranks that count as settled; 0 for a transition at a fixed epoch.
    settle: f32 = "{}",
    /// The precision that stage 2 trains for.
    precision: String = "{}",
    /// The strength of the distillation.
    distill: f32 = "{}",
    batches: usize = "{}",
    seed: u64 = "{}",
    leave_out: String = "{}",
    parameters: usize = "{}",
    parameters_stage_1: usize = "{}",
    nu: f64 = "{:.4}",
    rank_90: f64 = "{:.1}",
    cer_stage_1: f64 = "{:.3}",
    cer_test_stage_1: f64 = "{:.3}",
    /// At the cut, before stage 2.
    cer_cut: f64 = "{:.3}",
    cer: f64 = "{:.3}",
    cer_test: f64 = "{:.3}",
    /// Of the model as it is stored: in the precision that stage 2 trained for, in int8 after training in f32.
    cer_test_stored: f64 = "{:.3}",
    bytes_stored: usize = "{}",
    seconds: f64 = "{:.0}",
}

impl Row {
    /// Appends rows to a file. The file begins with a header.
    pub fn append(rows: &[Self], csv: &Path) -> Result<()> {
        let mut lines = if csv.exists() { String::new() } else { format!("{}\n", Self::header()) };
        lines.extend(rows.iter().map(|row| format!("{}\n", row.line())));
        // A single write keeps the rows of concurrent runs apart.
        let file = OpenOptions::new().create(true).append(true).open(csv);
        file.and_then(|mut file| file.write_all(lines.as_bytes())).about(csv)
    }

    /// The rows of a file.
    pub fn read(csv: &Path) -> Result<Vec<Self>> {
        let text = String::from_utf8(files::read(csv)?).about(csv)?;
        let mut lines = text.lines().filter(|line| !line.is_empty());
        let (header, expected) = (lines.next().unwrap_or_default(), Self::header());
        if header != expected {
            return Err(Failure::input(format!("{}: expected the columns {expected}, found {header}", csv.display())));
        }
        let row =
            |line| Self::parse(line).ok_or_else(|| Failure::input(format!("{}: not a row: {line}", csv.display())));
        lines.map(row).collect()
    }

    /// The rank of a cut to a fixed rank.
    pub fn rank(&self) -> Option<usize> {
        self.cut.strip_prefix("rank-")?.parse().ok()
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A row with these settings and test error rates after stage 1 and stage 2, and nothing else of interest.
    pub fn row(study: &str, method: &str, rank: usize, seed: u64, [stage_1, end]: [f64; 2]) -> Row {
        let line = format!(
            "{study},{method},0.002,0.002,1,5,rank-{rank},45,30,0,f32,0,100,{seed},,{},181457,0.25,5,{stage_1},{stage_1},\
             20,{end},{end},{end},38280,100",
            1000 * rank,
        );
        Row::parse(&line).unwrap()
    }

    #[test]
    fn rows_are_read_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let csv = folder.path().join("rows.csv");
        let mut rows = [row("main", "trace", 4, 1, [3.125, 9.5]), row("main", "scratch-plain", 8, 2, [f64::NAN, 7.0])];
        rows[0].leave_out = "theo".into();
        Row::append(&rows[..1], &csv).unwrap();
        Row::append(&rows[1..], &csv).unwrap();
        let found = Row::read(&csv).unwrap();
        assert_eq!(found.iter().map(Row::line).collect::<Vec<_>>(), rows.each_ref().map(Row::line));
        assert_eq!((found[0].rank(), found[0].leave_out.as_str(), found[1].seed), (Some(4), "theo", 2));
    }

    #[test]
    fn a_file_of_other_columns_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let csv = folder.path().join("rows.csv");
        let message = |text: &str| {
            std::fs::write(&csv, text).unwrap();
            Row::read(&csv).unwrap_err().to_string()
        };
        assert!(message("study,method\nmain,trace\n").contains("found study,method"));
        assert!(message("\n").contains("expected the columns study,method,lambda_rec"));
        let line = row("main", "trace", 4, 1, [3.0, 9.0]).line();
        for line in [format!("{line},7"), line.replace("rank-4,45", "rank-4,many")] {
            assert!(message(&format!("{}\n{line}\n", Row::header())).contains("not a row"), "{line}");
        }
    }
}
