//! The text that describes a core: a constant per line, with its source as a comment.

use alloc::collections::BTreeMap;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use super::Core;
use crate::error::{CoreError, CoreProblem, Error, Result};

/// The cores that come with the crate.
const FILES: [&str; 3] =
    [include_str!("cores/cortex-a53.txt"), include_str!("cores/cortex-a72.txt"), include_str!("cores/cortex-a76.txt")];

impl Core {
    /// The cores that come with the crate: those of the Raspberry Pi 3, 4 and 5.
    pub fn all() -> Vec<Core> {
        // A test reads each.
        FILES.iter().map(|text| text.parse().expect("the crate's own files are valid")).collect()
    }

    /// The core of the crate that has this name.
    pub fn named(name: &str) -> Option<Core> {
        Core::all().into_iter().find(|core| core.name == name)
    }
}

/// The lines of a description, each used once.
struct Lines<'a>(BTreeMap<&'a str, (usize, &'a str)>);

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Result<Self> {
        let mut lines = BTreeMap::new();
        for (i, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let refused = |key: &str, problem| CoreError { line: Some(i + 1), key: key.into(), problem };
            let (key, value) = line.split_once('=').ok_or_else(|| refused(line, CoreProblem::NoValue))?;
            let key = key.trim();
            if let Some((first, _)) = lines.insert(key, (i + 1, value.trim())) {
                return Err(refused(key, CoreProblem::Twice { first }).into());
            }
        }
        Ok(Self(lines))
    }

    /// The line and the words of a value.
    fn words<const N: usize>(&mut self, key: &str) -> Result<(usize, [&'a str; N])> {
        let refused = |line, problem| CoreError { line, key: key.into(), problem };
        let (line, value) = self.0.remove(key).ok_or_else(|| refused(None, CoreProblem::Missing))?;
        let words: Vec<&str> = value.split_whitespace().collect();
        let count = CoreProblem::Count { expected: N, found: words.len() };
        Ok((line, words.try_into().map_err(|_| refused(Some(line), count))?))
    }

    fn numbers<const N: usize>(&mut self, key: &str, (in_range, expected): Bounds) -> Result<[f64; N]> {
        let (line, words) = self.words::<N>(key)?;
        let refused = |problem| CoreError { line: Some(line), key: key.into(), problem };
        let mut numbers = [0.0; N];
        for (number, word) in numbers.iter_mut().zip(words) {
            *number = word.parse().map_err(|_| refused(CoreProblem::NotANumber { found: word.into() }))?;
            if !in_range(*number) {
                return Err(refused(CoreProblem::Range { value: *number, expected }).into());
            }
        }
        Ok(numbers)
    }

    fn number(&mut self, key: &str, bounds: Bounds) -> Result<f64> {
        self.numbers::<1>(key, bounds).map(|[number]| number)
    }

    /// Fails if a line has not been used.
    fn finish(self) -> Result<()> {
        match self.0.into_iter().min_by_key(|(_, (line, _))| *line) {
            None => Ok(()),
            Some((key, (line, _))) => {
                Err(CoreError { line: Some(line), key: key.into(), problem: CoreProblem::Unknown }.into())
            }
        }
    }
}

/// What a number must be, and that in words.
type Bounds = (fn(f64) -> bool, &'static str);

const POSITIVE: Bounds = (|number| number > 0.0 && number.is_finite(), "above 0");
const NOT_NEGATIVE: Bounds = (|number| number >= 0.0 && number.is_finite(), "at least 0");
const SHARE: Bounds = (|number| (0.0..=1.0).contains(&number), "in 0..=1");

/// Reads a description: a line `key = value` for each field, in any order. What follows a `#` is a comment.
///
/// # Errors
/// [`Error::Core`], with line and key, if a line is malformed, unknown, missing or there twice, or a number is outside its
/// range.
impl FromStr for Core {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut lines = Lines::new(text)?;
        let (_, [name]) = lines.words("name")?;
        let core = Core {
            name: name.to_string(),
            cycles_per_us: lines.number("cycles_per_us", POSITIVE)?,
            bytes_per_us: lines.number("bytes_per_us", POSITIVE)?,
            bytes_per_us_range: lines.numbers("bytes_per_us_range", POSITIVE)?,
            exposed: lines.number("exposed", SHARE)?,
            i8_macs_per_cycle: lines.numbers("i8_macs_per_cycle", POSITIVE)?,
            i4_macs_per_cycle: lines.numbers("i4_macs_per_cycle", POSITIVE)?,
            grouped_macs_per_cycle: lines.numbers("grouped_macs_per_cycle", POSITIVE)?,
            call_cycles: lines.number("call_cycles", NOT_NEGATIVE)?,
            column_cycles: lines.number("column_cycles", NOT_NEGATIVE)?,
            input_cycles: lines.number("input_cycles", NOT_NEGATIVE)?,
        };
        lines.finish()?;
        let [low, high] = core.bytes_per_us_range;
        if low <= core.bytes_per_us && core.bytes_per_us <= high {
            return Ok(core);
        }
        let problem = CoreProblem::Range { value: core.bytes_per_us, expected: "within bytes_per_us_range" };
        Err(CoreError { line: None, key: "bytes_per_us".into(), problem }.into())
    }
}

/// Writes a description that parses to the same core.
impl fmt::Display for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "name = {}", self.name)?;
        let fields: [(&str, &[f64]); 10] = [
            ("cycles_per_us", &[self.cycles_per_us]),
            ("bytes_per_us", &[self.bytes_per_us]),
            ("bytes_per_us_range", &self.bytes_per_us_range),
            ("exposed", &[self.exposed]),
            ("i8_macs_per_cycle", &self.i8_macs_per_cycle),
            ("i4_macs_per_cycle", &self.i4_macs_per_cycle),
            ("grouped_macs_per_cycle", &self.grouped_macs_per_cycle),
            ("call_cycles", &[self.call_cycles]),
            ("column_cycles", &[self.column_cycles]),
            ("input_cycles", &[self.input_cycles]),
        ];
        for (key, numbers) in fields {
            write!(f, "{key} =")?;
            for number in numbers {
                write!(f, " {number}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::String;

    use super::*;

    /// Constants that no count changes.
    const TEXT: &str = "\
# A core, and where its constants are from.

name = slow
cycles_per_us = 1200 # a board

bytes_per_us = 1800
bytes_per_us_range = 1800 3100
exposed = 0.28
i8_macs_per_cycle = 2.82 3.20 3.79 3.77
i4_macs_per_cycle = 3.02 3.26 3.68 3.68
grouped_macs_per_cycle = 2.71 2.78 3.65 3.66
call_cycles = 680
column_cycles = 507
input_cycles = 3.4
";

    /// A line of `TEXT` replaced; the error of what results.
    fn refused(line: &str, by: &str) -> CoreError {
        assert!(TEXT.contains(line), "{line}");
        match TEXT.replacen(line, by, 1).parse::<Core>() {
            Err(Error::Core(error)) => error,
            other => panic!("{by}: {other:?}"),
        }
    }

    #[test]
    fn the_crates_cores_parse_and_are_written_as_they_are_read() {
        let names: Vec<String> = Core::all().iter().map(|core| core.name.clone()).collect();
        assert_eq!(names, ["cortex-a53", "cortex-a72", "cortex-a76"]);
        for core in Core::all() {
            assert_eq!(core.to_string().parse(), Ok(core.clone()));
            assert_eq!(Core::named(&core.name), Some(core));
        }
        assert_eq!(Core::named("pentium"), None);
    }

    #[test]
    fn floats_survive_being_written() {
        let mut core = Core::all().remove(0);
        (core.bytes_per_us, core.input_cycles, core.call_cycles) = (1e4 / 3.0, 0.0, 1e300);
        core.bytes_per_us_range = [1.0 / 3.0, f64::MAX];
        (core.i8_macs_per_cycle, core.name) = ([f64::MIN_POSITIVE, 0.1, 1e17, f64::MAX], "a=b".into());
        assert_eq!(core.to_string().parse(), Ok(core));
    }

    #[test]
    fn order_space_and_comments_do_not_matter() {
        let mut lines: Vec<&str> = TEXT.lines().collect();
        lines.reverse();
        let text = lines.iter().map(|line| format!("  {}\t\r\n", line.replace(" = ", "=\t"))).collect::<String>();
        assert_eq!(text.parse::<Core>(), TEXT.parse());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line_and_key() {
        let at = |line, key: &str, problem| CoreError { line, key: key.into(), problem };
        let number = |text: &str| CoreProblem::NotANumber { found: text.into() };
        assert_eq!(refused("name =", "name"), at(Some(3), "name slow", CoreProblem::NoValue));
        assert_eq!(refused("cycles_per_us = 1200", "#"), at(None, "cycles_per_us", CoreProblem::Missing));
        assert_eq!(refused("cycles_per_us", "cycles"), at(None, "cycles_per_us", CoreProblem::Missing));
        assert_eq!(refused("= 1200", "= 1200\nghz = 1.2"), at(Some(5), "ghz", CoreProblem::Unknown));
        assert_eq!(refused("= 1200", "= 1200\nname = x"), at(Some(5), "name", CoreProblem::Twice { first: 3 }));
        assert_eq!(refused("= 1200", "= 1.2GHz"), at(Some(4), "cycles_per_us", number("1.2GHz")));
        assert_eq!(refused("= 1200", "="), at(Some(4), "cycles_per_us", CoreProblem::Count { expected: 1, found: 0 }));
        assert_eq!(
            refused("3.20 3.79 3.77", "3.20 3.79"),
            at(Some(9), "i8_macs_per_cycle", CoreProblem::Count { expected: 4, found: 3 })
        );
        for (bad, value) in [("0", 0.0), ("-1", -1.0), ("inf", f64::INFINITY)] {
            let range = CoreProblem::Range { value, expected: "above 0" };
            assert_eq!(refused("= 1200", &format!("= {bad}")), at(Some(4), "cycles_per_us", range));
        }
        let range = CoreProblem::Range { value: 1.01, expected: "in 0..=1" };
        assert_eq!(refused("= 0.28", "= 1.01"), at(Some(8), "exposed", range));
        let message = refused("= 1200", "= NaN").to_string();
        assert_eq!(message, "description of a core, line 4: cycles_per_us: NaN must be above 0");
        assert_eq!(
            refused("= 1800\n", "= 3101\n"),
            at(None, "bytes_per_us", CoreProblem::Range { value: 3101.0, expected: "within bytes_per_us_range" })
        );
        assert!("".parse::<Core>().is_err() && "\u{0}\n=\n".parse::<Core>().is_err());
    }
}
