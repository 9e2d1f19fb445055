//! `skinny compress`: from a trained model to a small one.

mod args;
mod calibration;
mod report;

use skinny::compress::{Budget, Choice, Cost};
use skinny::factored::{RankPolicy, Scheme};
use skinny::model::{
    BudgetPoint, Calibration, Cutting, Decomposed, Demand, Equalized, Evaluation, LayerPrecision, Model, Sequence,
    Storage, Weighting,
};
use skinny::{Error, Tier};

pub use args::CompressArgs;
#[cfg(feature = "train")]
pub use args::SchemeArg;

use crate::console::Console;
use crate::error::{About, Failure, Result};
use crate::files::output;
use crate::plot;
use crate::report::digits;

/// The ratio that rounding has to leave by default, in dB: a thousandth of the outputs' energy is error.
const DEFAULT_DB: f64 = 30.0;

/// What equalization has to gain to be worth its place in the model, in dB.
const WORTH: f64 = 1.0;

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
    let all = sequences.len();
    let [seen, held_out] = Sequence::hold_out(sequences)?;
    let data = Data { seen, held_out: Evaluation::new(model, held_out)?, all };
    let mut calibration = calibrate(model, scheme, &data.seen, console)?;
    let equalized = equalize(args, model, &calibration, &data, tier)?;
    if let Some(equalized) = &equalized {
        calibration = calibrate(&equalized.model, scheme, &data.seen, console)?;
    }
    let original = equalized.as_ref().map_or(model, |equalized| &equalized.model);

    let calibrated = (!data.seen.is_empty()).then_some(&calibration);
    let weighting = if args.plain { Weighting::Weights } else { Weighting::Data };
    let mut progress = console.progress("decomposing");
    let mut decomposed = original
        .decompose(scheme, calibrated, weighting, |name, done, all| progress.at(done, all, name))
        .about(args.model.path())?;
    drop(progress);
    pin(args, &mut decomposed)?;

    let limits = Limits::new(args, &decomposed);
    let plan = decomposed.plan(&limits.cutting).map_err(|cause| limits.out_of_reach(args, cause))?;
    let precisions = precisions(args, &decomposed, &plan, &data, tier, console)?;
    let storage = |layer: &str| {
        let chosen = precisions.iter().find(|chosen| chosen.name == layer).map(|chosen| chosen.precision);
        let named = || args.named_precision(layer).unwrap_or(args.cheapest()).quantization();
        Storage { format: chosen.unwrap_or_else(named), correct: args.correct }
    };
    let small = decomposed.build(&plan, storage, tier)?;
    let bytes = small.model.to_bytes()?;
    output::write(&args.out, &bytes)?;
    console.remark(format_args!("wrote {}", args.out.display()));

    let verdict =
        if args.cuts() && data.all > 0 { verdict(args, &decomposed, &data, tier, console)? } else { Vec::new() };
    let summary = report::Summary {
        before: model,
        assumptions: &loaded.assumptions,
        after: &small.model,
        file_before: loaded.size,
        file_after: bytes.len(),
        calibration_frames: calibration.frames(),
        held_out: (data.all > 0).then(|| held_out_report(original, &small.model, &data, console)).transpose()?,
        equalized: equalized.as_ref().map_or(Vec::new(), |equalized| equalized.values.clone()),
        precisions: &precisions,
        verdict: &verdict,
        latency: limits.latency(args, &decomposed, &plan),
    };
    if let Some(file) = &args.plot {
        let chosen = (decomposed.cost(&plan, &Cost::Parameters), decomposed.error(&plan));
        let drawn = plot::svg(&small.matrices, &curve(args, &decomposed), chosen, &verdict).about(file)?;
        output::write(file, drawn.as_bytes())?;
        console.remark(format_args!("wrote {}", file.display()));
    }
    if let Some(warning) = report::warning(&small.matrices, &summary) {
        console.warn(warning);
    }
    for warning in report::unknown_ranges(original, &small.model, data.all > 0) {
        console.warn(warning);
    }
    match args.json {
        true => console.json(&report::json(&small.matrices, &summary)),
        false if console.quiet => Ok(()),
        false => console.answer(report::text(&small.matrices, &summary)),
    }
}

/// The calibration data.
struct Data {
    seen: Vec<Sequence>,
    held_out: Evaluation,
    /// Sequences in all.
    all: usize,
}

fn calibrate(model: &Model, scheme: Scheme, sequences: &[Sequence], console: Console) -> Result<Calibration> {
    let mut calibration = Calibration::new(scheme);
    let mut progress = console.progress("calibrating");
    for (i, sequence) in sequences.iter().enumerate() {
        progress.at(i, sequences.len(), "");
        calibration.add_sequence(model, sequence)?;
    }
    Ok(calibration)
}

/// The model with its features scaled, if 8 bits need it and it helps.
fn equalize(
    args: &CompressArgs,
    model: &Model,
    calibration: &Calibration,
    data: &Data,
    tier: Tier,
) -> Result<Option<Equalized>> {
    let Some(precision) = args.cheapest().quantization().filter(|_| !args.no_equalize && !data.seen.is_empty()) else {
        return Ok(None);
    };
    let evaluation = Evaluation::new(model, data.seen.clone())?;
    let model = model.dequantize()?;
    let floor = args.min_db.unwrap_or(DEFAULT_DB);
    if evaluation.measure(&model.quantize_to(precision, tier)?)?.keeps(floor) {
        return Ok(None);
    }
    let (equalized, [before, after]) = model.equalize_for(calibration, &evaluation, precision, tier)?;
    let helps = !equalized.values.is_empty() && (before.is_nan() || after >= before + WORTH);
    Ok(helps.then_some(equalized))
}

/// Does what `--layer-rank` and `--keep-dense` say.
fn pin(args: &CompressArgs, decomposed: &mut Decomposed<'_>) -> Result<()> {
    for (name, rank) in &args.layer_rank {
        let told = |cause: Error| Failure::input(format!("--layer-rank: {cause}"));
        decomposed.pin(name, *rank).map_err(told)?;
    }
    for name in &args.keep_dense {
        decomposed.pin(name, None).map_err(|cause| Failure::input(format!("--keep-dense: {cause}")))?;
    }
    Ok(())
}

/// The precisions of layers that the outputs need, if anything is asked of them.
fn precisions(
    args: &CompressArgs,
    decomposed: &Decomposed<'_>,
    plan: &[Choice],
    data: &Data,
    tier: Tier,
    console: Console,
) -> Result<Vec<LayerPrecision>> {
    let fixed: Vec<_> =
        args.layer_precision.iter().map(|(name, precision)| (name.clone(), precision.quantization())).collect();
    let demand =
        |decibels| Demand { decibels, cheapest: args.cheapest().quantization(), fixed: &fixed, correct: args.correct };
    let mut progress = console.progress("choosing precisions");
    let (mut done, layers) = (0, 4 * decomposed.dense().len());
    let choose = |evaluation: &Evaluation, decibels| {
        decomposed.choose_precision(plan, evaluation, &demand(decibels), tier, |what| {
            progress.at(done, layers.max(done + 1), what);
            done += 1;
        })
    };
    match (args.min_db, args.precision) {
        _ if data.all == 0 => Ok(Vec::new()),
        (Some(asked), _) => chosen_or_told(args, choose, &data.held_out, asked),
        (None, Some(_)) => Ok(Vec::new()),
        (None, None) => {
            // What a cut costs was asked for. What rounding adds must not be more than it leaves by itself.
            let exact = |_: &str| Storage { format: None, correct: false };
            let cut = decomposed.build(plan, exact, tier)?.model;
            let evaluation = Evaluation::new(&cut, data.held_out.sequences().to_vec())?;
            chosen_or_told(args, choose, &evaluation, DEFAULT_DB)
        }
    }
}

fn chosen_or_told(
    args: &CompressArgs,
    mut choose: impl FnMut(&Evaluation, f64) -> skinny::Result<Vec<LayerPrecision>>,
    evaluation: &Evaluation,
    asked: f64,
) -> Result<Vec<LayerPrecision>> {
    choose(evaluation, asked).map_err(|cause| match cause {
        Error::Accuracy { reached, .. } => {
            let cut = if args.cuts() { "; cut less" } else { "" };
            let fixed =
                if args.layer_precision.is_empty() { "" } else { ", with the layers of --layer-precision as they are" };
            Failure::No(format!(
                "{}: --min-db {asked}: the outputs reach {reached:.1} dB at best{fixed}{cut}; nothing was written",
                args.model.path().display()
            ))
        }
        cause => cause.into(),
    })
}

/// What is left of the held-out outputs, and what each layer costs them.
fn held_out_report(before: &Model, after: &Model, data: &Data, console: Console) -> Result<report::HeldOut> {
    let before = before.dequantize()?;
    let mut progress = console.progress("measuring layers");
    let layers = data.held_out.layers(&before, after, |name, done, all| progress.at(done, all, name))?;
    Ok(report::HeldOut {
        fidelity: data.held_out.measure(after)?,
        layers,
        sequences: data.held_out.sequences().len(),
        all: data.all,
        frames: data.held_out.frames(),
    })
}

/// What cuts to several shares of the weights leave of the held-out outputs.
fn verdict(
    args: &CompressArgs,
    decomposed: &Decomposed<'_>,
    data: &Data,
    tier: Tier,
    console: Console,
) -> Result<Vec<BudgetPoint>> {
    let mut progress = console.progress("measuring budgets");
    let mut measure = |shares: &[f64]| {
        let progress = |done, all| progress.at(done, all, "");
        decomposed.measure_budgets(shares, args.rank_multiple, &data.held_out, tier, progress)
    };
    let shares: Vec<f64> = (1..=10).rev().map(|tenth| f64::from(tenth) / 10.0).collect();
    let mut points = measure(&shares)?;
    // Half a step more where loss begins.
    if let Some(first) = points.iter().position(report::loses).filter(|&first| first > 0) {
        let between = (points[first - 1].share + points[first].share) / 2.0;
        let more = measure(&[between])?;
        points.splice(first..first, more);
    }
    Ok(points)
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
        let format = args.cheapest().format();
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
            let cost = Cost::Latency(args.core.clone(), args.cheapest().format());
            report::Latency { core: args.core.name.clone(), dense: self.dense, planned: decomposed.cost(plan, &cost) }
        })
    }
}

/// Rounds a share up: the digits shown must be enough as the next `--budget`.
fn round_up(share: f64) -> f64 {
    (share * 1e4).ceil() / 1e4
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
