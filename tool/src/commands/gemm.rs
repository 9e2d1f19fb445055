//! `skinny gemm`: times matrix products, per tier and batch.

use std::hint::black_box;
use std::ops::RangeInclusive;

use clap::Args;
use serde_json::{Value, json};
use skinny::kernels::{Activations, PackedMat, RequantizeFloat, Scales, Sums, Workspace, gemm};
use skinny::{MatMut, MatRef, Tier};

use crate::console::Console;
use crate::error::{Failure, Result};
use crate::operands::Weights;
use crate::precision::Precision;
use crate::random::Random;
use crate::report::{Side, Table, digits};
use crate::threads;
use crate::timing::seconds_per_call;

pub const EXAMPLES: &str = "\
Examples:
  skinny gemm
      products of 6144 x 320 int8 weights with 1 to 10 vectors, on each tier of this machine
  skinny gemm --n 3072 --k 1024 --batch 1..4 --precision int4 --tier dotprod
      products of 4-bit weights, on one tier";

/// Times matrix products with small batches on this machine
///
/// Multiplies an N x K weight with 1, 2, ... vectors of K bytes. Uses the kernels of each tier that this machine has,
/// and first checks their results against plain sums. GB/s counts the bytes of weights, because memory limits products
/// with small batches. The outputs are rounded to bytes. `skinny bench` times whole layers, including the rounding of
/// activations.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct GemmArgs {
    /// Output features
    #[arg(long, value_name = "N", default_value_t = 6144)]
    pub n: usize,

    /// Input features
    #[arg(long, value_name = "K", default_value_t = 320)]
    pub k: usize,

    /// Vectors per product: B, or each number from B to C
    #[arg(long, value_name = "B..C", default_value = "1..10", value_parser = batches)]
    pub batch: RangeInclusive<usize>,

    /// Time only this tier: portable, neon, dotprod or i8mm
    #[arg(long, value_name = "TIER", value_parser = tier)]
    pub tier: Option<Tier>,

    /// How weights are stored: int8, int4, int4-groups or int2
    #[arg(long, value_enum, default_value_t = Precision::Int8)]
    pub precision: Precision,

    /// Number of threads
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub threads: usize,

    /// Print the results as JSON
    #[arg(long)]
    pub json: bool,
}

fn batches(text: &str) -> Result<RangeInclusive<usize>, String> {
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    match (first.parse(), last.trim_start_matches('=').parse()) {
        (Ok(first), Ok(last)) if 0 < first && first <= last && last <= 4096 => Ok(first..=last),
        _ => Err("expected B or B..C, from 1 to 4096".into()),
    }
}

fn tier(text: &str) -> Result<Tier, String> {
    text.parse().map_err(|cause: skinny::Error| cause.to_string())
}

/// The most weights, and the most numbers per batch. Beyond this a typing mistake would fill the memory.
const MOST: usize = 1 << 30;

/// Fails for sizes that no product has or that memory does not hold.
fn check(args: &GemmArgs) -> Result<()> {
    let (n, k, batch) = (args.n, args.k, *args.batch.end());
    if n == 0 || k == 0 {
        return Err(Failure::input("--n and --k: expected at least 1"));
    }
    if n.max(k).saturating_mul(batch) > MOST {
        return Err(Failure::input(format!("--n {n} --k {k} --batch {batch}: more numbers than 2^30")));
    }
    match n.checked_mul(k) {
        Some(len) if len <= MOST => Ok(()),
        _ => Err(Failure::input(format!("--n {n} --k {k}: more weights than 2^30"))),
    }
}

/// A row of the table.
struct Measured {
    tier: Tier,
    batch: usize,
    bytes: usize,
    seconds: f64,
}

pub fn run(args: &GemmArgs, console: Console) -> Result<()> {
    check(args)?;
    if args.precision == Precision::Int8x16 {
        let hint = "--precision int8x16: its products are those of int8 with twice the batch";
        return Err(Failure::input(hint));
    }
    let format = args
        .precision
        .format()
        .ok_or_else(|| Failure::input("--precision f32: these products use integers; see `skinny bench`"))?;
    let weights = Weights::random(args.n, args.k, format)?;
    let tiers = match args.tier {
        Some(tier) => vec![tier],
        None => Tier::available().to_vec(),
    };
    let mut rows = Vec::new();
    let all = tiers.len() * args.batch.clone().count();
    let mut progress = console.progress("timing");
    for tier in tiers {
        let packed = weights.pack(tier)?;
        for batch in args.batch.clone() {
            progress.at(rows.len(), all, &format!("{tier}, batch {batch}"));
            let seconds = time(args, &weights, &packed, batch)?;
            rows.push(Measured { tier, batch, bytes: packed.bytes(), seconds });
        }
    }
    drop(progress);
    if args.json { console.json(&rows.iter().map(|row| row.json(args)).collect()) } else { print(args, &rows, console) }
}

fn time(args: &GemmArgs, weights: &Weights, packed: &PackedMat, batch: usize) -> Result<f64> {
    let (n, k) = (args.n, args.k);
    let x = Random::new(2).bytes(batch * k);
    let x = MatRef::new(&x, batch, k)?;
    let mut workspace = Workspace::with_threads(threads::of(args.threads)?);
    let mut sums = vec![0i32; batch * n];
    gemm(packed, Activations::new(x), &Sums, MatMut::new(&mut sums, batch, n)?, &mut workspace)?;
    if sums != weights.sums(x)? {
        return Err(Failure::No("a kernel is broken: its sums differ from plain ones".into()));
    }
    let scales = Scales::new(vec![1.0 / (127.0 * (k as f32).sqrt()); n])?;
    let epilogue = RequantizeFloat::new(&scales, 0i8);
    let mut out = vec![0i8; batch * n];
    let call = || {
        let out = MatMut::new(black_box(&mut out), batch, n)?;
        gemm(packed, Activations::new(x), &epilogue, out, &mut workspace)
    };
    Ok(seconds_per_call(call)?)
}

impl Measured {
    /// GOP/s, GB/s of weights.
    fn rates(&self, args: &GemmArgs) -> [f64; 2] {
        let macs = (self.batch * args.n * args.k) as f64;
        [2.0 * macs / self.seconds / 1e9, self.bytes as f64 / self.seconds / 1e9]
    }

    fn json(&self, args: &GemmArgs) -> Value {
        let [gops, gbps] = self.rates(args);
        json!({
            "n": args.n,
            "k": args.k,
            "tier": self.tier.name(),
            "precision": crate::precision::name(args.precision.quantization()),
            "threads": args.threads,
            "batch": self.batch,
            "us_per_call": self.seconds * 1e6,
            "gop_per_s": gops,
            "gb_per_s": gbps,
        })
    }
}

fn print(args: &GemmArgs, rows: &[Measured], console: Console) -> Result<()> {
    let right = Side::Right;
    let mut table = Table::new([
        ("tier", Side::Left),
        ("batch", right),
        ("us per call", right),
        ("GOP/s", right),
        ("GB/s", right),
        ("MAC/ns", right),
    ]);
    for row in rows {
        let [gops, gbps] = row.rates(args);
        table.row([
            row.tier.name().into(),
            row.batch.to_string(),
            digits(row.seconds * 1e6),
            digits(gops),
            digits(gbps),
            digits(gops / 2.0),
        ]);
    }
    let precision = crate::precision::name(args.precision.quantization());
    console.answer(format_args!("{} x {} in {precision}, threads: {}\n{table}", args.n, args.k, args.threads))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_ranges() {
        assert_eq!((batches("4"), batches("1..3"), batches("1..=3")), (Ok(4..=4), Ok(1..=3), Ok(1..=3)));
        for bad in ["0", "3..1", "", "x", "1..", "1..9999999"] {
            assert!(batches(bad).is_err(), "{bad}");
        }
    }
}
