//! Files of results: JSON, a line for each measurement, so that a difference of two files can be read.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};
use skinny::Tier;

use super::{Product, Results, VERSION};
use crate::error::{About, Result};
use crate::files;

/// The largest dimension and batch of a product; its square is the most bytes.
const MOST: usize = 1 << 15;

/// The part that all versions have.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

impl Results {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self> {
        Self::parse(&files::read(path)?).about(path)
    }

    /// Reads the bytes of a file.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let Versioned { version } =
            serde_json::from_slice(bytes).map_err(|cause| format!("no results of skinny gather: {cause}"))?;
        if version != VERSION {
            return Err(format!("results of version {version}; this program reads version {VERSION}"));
        }
        let results: Self = serde_json::from_slice(bytes).map_err(|cause| cause.to_string())?;
        results.check()?;
        Ok(results)
    }

    /// Fails for what the types do not rule out.
    fn check(&self) -> Result<(), String> {
        let tiers = self.machine.tiers.iter().enumerate();
        for (i, tier) in tiers {
            if Tier::ALL.get(i).is_none_or(|expected| expected.name() != tier) {
                return Err(format!("machine.tiers[{i}] is `{tier}`: expected a beginning of {}", names()));
            }
        }
        let known = |at: &str, i: usize, tier: &String| match self.machine.tiers.contains(tier) {
            true => Ok(()),
            false => Err(format!("{at}[{i}]: the machine has no tier `{tier}`")),
        };
        let mut seen = BTreeSet::new();
        for (i, product) in self.products.iter().enumerate() {
            known("products", i, &product.tier)?;
            let Product { tier, weights, n, k, batch, values, from, bytes, .. } = product;
            for (name, size, most) in
                [("n", n, MOST), ("k", k, MOST), ("batch", batch, MOST), ("bytes", bytes, MOST * MOST)]
            {
                if !(1..=most).contains(size) {
                    return Err(format!("products[{i}].{name} is {size}: expected 1 to {most}"));
                }
            }
            let key = (tier, *weights as u8, n, k, batch, *values as u8, *from as u8);
            if !seen.insert(key) {
                return Err(format!("products[{i}] was measured before"));
            }
        }
        for (i, layer) in self.layers.iter().enumerate() {
            known("layers", i, &layer.tier)?;
        }
        for (i, answer) in self.answers.found.iter().enumerate() {
            known("answers.found", i, &answer.tier)?;
        }
        if let Some(i) = self.streams.iter().position(|stream| stream.bytes == 0) {
            return Err(format!("streams[{i}].bytes is 0"));
        }
        for (i, check) in self.checks.iter().enumerate() {
            at_least(0.0, &format!("checks[{i}].at"), Some(check.at))?;
            at_least(1.0, &format!("checks[{i}].moment.mhz"), check.moment.mhz)?;
        }
        for (i, cores) in self.machine.cores.iter().enumerate() {
            for mhz in cores.mhz_range.into_iter().flatten() {
                at_least(1.0, &format!("machine.cores[{i}].mhz_range"), Some(mhz))?;
            }
        }
        at_least(0.0, "seconds", Some(self.seconds))
    }

    /// The text of a file.
    pub fn to_json(&self) -> String {
        let Self { version, program, date, times, note, machine, seconds, left_out, answers, checks, .. } = self;
        let entries = [
            ("version", line(version)),
            ("program", line(program)),
            ("date", line(date)),
            ("times", line(times)),
            ("note", line(note)),
            ("machine", line(machine)),
            ("seconds", line(seconds)),
            ("left_out", line(left_out)),
            ("answers", line(answers)),
            ("checks", lines(checks)),
            ("streams", lines(&self.streams)),
            ("products", lines(&self.products)),
            ("layers", lines(&self.layers)),
        ];
        let entries = entries.into_iter().filter(|(_, value)| value != "null");
        let entries: Vec<String> = entries.map(|(name, value)| format!("  \"{name}\": {value}")).collect();
        format!("{{\n{}\n}}\n", entries.join(",\n"))
    }
}

fn line(value: &impl Serialize) -> String {
    // Nothing here is a map whose keys are no strings, the only values that JSON lacks.
    serde_json::to_string(value).unwrap_or_default()
}

/// A list with a line for each element.
fn lines(list: &[impl Serialize]) -> String {
    let elements: Vec<String> = list.iter().map(|element| format!("\n    {}", line(element))).collect();
    if elements.is_empty() { "[]".into() } else { format!("[{}\n  ]", elements.join(",")) }
}

fn at_least(least: f64, name: &str, number: Option<f64>) -> Result<(), String> {
    match number.filter(|number| !(least..1e12).contains(number)) {
        Some(number) => Err(format!("{name} is {number}: expected at least {least}")),
        None => Ok(()),
    }
}

fn names() -> String {
    Tier::ALL.map(Tier::name).join(", ")
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::machine::{Machine, Moment};
    use crate::results::{Answer, Answers, Check, From, Layer, Stream, Time, Times, Values};
    use skinny::kernels::WeightFormat;

    /// Results of a machine with the tier `neon` and few measurements.
    pub fn some() -> Results {
        let us = |us: f64| Time::of(vec![us, 1.1 * us, 1.2 * us]).unwrap();
        let answer = |tier: &str| Answer { tier: tier.into(), hash: "00c0ffee00c0ffee".into() };
        let product = |weights, batch| Product {
            tier: "neon".into(),
            weights,
            n: 64,
            k: 48,
            batch,
            values: Values::F32,
            from: From::Cache,
            bytes: 64 * 48 + 4 * 64,
            us: us(1.5 * batch as f64),
        };
        Results {
            version: VERSION,
            program: "skinny 0.1.0".into(),
            date: "2026-11-28".into(),
            times: Times::Measured,
            note: Some("a \"note\"\nof two lines".into()),
            machine: Machine {
                model: Some("A board".into()),
                architecture: "aarch64".into(),
                system: "linux".into(),
                memory_bytes: Some(1 << 30),
                hypervisor: None,
                emulator: None,
                tiers: vec!["portable".into(), "neon".into()],
                cores: Vec::new(),
            },
            seconds: 2.5,
            left_out: 0,
            answers: Answers { expected: answer("").hash, found: vec![answer("portable"), answer("neon")] },
            checks: [0.0, 2.0].map(|at| Check { at, us: us(10.0), moment: Moment::default() }).into(),
            streams: vec![Stream { bytes: 1 << 26, us: us(30_000.0) }],
            products: WeightFormat::ALL.map(|format| product(format, 1 + format as usize)).into(),
            layers: vec![Layer {
                tier: "neon".into(),
                shape: "gru:16".into(),
                weights: WeightFormat::I8,
                us: us(3.25),
            }],
        }
    }

    fn refused(text: &str) -> String {
        Results::parse(text.as_bytes()).expect_err(text)
    }

    #[test]
    fn a_file_is_read_as_it_was_written() {
        let results = some();
        let text = results.to_json();
        assert_eq!(Results::parse(text.as_bytes()).unwrap(), results);
        assert!(
            text.lines().any(|line| line.starts_with("    {\"tier\":\"neon\",\"weights\":\"int4-groups\",\"n\":64,")),
            "{text}"
        );
        assert_eq!(Results { note: None, ..results.clone() }.to_json().lines().count() + 1, text.lines().count());
        let empty = Results { products: vec![], layers: vec![], streams: vec![], checks: vec![], ..results };
        assert_eq!(Results::parse(empty.to_json().as_bytes()).unwrap(), empty);
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let text = some().to_json();
        for (from, to, told) in [
            ("\"version\": 1", "\"version\": 2", "results of version 2; this program reads version 1"),
            ("\"version\": 1", "\"version\": \"1\"", "invalid type: string \"1\""),
            ("\"seconds\": 2.5", "\"seconds\": 2.5, \"speed\": 3", "unknown field `speed`"),
            ("\"seconds\": 2.5", "\"seconds\": -2.5", "seconds is -2.5"),
            ("\"seconds\": 2.5", "\"seconds\": 1e999", "out of range"),
            ("\"seconds\": 2.5", "\"seconds\": 1e300", "seconds is 1000"),
            ("  \"left_out\": 0,\n", "", "missing field `left_out`"),
            ("\"measured\"", "\"guessed\"", "unknown variant `guessed`"),
            ("\"int8\"", "\"int3\"", "weights in `int3`: expected one of int8, int4, int4-groups, int2"),
            ("\"k\":48", "\"k\":0", "products[0].k is 0: expected 1 to 32768"),
            ("\"k\":48", "\"k\":-1", "invalid value"),
            ("\"k\":48", "\"k\":18446744073709551615", "products[0].k is 18446744073709551615"),
            ("\"batch\":2", "\"batch\":1,\"batch\":1", "duplicate field `batch`"),
            (
                "\"weights\":\"int4\",\"n\":64,\"k\":48,\"batch\":2",
                "\"weights\":\"int8\",\"n\":64,\"k\":48,\"batch\":1",
                "products[1] was measured before",
            ),
            ("\"portable\",\"neon\"]", "\"portable\",\"sse\"]", "machine.tiers[1] is `sse`"),
            ("\"portable\",\"neon\"]", "\"neon\"]", "machine.tiers[0] is `neon`"),
            ("\"portable\",\"neon\"]", "\"portable\"]", "products[0]: the machine has no tier `neon`"),
            ("\"bytes\":67108864", "\"bytes\":0", "streams[0].bytes is 0"),
            ("\"at\":2.0", "\"at\":-1.0", "checks[1].at is -1"),
            ("\"moment\":{}", "\"moment\":{\"mhz\":0}", "checks[0].moment.mhz is 0"),
            ("\"us\":[10.0,", "\"us\":[0.0,", "times [0.0, "),
            ("\"cores\":[]", "\"cores\":[{\"numbers\":[0],\"mhz_range\":[0,1]}]", "machine.cores[0].mhz_range is 0"),
            ("\"model\":\"A board\"", "\"host\":\"pi.example\"", "unknown field `host`"),
        ] {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text, "{from}");
            assert!(refused(&changed).contains(told), "{told}: {}", refused(&changed));
        }
        for text in ["", "{", "[]", "null", "{}", "[{\"version\": 1}]", "\u{feff}{\"version\": 1}"] {
            assert!(refused(text).contains("no results of skinny gather"), "{text}");
        }
        let deep = "[".repeat(100_000);
        assert!(refused(&deep).contains("no results"), "deep");
        // Cut anywhere, it is no file.
        for end in (0..text.len() - 2).step_by(7).filter(|&end| text.is_char_boundary(end)) {
            refused(&text[..end]);
        }
    }
}
