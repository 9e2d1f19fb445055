//! `skinny train`: trains a recognizer of digit strings or of Asterisk's prompts, in two stages with a trace norm
//! penalty, and measures it.

mod args;
mod augment;
mod corpus;
mod fsdd;
mod plots;
mod prompts;
mod results;
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
use skinny::factored::RankPolicy;
use skinny::kernels::WeightFormat;
use skinny::model::{Model, Session};
use skinny::train::{Data, Device, Random, Recognizer, Schedule, Shape, Spectrum, Trainer};

pub use args::TrainArgs;

use self::args::{CorpusArg, settings};
use self::corpus::{About, Corpus};
use self::results::Row;
use crate::console::Console;
use crate::error::{About as _, Failure, Result};
use crate::files::output;

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
    console.answer(summary::table(&rows))
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
            let stage_1: &Trainer = match &mut stage_1 {
                Some(trainer) => trainer,
                empty => {
                    // Stage 1 runs once. The runs of all cuts continue from it.
                    let schedule = Schedule { epochs: args.transition, ..args.schedule(RankPolicy::Variance(1.0)) };
                    let trainer = new(args, cut, schedule, &corpus)?;
                    empty.insert(train_to_end(args, trainer, "stage-1", &mut corpus, console)?)
                }
            };
            let trainer = stage_1.clone().with_schedule(args.schedule(cut))?;
            train_to_end(args, trainer, &named(cut), &mut corpus, console)?
        };
        let row = measure(args, cut, stage_1.as_ref(), &trainer, &corpus, start.elapsed().as_secs_f64())?;
        say(console, &row)?;
        rows.push(row);
        last = Some(trainer);
    }
    // All rows at once: an interrupted run leaves none in the table.
    if let Some(csv) = &args.csv {
        Row::append(&rows, csv)?;
    }
    match (&args.out, last, rows.last()) {
        (Some(out), Some(trainer), Some(row)) => save(out, trainer.model(), row, &corpus, console),
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

/// Measures a run, for its row in the table.
fn measure(
    args: &TrainArgs,
    cut: RankPolicy,
    stage_1: Option<&Trainer>,
    trainer: &Trainer,
    corpus: &Corpus,
    seconds: f64,
) -> Result<Row> {
    let inference = trainer.model().to_model(BTreeMap::new(), BTreeMap::new())?;
    let int8 = inference.quantize_to(WeightFormat::I8, Tier::select()?)?;
    let percent = |rate: f64| 100.0 * rate;
    let cer = |model: &Recognizer| Ok::<_, Failure>(percent(model.evaluate(corpus.validation())?.rate()));
    let (mut parameters_stage_1, mut means, mut cers) = (0, [f64::NAN; 2], [f64::NAN; 2]);
    if let Some(model) = stage_1.map(Trainer::model) {
        parameters_stage_1 = model.parameter_count();
        let spectra = model.weights().into_iter().map(|(name, _, weight)| Spectrum::of(&name, weight));
        let spectra = spectra.collect::<skinny::Result<Vec<_>>>()?;
        let mean = |of: &dyn Fn(&Spectrum) -> f64| spectra.iter().map(of).sum::<f64>() / spectra.len() as f64;
        means = [mean(&|spectrum| spectrum.nu), mean(&|spectrum| spectrum.rank_90 as f64)];
        cers = [cer(model)?, cer(&model.truncate(cut)?)?];
    }
    let [lambda_rec, lambda_nonrec] = args.strengths();
    Ok(Row {
        study: args.study.clone().unwrap_or_else(|| args.corpus.name().into()),
        method: args.method().into(),
        lambda_rec,
        lambda_nonrec,
        cut: named(cut),
        epochs: args.epochs,
        transition: if args.scratch { 0 } else { args.transition },
        batches: args.batches,
        seed: args.seed,
        leave_out: args.leave_out.clone().unwrap_or_default(),
        parameters: trainer.model().parameter_count(),
        parameters_stage_1,
        nu: means[0],
        rank_90: means[1],
        cer_stage_1: cers[0],
        cer_cut: cers[1],
        cer: cer(trainer.model())?,
        bytes_int8: int8.bytes(),
        cer_test: percent(transcribe(inference, corpus)?),
        cer_test_int8: percent(transcribe(int8, corpus)?),
        seconds,
    })
}

/// The character error rate of the inference model, on this crate's kernels.
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
    Ok(errors.rate())
}

/// Writes the model for the example `digits`, with everything that inference needs.
fn save(out: &Path, model: &Recognizer, row: &Row, corpus: &Corpus, console: Console) -> Result<()> {
    let About { alphabet, data, attribution, licence } = *corpus.about();
    let metadata = [
        ("architecture", "log-mel, stacked frames; GRU layers (PyTorch rows r, z, n); linear; CTC".to_string()),
        ("training.data", data.into()),
        ("training.command", settings(std::env::args())),
        ("training.result", format!("CER in percent: {:.3} validation, {:.3} test", row.cer, row.cer_test)),
        ("attribution", attribution.into()),
        ("licence", licence.into()),
    ];
    let metadata = metadata.into_iter().map(|(key, value)| (key.to_string(), value)).collect();
    let inference = corpus.made().attach(model.to_model(metadata, BTreeMap::new())?)?;
    let inference = Labels::from_alphabet(alphabet, 0)?.attach(inference)?;
    let f32 = model.to_safetensors(inference.metadata(), inference.attachments())?;
    output::write(&out.with_extension("f32.safetensors"), &f32)?;
    let int8 = inference.quantize_to(WeightFormat::I8, Tier::select()?)?;
    int8.save(out)?;
    let (parameters, bytes) = (int8.parameters(), int8.bytes());
    console.remark(format_args!("wrote {}: {parameters} parameters, {bytes} bytes in int8", out.display()));
    Ok(())
}
