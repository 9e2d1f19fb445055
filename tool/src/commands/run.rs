//! `skinny run`: runs a model over features or sound.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde_json::json;
use skinny::compress::Comparison;
use skinny::model::{Model, Session};
use skinny::{Mat, MatRef, Tier};

use crate::comparison;
use crate::console::Console;
use crate::error::{About, Failure, Result, printable};
use crate::files::model::ModelArgs;
use crate::files::{self, Array, Kind, output, wav};
use crate::precision::Precision;
use crate::report::{count, decibels, percent};

pub const EXAMPLES: &str = "\
Examples:
  skinny run small.safetensors --input features.npy --output scores.npy --chunk 10
      streams an array of time x features in pieces of 10 frames
  skinny run small.safetensors --input speech.wav --transcribe --compare scores.npy --min-db 30
      prints the text of a recording, and exits with 1 if the outputs match scores.npy to less than 30 dB";

/// Runs a model over features or a recording
///
/// The input is an array of time x features in .npy, .npz, safetensors or .csv. It can also be a recording (.wav), if
/// the model's file says how its features are made. Recordings are resampled to the model's rate. Several channels are
/// mixed to one.
///
/// The output is an array of time x outputs, in the same kinds of files. It has the same bits for any --chunk and
/// --time-batch.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct RunArgs {
    #[command(flatten)]
    pub model: ModelArgs,

    /// Features (.npy, .npz, .safetensors, .csv) or a recording (.wav)
    #[arg(long, value_name = "FILE")]
    pub input: PathBuf,

    /// Name of the array, if the input has several
    #[arg(long, value_name = "NAME")]
    pub input_name: Option<String>,

    /// Write the outputs to this file
    #[arg(long, value_name = "FILE", required_unless_present_any = ["compare", "transcribe", "hn"])]
    pub output: Option<PathBuf>,

    /// Run in this precision; the default is as stored
    #[arg(long, value_enum)]
    pub precision: Option<Precision>,

    /// Push this many frames at a time, like a stream
    #[arg(long, value_name = "FRAMES")]
    pub chunk: Option<usize>,

    /// Steps whose input products are computed together
    #[arg(long, value_name = "STEPS")]
    pub time_batch: Option<usize>,

    /// Start from the states in this file, named LAYER.h and LAYER.c (.npz, .safetensors)
    #[arg(long, value_name = "FILE")]
    pub h0: Option<PathBuf>,

    /// Write the states after the last frame to this file (.npz, .safetensors)
    #[arg(long, value_name = "FILE")]
    pub hn: Option<PathBuf>,

    /// Compare the outputs with the array in this file
    #[arg(long, value_name = "FILE")]
    pub compare: Option<PathBuf>,

    /// Name of the array, if the file of --compare has several
    #[arg(long, value_name = "NAME", requires = "compare")]
    pub compare_name: Option<String>,

    /// Exit with 1 if the signal-to-noise ratio against --compare is below this
    #[arg(long, value_name = "DB", requires = "compare", allow_negative_numbers = true)]
    pub min_db: Option<f64>,

    /// Print the text; the model's file must have the labels of its classes
    #[arg(long)]
    pub transcribe: bool,

    /// Print the results as JSON
    #[arg(long)]
    pub json: bool,
}

pub fn run(args: &RunArgs, console: Console) -> Result<()> {
    let tier = Tier::select()?;
    for (file, several) in [(&args.output, false), (&args.hn, true)] {
        if let Some(file) = file {
            files::expect_arrays(file, several)?;
            output::prepare(file)?;
        }
    }
    let loaded = args.model.load(tier)?;
    let model = match args.precision {
        None => loaded.model,
        Some(precision) => precision.of(&loaded.model, tier)?,
    };
    let labels = if args.transcribe { Some(wav::labels(&model, args.model.path())?) } else { None };
    let frames = input(args, &model)?;
    let reference = args.compare.as_ref().map(|file| {
        let array = files::array(file, args.compare_name.as_deref()).map_err(|cause| hint(cause, "--compare-name"))?;
        Ok::<_, Failure>((file, array.frames(model.output_size()).about(file)?))
    });
    let reference = reference.transpose()?;

    let mut session = Session::new(Arc::new(model))?;
    if let Some(steps) = args.time_batch {
        session = session.with_time_batch(steps).map_err(|cause| Failure::input(format!("--time-batch: {cause}")))?;
    }
    if let Some(file) = &args.h0 {
        set_states(&mut session, file)?;
    }
    let outputs = stream(args, &mut session, &frames, console)?;

    if let Some(file) = &args.output {
        files::write(file, &outputs)?;
        console.remark(format_args!("wrote {}: {} x {}", file.display(), count(outputs.rows()), outputs.cols()));
    }
    let text = labels.map(|labels| wav::transcript(&outputs, labels)).transpose()?;
    for assumption in &loaded.assumptions {
        console.remark(format_args!("assumed: {}", printable(assumption)));
    }
    let comparison = reference.map(|(file, reference)| comparison::of(&outputs, &reference).about(file)).transpose()?;
    answer(args, text.as_deref(), comparison.as_ref(), console)
}

/// The frames for the model.
fn input(args: &RunArgs, model: &Model) -> Result<Mat<f32>> {
    match Kind::of(&args.input)? {
        Kind::Wav => wav::features(&args.input, model),
        _ => {
            let array = files::array(&args.input, args.input_name.as_deref());
            let array = array.map_err(|cause| hint(cause, "--input-name"))?;
            array.frames(model.input_size()).about(&args.input)
        }
    }
}

/// Adds the option that selects one of several arrays.
fn hint(failure: Failure, option: &str) -> Failure {
    match failure {
        Failure::Input(sentence) if sentence.ends_with("say which") => {
            Failure::Input(format!("{sentence} with {option}"))
        }
        other => other,
    }
}

fn set_states(session: &mut Session, file: &Path) -> Result<()> {
    let known: Vec<String> = session.states().map(|(name, _)| name).collect();
    for (name, array) in files::arrays(file)? {
        if !known.contains(&name) {
            let known = if known.is_empty() { "none".into() } else { known.join(", ") };
            return Err(format!("the model has no state `{name}`, it has {known}")).about(file);
        }
        session.set_state(&name, &array.values).about(file)?;
    }
    Ok(())
}

fn stream(args: &RunArgs, session: &mut Session, frames: &Mat<f32>, console: Console) -> Result<Mat<f32>> {
    let (width, rows) = (session.model().output_size(), frames.rows());
    // The progress bar needs pieces, too.
    let chunk = match args.chunk {
        Some(0) => return Err(Failure::input("--chunk 0: expected at least 1")),
        Some(chunk) => chunk,
        None => 1024,
    };
    let mut outputs = Vec::new();
    let mut progress = console.progress("running");
    let mut start = 0;
    while start < rows {
        progress.at(start, rows, "");
        let end = start.saturating_add(chunk).min(rows);
        let piece = &frames.as_slice()[start * frames.cols()..end * frames.cols()];
        outputs.extend_from_slice(session.push(MatRef::new(piece, end - start, frames.cols())?)?.as_slice());
        start = end;
    }
    if let Some(file) = &args.hn {
        outputs.extend_from_slice(session.flush()?.as_slice());
        let state =
            |(name, values): (String, &[f32])| (name, Array { shape: vec![values.len()], values: values.to_vec() });
        let states: Vec<_> = session.states().map(state).collect();
        if states.is_empty() {
            return Err("the model has no states to write").about(file);
        }
        files::write_named(file, &states)?;
        console.remark(format_args!("wrote {}: {} states", file.display(), states.len()));
    }
    outputs.extend_from_slice(session.finish()?.as_slice());
    let rows = outputs.len() / width;
    Ok(Mat::from_vec(outputs, rows, width)?)
}

fn answer(args: &RunArgs, text: Option<&str>, comparison: Option<&Comparison>, console: Console) -> Result<()> {
    if args.json {
        console.json(&json!({ "text": text, "comparison": comparison.map(comparison::json) }))?;
    } else {
        if let Some(text) = text {
            console.answer(format_args!("{text}\n"))?;
        }
        if let Some(comparison) = comparison {
            console.answer(format_args!(
                "{} dB, largest difference {:.3e}, the same greatest output in {} of {} frames\n",
                decibels(Some(comparison.decibels())),
                comparison.largest(),
                percent(comparison.agreement(), 1.0),
                count(comparison.frames())
            ))?;
        }
    }
    match (args.min_db, comparison.map(Comparison::decibels)) {
        // A NaN also fails.
        (Some(least), Some(found)) if found.is_nan() || found < least => {
            Err(Failure::No(format!("the outputs are {found:.1} dB from --compare, --min-db asks for {least}")))
        }
        _ => Ok(()),
    }
}
