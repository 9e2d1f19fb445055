//! Trains a recognizer of digit strings, or of Asterisk's prompts, with a trace norm penalty in two stages, and measures what
//! that is worth.
//!
//!     cargo run --release --features train --example train -- --data ../shared/data/fsdd --out digits.safetensors
//!     scripts/fetch-prompts target/prompts
//!     cargo run --release --features train --example train -- --corpus prompts --data target/prompts
//!
//! `--help` lists the options; docs/training.md tells about the method and the figures.

mod args;
mod augment;
mod corpus;
#[allow(dead_code, reason = "shared with the example `digits`")]
#[path = "../digits/ctc.rs"]
mod ctc;
#[allow(dead_code, reason = "shared with the example `digits`")]
#[path = "../digits/features.rs"]
mod features;
#[allow(dead_code, reason = "shared with the example `digits`")]
#[path = "../digits/fsdd.rs"]
mod fsdd;
mod plots;
mod prompts;
mod results;
mod strings;
mod summary;
#[allow(dead_code, reason = "shared with the example `digits`")]
#[path = "../digits/wav.rs"]
mod wav;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use clap::Parser;
use skinny::factored::RankPolicy;
use skinny::kernels::WeightFormat;
use skinny::model::{Attachment, Model, Session};
use skinny::train::{Data, Device, Random, Recognizer, Schedule, Shape, Spectrum, Trainer};
use skinny::{MatRef, Tier};

use args::{Args, CorpusArg};
use corpus::{About, Corpus, FEATURES};
use ctc::{Alphabet, ErrorCount, GreedyDecoder};
use results::Row;

/// Why the program ends.
pub type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match (&args.plot, &args.csv) {
        (Some(folder), Some(csv)) => tell(csv, folder),
        _ => run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("train: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Plots and table of what is in a table of runs.
fn tell(csv: &Path, folder: &Path) -> Result<(), Failure> {
    let rows = Row::read(csv)?;
    print!("{}", summary::table(&rows));
    plots::draw(&rows, folder)
}

fn run(args: &Args) -> Result<(), Failure> {
    let mut corpus = read(args)?;
    if let Some(folder) = &args.checkpoint {
        std::fs::create_dir_all(folder)?;
    }
    let start = Instant::now();
    let mut stage_1 = None;
    let mut rows = Vec::new();
    let mut last = None;
    for cut in args.cuts() {
        let trainer = if args.scratch {
            train(args, new(args, cut, args.schedule(cut), &corpus)?, &format!("scratch-{}", named(cut)), &mut corpus)?
        } else {
            if stage_1.is_none() {
                // A run of stage 1 alone, from which those of all cuts go on.
                let schedule = Schedule { epochs: args.transition, ..args.schedule(RankPolicy::Variance(1.0)) };
                stage_1 = Some(train(args, new(args, cut, schedule, &corpus)?, "stage-1", &mut corpus)?);
            }
            let trainer: Trainer = stage_1.clone().ok_or("no stage 1")?;
            train(args, trainer.with_schedule(args.schedule(cut))?, &named(cut), &mut corpus)?
        };
        let row = measure(args, cut, stage_1.as_ref(), &trainer, &corpus, start.elapsed().as_secs_f64())?;
        println!("{row}");
        rows.push(row);
        last = Some(trainer);
    }
    // All at once: a run that was interrupted has left nothing in the table.
    if let Some(csv) = &args.csv {
        Row::append(&rows, csv)?;
    }
    match (&args.out, last, rows.last()) {
        (Some(out), Some(trainer), Some(row)) => save(out, trainer.model(), row, &corpus),
        _ => Ok(()),
    }
}

fn read(args: &Args) -> Result<Corpus, Failure> {
    let folder = args.data.as_deref().ok_or("--data is missing")?;
    match (args.corpus, args.leave_out.as_deref()) {
        (CorpusArg::Digits, leave_out) => strings::read(folder, args.batch_digits, leave_out),
        (CorpusArg::Prompts, None) => prompts::read(folder, args.batch_steps),
        (CorpusArg::Prompts, Some(_)) => Err("--leave-out: the prompts are of one speaker".into()),
    }
}

fn named(cut: RankPolicy) -> String {
    match cut {
        RankPolicy::Fixed(rank) => format!("rank-{rank}"),
        RankPolicy::Variance(share) => format!("variance-{share}"),
        _ => "cut".into(),
    }
}

fn new(args: &Args, cut: RankPolicy, schedule: Schedule, corpus: &Corpus) -> Result<Trainer, Failure> {
    let shape =
        Shape { input: FEATURES.step_len(), hidden: args.hidden.clone(), classes: corpus.about().alphabet.len() + 1 };
    // A generator of its own: the seed's other one draws the batches.
    let mut random = Random::new(!args.seed);
    let model = Recognizer::new(&shape, args.initialization(cut), &mut random, &Device::flex())?;
    Ok(Trainer::new(model, schedule)?)
}

/// Trains to the end of the schedule, from a checkpoint if there is one.
fn train(args: &Args, trainer: Trainer, name: &str, corpus: &mut Corpus) -> Result<Trainer, Failure> {
    let file = args.checkpoint.as_ref().map(|folder| folder.join(format!("{name}.safetensors")));
    let mut trainer = match &file {
        Some(file) if file.exists() => {
            let resumed = Trainer::resume(file, trainer.model().clone(), trainer.schedule().clone())?;
            println!("{}: goes on after epoch {}", file.display(), resumed.epoch());
            resumed
        }
        _ => trainer,
    };
    println!("{} seed {}, {name}", args.method(), args.seed);
    while let Some(report) = trainer.train_epoch(corpus)? {
        println!("{report}");
        if let Some(file) = &file {
            trainer.save(file)?;
        }
    }
    Ok(trainer)
}

/// What is told of a run.
fn measure(
    args: &Args,
    cut: RankPolicy,
    stage_1: Option<&Trainer>,
    trainer: &Trainer,
    corpus: &Corpus,
    seconds: f64,
) -> Result<Row, Failure> {
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
fn transcribe(model: Model, corpus: &Corpus) -> Result<f64, Failure> {
    let alphabet = Alphabet::new(corpus.about().alphabet);
    let model = Arc::new(model);
    let mut errors = ErrorCount::default();
    for (features, text) in &corpus.test {
        let mut decoder = GreedyDecoder::new(&alphabet);
        let mut session = Session::new(Arc::clone(&model))?;
        let mut decode = |scores: MatRef<'_, f32>| {
            for step in 0..scores.rows() {
                decoder.push(scores.row(step));
            }
        };
        let width = FEATURES.step_len();
        decode(session.push(MatRef::new(features, features.len() / width, width)?)?);
        decode(session.finish()?);
        errors.add(decoder.text(), text);
    }
    errors.character_error_rate().ok_or_else(|| "nothing to test on".into())
}

/// Writes the model for the example `digits`, with all that inference needs to know.
fn save(out: &Path, model: &Recognizer, row: &Row, corpus: &Corpus) -> Result<(), Failure> {
    let f = &FEATURES;
    let About { alphabet, data, attribution, licence } = *corpus.about();
    let metadata = [
        ("format", "skinny-digits-1".to_string()),
        ("architecture", "log-mel, stacked frames; GRU layers (PyTorch rows r, z, n); linear; CTC".into()),
        ("features.sample_rate", f.sample_rate.to_string()),
        ("features.window", f.window.to_string()),
        ("features.window_shape", "hann, periodic".into()),
        ("features.hop", f.hop.to_string()),
        ("features.fft", f.fft.to_string()),
        ("features.mels", f.mels.to_string()),
        ("features.mel_low_hz", f.mel_low_hz.to_string()),
        ("features.mel_high_hz", f.mel_high_hz.to_string()),
        ("features.mel_shape", "HTK mel scale, triangles of height 1, linear in Hz, on power".into()),
        ("features.log_floor", f.log_floor.to_string()),
        ("features.stack", f.stack.to_string()),
        ("features.tail", f.tail.to_string()),
        ("alphabet", alphabet.into()),
        ("blank", "0".into()),
        ("training.data", data.into()),
        ("training.command", args::settings(std::env::args().skip(1))),
        ("training.result", format!("CER in percent: {:.3} validation, {:.3} test", row.cer, row.cer_test)),
        ("attribution", attribution.into()),
        ("licence", licence.into()),
    ];
    let metadata: BTreeMap<_, _> = metadata.into_iter().map(|(key, value)| (key.to_string(), value)).collect();
    let mut attachments = BTreeMap::new();
    for (name, values) in [("features.mean", &corpus.mean), ("features.std", &corpus.std)] {
        attachments.insert(name.to_string(), Attachment::new(vec![values.len()], values.clone())?);
    }
    std::fs::write(out.with_extension("f32.safetensors"), model.to_safetensors(&metadata, &attachments)?)?;
    let int8 = model.to_model(metadata, attachments)?.quantize_to(WeightFormat::I8, Tier::select()?)?;
    int8.save(out)?;
    println!("{}: {} parameters, {} bytes in int8", out.display(), int8.parameters(), int8.bytes());
    Ok(())
}
