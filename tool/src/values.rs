//! Parsers of option values, with messages for bad ones.

use skinny::compress::Core;

/// A share: more than 0 and at most 1.
pub fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().map_err(|_| "expected a number".to_owned())?;
    let hint = if share > 1.0 && share <= 100.0 { format!("; {text}% is {}", share / 100.0) } else { String::new() };
    if share > 0.0 && share <= 1.0 { Ok(share) } else { Err(format!("expected more than 0 and at most 1{hint}")) }
}

/// A number above 0.
pub fn positive(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.parse().ok();
    number.filter(|number| *number > 0.0 && number.is_finite()).ok_or_else(|| "expected a number above 0".into())
}

/// A whole number above 0.
pub fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&number| number > 0).ok_or_else(|| "expected a whole number above 0".into())
}

/// The core with this name, or the one that a file describes.
pub fn core(name: &str) -> Result<Core, String> {
    if let Some(core) = Core::named(name) {
        return Ok(core);
    }
    let text = std::fs::read_to_string(name).map_err(|error| {
        let known: Vec<String> = Core::all().into_iter().map(|core| core.name).collect();
        format!("expected {} or a file that describes a core ({error})", known.join(", "))
    })?;
    text.parse().map_err(|error: skinny::Error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_shares() {
        assert_eq!((share("0.3"), share("1")), (Ok(0.3), Ok(1.0)));
        assert_eq!(share("30"), Err("expected more than 0 and at most 1; 30% is 0.3".into()));
        for bad in ["0", "-1", "NaN", "inf", "x", "1.01"] {
            assert!(share(bad).is_err(), "{bad}");
        }
        for bad in ["0", "-1", "NaN", "inf", "x"] {
            assert!(positive(bad).is_err(), "{bad}");
        }
        assert!(at_least_one("0").is_err() && core("pentium").unwrap_err().contains("cortex-a53"));
    }
}
