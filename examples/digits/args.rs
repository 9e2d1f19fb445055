//! The command line.

use std::ops::RangeInclusive;
use std::path::PathBuf;

/// What `--help` prints.
pub const USAGE: &str = "\
Transcribes spoken English digits with a recurrent network in f32, int8 and low-rank int8.

usage: digits                      the recordings that come with the example
       digits FILE.wav ...         any recordings of one channel and 16 bits; they are resampled to 8 kHz
       digits --data DIR [...]     error rates over the recordings {digit}_{speaker}_{index}.wav of a folder

  --model FILE            another model: PyTorch's safetensors, or what `skinny compress` and `skinny train` write
  --indices FIRST..LAST   which recordings of the folder, 45..49: the networks were trained on 5..44
  --string-length N       digits of a string, 5
  --strings N             strings to draw, 200 of a folder and 10 of what comes with the example
  --seed N                which strings, 1
  --max-cer PERCENT       fail if a network's error rate over the strings is greater
  --max-gap POINTS        fail if a network's error rate over the strings exceeds f32's by more
  SKINNY_TIER=TIER        the kernels to run, instead of the best this machine has";

/// The parsed command line.
#[derive(Debug)]
pub struct Args {
    pub help: bool,
    pub files: Vec<PathBuf>,
    pub data: Option<PathBuf>,
    pub model: Option<PathBuf>,
    pub indices: RangeInclusive<u32>,
    pub string_length: usize,
    pub strings: Option<usize>,
    pub seed: u64,
    pub max_cer: Option<f64>,
    pub max_gap: Option<f64>,
}

impl Args {
    /// Reads the arguments after the program's name.
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut args = Args {
            help: false,
            files: Vec::new(),
            data: None,
            model: None,
            indices: 45..=49,
            string_length: 5,
            strings: None,
            seed: 1,
            max_cer: None,
            max_gap: None,
        };
        while let Some(name) = arguments.next() {
            match name.as_str() {
                "--help" | "-h" => args.help = true,
                file if !file.starts_with('-') => args.files.push(name.into()),
                option => {
                    let value = arguments.next().ok_or_else(|| format!("{option} needs a value; see --help"))?;
                    let read = args.set(option, &value);
                    read.ok_or_else(|| format!("{option} {value}: not understood; see --help"))?;
                }
            }
        }
        if args.data.is_some() && !args.files.is_empty() {
            return Err("--data and files exclude each other".into());
        }
        Ok(args)
    }

    /// Sets an option; `None` if its value is invalid.
    fn set(&mut self, option: &str, value: &str) -> Option<()> {
        match option {
            "--model" => self.model = Some(value.into()),
            "--data" => self.data = Some(value.into()),
            "--indices" => {
                let (first, last) = value.split_once("..").unwrap_or((value, value));
                self.indices = first.parse().ok()?..=last.parse().ok()?;
                (!self.indices.is_empty()).then_some(())?;
            }
            "--string-length" => self.string_length = value.parse().ok().filter(|n| (1..=100).contains(n))?,
            "--strings" => self.strings = Some(value.parse().ok()?),
            "--seed" => self.seed = value.parse().ok()?,
            "--max-cer" => self.max_cer = Some(value.parse().ok()?),
            "--max-gap" => self.max_gap = Some(value.parse().ok()?),
            _ => return None,
        }
        Some(())
    }
}
