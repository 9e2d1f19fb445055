//! Times small-batch products on this machine, after checking them against the oracle:
//!
//!     cargo run --release --bin gemm -- --n 6144 --k 320 --batch 1..10
//!
//! It prints one row per batch: microseconds, GOP/s, GB/s of weights, MAC per nanosecond. With a single `--batch B` and
//! `--reps R` it makes exactly R calls after packing and does little else, for tools that count instructions. `--help`
//! lists the options.

use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use skinny::kernels::{
    Activation, Activations, Dequantize, MAX_I4, MAX_MULTIPLIER_I2, PackedMat, Requantize, RequantizeFloat, Scales,
    Shift, Sums, Threads, WeightFormat, Workspace, gemm, reference,
};
use skinny::kernels::{UnsignedMat, UnsignedWorkspace};
use skinny::quant::{QuantizedActivations, ZeroPoint};
use skinny::{MatMut, MatRef, Tier};

const USAGE: &str = "\
usage: gemm [--n N] [--k K] [--batch B | B..C] [--tier portable|neon|dotprod|i8mm]
            [--weights i8|i4|i4g|i2|u8] [--input i8|f32|u8] [--output i8|u8|i32|f32] [--threads T] [--reps R]

i4g: 4 bits in groups of 32 along k; i2: 2 bits in groups of 64. An input of f32 is quantized in each call, by column; its output is f32. Weights of
u8 take an input of u8: farm's and gemmlowp's unsigned interface with offsets; its output is u8 or i32.";

type Failure = Box<dyn std::error::Error>;

#[derive(Clone, Copy, PartialEq)]
enum Input {
    I8,
    F32,
    U8,
}

#[derive(Clone, Copy, PartialEq)]
enum Output {
    I8,
    U8,
    I32,
    F32,
}

struct Options {
    n: usize,
    k: usize,
    batches: std::ops::RangeInclusive<usize>,
    tier: Tier,
    weights: WeightFormat,
    unsigned: bool,
    input: Input,
    output: Option<Output>,
    threads: usize,
    reps: Option<usize>,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, Failure> {
        let mut options = Options {
            n: 6144,
            k: 320,
            batches: 1..=10,
            tier: Tier::select()?,
            weights: WeightFormat::I8,
            unsigned: false,
            input: Input::I8,
            output: None,
            threads: 1,
            reps: None,
        };
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{name} needs a value\n{USAGE}"))?;
            match name.as_str() {
                "--n" => options.n = value.parse()?,
                "--k" => options.k = value.parse()?,
                "--batch" => {
                    let (first, last) = value.split_once("..").unwrap_or((&value, &value));
                    options.batches = first.parse()?..=last.trim_start_matches('=').parse()?;
                }
                "--tier" => options.tier = value.parse()?,
                "--weights" => {
                    options.unsigned = value == "u8";
                    options.weights = match value.as_str() {
                        // Packed as signed bytes.
                        "u8" => WeightFormat::I8,
                        "i8" => WeightFormat::I8,
                        "i4" => WeightFormat::I4,
                        "i4g" => WeightFormat::I4Group32,
                        "i2" => WeightFormat::I2Group64,
                        _ => return Err(format!("--weights {value}?\n{USAGE}").into()),
                    }
                }
                "--input" => {
                    options.input = match value.as_str() {
                        "i8" => Input::I8,
                        "f32" => Input::F32,
                        "u8" => Input::U8,
                        _ => return Err(format!("--input {value}?\n{USAGE}").into()),
                    }
                }
                "--output" => {
                    options.output = Some(match value.as_str() {
                        "i8" => Output::I8,
                        "u8" => Output::U8,
                        "i32" => Output::I32,
                        "f32" => Output::F32,
                        _ => return Err(format!("--output {value}?\n{USAGE}").into()),
                    })
                }
                "--threads" => options.threads = value.parse()?,
                "--reps" => options.reps = Some(value.parse()?),
                _ => return Err(format!("{name} {value}?\n{USAGE}").into()),
            }
        }
        if options.reps.is_some() && options.batches.clone().count() != 1 {
            return Err("--reps needs a single --batch".into());
        }
        if options.unsigned != (options.input == Input::U8) {
            return Err("--weights u8 and --input u8 go together".into());
        }
        if options.unsigned && matches!(options.output, Some(Output::I8 | Output::F32)) {
            return Err("--weights u8 goes with --output u8 or i32".into());
        }
        if options.input == Input::F32 && !matches!(options.output, None | Some(Output::F32)) {
            return Err("--input f32 goes with --output f32: the scales of its columns are known only then".into());
        }
        Ok(options)
    }
}

/// Random-looking bytes (SplitMix64).
fn random_bytes(seed: u64, len: usize) -> Vec<i8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z >> 32) as i8).max(-127)
    };
    (0..len).map(|_| next()).collect()
}

fn threads(count: usize) -> Result<Threads, Failure> {
    match count {
        1 => Ok(Threads::Caller),
        #[cfg(feature = "rayon")]
        _ => Ok(Threads::Pool(std::sync::Arc::new(rayon::ThreadPoolBuilder::new().num_threads(count).build()?))),
        #[cfg(not(feature = "rayon"))]
        _ => Err("--threads needs --features rayon".into()),
    }
}

/// A product with one kind of output, ready for repeated calls.
struct Bench<'a> {
    w: &'a PackedMat,
    x: MatRef<'a, i8>,
    x_f32: Option<MatRef<'a, f32>>,
    scales: &'a Scales,
    quantized: QuantizedActivations,
    column_scales: &'a [f32],
    workspace: Workspace,
    i8: Vec<i8>,
    u8: Vec<u8>,
    i32: Vec<i32>,
    f32: Vec<f32>,
}

impl Bench<'_> {
    /// Makes one call.
    fn call(&mut self, output: Output) -> skinny::Result<()> {
        self.calls(output, 1)
    }

    /// Makes `count` calls. What they take and what they give is chosen before the first.
    fn calls(&mut self, output: Output, count: usize) -> skinny::Result<()> {
        let (m, n) = (self.x.rows(), self.w.n());
        // Each call reads its operands anew: nothing of it can be done once for all of them.
        let mut repeat =
            |call: &dyn Fn(&mut Self) -> skinny::Result<()>| (0..count).try_for_each(|_| call(black_box(self)));
        match output {
            Output::I8 => repeat(&|b| {
                let epilogue = RequantizeFloat::new(b.scales, 0i8);
                gemm(b.w, Activations::new(b.x), &epilogue, MatMut::new(&mut b.i8, m, n)?, &mut b.workspace)
            }),
            Output::U8 => repeat(&|b| {
                let epilogue = RequantizeFloat::new(b.scales, 128u8);
                gemm(b.w, Activations::new(b.x), &epilogue, MatMut::new(&mut b.u8, m, n)?, &mut b.workspace)
            }),
            Output::I32 => {
                repeat(&|b| gemm(b.w, Activations::new(b.x), &Sums, MatMut::new(&mut b.i32, m, n)?, &mut b.workspace))
            }
            Output::F32 => repeat(&|b| {
                let (mut x, mut column_scales) = (Activations::new(b.x), b.column_scales);
                if let Some(values) = b.x_f32 {
                    b.quantized.quantize(values, ZeroPoint::None)?;
                    (x, column_scales) = (b.quantized.operand(), b.quantized.scales());
                }
                let row_scales = b.scales.as_slice();
                let epilogue = Dequantize { row_scales, column_scales, bias: None, activation: Activation::Identity };
                gemm(b.w, x, &epilogue, MatMut::new(&mut b.f32, m, n)?, &mut b.workspace)
            }),
        }
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gemm: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failure> {
    if std::env::args().any(|argument| argument == "--help") {
        println!("{USAGE}");
        return Ok(());
    }
    let options = Options::parse(std::env::args().skip(1))?;
    let Options { n, k, .. } = options;
    let len = |a: usize, b: usize| a.checked_mul(b).ok_or("these dimensions do not fit the memory");
    let mut weights = random_bytes(1, len(n, k)?);
    match options.weights {
        WeightFormat::I8 => (),
        WeightFormat::I2Group64 => weights.iter_mut().for_each(|w| *w >>= 6),
        _ => weights.iter_mut().for_each(|w| *w %= MAX_I4 + 1),
    }
    let weights = MatRef::new(&weights, n, k)?;
    let groups = options.weights.group().map_or(0, |group| k.div_ceil(group));
    let random = random_bytes(3, len(n, groups)?);
    let multipliers: Vec<u8> = random.iter().map(|m| m.unsigned_abs()).collect();
    let multipliers = MatRef::new(&multipliers, n, groups)?;
    let signed: Vec<i8> = random.iter().map(|m| m % (MAX_MULTIPLIER_I2 + 1)).collect();
    let signed = MatRef::new(&signed, n, groups)?;
    let packed = match options.weights {
        WeightFormat::I4 => PackedMat::i4_for_tier(weights, options.tier)?,
        WeightFormat::I4Group32 => PackedMat::i4_grouped_for_tier(weights, multipliers, options.tier)?,
        WeightFormat::I2Group64 => PackedMat::i2_grouped_for_tier(weights, signed, options.tier)?,
        _ => PackedMat::for_tier(weights, options.tier)?,
    };
    let scales = Scales::new(vec![1.0 / (127.0 * (k.max(1) as f32).sqrt()); n])?;

    if options.reps.is_none() {
        println!("{n} x {k}, tier {}, {} thread(s)", options.tier, options.threads);
        println!("{:>5} {:>12} {:>9} {:>9} {:>9}", "batch", "us/call", "GOP/s", "GB/s", "MAC/ns");
    }
    let output = options.output.unwrap_or(match options.input {
        Input::I8 => Output::I8,
        Input::F32 => Output::F32,
        Input::U8 => Output::U8,
    });
    if options.unsigned {
        return run_unsigned(&options, weights, output);
    }
    for m in options.batches.clone() {
        let x = random_bytes(2, len(m, k)?);
        let x_f32: Vec<f32> = x.iter().map(|&x| f32::from(x) * 0.01).collect();
        let mut bench = Bench {
            w: &packed,
            x: MatRef::new(&x, m, k)?,
            x_f32: (options.input == Input::F32).then_some(MatRef::new(&x_f32, m, k)?),
            quantized: QuantizedActivations::new(),
            scales: &scales,
            column_scales: &vec![1.0; m],
            workspace: Workspace::with_threads(threads(options.threads)?),
            i8: vec![0; len(m, n)?],
            u8: vec![0; len(m, n)?],
            i32: vec![0; len(m, n)?],
            f32: vec![0.0; len(m, n)?],
        };
        if let Some(reps) = options.reps {
            bench.calls(output, reps)?;
            continue;
        }
        bench.call(Output::I32)?;
        let expected = match options.weights {
            WeightFormat::I4Group32 => reference::gemm_grouped(weights, multipliers, bench.x),
            WeightFormat::I2Group64 => reference::gemm_i2(weights, signed, bench.x),
            _ => reference::gemm(weights, bench.x),
        };
        if bench.i32 != expected {
            return Err("the sums differ from the oracle's".into());
        }
        let seconds = seconds_per_call(|| black_box(&mut bench).call(output))?;
        print_row(m, n * k, packed.bytes(), seconds);
    }
    Ok(())
}

/// Runs the unsigned interface. The bytes of `weights` and activations are read as unsigned, with offsets.
fn run_unsigned(options: &Options, weights: MatRef<'_, i8>, output: Output) -> Result<(), Failure> {
    let Options { n, k, .. } = *options;
    let unsigned = |bytes: &[i8]| -> Vec<u8> { bytes.iter().map(|&byte| byte as u8).collect() };
    let (lhs_offset, rhs_offset) = (-100, -7);
    let lhs = unsigned(weights.as_slice());
    let packed = UnsignedMat::pack(MatRef::new(&lhs, n, k)?, options.tier)?;
    for m in options.batches.clone() {
        let rhs = unsigned(&random_bytes(2, m * k));
        let columns = MatRef::new(&rhs, m, k)?;
        let mut workspace = UnsignedWorkspace::with_workspace(Workspace::with_threads(threads(options.threads)?));
        let (mut sums, mut bytes) = (vec![0i32; m * n], vec![0u8; m * n]);
        let shift = Requantize::new(Shift { offset: 0, multiplier: 3, shift: 16 });
        let mut call = |output: Output, sums: &mut [i32]| match output {
            Output::I32 => {
                let out = MatMut::new(sums, m, n)?;
                packed.multiply(lhs_offset, columns, rhs_offset, &Sums, out, &mut workspace)
            }
            _ => {
                let out = MatMut::new(&mut bytes, m, n)?;
                packed.multiply(lhs_offset, columns, rhs_offset, &shift, out, &mut workspace)
            }
        };
        if let Some(reps) = options.reps {
            for _ in 0..reps {
                call(output, black_box(&mut sums))?;
            }
            continue;
        }
        call(Output::I32, &mut sums)?;
        for (i, &sum) in sums.iter().enumerate() {
            let (column, row) = (i / n, i % n);
            let terms = columns.row(column).iter().zip(&lhs[row * k..][..k]);
            let exact: i64 = terms
                .map(|(&r, &l)| (i64::from(l) + i64::from(lhs_offset)) * (i64::from(r) + i64::from(rhs_offset)))
                .sum();
            if sum != exact as i32 {
                return Err("the sums differ from the oracle's".into());
            }
        }
        let seconds = seconds_per_call(|| call(output, black_box(&mut sums)))?;
        print_row(m, n * k, n * k, seconds);
    }
    Ok(())
}

/// Prints a row of the table, for `weights` multiply-accumulates per column and `bytes` of weights.
fn print_row(m: usize, weights: usize, bytes: usize, seconds: f64) {
    let macs = (m * weights) as f64;
    println!(
        "{m:>5} {:>12.2} {:>9.2} {:>9.2} {:>9.2}",
        seconds * 1e6,
        2.0 * macs / seconds / 1e9,
        bytes as f64 / seconds / 1e9,
        macs / seconds / 1e9
    );
}

/// The median seconds per call, over batches of calls that take about a hundredth of a second each.
fn seconds_per_call(mut call: impl FnMut() -> skinny::Result<()>) -> skinny::Result<f64> {
    let mut time = |calls: u32| -> skinny::Result<Duration> {
        let start = Instant::now();
        for _ in 0..calls {
            call()?;
        }
        Ok(start.elapsed())
    };
    let once = time(3)? / 3;
    let calls = (Duration::from_millis(10).as_nanos() / once.as_nanos().max(1)).clamp(1, 1_000_000) as u32;
    let mut seconds = Vec::new();
    for _ in 0..31 {
        seconds.push(time(calls)?.as_secs_f64() / f64::from(calls));
    }
    seconds.sort_by(f64::total_cmp);
    Ok(seconds[seconds.len() / 2])
}
