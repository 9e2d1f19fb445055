//! JSON as the vectors have it: one case a line, floats as the hexadecimal digits of their bits.

use std::fmt::Display;

/// An array of integers.
pub fn integers<T: Display>(values: &[T]) -> String {
    let texts: Vec<String> = values.iter().map(T::to_string).collect();
    format!("[{}]", texts.join(","))
}

/// Rows of integers.
pub fn rows<T: Display>(rows: &[Vec<T>]) -> String {
    list(rows.iter().map(|row| integers(row)))
}

/// A string with the bits of floats, of NaNs too.
pub fn floats(values: &[f32]) -> String {
    let texts: Vec<String> = values.iter().map(|value| format!("{:08x}", value.to_bits())).collect();
    format!("\"{}\"", texts.join(" "))
}

/// The same for outputs, where any NaN is called `nan`: its sign and payload are not defined.
pub fn outputs(values: &[f32]) -> String {
    let text = |value: &f32| if value.is_nan() { "nan".into() } else { format!("{:08x}", value.to_bits()) };
    let texts: Vec<String> = values.iter().map(text).collect();
    format!("\"{}\"", texts.join(" "))
}

/// A string without characters that JSON has to escape.
pub fn text(text: &str) -> String {
    format!("\"{text}\"")
}

/// An array of what is JSON already.
pub fn list(items: impl IntoIterator<Item = String>) -> String {
    format!("[{}]", items.into_iter().collect::<Vec<_>>().join(","))
}

/// An object of what is JSON already.
pub fn object<K: AsRef<str>>(entries: &[(K, String)]) -> String {
    let texts: Vec<String> = entries.iter().map(|(key, value)| format!("\"{}\":{value}", key.as_ref())).collect();
    format!("{{{}}}", texts.join(","))
}

/// A file of vectors.
pub fn file(about: &str, cases: &[String]) -> String {
    format!("{{\"about\":\"{about}\",\n\"cases\":[\n{}\n]}}\n", cases.join(",\n"))
}
