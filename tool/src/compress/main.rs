//! From a model that PyTorch trained to a small one, in one command:
//!
//!     cargo run --release --example compress -- model.safetensors --out small.safetensors --budget 0.3
//!
//! docs/guide.md walks the whole way; `--help` lists the options.

mod args;
mod calibration;
#[path = "../digits/features.rs"]
mod features;
mod plot;
mod report;
#[path = "../digits/wav.rs"]
mod wav;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use skinny::compress::{Budget, Choice, Core, Cost};
use skinny::factored::{RankPolicy, Scheme};
use skinny::kernels::Activation;
use skinny::model::{Calibration, Cutting, Decomposed, ImportOptions, Layer, Model, Session, Storage, Weighting};
use skinny::{Error, FileError, Mat, Tier};

use args::{Args, SchemeArg};

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compress: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Failure> {
    let named = |path: &Path, cause: &dyn std::fmt::Display| format!("{}: {cause}", path.display());
    let tier = Tier::select()?;
    let bytes = std::fs::read(&args.model).map_err(|cause| named(&args.model, &cause))?;
    let model = Model::read(&bytes, &import_options(args), tier).map_err(|cause| match cause {
        Error::File(FileError::Order { .. }) => named(&args.model, &format!("{cause}, with --layers")),
        _ => named(&args.model, &cause),
    })?;
    for (name, layer) in model.layers() {
        println!("{name}: {}, {} -> {}", layer.kind(), layer.input_size(), layer.output_size());
    }
    warn_of_activations(&model);
    check_layers(args, &model)?;

    let scheme = match args.scheme {
        SchemeArg::Split => Scheme::Split,
        SchemeArg::PartiallyJoint => Scheme::PartiallyJoint,
        SchemeArg::Joint => Scheme::Joint,
    };
    let sequences = match &args.calibration {
        None => Vec::new(),
        Some(folder) => calibration::read(folder, args.calibration_files, &model)?,
    };
    let calibration = calibrate(scheme, &model, &sequences)?;

    let bar = bar("decomposing");
    let calibrated = (!sequences.is_empty()).then_some(&calibration);
    let weighting = if args.plain { Weighting::Weights } else { Weighting::Data };
    let decomposed = model.decompose(scheme, calibrated, weighting, |name, done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
        bar.set_message(name.to_owned());
    })?;
    bar.finish_and_clear();
    let plan = decomposed.plan(&cutting(args, &decomposed)?)?;
    let storage = |layer: &str| {
        let named = args.layer_precision.iter().rev().find(|(name, _)| name == layer);
        let precision = named.map_or(args.precision, |(_, precision)| *precision);
        Storage { format: precision.format(), correct: args.correct }
    };
    let small = decomposed.build(&plan, storage, tier)?;

    small.model.save(&args.out)?;
    let summary = report::Summary {
        before: &model,
        after: &small.model,
        file_before: bytes.len(),
        file_after: std::fs::metadata(&args.out).map_err(|cause| named(&args.out, &cause))?.len() as usize,
        calibration_frames: calibration.frames(),
        signal_to_noise: signal_to_noise(&model, &small.model, &sequences)?,
    };
    report::print(&small.matrices, &summary);

    let chosen = (decomposed.cost(&plan, &Cost::Parameters), decomposed.error(&plan));
    let write = |kind: &str, text: String| {
        let path = args.out.with_extension(kind);
        std::fs::write(&path, text).map_err(|cause| named(&path, &cause))?;
        println!("wrote {}", path.display());
        Ok::<(), Failure>(())
    };
    println!("wrote {}", args.out.display());
    write("json", serde_json::to_string_pretty(&report::json(&small.matrices, &summary))? + "\n")?;
    write("svg", plot::svg(&small.matrices, &curve(args, &decomposed), chosen)?)
}

fn import_options(args: &Args) -> ImportOptions {
    // What the examples call the tensors of features; without such there is nothing to keep.
    let keep = args.keep.iter().cloned().chain(["features.*".into()]).collect();
    ImportOptions { layers: args.layers.clone(), keep }
}

/// Two linear layers with nothing between them are one, which nobody trains: a sign that an activation was not told.
fn warn_of_activations(model: &Model) {
    let layers: Vec<_> = model.layers().collect();
    for pair in layers.windows(2) {
        if let [(first, Layer::Linear(linear)), (second, Layer::Linear(_))] = pair
            && linear.activation() == Activation::Identity
        {
            println!(
                "warning: no activation between {first} and {second}; if there is one: --layers \"... {first}:relu {second} ...\""
            );
        }
    }
}

/// Fails for a precision of a layer that does not exist.
fn check_layers(args: &Args, model: &Model) -> Result<(), Failure> {
    let names: Vec<&str> = model.layers().map(|(name, _)| name).collect();
    match args.layer_precision.iter().find(|(name, _)| !names.contains(&name.as_str())) {
        None => Ok(()),
        Some((name, _)) => Err(format!("--layer-precision {name}: the layers are {}", names.join(", ")).into()),
    }
}

/// How far to cut. A share is one of the matrices' parameters.
fn cutting(args: &Args, decomposed: &Decomposed<'_>) -> Result<Cutting, Failure> {
    let together =
        |limit, cost| Cutting::Together { budget: Budget { limit, cost }, rank_multiple: args.rank_multiple };
    let format = args.precision.format();
    Ok(match (args.budget, args.latency, args.variance, args.rank) {
        (Some(share), ..) => {
            let dense = decomposed.cost(&decomposed.dense(), &Cost::Parameters);
            together(share * dense, Cost::Parameters)
        }
        (_, Some(limit), ..) => {
            let known = Core::ALL.map(|core| core.name).join(", ");
            let core = Core::ALL.into_iter().find(|core| core.name == args.core);
            let core = core.ok_or_else(|| format!("--core {}: known are {known}", args.core))?;
            let cost = Cost::Latency(core, format);
            println!(
                "predicted on {}: {:.1} us a step dense, at most {limit:.1} us asked",
                core.name,
                decomposed.cost(&decomposed.dense(), &cost)
            );
            together(limit, cost)
        }
        (.., Some(share), _) => Cutting::Each(RankPolicy::Variance(share)),
        (.., Some(rank)) => Cutting::Each(RankPolicy::Fixed(rank)),
        // Nothing is cut, only stored otherwise.
        _ => together(f64::INFINITY, Cost::Parameters),
    })
}

fn bar(what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix} [{bar:30}] {pos}/{len} {msg} {elapsed}");
    let bar = ProgressBar::new(0).with_prefix(what).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn calibrate(scheme: Scheme, model: &Model, sequences: &[Mat<f32>]) -> Result<Calibration, Failure> {
    let mut calibration = Calibration::new(scheme);
    let bar = bar("calibrating");
    bar.set_length(sequences.len() as u64);
    for sequence in sequences {
        calibration.add(model, sequence.view())?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(calibration)
}

/// Of the outputs of `after` against those of `before`, in dB.
fn signal_to_noise(before: &Model, after: &Model, sequences: &[Mat<f32>]) -> Result<Option<f64>, Failure> {
    if sequences.is_empty() {
        return Ok(None);
    }
    let mut sessions = [before, after].map(|model| Session::new(Arc::new(model.clone())));
    let (mut signal, mut noise) = (0.0f64, 0.0f64);
    for sequence in sequences {
        let mut outputs = [Vec::new(), Vec::new()];
        for (session, outputs) in sessions.iter_mut().zip(&mut outputs) {
            let session = session.as_mut().map_err(|error| error.clone())?;
            outputs.extend_from_slice(session.push(sequence.view())?.as_slice());
            outputs.extend_from_slice(session.finish()?.as_slice());
        }
        for (&before, &after) in outputs[0].iter().zip(&outputs[1]) {
            signal += f64::from(before).powi(2);
            noise += (f64::from(before) - f64::from(after)).powi(2);
        }
    }
    Ok(Some(10.0 * (signal / noise).log10()))
}

/// (parameters, error) of budgets from little to all.
fn curve(args: &Args, decomposed: &Decomposed<'_>) -> Vec<(f64, f64)> {
    let dense = decomposed.cost(&decomposed.dense(), &Cost::Parameters);
    let point = |percent: u32| {
        let budget = Budget { limit: dense * f64::from(percent) / 100.0, cost: Cost::Parameters };
        // The lowest budgets are out of reach.
        let plan: Vec<Choice> =
            decomposed.plan(&Cutting::Together { budget, rank_multiple: args.rank_multiple }).ok()?;
        Some((decomposed.cost(&plan, &Cost::Parameters), decomposed.error(&plan)))
    };
    (1..=100).filter_map(point).collect()
}
