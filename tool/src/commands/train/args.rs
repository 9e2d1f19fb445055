//! The options of `skinny train`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use skinny::factored::RankPolicy;
use skinny::train::{Initialization, Penalty, Rates, Schedule, Settling};

use crate::commands::compress::SchemeArg;
use crate::precision::Precision;
use crate::values::at_least_one;

pub const EXAMPLES: &str = "\
Examples:
  skinny train --data fsdd --rank 8 --out digits.safetensors
      trains a recognizer of spoken digits, of rank 8, on the Free Spoken Digit Dataset
  skinny train --corpus prompts --data prompts --threshold 0.8,0.9 --csv runs.csv --checkpoint work
      trains on sentences, with two cuts after one stage 1; run again, it resumes where it was interrupted";

/// Trains a recognizer in two stages: full-rank factors under a trace norm penalty, then low-rank factors
///
/// Stage 1 trains factors U V of full rank. Its penalty makes the singular values of their product fall. At the
/// transition each weight is cut to the rank that its spectrum requires. Stage 2 trains the resulting low-rank model.
/// The method is by Kliegl et al. (arXiv 1710.09026). docs/training.md explains it and has the figures.
#[derive(Clone, Debug, Args)]
#[command(args_override_self = true, after_long_help = EXAMPLES)]
pub struct TrainArgs {
    /// The data to train on
    #[arg(long, value_enum, default_value_t = CorpusArg::Digits)]
    pub corpus: CorpusArg,

    /// Folder of the data: recordings named {digit}_{speaker}_{index}.wav, or what scripts/fetch-prompts writes
    #[arg(long, value_name = "DIR", required_unless_present = "plot")]
    pub data: Option<PathBuf>,

    /// The penalty of stage 1
    #[arg(long, value_enum, default_value_t = PenaltyArg::Trace)]
    pub penalty: PenaltyArg,

    /// Train factors in stage 1 with any penalty; without a penalty this is the control for what factors alone do
    #[arg(long)]
    pub factored: bool,

    /// Final strength of the penalty on recurrent weights, for a loss per character
    #[arg(long, value_name = "LAMBDA", default_value_t = 2e-3)]
    pub lambda_rec: f32,

    /// Strength on non-recurrent weights; the default is that of --lambda-rec
    #[arg(long, value_name = "LAMBDA")]
    pub lambda_nonrec: Option<f32>,

    /// Share of stage 1 over which the penalty rises from zero to its strength; 0 makes it constant
    #[arg(long, value_name = "SHARE", default_value_t = 1.0)]
    pub rise: f32,

    /// Keep these shares of the variance at the transition; each has its own stage 2 after the same stage 1
    #[arg(long, value_name = "SHARE,...", value_delimiter = ',')]
    pub threshold: Vec<f32>,

    /// Cut to these ranks, instead of --threshold or in addition
    #[arg(long, value_name = "RANK,...", value_delimiter = ',')]
    pub rank: Vec<usize>,

    /// Which gate matrices are factored together
    #[arg(long, value_enum, default_value_t = SchemeArg::PartiallyJoint)]
    pub scheme: SchemeArg,

    /// Epochs of both stages
    #[arg(long, default_value_t = 45, value_parser = at_least_one)]
    pub epochs: usize,

    /// Make the transition once ranks have settled, and at --transition at the latest
    ///
    /// Ranks have settled when no weight's stable rank has varied by more than this share for --settle-window epochs.
    #[arg(long, value_name = "TOLERANCE")]
    pub settle: Option<f32>,

    /// Epochs over which ranks are compared
    #[arg(long, value_name = "EPOCHS", default_value_t = Settling::default().window, requires = "settle")]
    pub settle_window: usize,

    /// Epochs before the transition
    #[arg(long, value_name = "EPOCH", default_value_t = 30, value_parser = at_least_one)]
    pub transition: usize,

    /// Batches per epoch
    #[arg(long, default_value_t = 100, value_parser = at_least_one)]
    pub batches: usize,

    /// Digits per batch of --corpus digits; its strings all have the same length, of 1 to 7 digits
    #[arg(long, default_value_t = 24, value_parser = at_least_one)]
    pub batch_digits: usize,

    /// Time steps per batch of --corpus prompts, padding included
    #[arg(long, default_value_t = 4096, value_parser = at_least_one)]
    pub batch_steps: usize,

    /// State features of the GRU layers
    #[arg(long, value_name = "FEATURES,...", value_delimiter = ',', default_values_t = [96, 128])]
    pub hidden: Vec<usize>,

    /// Highest learning rate
    #[arg(long, default_value_t = 2e-3)]
    pub learning_rate: f64,

    /// Number of batches between alignments; 0 means never
    ///
    /// An alignment turns the factors and Adam's moments into the basis of the factors' singular directions.
    #[arg(long, value_name = "BATCHES", default_value_t = 5)]
    pub align: usize,

    /// Train stage 2 with weights rounded as they will be stored
    #[arg(long, value_enum, default_value_t = Precision::F32)]
    pub precision: Precision,

    /// Let stage 2 also learn from the model of stage 1, with this strength
    ///
    /// The loss of stage 2 gains this many times the divergence between the classes of the two models.
    #[arg(long, value_name = "STRENGTH", default_value_t = 0.0)]
    pub distill: f32,

    /// Skip stage 1, and train factors of each --rank for all epochs
    #[arg(long)]
    pub scratch: bool,

    /// How factors are initialized with --scratch
    #[arg(long, value_enum, default_value_t = InitArg::Spectral)]
    pub init: InitArg,

    /// Seed of weights and batches
    #[arg(long, default_value_t = 1)]
    pub seed: u64,

    /// Train without this speaker of --corpus digits, and test only on this speaker
    #[arg(long, value_name = "SPEAKER")]
    pub leave_out: Option<String>,

    /// Save to this folder after each epoch, and resume from it
    #[arg(long, value_name = "DIR")]
    pub checkpoint: Option<PathBuf>,

    /// Write the model of the last --threshold or --rank to this file
    ///
    /// It is stored in the format of --precision, or in int8 after training in f32. A file .f32.safetensors beside it has
    /// the unrounded weights with PyTorch's names.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,

    /// Append one row per trained model to this file
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,

    /// Name of the study, for the first column of the rows; the default is the corpus
    #[arg(long)]
    pub study: Option<String>,

    /// Do not train, but print the rows of --csv as tables and draw their plots into this folder
    #[arg(long, value_name = "DIR", requires = "csv")]
    pub plot: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub enum CorpusArg {
    /// Strings of digits from the Free Spoken Digit Dataset: indexes 5..40 for training, 41..44 for validation, 45..49
    /// for testing
    Digits,
    /// Asterisk's English prompts by one speaker; a hash of the text splits them for training, validation and testing
    Prompts,
}

impl CorpusArg {
    pub fn name(self) -> &'static str {
        match self {
            Self::Digits => "digits",
            Self::Prompts => "prompts",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub enum PenaltyArg {
    /// lambda/2 (|U|^2 + |V|^2) of full-rank factors
    Trace,
    /// lambda/2 |W|^2
    L2,
    /// No penalty
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub enum InitArg {
    /// Random factors
    Plain,
    /// Factors of a random dense matrix, cut
    Spectral,
}

impl TrainArgs {
    /// The cuts, one model per cut.
    pub fn cuts(&self) -> Vec<RankPolicy> {
        let shares = self.threshold.iter().map(|&share| RankPolicy::Variance(share));
        let cuts: Vec<_> = shares.chain(self.rank.iter().map(|&rank| RankPolicy::Fixed(rank))).collect();
        if cuts.is_empty() { vec![RankPolicy::Variance(0.9)] } else { cuts }
    }

    /// Strengths of the penalty on recurrent and on non-recurrent weights.
    pub fn strengths(&self) -> [f32; 2] {
        if self.scratch || self.penalty == PenaltyArg::None {
            return [0.0; 2];
        }
        [self.lambda_rec, self.lambda_nonrec.unwrap_or(self.lambda_rec)]
    }

    pub fn penalty(&self) -> Penalty {
        let [recurrent, non_recurrent] = self.strengths();
        match self.penalty {
            _ if self.scratch => Penalty::None,
            PenaltyArg::Trace => Penalty::TraceNorm { recurrent, non_recurrent },
            PenaltyArg::L2 => Penalty::L2 { recurrent, non_recurrent },
            PenaltyArg::None => Penalty::None,
        }
    }

    /// How weights are initialized. With `--scratch` they have the ranks of `cut` from the start.
    pub fn initialization(&self, cut: RankPolicy) -> Initialization {
        match (self.scratch, self.init) {
            (true, InitArg::Plain) => Initialization::RandomFactors(self.scheme.scheme(), cut),
            (true, InitArg::Spectral) => Initialization::Spectral(self.scheme.scheme(), cut),
            (false, _) if self.factored || self.penalty == PenaltyArg::Trace => {
                Initialization::Factored(self.scheme.scheme())
            }
            (false, _) => Initialization::Dense,
        }
    }

    /// The name of the method, for tables.
    pub fn method(&self) -> &'static str {
        match (self.scratch, self.init, self.penalty, self.factored) {
            (true, InitArg::Plain, ..) => "scratch-plain",
            (true, InitArg::Spectral, ..) => "scratch-spectral",
            (false, _, PenaltyArg::Trace, _) => "trace",
            (false, _, PenaltyArg::L2, false) => "l2",
            (false, _, PenaltyArg::L2, true) => "l2-factored",
            (false, _, PenaltyArg::None, false) => "none",
            (false, _, PenaltyArg::None, true) => "none-factored",
        }
    }

    /// The schedule of both stages, or of the only stage with `--scratch`.
    pub fn schedule(&self, cut: RankPolicy) -> Schedule {
        let rate = self.learning_rate;
        let (transition, last) = if self.scratch { (None, rate / 20.0) } else { (Some(self.transition), rate / 4.0) };
        Schedule {
            epochs: self.epochs,
            batches: self.batches,
            transition,
            settling: self
                .settle
                .filter(|_| !self.scratch)
                .map(|tolerance| Settling { window: self.settle_window, tolerance }),
            rank: cut,
            penalty: self.penalty(),
            rise: self.rise,
            rates: Rates { first: rate, last },
            rates_2: Rates { first: rate / 2.0, last: rate / 20.0 },
            format: self.precision.format(),
            distillation: self.distill,
            align: (self.align > 0).then_some(self.align),
            seed: self.seed,
            ..Schedule::default()
        }
    }
}

/// The command line that repeats a run, without the folders and files of the machine it ran on.
pub fn settings(arguments: impl Iterator<Item = String>) -> String {
    let mut arguments = arguments.skip_while(|argument| argument != "train").skip(1);
    let mut settings = vec!["skinny train".to_string()];
    while let Some(argument) = arguments.next() {
        let name = argument.split('=').next().unwrap_or_default();
        if !["--data", "--checkpoint", "--out", "--csv"].contains(&name) {
            settings.push(argument);
        } else if name == argument {
            arguments.next();
        }
    }
    settings.join(" ")
}

#[test]
fn settings_have_no_paths() {
    let line = ["skinny", "-q", "train", "--data", "/a", "--epochs", "180", "--out=/b", "--csv", "/c", "--scratch"];
    assert_eq!(settings(line.into_iter().map(String::from)), "skinny train --epochs 180 --scratch");
}
