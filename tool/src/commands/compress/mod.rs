//! `skinny compress`: from a trained model to a small one.

mod args;
mod calibration;
mod report;

use std::sync::Arc;

use skinny::compress::{Budget, Choice, Cost};
use skinny::factored::RankPolicy;
use skinny::model::{Calibration, Cutting, Decomposed, Model, Session, Storage, Weighting};
use skinny::{Error, Mat, Tier};

pub use args::CompressArgs;
#[cfg(feature = "train")]
pub use args::SchemeArg;

use crate::comparison::Comparison;
use crate::console::Console;
use crate::error::{About, Failure, Result};
use crate::files::output;
use crate::plot;
use crate::report::digits;

pub fn run(args: &CompressArgs, console: Console) -> Result<()> {
    let tier = Tier::select()?;
    // Fails before the work, not after it.
    for file in [Some(&args.out), args.plot.as_ref()].into_iter().flatten() {
        output::prepare(file)?;
    }
    let loaded = args.model.load(tier)?;
    let model = &loaded.model;
    check_layers(args, model)?;

    let scheme = args.scheme.scheme();
    let sequences = match &args.calibration {
        None => Vec::new(),
        Some(folder) => calibration::read(folder, args.calibration_files, model, console)?,
    };
    let mut calibration = Calibration::new(scheme);
    let mut progress = console.progress("calibrating");
    for (i, sequence) in sequences.iter().enumerate() {
        progress.at(i, sequences.len(), "");
        calibration.add(model, sequence.view())?;
    }
    drop(progress);

    let calibrated = (!sequences.is_empty()).then_some(&calibration);
    let weighting = if args.plain { Weighting::Weights } else { Weighting::Data };
    let mut progress = console.progress("decomposing");
    let decomposed = model
        .decompose(scheme, calibrated, weighting, |name, done, all| progress.at(done, all, name))
        .about(args.model.path())?;
    drop(progress);

    let limits = Limits::new(args, &decomposed);
    let plan = decomposed.plan(&limits.cutting).map_err(|cause| limits.out_of_reach(args, cause))?;
    let storage = |layer: &str| {
        let named = args.layer_precision.iter().rev().find(|(name, _)| name == layer);
        let precision = named.map_or(args.precision, |(_, precision)| *precision);
        Storage { format: precision.format(), correct: args.correct }
    };
    let small = decomposed.build(&plan, storage, tier)?;
    let bytes = small.model.to_bytes()?;
    output::write(&args.out, &bytes)?;
    console.remark(format_args!("wrote {}", args.out.display()));

    let summary = report::Summary {
        before: model,
        assumptions: &loaded.assumptions,
        after: &small.model,
        file_before: loaded.size,
        file_after: bytes.len(),
        calibration_frames: calibration.frames(),
        comparison: compare(model, &small.model, &sequences)?,
        latency: limits.latency(args, &decomposed, &plan),
    };
    if let Some(file) = &args.plot {
        let chosen = (decomposed.cost(&plan, &Cost::Parameters), decomposed.error(&plan));
        let drawn = plot::svg(&small.matrices, &curve(args, &decomposed), chosen).about(file)?;
        output::write(file, drawn.as_bytes())?;
        console.remark(format_args!("wrote {}", file.display()));
    }
    if let Some(warning) = report::warning(&small.matrices, &summary) {
        console.warn(warning);
    }
    match args.json {
        true => console.json(&report::json(&small.matrices, &summary)),
        false if console.quiet => Ok(()),
        false => console.answer(report::text(&small.matrices, &summary)),
    }
}

/// Fails if `--layer-precision` names a layer that does not exist.
fn check_layers(args: &CompressArgs, model: &Model) -> Result<()> {
    let names: Vec<&str> = model.layers().map(|(name, _)| name).collect();
    match args.layer_precision.iter().find(|(name, _)| !names.contains(&name.as_str())) {
        None => Ok(()),
        Some((name, _)) => {
            Err(Failure::input(format!("--layer-precision {name}: the layers are {}", names.join(", "))))
        }
    }
}

/// How far to cut, in the unit of the option.
struct Limits {
    cutting: Cutting,
    /// The cost if all matrices stay dense, in the unit of the budget.
    dense: f64,
}

impl Limits {
    fn new(args: &CompressArgs, decomposed: &Decomposed<'_>) -> Self {
        let format = args.precision.format();
        let dense = |cost: &Cost| decomposed.cost(&decomposed.dense(), cost);
        let together = |limit: f64, cost: Cost| {
            let dense = dense(&cost);
            Self {
                cutting: Cutting::Together { budget: Budget { limit, cost }, rank_multiple: args.rank_multiple },
                dense,
            }
        };
        let each = |policy| Self { cutting: Cutting::Each(policy), dense: dense(&Cost::Parameters) };
        match args {
            CompressArgs { budget: Some(share), .. } => together(share * dense(&Cost::Parameters), Cost::Parameters),
            CompressArgs { parameters: Some(limit), .. } => together(*limit, Cost::Parameters),
            CompressArgs { bytes: Some(limit), .. } => together(*limit, Cost::Bytes(format)),
            CompressArgs { latency: Some(limit), .. } => together(*limit, Cost::Latency(args.core.clone(), format)),
            CompressArgs { variance: Some(share), .. } => each(RankPolicy::Variance(*share as f32)),
            CompressArgs { rank: Some(rank), .. } => each(RankPolicy::Fixed(*rank)),
            // Nothing is cut, only quantized.
            _ => together(f64::INFINITY, Cost::Parameters),
        }
    }

    /// The failure for a budget that is too small, in the unit of its option.
    fn out_of_reach(&self, args: &CompressArgs, cause: Error) -> Failure {
        let Error::Budget { least, .. } = cause else { return cause.into() };
        let multiple = args.rank_multiple;
        let option = match args {
            CompressArgs { budget: Some(share), .. } => {
                format!(
                    "--budget {share}: the smallest possible with ranks of {multiple} is {}",
                    round_up(least / self.dense)
                )
            }
            CompressArgs { latency: Some(limit), .. } => {
                let core = &args.core.name;
                format!("--latency {limit}: the smallest possible on {core} is {} us per step", digits(least))
            }
            CompressArgs { bytes: Some(limit), .. } => {
                format!("--bytes {limit}: the smallest possible is {}", least.ceil())
            }
            CompressArgs { parameters: Some(limit), .. } => {
                format!("--parameters {limit}: the smallest possible with ranks of {multiple} is {}", least.ceil())
            }
            _ => cause.to_string(),
        };
        Failure::Input(format!("{}: {option}", args.model.path().display()))
    }

    /// The predicted microseconds per step, dense and as planned, if `--latency` was given.
    fn latency(&self, args: &CompressArgs, decomposed: &Decomposed<'_>, plan: &[Choice]) -> Option<report::Latency> {
        args.latency.map(|_| {
            let cost = Cost::Latency(args.core.clone(), args.precision.format());
            report::Latency { core: args.core.name.clone(), dense: self.dense, planned: decomposed.cost(plan, &cost) }
        })
    }
}

/// Rounds a share up: the digits shown must be enough as the next `--budget`.
fn round_up(share: f64) -> f64 {
    (share * 1e4).ceil() / 1e4
}

/// Compares the outputs of `after` with the outputs of `before`.
fn compare(before: &Model, after: &Model, sequences: &[Mat<f32>]) -> Result<Option<Comparison>> {
    if sequences.is_empty() {
        return Ok(None);
    }
    let session = |model: &Model| Session::new(Arc::new(model.clone()));
    let (mut expected, mut found) = (session(before)?, session(after)?);
    let mut comparison = Comparison::default();
    for sequence in sequences {
        comparison.add(found.push(sequence.view())?, expected.push(sequence.view())?);
        comparison.add(found.finish()?, expected.finish()?);
    }
    Ok(Some(comparison))
}

/// Pairs (parameters, error), for budgets from 1% to 100% of the dense parameters.
fn curve(args: &CompressArgs, decomposed: &Decomposed<'_>) -> Vec<(f64, f64)> {
    let dense = decomposed.cost(&decomposed.dense(), &Cost::Parameters);
    let point = |percent: u32| {
        let budget = Budget { limit: dense * f64::from(percent) / 100.0, cost: Cost::Parameters };
        // The lowest budgets are out of reach.
        let plan = decomposed.plan(&Cutting::Together { budget, rank_multiple: args.rank_multiple }).ok()?;
        Some((decomposed.cost(&plan, &Cost::Parameters), decomposed.error(&plan)))
    };
    (1..=100).filter_map(point).collect()
}
