//! `skinny train`: trains a recognizer of digit strings or of Asterisk's prompts, in two stages with a trace norm
//! penalty, and measures it.

mod args;
mod augment;
mod claims;
mod corpus;
mod fsdd;
mod plots;
mod prompts;
mod results;
mod statistics;
mod strings;
mod summary;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use skinny::MatRef;
use skinny::Tier;
use skinny::audio::{ErrorCount, GreedyDecoder, Labels};
use skinny::factored::{Quantization, RankPolicy};
use skinny::kernels::WeightFormat;
use skinny::model::{Model, Session};
use skinny::train::{Data, Device, Random, Recognizer, Schedule, Shape, Spectrum, Trainer};

pub use args::{CorpusArg, TrainArgs};

use self::args::settings;
use self::corpus::{About, Corpus};
use self::results::Row;
use crate::console::Console;
use crate::error::{About as _, Failure, Result};
use crate::files::output;
use crate::precision;

/// Prints progress, unless quiet.
fn say(console: Console, text: impl Display) -> Result<()> {
    if console.quiet { Ok(()) } else { console.answer(format_args!("{text}\n")) }
}

pub fn run(args: &TrainArgs, console: Console) -> Result<()> {
    match (&args.plot, &args.csv) {
        (Some(folder), Some(csv)) => tell(csv, folder, console),
        _ => train(args, console),
    }
}

/// Draws the plots of a CSV file of runs, and prints its table.
pub fn tell(csv: &Path, folder: &Path, console: Console) -> Result<()> {
    let rows = Row::read(csv)?;
    plots::draw(&rows, folder).about(folder)?;
    console.answer(summary::tables(&rows))
}

fn train(args: &TrainArgs, console: Console) -> Result<()> {
    for file in [&args.out, &args.csv].into_iter().flatten() {
        output::prepare(file)?;
    }
    if let Some(folder) = &args.checkpoint {
        std::fs::create_dir_all(folder).about(folder)?;
    }
    let mut corpus = read(args, console)?;
    let start = Instant::now();
    let mut stage_1 = None;
    let mut rows = Vec::new();
    let mut last = None;
    for cut in args.cuts() {
        let trainer = if args.scratch {
            let name = format!("scratch-{}", named(cut));
            train_to_end(args, new(args, cut, args.schedule(cut), &corpus)?, &name, &mut corpus, console)?
        } else {
            let stage_1: &Stage1 = match &mut stage_1 {
                Some(stage_1) => stage_1,
                empty => {
                    // Stage 1 runs once. The runs of all cuts continue from it.
                    let schedule = Schedule { epochs: args.transition, ..args.schedule(RankPolicy::Variance(1.0)) };
                    let trainer = new(args, cut, schedule, &corpus)?;
                    let trainer = train_to_end(args, trainer, "stage-1", &mut corpus, console)?;
                    empty.insert(Stage1::measure(trainer, &corpus)?)
                }
            };
            let trainer = stage_1.trainer.clone().with_schedule(args.schedule(cut))?;
            train_to_end(args, trainer, &named(cut), &mut corpus, console)?
        };
        let row = measure(args, cut, stage_1.as_ref(), &trainer, &corpus, start.elapsed().as_secs_f64())?;
        say(console, row.line())?;
        rows.push(row);
        last = Some(trainer);
    }
    // All rows at once: an interrupted run leaves none in the table.
    if let Some(csv) = &args.csv {
        Row::append(&rows, csv)?;
    }
    match (&args.out, last, rows.last()) {
        (Some(out), Some(trainer), Some(row)) => save(args, out, trainer.model(), row, &corpus, console),
        _ => Ok(()),
    }
}

fn read(args: &TrainArgs, console: Console) -> Result<Corpus> {
    let folder = args.data.as_deref().ok_or_else(|| Failure::input("--data is missing"))?;
    match (args.corpus, args.leave_out.as_deref()) {
        (CorpusArg::Digits, leave_out) => strings::read(folder, args.batch_digits, leave_out),
        (CorpusArg::Prompts, None) => prompts::read(folder, args.batch_steps, console),
        (CorpusArg::Prompts, Some(_)) => Err(Failure::input("--leave-out: the prompts have one speaker")),
    }
}

fn named(cut: RankPolicy) -> String {
    match cut {
        RankPolicy::Fixed(rank) => format!("rank-{rank}"),
        RankPolicy::Variance(share) => format!("variance-{share}"),
        _ => "cut".into(),
    }
}

fn new(args: &TrainArgs, cut: RankPolicy, schedule: Schedule, corpus: &Corpus) -> Result<Trainer> {
    let shape =
        Shape { input: corpus.made().width(), hidden: args.hidden.clone(), classes: corpus.about().alphabet.len() + 1 };
    // Not the generator of the seed itself, which draws the batches.
    let mut random = Random::new(!args.seed);
    let model = Recognizer::new(&shape, args.initialization(cut), &mut random, &Device::flex())?;
    Ok(Trainer::new(model, schedule)?)
}

/// Trains to the end of the schedule, from a checkpoint if there is one.
fn train_to_end(
    args: &TrainArgs,
    mut trainer: Trainer,
    name: &str,
    corpus: &mut Corpus,
    console: Console,
) -> Result<Trainer> {
    let file = args.checkpoint.as_ref().map(|folder| folder.join(format!("{name}.safetensors")));
    if let Some(file) = file.as_ref().filter(|file| file.exists()) {
        trainer = Trainer::resume(file, trainer.model().clone(), trainer.schedule().clone())?;
        say(console, format_args!("{}: goes on after epoch {}", file.display(), trainer.epoch()))?;
    }
    say(console, format_args!("{} seed {}, {name}", args.method(), args.seed))?;
    while let Some(report) = trainer.train_epoch(corpus)? {
        say(console, &report)?;
        if let Some(file) = &file {
            trainer.save(file)?;
        }
    }
    Ok(trainer)
}

/// The end of stage 1, from which the runs of all cuts continue, and what it measures.
struct Stage1 {
    trainer: Trainer,
    nu: f64,
    rank_90: f64,
    cer: f64,
    cer_test: f64,
}

impl Stage1 {
    fn measure(trainer: Trainer, corpus: &Corpus) -> Result<Self> {
        let model = trainer.model();
        let spectra = model.weights().into_iter().map(|(name, _, weight)| Spectrum::of(&name, weight));
        let spectra = spectra.collect::<skinny::Result<Vec<_>>>()?;
        let mean = |of: &dyn Fn(&Spectrum) -> f64| spectra.iter().map(of).sum::<f64>() / spectra.len() as f64;
        let (nu, rank_90) = (mean(&|spectrum| spectrum.nu), mean(&|spectrum| spectrum.rank_90 as f64));
        let (cer, cer_test) = (validate(model, corpus)?, transcribe(inference(model)?, corpus)?);
        Ok(Self { trainer, nu, rank_90, cer, cer_test })
    }
}

/// Measures a run, for its row in the table.
fn measure(
    args: &TrainArgs,
    cut: RankPolicy,
    stage_1: Option<&Stage1>,
    trainer: &Trainer,
    corpus: &Corpus,
    seconds: f64,
) -> Result<Row> {
    let as_it_runs = |model: Recognizer| match args.precision.format() {
        None => Ok(model),
        Some(format) => model.rounded(format),
    };
    let cer_cut = match stage_1 {
        None => f64::NAN,
        Some(stage_1) => validate(&as_it_runs(stage_1.trainer.model().truncate(cut)?)?, corpus)?,
    };
    let inference = inference(trainer.model())?;
    let stored = inference.quantize_to(stored(args), Tier::select()?)?;
    let [lambda_rec, lambda_nonrec] = args.strengths();
    Ok(Row {
        study: args.study.clone().unwrap_or_else(|| args.corpus.name().into()),
        method: args.method().into(),
        lambda_rec,
        lambda_nonrec,
        rise: args.rise,
        align: args.align,
        cut: named(cut),
        epochs: trainer.epoch(),
        transition: trainer.transition().unwrap_or(0),
        settle: args.settle.unwrap_or(0.0),
        precision: precision::name(args.precision.quantization()).into(),
        distill: args.distill,
        batches: args.batches,
        seed: args.seed,
        leave_out: args.leave_out.clone().unwrap_or_default(),
        parameters: trainer.model().parameter_count(),
        parameters_stage_1: stage_1.map_or(0, |stage_1| stage_1.trainer.model().parameter_count()),
        nu: stage_1.map_or(f64::NAN, |stage_1| stage_1.nu),
        rank_90: stage_1.map_or(f64::NAN, |stage_1| stage_1.rank_90),
        cer_stage_1: stage_1.map_or(f64::NAN, |stage_1| stage_1.cer),
        cer_test_stage_1: stage_1.map_or(f64::NAN, |stage_1| stage_1.cer_test),
        cer_cut,
        cer: validate(&as_it_runs(trainer.model().clone())?, corpus)?,
        bytes_stored: stored.bytes(),
        cer_test: transcribe(inference, corpus)?,
        cer_test_stored: transcribe(stored, corpus)?,
        seconds,
    })
}

/// The format in which models are stored: the one that stage 2 trained for, int8 after training in `f32`.
fn stored(args: &TrainArgs) -> Quantization {
    args.precision.quantization().unwrap_or(WeightFormat::I8.into())
}

fn inference(model: &Recognizer) -> Result<Model> {
    Ok(model.to_model(BTreeMap::new(), BTreeMap::new())?)
}

/// The character error rate on the validation data, in percent.
fn validate(model: &Recognizer, corpus: &Corpus) -> Result<f64> {
    Ok(100.0 * model.evaluate(corpus.validation())?.rate())
}

/// The character error rate on the test data in percent, of the inference model on this crate's kernels.
fn transcribe(model: Model, corpus: &Corpus) -> Result<f64> {
    let labels = Labels::from_alphabet(corpus.about().alphabet, 0)?;
    let (model, width) = (Arc::new(model), corpus.made().width());
    let mut errors = ErrorCount::default();
    for (features, text) in &corpus.test {
        let mut decoder = GreedyDecoder::new(labels.clone());
        let mut session = Session::new(Arc::clone(&model))?;
        decoder.push(session.push(MatRef::new(features, features.len() / width, width)?)?)?;
        decoder.push(session.finish()?)?;
        errors.add_text(decoder.text(), text);
    }
    Ok(100.0 * errors.rate())
}

/// Writes the model for the example `digits`, with everything that inference needs.
fn save(args: &TrainArgs, out: &Path, model: &Recognizer, row: &Row, corpus: &Corpus, console: Console) -> Result<()> {
    let About { alphabet, data, attribution, licence } = *corpus.about();
    let metadata = [
        ("architecture", "log-mel, stacked frames; GRU layers (PyTorch rows r, z, n); linear; CTC".to_string()),
        ("training.data", data.into()),
        ("training.command", settings(std::env::args())),
        ("training.result", format!("CER in percent: {:.3} validation, {:.3} test", row.cer, row.cer_test_stored)),
        ("attribution", attribution.into()),
        ("licence", licence.into()),
    ];
    let metadata = metadata.into_iter().map(|(key, value)| (key.to_string(), value)).collect();
    let inference = corpus.made().attach(model.to_model(metadata, BTreeMap::new())?)?;
    let inference = Labels::from_alphabet(alphabet, 0)?.attach(inference)?;
    let f32 = model.to_safetensors(inference.metadata(), inference.attachments())?;
    output::write(&out.with_extension("f32.safetensors"), &f32)?;
    let format = stored(args);
    let model = inference.quantize_to(format, Tier::select()?)?;
    model.save(out)?;
    let (parameters, bytes, name) = (model.parameters(), model.bytes(), precision::name(Some(format)));
    console.remark(format_args!("wrote {}: {parameters} parameters, {bytes} bytes in {name}", out.display()));
    Ok(())
}
