//! The command line.

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
      a recognizer of spoken digits of rank 8, from the Free Spoken Digit Dataset
  skinny train --corpus prompts --data prompts --threshold 0.8,0.9 --csv runs.csv --checkpoint work
      sentences, cut in two ways after one first stage; goes on where it was interrupted";

/// Trains a recognizer in two stages: full-rank factors under a trace norm penalty, then low-rank ones
///
/// Stage 1 trains U V of full rank with a penalty that makes the product's singular values fall; at the transition each
/// weight is cut to the rank that its spectrum asks for, and stage 2 trains the low-rank model that is left (Kliegl et
/// al., arXiv 1710.09026). docs/training.md tells about the method and the figures.
#[derive(Clone, Debug, Args)]
#[command(args_override_self = true, after_long_help = EXAMPLES)]
pub struct TrainArgs {
    /// What is trained on
    #[arg(long, value_enum, default_value_t = CorpusArg::Digits)]
    pub corpus: CorpusArg,

    /// Its folder: recordings {digit}_{speaker}_{index}.wav, or what scripts/fetch-prompts fetches
    #[arg(long, value_name = "DIR", required_unless_present = "plot")]
    pub data: Option<PathBuf>,

    /// The penalty of stage 1
    #[arg(long, value_enum, default_value_t = PenaltyArg::Trace)]
    pub penalty: PenaltyArg,

    /// Train factors in stage 1 whatever the penalty: with none, the control of what factors alone do
    #[arg(long)]
    pub factored: bool,

    /// Strength of the penalty on recurrent weights at its end, of a loss a character
    #[arg(long, value_name = "LAMBDA", default_value_t = 2e-3)]
    pub lambda_rec: f32,

    /// Strength on non-recurrent weights; that on recurrent ones unless said
    #[arg(long, value_name = "LAMBDA")]
    pub lambda_nonrec: Option<f32>,

    /// Share of stage 1 over which the penalty rises from zero to its strength; 0: a constant penalty
    #[arg(long, value_name = "SHARE", default_value_t = 1.0)]
    pub rise: f32,

    /// Keep these shares of the variance at the transition; each goes through a stage 2 of its own after one stage 1
    #[arg(long, value_name = "SHARE,...", value_delimiter = ',')]
    pub threshold: Vec<f32>,

    /// Cut to these ranks instead, or too
    #[arg(long, value_name = "RANK,...", value_delimiter = ',')]
    pub rank: Vec<usize>,

    /// Which gate matrices are factored together
    #[arg(long, value_enum, default_value_t = SchemeArg::PartiallyJoint)]
    pub scheme: SchemeArg,

    /// Epochs of both stages
    #[arg(long, default_value_t = 45, value_parser = at_least_one)]
    pub epochs: usize,

    /// Make the transition as soon as ranks have settled, --transition being its last epoch: when no weight's stable rank has
    /// varied by more than this share for --settle-window epochs
    #[arg(long, value_name = "TOLERANCE")]
    pub settle: Option<f32>,

    /// Epochs that ranks are compared over
    #[arg(long, value_name = "EPOCHS", default_value_t = Settling::default().window, requires = "settle")]
    pub settle_window: usize,

    /// Epochs before the transition
    #[arg(long, value_name = "EPOCH", default_value_t = 30, value_parser = at_least_one)]
    pub transition: usize,

    /// Batches of an epoch
    #[arg(long, default_value_t = 100, value_parser = at_least_one)]
    pub batches: usize,

    /// Digits of a batch of --corpus digits, whose strings have 1 to 7 of them, all the same number
    #[arg(long, default_value_t = 24, value_parser = at_least_one)]
    pub batch_digits: usize,

    /// Time steps of a batch of --corpus prompts, padding included
    #[arg(long, default_value_t = 4096, value_parser = at_least_one)]
    pub batch_steps: usize,

    /// State features of the GRU layers
    #[arg(long, value_name = "FEATURES,...", value_delimiter = ',', default_values_t = [96, 128])]
    pub hidden: Vec<usize>,

    /// Highest learning rate
    #[arg(long, default_value_t = 2e-3)]
    pub learning_rate: f64,

    /// Batches after which factors are turned into the basis of their singular directions, and Adam's moments with them; 0:
    /// never
    #[arg(long, value_name = "BATCHES", default_value_t = 5)]
    pub align: usize,

    /// Train stage 2 with weights rounded as they will be stored
    #[arg(long, value_enum, default_value_t = Precision::F32)]
    pub precision: Precision,

    /// Let stage 2 learn from the model of stage 1 too: so many times the divergence of its classes from that model's
    #[arg(long, value_name = "STRENGTH", default_value_t = 0.0)]
    pub distill: f32,

    /// No stage 1: train factors of each --rank for all epochs
    #[arg(long)]
    pub scratch: bool,

    /// How factors begin with --scratch
    #[arg(long, value_enum, default_value_t = InitArg::Spectral)]
    pub init: InitArg,

    /// Of weights and batches
    #[arg(long, default_value_t = 1)]
    pub seed: u64,

    /// Train without this speaker of --corpus digits, and test on no other
    #[arg(long, value_name = "SPEAKER")]
    pub leave_out: Option<String>,

    /// Save after each epoch into this folder, and go on from what is there
    #[arg(long, value_name = "DIR")]
    pub checkpoint: Option<PathBuf>,

    /// Where the model of the last --threshold or --rank goes, as an int8 model of this crate; beside it .f32.safetensors with
    /// PyTorch's names
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,

    /// Append a row for each trained model
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,

    /// What the rows are of, for their first column; the corpus unless said
    #[arg(long)]
    pub study: Option<String>,

    /// Train nothing: print the rows in --csv as a table, and draw their plots into this folder
    #[arg(long, value_name = "DIR", requires = "csv")]
    pub plot: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub enum CorpusArg {
    /// Strings of digits of the Free Spoken Digit Dataset: indexes 5..40 train, 41..44 validate, 45..49 test
    Digits,
    /// Asterisk's English prompts: one speaker; a hash of the text tells what trains, validates and tests
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
    /// Those of a random dense matrix, cut
    Spectral,
}

impl TrainArgs {
    /// Where weights are cut, one model each.
    pub fn cuts(&self) -> Vec<RankPolicy> {
        let shares = self.threshold.iter().map(|&share| RankPolicy::Variance(share));
        let cuts: Vec<_> = shares.chain(self.rank.iter().map(|&rank| RankPolicy::Fixed(rank))).collect();
        if cuts.is_empty() { vec![RankPolicy::Variance(0.9)] } else { cuts }
    }

    /// Of the penalty on recurrent and on non-recurrent weights.
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

    /// How weights begin, if they are trained for this cut from the start or for any.
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

    /// In a word, for tables.
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

    /// Both stages, or the one of --scratch.
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

/// A command line without the folders and files of the machine it ran on: what makes a run again.
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
