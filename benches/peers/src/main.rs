//! Small-batch products by skinny and by its peers in Rust, on this machine:
//!
//!     cargo run --release --manifest-path benches/peers/Cargo.toml [-- NxK ...]
//!
//! It prints microseconds per call, in a row per shape and batch. A shape is output features x depth. The default
//! shapes are the paper's 6144x320 and the factors of low-rank speech layers.
//!
//! | column | weights | activations | result | weights before the clock starts |
//! |---|---|---|---|---|
//! | skinny i32 | i8 | i8 | i32 | packed |
//! | skinny i8 | i8 | i8 | i8, by a float scale for each output feature | packed |
//! | rten i32 | i8 | u8 | i32 | packed; at batch 1 the fastest of packed, k x n and n x k as they are |
//! | tract i32 | i8 | i8, packed within the call | i32 | packed |
//! | tract f32 | f32 | f32, packed within the call | f32 | packed |
//! | gemm f32 | f32 | f32 | f32 | the faster of k x n and n x k as they are: it takes no packed ones |
//!
//! On a machine other than aarch64, skinny has only its portable kernels, and the table says little.
//!
//! Each runs on one thread and picks its kernel itself, which is printed first. rten multiplies only unsigned
//! activations, so all get the same values in 0..=127. Its kernels on x86 without VNNI multiply these exactly, too.
//! Every result is compared with the oracle, to the bit. The sums are below 2^24, so f32 holds them exactly, in
//! whatever order they are added.
//!
//! The contestants take turns of a few milliseconds each, and the median of their turns is printed. A change of clock
//! rate or another program then hits all of them alike.

mod gemm_f32;
mod rten;
mod skinny_i8;
mod tract;

use std::fmt::Display;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use skinny::MatRef;

type Failure = Box<dyn std::error::Error>;

/// One way to compute one product.
trait Contestant {
    /// What it says its kernel is.
    fn kernel(&self) -> String;

    /// Computes the product.
    fn call(&mut self);

    /// Whether the last call's result is right, given the sums, `m x n`.
    fn agrees_with(&self, sums: &[i32]) -> bool;
}

/// What all contestants multiply: `n x k` weights in -127..=127, `m x k` activations in 0..=127.
#[derive(Clone, Copy)]
struct Operands<'a> {
    w: MatRef<'a, i8>,
    x: MatRef<'a, i8>,
}

/// A column of the table, and the contestant that fills it.
type Entry = (&'static str, for<'a> fn(Operands<'a>) -> Result<Box<dyn Contestant + 'a>, Failure>);

const ENTRIES: [Entry; 6] = [
    ("skinny i32", skinny_i8::to_sums),
    ("skinny i8", skinny_i8::to_bytes),
    ("rten i32", rten::contestant),
    ("tract i32", tract::i8_contestant),
    ("tract f32", tract::f32_contestant),
    ("gemm f32", gemm_f32::contestant),
];

const SHAPES: [(usize, usize); 6] = [(6144, 320), (1024, 128), (128, 1024), (128, 128), (2048, 256), (768, 256)];

const BATCHES: std::ops::RangeInclusive<usize> = 1..=10;

/// Turns of each contestant, and how long one takes.
const TURNS: usize = 15;
const TURN: Duration = Duration::from_millis(4);

fn main() -> ExitCode {
    let shapes = match shapes(std::env::args().skip(1)) {
        Ok(shapes) => shapes,
        Err(error) => return fail(error),
    };
    // rten takes its threads from the pool it is called in.
    match rayon::ThreadPoolBuilder::new().num_threads(1).build() {
        Ok(pool) => match pool.install(|| run(&shapes).map_err(|error| error.to_string())) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(error),
        },
        Err(error) => fail(error),
    }
}

fn fail(error: impl Display) -> ExitCode {
    eprintln!("peers: {error}");
    ExitCode::FAILURE
}

fn shapes(arguments: impl Iterator<Item = String>) -> Result<Vec<(usize, usize)>, Failure> {
    let mut shapes = Vec::new();
    for argument in arguments {
        let (n, k) = argument.split_once('x').ok_or_else(|| format!("{argument} is no shape; one is 6144x320"))?;
        shapes.push((n.parse()?, k.parse()?));
    }
    Ok(if shapes.is_empty() { SHAPES.to_vec() } else { shapes })
}

fn run(shapes: &[(usize, usize)]) -> Result<(), Failure> {
    println!("Microseconds per call, one thread.\n");
    let operands = [1i8; 320 * 320];
    for (name, make) in ENTRIES {
        let kernels = [1, 4, 10].map(|m| -> Result<String, Failure> {
            let w = MatRef::new(&operands, 320, 320)?;
            Ok(make(Operands { w, x: MatRef::new(&operands[..m * 320], m, 320)? })?.kernel())
        });
        let [one, four, ten] = kernels;
        println!("- {name}: {} at batch 1, {} at 4, {} at 10", one?, four?, ten?);
    }

    print!("\n| {:>11} | {:>5} ", "shape", "batch");
    ENTRIES.iter().for_each(|(name, _)| print!("| {name:>10} "));
    println!("|\n|---|---{}|", "|---".repeat(ENTRIES.len()));
    for &(n, k) in shapes {
        if k >= (1 << 24) / (127 * 127) {
            return Err(format!("{n}x{k}: f32 cannot hold the sums of such a depth").into());
        }
        let weights: Vec<i8> = random_bytes(1, n * k).map(|byte| byte.max(-127)).collect();
        let activations: Vec<i8> = random_bytes(2, BATCHES.end() * k).map(|byte| byte & 127).collect();
        for m in BATCHES {
            let operands = Operands { w: MatRef::new(&weights, n, k)?, x: MatRef::new(&activations[..m * k], m, k)? };
            print!("| {:>11} | {m:>5} ", format!("{n}x{k}"));
            for seconds in race(operands)? {
                print!("| {:>10.2} ", seconds * 1e6);
            }
            println!("|");
        }
    }
    Ok(())
}

/// Checks all contestants, then returns the seconds per call of each.
fn race(operands: Operands<'_>) -> Result<Vec<f64>, Failure> {
    let sums = skinny::kernels::reference::gemm(operands.w, operands.x);
    let mut contestants = Vec::new();
    for (name, make) in ENTRIES {
        let mut contestant = make(operands)?;
        contestant.call();
        if !contestant.agrees_with(&sums) {
            return Err(format!("{name} differs from the oracle").into());
        }
        let once = time(&mut *contestant, 3);
        let calls = (TURN.as_secs_f64() / once).clamp(1.0, 1e6) as u32;
        contestants.push((contestant, calls, Vec::with_capacity(TURNS)));
    }
    for _ in 0..TURNS {
        for (contestant, calls, seconds) in &mut contestants {
            seconds.push(time(&mut **contestant, *calls));
        }
    }
    Ok(contestants.into_iter().map(|(_, _, seconds)| median(seconds)).collect())
}

/// Seconds per call.
fn time(contestant: &mut dyn Contestant, calls: u32) -> f64 {
    let start = Instant::now();
    for _ in 0..calls {
        contestant.call();
    }
    start.elapsed().as_secs_f64() / f64::from(calls)
}

/// The fastest way of calling.
fn fastest<W: Copy, const N: usize>(ways: [W; N], mut call: impl FnMut(W)) -> W {
    let mut least = |way| {
        let calls = (0..20).map(|_| {
            let start = Instant::now();
            call(way);
            start.elapsed()
        });
        calls.min()
    };
    ways.map(|way| (least(way), way)).into_iter().min_by_key(|&(time, _)| time).expect("some way").1
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

/// Bytes that look random (SplitMix64).
fn random_bytes(seed: u64, len: usize) -> impl Iterator<Item = i8> {
    let mut state = seed;
    std::iter::repeat_with(move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 32) as i8
    })
    .take(len)
}
