//! `skinny`: inspects, compresses, runs and times recurrent networks with low-rank and low-precision weights.

use clap::Parser;

/// Inspects, compresses, runs and times recurrent networks with low-rank and low-precision weights.
#[derive(Parser)]
#[command(name = "skinny", version)]
struct Arguments {}

fn main() {
    Arguments::parse();
}
