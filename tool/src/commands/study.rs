//! `skinny study`: runs the study of docs/training.md, a grid of settings of `skinny train`.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions, create_dir_all, remove_dir_all};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use clap::Args;

use super::train;
use crate::console::Console;
use crate::error::{About, Failure, Result};
use crate::progress::Progress;
use crate::values::at_least_one;

pub const EXAMPLES: &str = "\
Examples:
  skinny study --quick --data fsdd --out study-quick
      trains the small grid, in minutes
  skinny study --data fsdd --prompts prompts --out study --jobs 4
      trains everything in docs/training.md, in hours; run again, it resumes where it was interrupted";

/// Trains the recognizer in every setting of a grid, and draws the results
///
/// Appends one row per trained model to OUT/study.csv. Prints the rows as a table, and draws parameters.svg, nu.svg and
/// transition.svg. OUT/done lists the finished runs, which are not run again. An interrupted run resumes after its last
/// complete epoch, if OUT/work still exists.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct StudyArgs {
    /// Use a small grid that takes minutes
    #[arg(long)]
    pub quick: bool,

    /// Folder with the recordings of the Free Spoken Digit Dataset
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,

    /// Also train a smaller grid on the folder that scripts/fetch-prompts writes
    #[arg(long, value_name = "DIR")]
    pub prompts: Option<PathBuf>,

    /// Folder for rows, plots and unfinished runs
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,

    /// Number of runs at a time
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = at_least_one)]
    pub jobs: usize,

    /// Seeds of weights and batches; the default is 1 with --quick and 1,2,3 without
    #[arg(long, value_name = "SEED,...", value_delimiter = ',')]
    pub seeds: Vec<u64>,
}

/// The settings of a grid.
struct Grid {
    /// Options of all runs. The committed study has penalties that do not rise, and factors that are never aligned.
    size: &'static str,
    ranks: &'static str,
    /// Cuts for the first of the strengths. The others are cut to rank 8.
    cuts: &'static str,
    transitions: &'static [usize],
    /// Strengths of the penalties. The studies of transitions and speakers use the first of each.
    trace: &'static [&'static str],
    l2: &'static [&'static str],
    speakers: &'static [&'static str],
    /// Epochs of the runs with enough training for every method.
    longer: Option<usize>,
}

const QUICK: Grid = Grid {
    size: "--rise 0 --align 0 --epochs 45 --transition 30 --hidden 64,64",
    ranks: "8",
    cuts: "--rank 8",
    transitions: &[15],
    trace: &["0.0007"],
    l2: &["0.002"],
    speakers: &[],
    longer: None,
};

const WHOLE: Grid = Grid {
    size: "--rise 0 --align 0 --epochs 45 --transition 30",
    ranks: "4,8,16",
    cuts: "--rank 4,8,16 --threshold 0.8,0.9",
    transitions: &[5, 15, 40],
    trace: &["0.0007", "0.0002", "0.002"],
    l2: &["0.002", "0.0005", "0.006"],
    speakers: &["theo"],
    longer: Some(120),
};

/// A run: its name, and the options that it adds to the grid's.
#[derive(Clone, Debug, PartialEq)]
struct Run {
    name: String,
    options: Vec<String>,
}

impl Grid {
    fn runs(&self, seed: u64, prompts: Option<&Path>) -> Vec<Run> {
        let mut runs = Vec::new();
        let mut add = |name: &str, options: String| {
            let options = format!("{options} --seed {seed}").split_whitespace().map(str::to_owned).collect();
            runs.push(Run { name: format!("{name}-{seed}"), options });
        };
        let Self { ranks, cuts, .. } = self;
        let (trace, l2) = (self.trace[0], self.l2[0]);
        let ways = |first: bool| if first { *cuts } else { "--rank 8" };
        for (i, lambda) in self.trace.iter().enumerate() {
            add(&format!("trace-{lambda}"), format!("--study size --lambda-rec {lambda} {}", ways(i == 0)));
        }
        for (i, lambda) in self.l2.iter().enumerate() {
            add(&format!("l2-{lambda}"), format!("--study size --penalty l2 --lambda-rec {lambda} {}", ways(i == 0)));
        }
        add("none-factored", format!("--study size --penalty none --factored --rank {ranks}"));
        add("none", format!("--study size --penalty none --rank {ranks}"));
        add("scratch-spectral", format!("--study size --scratch --init spectral --rank {ranks}"));
        add("scratch-plain", format!("--study size --scratch --init plain --rank {ranks}"));
        for epoch in self.transitions {
            let options = format!("--study transition --lambda-rec {trace} --transition {epoch} --rank 8");
            add(&format!("transition-{epoch}"), options);
        }
        for speaker in self.speakers {
            let left = format!("--study leave-out --leave-out {speaker} --rank 8");
            add(&format!("left-{speaker}-trace"), format!("{left} --lambda-rec {trace}"));
            add(&format!("left-{speaker}-l2"), format!("{left} --penalty l2 --lambda-rec {l2}"));
            add(&format!("left-{speaker}-none-factored"), format!("{left} --penalty none --factored"));
            add(&format!("left-{speaker}-scratch"), format!("{left} --scratch"));
        }
        // Shows which differences remain when every method has enough training.
        if let Some(epochs) = self.longer {
            let longer = format!("--study longer --epochs {epochs} --transition {}", epochs * 2 / 3);
            add("longer-trace", format!("{longer} --lambda-rec {trace} --rank 4,8"));
            add("longer-l2", format!("{longer} --penalty l2 --lambda-rec {l2} --rank 4,8"));
            add("longer-scratch-plain", format!("{longer} --scratch --init plain --rank 8"));
            add("longer-none-factored", format!("{longer} --penalty none --factored --rank 8"));
            add("longer-scratch-spectral", format!("{longer} --scratch --rank 8"));
            add("longer-none", format!("{longer} --penalty none --rank 8"));
        }
        if let Some(folder) = prompts {
            // Sentences take longer to learn, and need weaker penalties.
            let on = "--study prompts --corpus prompts --rank 16 --epochs 90 --transition 60 --batches 60 --batch-steps 1024";
            let first = runs.len();
            let mut add = |name: &str, options: &str| {
                let options = format!("{on} {options} --seed {seed}").split_whitespace().map(str::to_owned).collect();
                runs.push(Run { name: format!("prompts-{name}-{seed}"), options });
            };
            add("trace", "--lambda-rec 0.0002");
            add("l2", "--penalty l2 --lambda-rec 0.0005");
            add("none-factored", "--penalty none --factored");
            add("none", "--penalty none");
            add("scratch", "--scratch");
            for run in &mut runs[first..] {
                // A folder's name may contain blanks.
                run.options.extend(["--data".into(), folder.display().to_string()]);
            }
        }
        runs
    }
}

pub fn run(args: &StudyArgs, console: Console) -> Result<()> {
    let work = args.out.join("work");
    create_dir_all(&work).about(&work)?;
    let grid = if args.quick { QUICK } else { WHOLE };
    let seeds = match (&args.seeds[..], args.quick) {
        ([], true) => vec![1],
        ([], false) => vec![1, 2, 3],
        (seeds, _) => seeds.to_vec(),
    };
    let runs: Vec<Run> = seeds.into_iter().flat_map(|seed| grid.runs(seed, args.prompts.as_deref())).collect();
    let done_file = args.out.join("done");
    let done: BTreeSet<String> = match std::fs::read_to_string(&done_file) {
        Ok(text) => text.lines().map(str::to_owned).collect(),
        Err(_) => BTreeSet::new(),
    };
    let (all, mut left) = (runs.len(), runs);
    left.retain(|run| !done.contains(&run.name));
    let mut progress = console.progress("training");
    progress.at(all - left.len(), all, "");
    let study = Study { args, size: grid.size, done_file, all };
    study.train(left, &mut progress)?;
    drop(progress);
    train::tell(&args.out.join("study.csv"), &args.out, console)
}

struct Study<'a> {
    args: &'a StudyArgs,
    size: &'static str,
    done_file: PathBuf,
    all: usize,
}

impl Study<'_> {
    /// Trains the remaining runs, several at a time. After a failure, runs in progress finish and no others start.
    fn train(&self, left: Vec<Run>, progress: &mut Progress) -> Result<()> {
        let shared = Mutex::new((left.into_iter(), progress, None));
        let worker = || {
            loop {
                let run = match shared.lock() {
                    Ok(mut shared) if shared.2.is_none() => shared.0.next(),
                    _ => None,
                };
                let Some(run) = run else { return };
                let ended = self.one(&run);
                let Ok(mut shared) = shared.lock() else { return };
                let left = shared.0.len();
                match ended {
                    Ok(()) => shared.1.at(self.all - left, self.all, &run.name),
                    Err(failure) => shared.2 = Some(failure),
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..self.args.jobs {
                scope.spawn(worker);
            }
        });
        match shared.into_inner() {
            Ok((_, _, None)) => Ok(()),
            Ok((_, _, Some(failure))) => Err(failure),
            Err(_) => Err(Failure::input("a run of the study crashed")),
        }
    }

    /// Trains one run in a process of its own, which may be interrupted. Its output goes to a file.
    fn one(&self, run: &Run) -> Result<()> {
        let work = self.args.out.join("work");
        let (checkpoint, log) = (work.join(&run.name), work.join(format!("{}.log", run.name)));
        let file = File::create(&log).about(&log)?;
        let program = std::env::current_exe().about(Path::new("skinny"))?;
        let mut command = Command::new(&program);
        command.arg("train").arg("--data").arg(&self.args.data);
        command.arg("--csv").arg(self.args.out.join("study.csv")).arg("--checkpoint").arg(&checkpoint);
        // A later option replaces an earlier one.
        command.args(self.size.split_whitespace()).args(&run.options);
        command.stdin(Stdio::null()).stdout(file.try_clone().about(&log)?).stderr(file);
        let status = command.status().about(&program)?;
        if !status.success() {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let last = text.lines().last().unwrap_or("no output").to_owned();
            return Err(Failure::input(format!("{}: {last}", log.display())));
        }
        if checkpoint.exists() {
            remove_dir_all(&checkpoint).about(&checkpoint)?;
        }
        let done = OpenOptions::new().create(true).append(true).open(&self.done_file);
        done.and_then(|mut done| done.write_all(format!("{}\n", run.name).as_bytes())).about(&self.done_file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grid_is_the_one_of_the_committed_study() {
        let done = include_str!("../../../docs/study/done");
        let done: BTreeSet<&str> = done.lines().collect();
        let runs: Vec<Run> =
            (1..=3).flat_map(|seed| WHOLE.runs(seed, (seed == 1).then_some(Path::new("p q")))).collect();
        let names: BTreeSet<&str> = runs.iter().map(|run| run.name.as_str()).collect();
        assert_eq!(names.len(), runs.len());
        let missing: Vec<_> = done.difference(&names).collect();
        assert!(missing.is_empty(), "{missing:?}");
        assert!(runs.iter().any(|run| run.options.ends_with(&["--data".into(), "p q".into()])));
    }

    #[test]
    fn the_quick_grid_is_small() {
        let runs = QUICK.runs(1, None);
        assert_eq!(runs.len(), 7);
        let options = runs[0].options.join(" ");
        assert_eq!(
            (runs[0].name.as_str(), options.as_str()),
            ("trace-0.0007-1", "--study size --lambda-rec 0.0007 --rank 8 --seed 1")
        );
    }
}
