//! Tables and numbers for people.

use std::fmt;

use crate::console::HEADING;
use crate::error::printable;

/// How the cells of a column are aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// For text.
    Left,
    /// For numbers.
    Right,
}

/// A table whose columns are as wide as their widest cell.
#[derive(Clone, Debug)]
pub struct Table {
    columns: Vec<(String, Side)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings and no rows.
    pub fn new<'a>(columns: impl IntoIterator<Item = (&'a str, Side)>) -> Self {
        let columns = columns.into_iter().map(|(heading, side)| (heading.to_owned(), side)).collect();
        Self { columns, rows: Vec::new() }
    }

    /// Adds a row. Missing cells are empty.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| printable(&cell)).collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = |cell: &String| cell.chars().count();
        let width = |(i, (heading, _)): (usize, &(String, Side))| {
            let cells = self.rows.iter().filter_map(|row| row.get(i));
            cells.map(length).fold(length(heading), usize::max)
        };
        let widths: Vec<usize> = self.columns.iter().enumerate().map(width).collect();
        let line = |cell: &dyn Fn(usize) -> String| {
            let padded = widths.iter().zip(&self.columns).enumerate().map(|(i, (&width, &(_, side)))| match side {
                Side::Left => format!("{:<width$}", cell(i)),
                Side::Right => format!("{:>width$}", cell(i)),
            });
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        writeln!(f, "{HEADING}{}{HEADING:#}", line(&|i| self.columns[i].0.clone()))?;
        for row in &self.rows {
            writeln!(f, "{}", line(&|i| row.get(i).cloned().unwrap_or_default()))?;
        }
        Ok(())
    }
}

/// A whole number with commas between its thousands.
pub fn count(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `of` as a share of `whole`, in percent.
pub fn percent(of: f64, whole: f64) -> String {
    if whole > 0.0 { format!("{:.1}%", 100.0 * of / whole) } else { "-".into() }
}

/// A measured number with three significant digits.
pub fn digits(number: f64) -> String {
    match number.abs() {
        _ if !number.is_finite() => "-".into(),
        size if size >= 100.0 || size == 0.0 => format!("{number:.0}"),
        size if size >= 10.0 => format!("{number:.1}"),
        size if size >= 1.0 => format!("{number:.2}"),
        size if size >= 0.1 => format!("{number:.3}"),
        _ => format!("{number:.2e}"),
    }
}

/// A ratio in decibels, or a dash.
pub fn decibels(ratio: Option<f64>) -> String {
    match ratio {
        None => "-".into(),
        Some(ratio) if ratio == f64::INFINITY => "inf".into(),
        Some(ratio) => format!("{ratio:.1}"),
    }
}

/// Dimensions, as in `25 x 13`.
pub fn dimensions(shape: &[usize]) -> String {
    match shape {
        [] => "scalar".into(),
        _ => shape.iter().map(usize::to_string).collect::<Vec<_>>().join(" x "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_easy_to_read() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [0.0, 0.01234, 0.5, 1.5, 15.25, 1234.5].map(digits),
            ["0", "1.23e-2", "0.500", "1.50", "15.2", "1234"]
        );
        assert_eq!((percent(1.0, 3.0), percent(1.0, 0.0)), ("33.3%".into(), "-".into()));
        assert_eq!((dimensions(&[25, 13]), dimensions(&[])), ("25 x 13".into(), "scalar".into()));
    }

    #[test]
    fn columns_are_as_wide_as_their_cells() {
        let mut table = Table::new([("name", Side::Left), ("n", Side::Right)]);
        table.row(["a".into(), "10".into()]);
        table.row(["longer".into()]);
        let text = table.to_string();
        let plain = text.replace(&HEADING.to_string(), "").replace(&format!("{HEADING:#}"), "");
        assert_eq!(plain, "name     n\na       10\nlonger\n");
    }
}
