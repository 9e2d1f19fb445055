//! A table of trained models.

use std::fmt;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use crate::error::{About, Failure, Result};
use crate::files;

/// One trained model. Rates are in percent; nu and ranks are means over the weights at the end of stage 1.
#[derive(Clone, Debug)]
pub struct Row {
    pub study: String,
    pub method: String,
    pub lambda_rec: f32,
    pub lambda_nonrec: f32,
    pub cut: String,
    pub epochs: usize,
    pub transition: usize,
    pub batches: usize,
    pub seed: u64,
    pub leave_out: String,
    pub parameters: usize,
    pub parameters_stage_1: usize,
    pub nu: f64,
    pub rank_90: f64,
    pub cer_stage_1: f64,
    pub cer_cut: f64,
    pub cer: f64,
    pub cer_test: f64,
    pub cer_test_int8: f64,
    pub bytes_int8: usize,
    pub seconds: f64,
}

const HEADER: &str = "study,method,lambda_rec,lambda_nonrec,cut,epochs,transition,batches,seed,leave_out,parameters,\
                      parameters_stage_1,nu,rank_90,cer_stage_1,cer_cut,cer,cer_test,cer_test_int8,bytes_int8,seconds";

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Row { study, method, lambda_rec, lambda_nonrec, cut, epochs, transition, batches, seed, .. } = self;
        let Row { leave_out, parameters, parameters_stage_1, nu, rank_90, cer_stage_1, cer_cut, cer, .. } = self;
        let Row { cer_test, cer_test_int8, bytes_int8, seconds, .. } = self;
        write!(
            f,
            "{study},{method},{lambda_rec},{lambda_nonrec},{cut},{epochs},{transition},{batches},{seed},{leave_out},"
        )?;
        write!(f, "{parameters},{parameters_stage_1},{nu:.4},{rank_90:.1},{cer_stage_1:.3},{cer_cut:.3},{cer:.3},")?;
        write!(f, "{cer_test:.3},{cer_test_int8:.3},{bytes_int8},{seconds:.0}")
    }
}

impl Row {
    /// Appends rows to a file. The file begins with a header.
    pub fn append(rows: &[Self], csv: &Path) -> Result<()> {
        let mut lines = if csv.exists() { String::new() } else { format!("{HEADER}\n") };
        lines.extend(rows.iter().map(|row| format!("{row}\n")));
        // A single write keeps the rows of concurrent runs apart.
        let file = OpenOptions::new().create(true).append(true).open(csv);
        file.and_then(|mut file| file.write_all(lines.as_bytes())).about(csv)
    }

    /// The rows of a file.
    pub fn read(csv: &Path) -> Result<Vec<Self>> {
        let text = String::from_utf8(files::read(csv)?).about(csv)?;
        let rows = text.lines().skip(1).filter(|line| !line.is_empty());
        rows.map(|line| {
            Self::parse(line).ok_or_else(|| Failure::input(format!("{}: not a row: {line}", csv.display())))
        })
        .collect()
    }

    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split(',');
        let mut next = || fields.next();
        Some(Self {
            study: next()?.into(),
            method: next()?.into(),
            lambda_rec: next()?.parse().ok()?,
            lambda_nonrec: next()?.parse().ok()?,
            cut: next()?.into(),
            epochs: next()?.parse().ok()?,
            transition: next()?.parse().ok()?,
            batches: next()?.parse().ok()?,
            seed: next()?.parse().ok()?,
            leave_out: next()?.into(),
            parameters: next()?.parse().ok()?,
            parameters_stage_1: next()?.parse().ok()?,
            nu: next()?.parse().ok()?,
            rank_90: next()?.parse().ok()?,
            cer_stage_1: next()?.parse().ok()?,
            cer_cut: next()?.parse().ok()?,
            cer: next()?.parse().ok()?,
            cer_test: next()?.parse().ok()?,
            cer_test_int8: next()?.parse().ok()?,
            bytes_int8: next()?.parse().ok()?,
            seconds: next()?.parse().ok()?,
        })
    }
}
