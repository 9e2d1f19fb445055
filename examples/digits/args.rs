//! The command line.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use crate::fsdd::{VALIDATION_INDICES, parse_indices};

/// What `--help` prints.
pub const USAGE: &str = "\
Transcribes spoken English digits with a recurrent network in f32, int8 and low-rank int8.

usage: digits                      the recordings that come with the example
       digits FILE.wav ...         any recordings: 8 kHz, one channel, 16 bits
       digits --data DIR [...]     error rates over the recordings {digit}_{speaker}_{index}.wav of a folder

  --model FILE            another model: PyTorch's safetensors or what `skinny compress` and `skinny train` write
  --indices FIRST..LAST   which recordings of the folder, 45..49: the networks were trained on 5..44
  --string-length N       digits of a string, 5
  --strings N             strings to draw, 200 of a folder and 10 of what comes with the example
  --seed N                which strings, 1
  --max-cer PERCENT       fail if a network's error rate over the strings is greater
  --max-gap POINTS        fail if a network's error rate over the strings exceeds f32's by more
  SKINNY_TIER=TIER        the kernels to run, instead of the best this machine has";

/// What the command line asks for.
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
    /// Reads the arguments behind the program's name.
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut args = Args {
            help: false,
            files: Vec::new(),
            data: None,
            model: None,
            indices: VALIDATION_INDICES,
            string_length: 5,
            strings: None,
            seed: 1,
            max_cer: None,
            max_gap: None,
        };
        while let Some(name) = arguments.next() {
            if !name.starts_with("--") {
                args.files.push(name.into());
                continue;
            }
            if name == "--help" {
                args.help = true;
                continue;
            }
            let value = arguments.next().ok_or_else(|| format!("{name} needs a value; --help lists the options"))?;
            let refused = || format!("{name} {value}: not understood; --help lists the options");
            match name.as_str() {
                "--model" => args.model = Some(value.into()),
                "--data" => args.data = Some(value.into()),
                "--indices" => args.indices = parse_indices(&value)?,
                "--string-length" => {
                    args.string_length = value.parse().ok().filter(|n| (1..=100).contains(n)).ok_or_else(refused)?;
                }
                "--strings" => args.strings = Some(value.parse().map_err(|_| refused())?),
                "--seed" => args.seed = value.parse().map_err(|_| refused())?,
                "--max-cer" => args.max_cer = Some(value.parse().map_err(|_| refused())?),
                "--max-gap" => args.max_gap = Some(value.parse().map_err(|_| refused())?),
                _ => return Err(refused()),
            }
        }
        if args.data.is_some() && !args.files.is_empty() {
            return Err("--data and files exclude each other".into());
        }
        Ok(args)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, String> {
        Args::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_are_read_and_what_makes_no_sense_is_refused() {
        let args = parse("--data d --string-length 7 --seed 3 --indices 1..2 --max-cer 5").unwrap();
        assert_eq!((args.string_length, args.seed, args.indices, args.max_cer), (7, 3, 1..=2, Some(5.0)));
        assert_eq!(parse("a.wav b.wav").unwrap().files.len(), 2);
        for line in ["--seed", "--seed x", "--nothing 1", "--string-length 0", "--data d a.wav"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
