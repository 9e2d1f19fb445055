//! The command line as a whole.

use clap::{CommandFactory, Parser, Subcommand};

use crate::commands::{bench, completions, compress, convert, gather, gemm, inspect, results, run};
#[cfg(feature = "train")]
use crate::commands::{study, train};
use crate::console::Console;
use crate::error::Result;

const AFTER: &str = "\
From a trained model to a Raspberry Pi:
  skinny inspect model.safetensors
  skinny compress model.safetensors --out small.safetensors --budget 0.3
  skinny run small.safetensors --input features.npy --output scores.npy
  skinny bench small.safetensors

Exit codes: 0 for success, 1 if the answer is no, 2 for bad input or usage.
SKINNY_TIER=portable|neon|dotprod|i8mm selects kernels; the default is the best tier of this machine.
NO_COLOR turns colours off.";

/// Inspects, compresses, runs and times small, fast recurrent networks
///
/// Reads models trained with PyTorch: linear layers, convolutions over time, GRU and LSTM. Makes their weights low-rank
/// and low-precision. Runs them with kernels made for small batches on ARM.
#[derive(Debug, Parser)]
#[command(name = "skinny", version, after_long_help = AFTER, max_term_width = 110)]
pub struct Cli {
    /// Print only answers and errors
    #[arg(long, short, global = true, display_order = 100)]
    pub quiet: bool,

    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Inspect(inspect::InspectArgs),
    Convert(convert::ConvertArgs),
    Compress(Box<compress::CompressArgs>),
    Run(Box<run::RunArgs>),
    Bench(Box<bench::BenchArgs>),
    Gemm(gemm::GemmArgs),
    Gather(gather::GatherArgs),
    Results(results::ResultsArgs),
    #[cfg(feature = "train")]
    Train(Box<train::TrainArgs>),
    #[cfg(feature = "train")]
    Study(study::StudyArgs),
    Completions(completions::CompletionsArgs),
    Man(completions::ManArgs),
}

impl Cli {
    /// Runs the command.
    pub fn run(&self) -> Result<()> {
        let console = Console { quiet: self.quiet };
        match &self.command {
            Command::Inspect(args) => inspect::run(args, console),
            Command::Convert(args) => convert::run(args, console),
            Command::Compress(args) => compress::run(args, console),
            Command::Run(args) => run::run(args, console),
            Command::Bench(args) => bench::run(args, console),
            Command::Gemm(args) => gemm::run(args, console),
            Command::Gather(args) => gather::run(args, console),
            Command::Results(args) => results::run(args, console),
            #[cfg(feature = "train")]
            Command::Train(args) => train::run(args, console),
            #[cfg(feature = "train")]
            Command::Study(args) => study::run(args, console),
            Command::Completions(args) => completions::completions(args, Self::command(), console),
            Command::Man(args) => completions::man(args, Self::command(), console),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_teaches_by_two_examples() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
            let examples = help.lines().filter(|line| line.starts_with("  skinny ")).count();
            assert_eq!(examples, 2, "{}", command.get_name());
            assert!(command.get_long_about().is_some(), "{}", command.get_name());
        }
    }
}
