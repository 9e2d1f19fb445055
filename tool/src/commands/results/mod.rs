//! `skinny results`: measurements of machines beside predictions.

mod plot;
mod prediction;

use std::path::{Path, PathBuf};

use clap::Args;

use self::prediction::Prediction;
use crate::commands::gather::PAPER;
use crate::console::Console;
use crate::error::{About, Failure, Result, printable};
use crate::files::{list, output};
use crate::fit::{BATCHES, Errors};
use crate::precision;
use crate::report::{digits, percent};
use crate::results::{From, Product, Results, Times, Values};

pub const EXAMPLES: &str = "\
Examples:
  skinny results
      a table of all files in the folder results
  skinny results results/amd-epyc.json --plot results.svg
      one file, and its products as points beside the line of the prediction";

/// Compares measurements with predictions
///
/// Prints tables in markdown: the machines that `skinny gather` measured, the paper's product of 6144 x 320 weights on
/// each, and how far predictions are from all products of a machine. Predictions are those of the crate's model of the
/// core, where it has one, and of a core that was fitted to the file itself.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct ResultsArgs {
    /// Files of `skinny gather`, or folders of them
    #[arg(value_name = "PATH", default_value = "results")]
    pub paths: Vec<PathBuf>,

    /// Draw all products into this SVG file
    #[arg(long, value_name = "FILE")]
    pub plot: Option<PathBuf>,
}

/// A file of results, with what there is to predict its times.
struct Measured {
    name: String,
    results: Results,
    predictions: Vec<Prediction>,
}

pub fn run(args: &ResultsArgs, console: Console) -> Result<()> {
    if let Some(plot) = &args.plot {
        output::prepare(plot)?;
    }
    let mut all = Vec::new();
    for path in files(&args.paths)? {
        let results = Results::read(&path)?;
        let name = path.file_stem().map(|stem| printable(&stem.to_string_lossy())).unwrap_or_default();
        let predictions = prediction::of(&results).unwrap_or_else(|cause| {
            console.warn(format_args!("{name}: no core can be fitted: {cause}"));
            Vec::new()
        });
        all.push(Measured { name, results, predictions });
    }
    let timed: Vec<&Measured> = all.iter().filter(|measured| measured.results.times == Times::Measured).collect();
    let tables = [Some(machines(&all)), paper(&timed), errors(&timed)];
    console.answer(tables.into_iter().flatten().collect::<Vec<_>>().join("\n"))?;
    if let Some(plot) = &args.plot {
        let svg = plot::svg(&timed).about(plot)?;
        output::write(plot, svg.as_bytes())?;
        console.remark(format_args!("wrote {}", plot.display()));
    }
    Ok(())
}

/// The files that paths name, and those of folders.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let is_json = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "json");
        let found: Vec<PathBuf> = list(path)?.into_iter().filter(is_json).collect();
        if found.is_empty() {
            return Err(none(path));
        }
        files.extend(found);
    }
    Ok(files)
}

fn none(folder: &Path) -> Failure {
    Failure::input(format!("{}: has no results, files that end in .json", folder.display()))
}

/// A table in markdown.
fn markdown(columns: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    // A bar would end the cell.
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let cell = |cell: String| printable(&cell).replace('|', "/");
    let mut text = line(columns.iter().map(|&column| column.into()).collect());
    text += &format!("|{}\n", "---|".repeat(columns.len()));
    text.extend(rows.into_iter().map(|row| line(row.into_iter().map(cell).collect())));
    text
}

fn machines(all: &[Measured]) -> String {
    let columns =
        ["results", "machine", "tiers", "GB/s of one core", "times", "end / begin", "answers", "date", "note"];
    let row = |Measured { name, results, .. }: &Measured| {
        let times = match results.times {
            Times::Measured => "measured",
            Times::Emulated => "of an emulator",
        };
        let emulated = results.times == Times::Emulated;
        let unless_emulated = |text: Option<f64>| text.filter(|_| !emulated).map_or("-".into(), digits);
        let answers = match &results.wrong()[..] {
            [] => "right".into(),
            wrong => format!("WRONG: {}", wrong.join(", ")),
        };
        vec![
            name.clone(),
            results.machine.name().into(),
            results.machine.tiers.join(", "),
            unless_emulated(results.bytes_per_us().map(|bytes| bytes / 1e3)),
            times.into(),
            unless_emulated(results.slowdown()),
            answers,
            results.date.clone(),
            results.note.clone().unwrap_or_default(),
        ]
    };
    markdown(&columns, all.iter().map(row))
}

/// The paper's product on the best tier of each machine.
fn paper(timed: &[&Measured]) -> Option<String> {
    let mut rows = Vec::new();
    for Measured { name, results, predictions } in timed {
        let mut kinds: Vec<(From, &str)> = Vec::new();
        let products = || {
            let paper = |product: &&Product| (product.n, product.k) == PAPER && product.values == Values::F32;
            of_best_tier(results).filter(paper)
        };
        for product in products() {
            let kind = (product.from, precision::name(Some(product.weights)));
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        for (from, weights) in kinds {
            let at = |&batch: &usize| {
                let kind = (from, weights);
                let found = products().find(|product| {
                    product.batch == batch && (product.from, precision::name(Some(product.weights))) == kind
                });
                found.map_or("-".into(), |product| {
                    let predicted = predictions.iter().map(|prediction| digits(prediction.us(product)));
                    let predicted = predicted.collect::<Vec<_>>().join(", ");
                    let spread = percent(product.us.spread(), 1.0);
                    format!("{} +{spread} ({predicted})", digits(product.us.least()))
                })
            };
            let place = match from {
                From::Cache => "cache",
                From::Memory => "memory",
            };
            let row = [name.clone(), weights.into(), place.into()].into_iter().chain(BATCHES.iter().map(at));
            rows.push(row.collect());
        }
    }
    if rows.is_empty() {
        return None;
    }
    let (n, k) = PAPER;
    let table = markdown(&["results", "weights", "from", "batch 1", "2", "4", "8"], rows);
    Some(format!(
        "Microseconds of a product of {n} x {k} weights, f32 in and out: the least that was measured, how much longer the \
         median is, and in parentheses what each core of the table below predicts.\n\n{table}"
    ))
}

/// How far each prediction is from the products of a machine.
fn errors(timed: &[&Measured]) -> Option<String> {
    let mut rows = Vec::new();
    for Measured { name, results, predictions } in timed {
        for prediction in predictions {
            let of = |from: From| {
                let products =
                    of_best_tier(results).filter(|product| product.values == Values::F32 && product.from == from);
                prediction.errors(products)
            };
            let text = |Errors { count, median, most }: Errors| match count {
                0 => "-".into(),
                _ => format!("{}, {} of {count}", percent(median, 1.0), percent(most, 1.0)),
            };
            rows.push(vec![
                name.clone(),
                prediction.core.name.clone(),
                prediction.kind.into(),
                text(of(From::Cache)),
                text(of(From::Memory)),
            ]);
        }
    }
    let columns = ["results", "core", "predicted by", "weights in a cache", "weights in memory"];
    let about = "Errors of predictions: the median and the 90th percentile.";
    (!rows.is_empty()).then(|| format!("{about}\n\n{}", markdown(&columns, rows)))
}

fn of_best_tier(results: &Results) -> impl Iterator<Item = &Product> {
    results.products.iter().filter(|product| product.tier == results.best_tier())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_stays_in_its_cell() {
        let text = markdown(&["a", "b"], [vec!["x|y\nz".into(), "1".into()]]);
        assert_eq!(text, "| a | b |\n|---|---|\n| x/y\u{fffd}z | 1 |\n");
    }
}
