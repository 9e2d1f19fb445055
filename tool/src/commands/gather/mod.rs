//! `skinny gather`: measures a machine into a file of results.

mod answers;
mod fitted;
mod grid;
mod measure;
mod products;
mod streams;

pub use self::grid::PAPER;

use std::path::PathBuf;

use clap::Args;

use self::grid::Plan;
use crate::console::Console;
use crate::error::{Failure, Result};
use crate::files::output;
use crate::machine::Machine;
use crate::report::digits;
use crate::results::Results;

pub const EXAMPLES: &str = "\
Examples:
  skinny gather
      measures this machine into results/MACHINE.json, in at most five minutes
  skinny gather --fit results/raspberry-pi-4.json --out pi-4.core
      makes a core of measurements, for `skinny bench --core pi-4.core`";

/// Measures this machine for others
///
/// Writes a JSON file that says what the machine is, how fast one core reads memory, what every kernel of every tier
/// takes over a grid of shapes and batches, and what layers take. The first measurement is repeated to the end, to see whether
/// the machine slows down, and all answers are compared with those of other machines. The file has no names of users
/// or hosts. results/README.md describes it.
///
/// It takes at most five minutes. Let the machine do nothing else meanwhile. Where cores are of several kinds,
/// `taskset -c 4 skinny gather` measures core 4.
///
/// With --fit it measures nothing, and makes a core from a file of results, for --core of `skinny bench` and of
/// `skinny compress --latency`.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct GatherArgs {
    /// The file to write; the default is results/MACHINE.json, or for --fit the file of results with the extension .core
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,

    /// Make a core from these results: its rates for each format and batch, what a call takes, and its bandwidth
    #[arg(long, value_name = "RESULTS", conflicts_with_all = ["quick", "note", "emulated"])]
    pub fit: Option<PathBuf>,

    /// Measure little, in two seconds, to see that it works
    #[arg(long)]
    pub quick: bool,

    /// Something to say about these measurements, for the file
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,

    /// State that an emulator runs this program, so that its times mean nothing; qemu's user mode is noticed without
    #[arg(long)]
    pub emulated: bool,
}

/// How much longer the first measurement may take at the end before that is worth a warning.
const SLOWER: f64 = 1.05;

pub fn run(args: &GatherArgs, console: Console) -> Result<()> {
    if let Some(results) = &args.fit {
        return fitted::run(results, args.out.as_deref(), console);
    }
    let mut machine = Machine::here();
    if args.emulated {
        machine.emulator.get_or_insert_with(|| "the option --emulated".into());
        machine.cores.clear();
    }
    let out = args.out.clone().unwrap_or_else(|| format!("results/{}.json", file_name(&machine)).into());
    output::prepare(&out)?;
    if machine.cores.len() > 1 {
        console
            .remark("this machine has cores of several kinds: `taskset -c NUMBER skinny gather` measures one of them");
    }
    let emulated = machine.emulator.is_some();
    let plan = if args.quick { Plan::quick(&machine) } else { Plan::full(&machine) };
    let results = measure::all(plan, machine, args.note.clone(), console)?;
    output::write(&out, results.to_json().as_bytes())?;

    let Results { left_out, .. } = results;
    if left_out > 0 {
        console.warn(format_args!("{left_out} measurements were left out, since time had run out"));
    }
    if emulated {
        console.warn("an emulator ran this program: its times mean nothing, and the file says so");
    } else if let Some(slowdown) = results.slowdown().filter(|slowdown| *slowdown > SLOWER) {
        let times = digits(slowdown);
        console.warn(format_args!("the first measurement took {times} times as long at the end: heat, or other work"));
    }
    let bandwidth = results.bytes_per_us().filter(|_| !emulated);
    let bandwidth = bandwidth.map(|bytes| format!(", {} GB/s from memory", digits(bytes / 1e3)));
    console.answer(format_args!(
        "{}: {} products, {} layers{}, in {} s\nwrote {}\n",
        crate::error::printable(results.machine.name()),
        results.products.len(),
        results.layers.len(),
        bandwidth.unwrap_or_default(),
        digits(results.seconds),
        out.display()
    ))?;
    match &results.wrong()[..] {
        [] => Ok(()),
        wrong => Err(Failure::No(format!("wrong answers of {}: please report this machine", wrong.join(", ")))),
    }
}

/// A name for the file: the board and the core.
fn file_name(machine: &Machine) -> String {
    let core = machine.moment().core.and_then(|core| machine.cores_like(core)?.name.clone());
    let core = core.filter(|core| core != machine.name()).unwrap_or_default();
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { ' ' };
    let name: String = format!("{} {core}", machine.name()).chars().map(plain).collect();
    name.split_whitespace().collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_called_after_the_board() {
        let mut machine =
            Machine { model: Some("Raspberry Pi 4 (../B)\u{1b}".into()), cores: vec![], ..Machine::here() };
        machine.emulator = Some("none".into());
        assert_eq!(file_name(&machine), "raspberry-pi-4-b");
    }
}
