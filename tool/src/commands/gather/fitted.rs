//! `skinny gather --fit`: makes the description of a core from a file of results.

use std::path::{Path, PathBuf};

use crate::console::Console;
use crate::error::{About, Failure, Result, printable};
use crate::files::output;
use crate::fit::{Errors, Fit, fit};
use crate::report::percent;
use crate::results::{Results, Times};

pub fn run(file: &Path, out: Option<&Path>, console: Console) -> Result<()> {
    let results = Results::read(file)?;
    if results.times == Times::Emulated {
        let emulator = results.machine.emulator.as_deref().unwrap_or("it says so");
        return Err(Failure::input(format!("{}: these are times of an emulator ({emulator})", file.display())));
    }
    let out = out.map_or_else(|| file.with_extension("core"), PathBuf::from);
    if out == file {
        return Err(Failure::input(format!("{}: is the file of results; --out names the core's", out.display())));
    }
    output::prepare(&out)?;
    let fit = fit(&results, name(file)).about(file)?;
    output::write(&out, text(&results, &fit).as_bytes())?;
    if !results.wrong().is_empty() {
        console.warn("the answers of this machine are wrong");
    }
    if !fit.clock_known {
        console.warn("its clock is not known: a cycle of this core is a nanosecond");
    }
    if !fit.memory_bound {
        console.warn("no product waited for memory: the bandwidth is what plain reads reach");
    }
    let out = out.display();
    console.answer(format_args!(
        "{}wrote {out}; try\n  skinny bench --paper --predict --core {out}\n",
        lines(&fit).map(|line| line + "\n").concat()
    ))
}

/// The name of the core, one word: that of the file.
fn name(file: &Path) -> String {
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    stem.chars().map(plain).collect()
}

/// The file's text.
fn text(results: &Results, fit: &Fit) -> String {
    let Results { program, date, machine, note, .. } = results;
    let mut about = vec![
        format!("{}, tier {}.", machine.name(), results.best_tier()),
        format!("Fitted by `skinny gather --fit` to measurements of {date} by {program}."),
    ];
    about.extend(note.iter().map(|note| format!("Their note: {note}")));
    about.extend(lines(fit));
    if !fit.clock_known {
        about.push("The clock is not known: a cycle is a nanosecond.".into());
    }
    if !fit.memory_bound {
        about.push("No product waited for memory: the bandwidth is what plain reads reach.".into());
    }
    let about: String = about.iter().map(|line| format!("# {}\n", printable(line))).collect();
    format!("{about}\n{}", fit.core)
}

/// How far predictions are from measurements.
fn lines(fit: &Fit) -> [String; 3] {
    let line = |what: &str, Errors { count, median, most }: Errors| match count {
        0 => format!("{what}: none"),
        _ => format!("{what}: error {} in the median, 90th percentile {}, of {count}", share(median), share(most)),
    };
    [
        line("weights in a cache, fitted", fit.from_cache),
        line("weights in a cache, shape left out of the fit", fit.left_out),
        line("weights in memory", fit.from_memory),
    ]
}

fn share(error: f64) -> String {
    percent(error, 1.0)
}
