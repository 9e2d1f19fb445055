//! `skinny study`: runs the study of docs/training.md, settings of `skinny train` in parts.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions, create_dir_all, remove_dir_all};
use std::io::Write;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use clap::Args;

use super::train::{self, CorpusArg};
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
/// Appends one row per trained model to OUT/study.csv. Prints the rows as tables, and draws parameters.svg,
/// differences.svg, nu.svg and transition.svg. OUT/done lists the finished runs, which are not run again. An interrupted
/// run resumes after its last complete epoch, if OUT/work still exists.
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

    /// Seeds of weights and batches
    ///
    /// By default, the main comparison has the seeds 1 to 6 and all other parts 1 to 3; with --quick, the only seed is 1.
    #[arg(long, value_name = "SEED,...", value_delimiter = ',')]
    pub seeds: Vec<u64>,
}

/// A part of the study: settings of `skinny train` with names, each trained with every seed.
struct Part {
    name: &'static str,
    seeds: RangeInclusive<u64>,
    /// Options of all its runs. A later option replaces an earlier one.
    options: &'static str,
    /// The names of its settings, and their options.
    settings: &'static [(&'static str, &'static str)],
    corpus: CorpusArg,
}

/// The methods that are compared.
const METHODS: &[(&str, &str)] = &[
    ("trace", ""),
    ("l2", "--penalty l2"),
    ("none-factored", "--penalty none --factored"),
    ("none", "--penalty none"),
    ("scratch-plain", "--scratch --init plain"),
    ("scratch-spectral", "--scratch --init spectral"),
];

const QUICK: &[Part] = &[
    Part {
        name: "main",
        seeds: 1..=1,
        options: "--epochs 45 --transition 30 --hidden 64,64 --rank 8",
        settings: METHODS,
        corpus: CorpusArg::Digits,
    },
    Part {
        name: "transition",
        seeds: 1..=1,
        options: "--epochs 45 --hidden 64,64 --rank 8",
        settings: &[("15", "--transition 15")],
        corpus: CorpusArg::Digits,
    },
];

/// The most important part comes first, and each part completes one seed before the next, so that an interrupted study
/// has comparable rows.
const WHOLE: &[Part] = &[
    Part {
        name: "main",
        seeds: 1..=6,
        options: "--epochs 45 --transition 30 --rank 2,4,8,16",
        settings: METHODS,
        corpus: CorpusArg::Digits,
    },
    // What alignment and the rising penalty do.
    Part {
        name: "cause",
        seeds: 1..=3,
        options: "--epochs 45 --transition 30 --rank 4,8",
        settings: &[
            ("trace-align-0", "--align 0"),
            ("none-factored-align-0", "--penalty none --factored --align 0"),
            ("trace-rise-0", "--rise 0"),
            ("trace-align-20", "--align 20"),
            ("trace-align-1", "--align 1"),
        ],
        corpus: CorpusArg::Digits,
    },
    // Shows which differences remain when every method has enough training.
    Part {
        name: "longer",
        seeds: 1..=3,
        options: "--epochs 120 --transition 80 --rank 4,8",
        settings: METHODS,
        corpus: CorpusArg::Digits,
    },
    // The strengths that the main part does not have. The last four are one strength for recurrent and another for
    // other weights.
    Part {
        name: "strength",
        seeds: 1..=3,
        options: "--epochs 45 --transition 30 --rank 4,8",
        settings: &[
            ("trace-0.001", "--lambda-rec 1e-3"),
            ("trace-0.004", "--lambda-rec 4e-3"),
            ("l2-0.001", "--penalty l2 --lambda-rec 1e-3"),
            ("l2-0.004", "--penalty l2 --lambda-rec 4e-3"),
            ("trace-0.001-0.002", "--lambda-rec 1e-3 --lambda-nonrec 2e-3"),
            ("trace-0.002-0.001", "--lambda-rec 2e-3 --lambda-nonrec 1e-3"),
            ("trace-0.002-0.004", "--lambda-rec 2e-3 --lambda-nonrec 4e-3"),
            ("trace-0.004-0.002", "--lambda-rec 4e-3 --lambda-nonrec 2e-3"),
        ],
        corpus: CorpusArg::Digits,
    },
    // Equally many epochs in all, except where the ranks decide.
    Part {
        name: "transition",
        seeds: 1..=3,
        options: "--epochs 45 --rank 4,8",
        settings: &[
            ("5", "--transition 5"),
            ("15", "--transition 15"),
            ("40", "--transition 40"),
            ("settled", "--transition 30 --settle 0.1"),
        ],
        corpus: CorpusArg::Digits,
    },
    Part {
        name: "speaker",
        seeds: 1..=3,
        options: "--epochs 45 --transition 30 --rank 8 --leave-out theo",
        settings: METHODS,
        corpus: CorpusArg::Digits,
    },
    // Sentences take longer to learn, and need weaker penalties.
    Part {
        name: "sentences",
        seeds: 1..=3,
        options: "--epochs 90 --transition 60 --rank 16 --batches 60 --batch-steps 1024 --lambda-rec 5e-4",
        settings: METHODS,
        corpus: CorpusArg::Prompts,
    },
];

/// A run: its name, the data it trains on, and its options.
#[derive(Clone, Debug, PartialEq)]
struct Run {
    name: String,
    corpus: CorpusArg,
    options: Vec<String>,
}

impl Part {
    /// All its runs, seed by seed. Without `seeds` they have its own.
    fn runs(&self, seeds: &[u64]) -> Vec<Run> {
        let seeds = if seeds.is_empty() { self.seeds.clone().collect() } else { seeds.to_vec() };
        let run = |seed: u64, (name, options): &(&str, &str)| {
            let corpus = self.corpus.name();
            let options = format!("--study {} --corpus {corpus} {} {options} --seed {seed}", self.name, self.options);
            Run {
                name: format!("{}-{name}-{seed}", self.name),
                corpus: self.corpus,
                options: options.split_whitespace().map(str::to_owned).collect(),
            }
        };
        seeds.into_iter().flat_map(|seed| self.settings.iter().map(move |setting| run(seed, setting))).collect()
    }
}

pub fn run(args: &StudyArgs, console: Console) -> Result<()> {
    let work = args.out.join("work");
    create_dir_all(&work).about(&work)?;
    let parts = if args.quick { QUICK } else { WHOLE };
    let mut runs: Vec<Run> = parts.iter().flat_map(|part| part.runs(&args.seeds)).collect();
    runs.retain(|run| run.corpus == CorpusArg::Digits || args.prompts.is_some());
    let done_file = args.out.join("done");
    let done: BTreeSet<String> = match std::fs::read_to_string(&done_file) {
        Ok(text) => text.lines().map(str::to_owned).collect(),
        Err(_) => BTreeSet::new(),
    };
    let (all, mut left) = (runs.len(), runs);
    left.retain(|run| !done.contains(&run.name));
    let mut progress = console.progress("training");
    progress.at(all - left.len(), all, "");
    let study = Study { args, done_file, all };
    study.train(left, &mut progress)?;
    drop(progress);
    train::tell(&args.out.join("study.csv"), &args.out, console)
}

struct Study<'a> {
    args: &'a StudyArgs,
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
        let data = match (run.corpus, &self.args.prompts) {
            (CorpusArg::Prompts, Some(prompts)) => prompts,
            _ => &self.args.data,
        };
        command.arg("train").arg("--data").arg(data).args(&run.options);
        command.arg("--csv").arg(self.args.out.join("study.csv")).arg("--checkpoint").arg(&checkpoint);
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
    use std::collections::BTreeSet;

    use clap::Parser;

    use super::*;
    use crate::commands::train::TrainArgs;

    fn runs(parts: &[Part]) -> Vec<Run> {
        parts.iter().flat_map(|part| part.runs(&[])).collect()
    }

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        train: TrainArgs,
    }

    #[test]
    fn the_grid_has_the_runs_of_the_committed_study() {
        let done: BTreeSet<&str> = include_str!("../../../docs/study/done").lines().collect();
        let runs = runs(WHOLE);
        let names: BTreeSet<&str> = runs.iter().map(|run| run.name.as_str()).collect();
        assert_eq!(names.len(), runs.len());
        let missing: Vec<_> = done.difference(&names).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn every_run_has_options_that_train_understands() {
        for run in runs(WHOLE).iter().chain(&runs(QUICK)) {
            let line = ["train", "--data", "."].into_iter().chain(run.options.iter().map(String::as_str));
            let Program { train } =
                Program::try_parse_from(line).unwrap_or_else(|error| panic!("{}: {error}", run.name));
            // The names of methods in the table are those of the grid.
            if METHODS.iter().any(|(name, _)| run.name.contains(&format!("-{name}-"))) {
                assert!(run.name.contains(&format!("-{}-", train.method())), "{}", run.name);
            }
            assert_eq!(train.corpus, run.corpus);
        }
    }

    #[test]
    fn the_main_part_comes_first_one_seed_after_another() {
        let names: Vec<_> = runs(WHOLE).into_iter().map(|run| run.name).take(36).collect();
        assert_eq!([&names[0], &names[5], &names[6]], ["main-trace-1", "main-scratch-spectral-1", "main-trace-2"]);
        assert_eq!(names[35], "main-scratch-spectral-6");
    }

    #[test]
    fn the_quick_grid_is_small() {
        let runs = runs(QUICK);
        assert_eq!(runs.len(), 7);
        assert_eq!(runs[0].name, "main-trace-1");
        let options = runs[0].options.join(" ");
        assert_eq!(
            options,
            "--study main --corpus digits --epochs 45 --transition 30 --hidden 64,64 --rank 8 --seed 1"
        );
    }

    #[test]
    fn seeds_replace_those_of_every_part() {
        let names: Vec<_> = WHOLE[2].runs(&[7, 9]).into_iter().map(|run| run.name).collect();
        assert_eq!(names.len(), 12);
        assert_eq!([&names[0], &names[6]], ["longer-trace-7", "longer-trace-9"]);
    }
}
