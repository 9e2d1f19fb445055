//! A time that was measured several times.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Microseconds: the median of a number of samples, with their quartiles and the least of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Time {
    least: f64,
    quartiles: [f64; 3],
}

impl Time {
    /// Of samples in microseconds, of which there is at least one.
    pub fn of(mut samples: Vec<f64>) -> Option<Self> {
        samples.sort_by(f64::total_cmp);
        let at =
            |share: f64| samples.get(((samples.len() as f64 - 1.0) * share).round() as usize).copied().map(rounded);
        Some(Self { least: at(0.0)?, quartiles: [at(0.25)?, at(0.5)?, at(0.75)?] })
    }

    /// What is compared with predictions: other work on the machine only makes times longer.
    pub fn least(&self) -> f64 {
        self.least
    }

    /// How much longer than the least the median is, as a share.
    pub fn spread(&self) -> f64 {
        self.quartiles[1] / self.least - 1.0
    }
}

/// Four digits. What follows is noise.
pub fn rounded(number: f64) -> f64 {
    format!("{number:.3e}").parse().unwrap_or(number)
}

/// As `[least, first quartile, median, third quartile]`.
impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let [first, median, third] = self.quartiles;
        [self.least, first, median, third].serialize(serializer)
    }
}

impl<'d> Deserialize<'d> for Time {
    fn deserialize<D: Deserializer<'d>>(deserializer: D) -> Result<Self, D::Error> {
        let times @ [least, quartiles @ ..] = <[f64; 4]>::deserialize(deserializer)?;
        let possible = least > 0.0 && times[3] < 1e12 && times.is_sorted();
        let wrong = || D::Error::custom(format_args!("times {times:?}: expected four above 0 that do not fall"));
        if possible { Ok(Self { least, quartiles }) } else { Err(wrong()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        let time = Time::of(vec![5.0, 1.0, 2.0, 100.0, 3.0]).unwrap();
        assert_eq!((time.least(), time.spread()), (1.0, 2.0));
        assert_eq!(serde_json::to_string(&time).unwrap(), "[1.0,2.0,3.0,5.0]");
        assert_eq!(Time::of(vec![0.123_456]).unwrap().least(), 0.1235);
        assert_eq!(Time::of(vec![]), None);
    }

    #[test]
    fn times_that_cannot_be_are_refused() {
        let read = serde_json::from_str::<Time>;
        assert_eq!(read("[1, 1, 2, 3]").unwrap(), Time { least: 1.0, quartiles: [1.0, 2.0, 3.0] });
        for bad in
            ["[0, 1, 2, 3]", "[-1, 1, 2, 3]", "[1, 3, 2, 4]", "[1, 2, 3]", "[1, 2, 3, 1e300]", "1", "[1,2,3,null]"]
        {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
