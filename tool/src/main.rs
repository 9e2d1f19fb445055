//! `skinny`: inspects, compresses, runs and times recurrent networks with low-rank and low-precision weights.
//!
//! The library does the computing. This program parses arguments, reads and writes files, prints and draws.

mod cli;
mod commands;
mod comparison;
mod console;
mod date;
mod error;
mod files;
mod fit;
mod machine;
mod operands;
mod plot;
mod precision;
mod progress;
mod random;
mod report;
mod results;
mod threads;
mod timing;
mod values;
mod weights;

use std::process::ExitCode;

use clap::Parser;

use console::Console;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            Console { quiet: cli.quiet }.fail(&failure);
            ExitCode::from(failure.code())
        }
    }
}
