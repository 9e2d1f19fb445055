//! The claims that the study tests, by the differences of two methods with the same seed.

use std::collections::BTreeMap;

use super::results::Row;
use super::statistics::Mean;

/// A claim, and the pairs of models that test it.
type Claim = (&'static str, &'static [Pair]);

/// Two settings whose error rates are compared, and when.
struct Pair {
    left: Side,
    right: Side,
    when: When,
}

/// A setting: the part of the study, the method, and the transition if the part has several.
#[derive(Clone, Copy)]
struct Side(&'static str, &'static str, Transition);

#[derive(Clone, Copy, PartialEq)]
enum Transition {
    Any,
    After(usize),
    Settled,
}

#[derive(Clone, Copy)]
enum When {
    Stage1,
    Rank(usize),
}

/// Two methods of the main part.
const fn methods(left: &'static str, right: &'static str, when: When) -> Pair {
    Pair { left: Side("main", left, Transition::Any), right: Side("main", right, Transition::Any), when }
}

/// Another transition against that of the main part, both with the trace norm at rank 8.
const fn transition(transition: Transition) -> Pair {
    let right = Side("main", "trace", Transition::Any);
    Pair { left: Side("transition", "trace", transition), right, when: When::Rank(8) }
}

const CLAIMS: [Claim; 5] = [
    (
        "Claim 1: after stage 1, aligned factors are ahead of dense matrices",
        &[
            methods("none-factored", "l2", When::Stage1),
            methods("none-factored", "none", When::Stage1),
            methods("trace", "l2", When::Stage1),
            methods("trace", "none-factored", When::Stage1),
        ],
    ),
    (
        "Claim 2: at rank 4 and below, the trace norm is ahead of l2 and of factors without a penalty",
        &[
            methods("trace", "l2", When::Rank(4)),
            methods("trace", "none-factored", When::Rank(4)),
            methods("trace", "l2", When::Rank(2)),
            methods("trace", "none-factored", When::Rank(2)),
        ],
    ),
    (
        "Claim 3: at rank 8 and above they are close",
        &[
            methods("trace", "l2", When::Rank(8)),
            methods("trace", "none-factored", When::Rank(8)),
            methods("none-factored", "l2", When::Rank(8)),
            methods("trace", "l2", When::Rank(16)),
            methods("trace", "none-factored", When::Rank(16)),
            methods("none-factored", "l2", When::Rank(16)),
        ],
    ),
    (
        "Claim 4: low rank from scratch is behind",
        &[
            methods("scratch-plain", "trace", When::Rank(2)),
            methods("scratch-plain", "trace", When::Rank(4)),
            methods("scratch-plain", "trace", When::Rank(8)),
            methods("scratch-plain", "trace", When::Rank(16)),
            methods("scratch-spectral", "trace", When::Rank(4)),
            methods("scratch-spectral", "trace", When::Rank(8)),
            methods("scratch-spectral", "scratch-plain", When::Rank(8)),
        ],
    ),
    (
        "Claim 5: an early transition costs little",
        &[
            transition(Transition::After(5)),
            transition(Transition::After(15)),
            transition(Transition::After(40)),
            transition(Transition::Settled),
        ],
    ),
];

/// A table for each claim that there are rows for.
pub fn tables(rows: &[Row]) -> String {
    let mut text = String::new();
    for (claim, pairs) in CLAIMS {
        let lines: String = pairs.iter().filter_map(|pair| pair.line(rows)).collect();
        if !lines.is_empty() {
            let heads = ["difference", "when", "seeds", "test: mean (95% interval)", "seed by seed"];
            let heads = [&heads[..], &["validation: mean (95% interval)", "seed by seed"]].concat();
            let under = "---|".repeat(heads.len());
            text.push_str(&format!("### {claim}\n\n| {} |\n|{under}\n{lines}\n", heads.join(" | ")));
        }
    }
    text
}

/// The differences of test error rates of all pairs that have a seed in common, with their names.
pub fn differences(rows: &[Row]) -> Vec<(String, Vec<f64>)> {
    let pairs = CLAIMS.iter().flat_map(|(_, pairs)| *pairs);
    let named = pairs.map(|pair| (format!("{}, {}", pair.name(), pair.when.name()), pair.differences(rows, true)));
    named.map(|(name, differences)| (name.replace('`', ""), differences)).filter(|(_, d)| !d.is_empty()).collect()
}

impl When {
    fn name(self) -> String {
        match self {
            When::Stage1 => "stage 1".into(),
            When::Rank(rank) => format!("rank {rank}"),
        }
    }
}

impl Pair {
    fn name(&self) -> String {
        format!("{} - {}", self.left.name(), self.right.name())
    }

    /// A line of the table, if both settings have a seed in common.
    fn line(&self, rows: &[Row]) -> Option<String> {
        let (test, validation) = (self.differences(rows, true), self.differences(rows, false));
        let mut cells = vec![self.name(), self.when.name(), test.len().to_string()];
        for differences in [test, validation] {
            let Mean { value, margin } = Mean::of(&differences)?;
            let interval = margin.map(|margin| format!(" ({:+.1} to {:+.1})", value - margin, value + margin));
            cells.push(format!("{value:+.1}{}", interval.unwrap_or_default()));
            cells.push(differences.iter().map(|difference| format!("{difference:+.1}")).collect::<Vec<_>>().join(", "));
        }
        Some(format!("| {} |\n", cells.join(" | ")))
    }

    /// The left error rate minus the right one, for each seed that both have.
    fn differences(&self, rows: &[Row], test: bool) -> Vec<f64> {
        let values = |side: Side| -> BTreeMap<u64, f64> {
            let rows = rows.iter().filter(|row| side.is_of(row));
            let value = |row: &Row| match (self.when, test) {
                (When::Stage1, true) => Some(row.cer_test_stage_1),
                (When::Stage1, false) => Some(row.cer_stage_1),
                (When::Rank(rank), true) => (row.rank() == Some(rank)).then_some(row.cer_test),
                (When::Rank(rank), false) => (row.rank() == Some(rank)).then_some(row.cer),
            };
            rows.filter_map(|row| Some((row.seed, value(row)?))).filter(|(_, value)| value.is_finite()).collect()
        };
        let (left, right) = (values(self.left), values(self.right));
        left.iter().filter_map(|(seed, left)| Some(left - right.get(seed)?)).collect()
    }
}

impl Side {
    fn is_of(self, row: &Row) -> bool {
        let Side(study, method, transition) = self;
        let transitions = match transition {
            Transition::Any => true,
            Transition::After(epochs) => row.settle == 0.0 && row.transition == epochs,
            Transition::Settled => row.settle > 0.0,
        };
        row.study == study && row.method == method && transitions
    }

    fn name(self) -> String {
        let Side(_, method, transition) = self;
        match transition {
            Transition::Any => format!("`{method}`"),
            Transition::After(epochs) => format!("`{method}`, transition at {epochs}"),
            Transition::Settled => format!("`{method}`, transition when settled"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::row;
    use super::*;

    /// The interval is `scipy.stats.ttest_rel(...).confidence_interval()`.
    #[test]
    fn seeds_are_paired() {
        let rates = [
            ("trace", [9.1, 8.4, 8.4, 7.7, 10.1, 9.3]),
            ("l2", [13.1, 9.7, 9.9, 12.0, 12.5, 13.9]),
            ("none-factored", [13.4, 8.9, 7.1, 11.0, 12.6, 13.7]),
        ];
        let mut rows = Vec::new();
        // Methods have their seeds in different orders.
        for (i, (method, rates)) in rates.iter().enumerate() {
            let mut seeds: Vec<usize> = (0..6).collect();
            seeds.rotate_left(i);
            rows.extend(seeds.iter().map(|&seed| row("main", method, 4, seed as u64 + 1, [f64::NAN, rates[seed]])));
        }
        // Another part and another rank, which are not compared with these.
        rows.push(row("longer", "l2", 4, 1, [1.0, 1.0]));
        rows.push(row("main", "trace", 8, 1, [1.0, 1.0]));
        // A seed of only one method.
        rows.push(row("main", "trace", 4, 9, [1.0, 1.0]));
        let text = tables(&rows);
        let expected = "| `trace` - `l2` | rank 4 | 6 | -3.0 (-4.6 to -1.5) | -4.0, -1.3, -1.5, -4.3, -2.4, -4.6 |";
        assert!(text.contains(expected), "{text}");
        assert!(text.contains("| `trace` - `none-factored` | rank 4 | 6 | -2.3 (-4.7 to +0.1) |"), "{text}");
        assert!(!text.contains("rank 8") && !text.contains("Claim 4"), "{text}");
    }

    #[test]
    fn transitions_are_compared_with_that_of_the_main_part() {
        let mut rows = vec![row("main", "trace", 8, 1, [3.0, 4.0]); 3];
        (rows[1].study, rows[1].transition, rows[1].cer_test) = ("transition".into(), 5, 6.5);
        (rows[2].study, rows[2].settle, rows[2].cer_test) = ("transition".into(), 0.1, 4.5);
        let text = tables(&rows);
        assert!(text.contains("| `trace`, transition at 5 - `trace` | rank 8 | 1 | +2.5 | +2.5 |"), "{text}");
        assert!(text.contains("| `trace`, transition when settled - `trace` | rank 8 | 1 | +0.5 | +0.5 |"), "{text}");
    }
}
