//! The study's plots, in the style of the paper's.

use std::collections::BTreeMap;
use std::path::Path;

use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::prelude::*;

use super::results::Row;

type Failure = Box<dyn std::error::Error>;

const SIZE: (u32, u32) = (900, 560);
const FONT: (&str, u32) = ("sans-serif", 14);
const TITLE: (&str, u32) = ("sans-serif", 18);

/// For each line and each x, the values over seeds. An x is stored as its bits, which sort like the positive numbers.
type Lines = BTreeMap<String, BTreeMap<u64, Vec<f64>>>;

/// Draws `parameters.svg`, `nu.svg` and `transition.svg` from the rows of a table.
pub fn draw(rows: &[Row], folder: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(folder)?;

    let mut lines = Lines::new();
    for row in
        rows.iter().filter(|row| ["size", "longer"].contains(&row.study.as_str()) && row.cut.starts_with("rank-"))
    {
        add(&mut lines, format!("{}, {} epochs", label(row), row.epochs), row.parameters as f64, row.cer);
    }
    // Settings with only one rank make no line.
    lines.retain(|_, line| line.len() > 1);
    let title = "Validation CER against parameters: mean over seeds, least and greatest";
    let axes = ["parameters", "CER, percent"];
    std::fs::write(folder.join("parameters.svg"), linear(title, axes, &lines)?)?;

    let mut lines = Lines::new();
    for row in rows.iter().filter(|row| row.study == "size" && row.nu.is_finite()) {
        if row.lambda_rec > 0.0 {
            add(&mut lines, row.method.clone(), row.lambda_rec.into(), row.nu);
        }
    }
    // The controls have no strength, so each is a horizontal line.
    let (least, most) = ends(&lines);
    for row in rows.iter().filter(|row| row.study == "size" && row.nu.is_finite() && row.lambda_rec == 0.0) {
        for x in [least, most] {
            add(&mut lines, row.method.clone(), x, row.nu);
        }
    }
    let title = "Nondimensional trace norm coefficient after stage 1 against the penalty, mean over weights and seeds";
    let axes = ["strength of the penalty", "nu"];
    std::fs::write(folder.join("nu.svg"), logarithmic(title, axes, &lines)?)?;

    let mut lines = Lines::new();
    // The study of sizes has a run with the same settings and its own transition. It is one point of the line.
    let is_of = |row: &Row, other: &Row| {
        let settings = |row: &Row| (row.method.clone(), row.lambda_rec, row.cut.clone(), row.epochs);
        settings(row) == settings(other)
    };
    let varied: Vec<_> = rows.iter().filter(|row| row.study == "transition").collect();
    for row in rows {
        let varies = row.study == "transition" || row.study == "size" && varied.iter().any(|other| is_of(row, other));
        if varies {
            add(&mut lines, label(row), row.transition as f64, row.cer);
        }
    }
    let title = "Validation CER against the epoch of the transition, of equally many epochs";
    let axes = ["epochs of stage 1", "CER, percent"];
    std::fs::write(folder.join("transition.svg"), linear(title, axes, &lines)?)?;
    Ok(())
}

/// A method and its strength.
fn label(row: &Row) -> String {
    if row.lambda_rec > 0.0 { format!("{}, {}", row.method, row.lambda_rec) } else { row.method.clone() }
}

fn add(lines: &mut Lines, line: String, x: f64, y: f64) {
    if y.is_finite() {
        lines.entry(line).or_default().entry(x.to_bits()).or_default().push(y);
    }
}

/// The least and the greatest x.
fn ends(lines: &Lines) -> (f64, f64) {
    let all = || lines.values().flat_map(BTreeMap::keys).map(|&x| f64::from_bits(x));
    let (least, most) = (all().fold(f64::INFINITY, f64::min), all().fold(0.0, f64::max));
    if least < most {
        (least, most)
    } else if most > 0.0 {
        (0.5 * most, 2.0 * most)
    } else {
        (1.0, 2.0)
    }
}

fn linear(title: &str, axes: [&str; 2], lines: &Lines) -> Result<String, Failure> {
    let (least, most) = ends(lines);
    let margin = 0.05 * (most - least);
    let range = (least - margin)..(most + margin);
    chart(title, axes, lines, range, SeriesLabelPosition::UpperRight)
}

fn logarithmic(title: &str, axes: [&str; 2], lines: &Lines) -> Result<String, Failure> {
    let (least, most) = ends(lines);
    let range = (least / 1.2..most * 1.2).log_scale();
    chart(title, axes, lines, range, SeriesLabelPosition::LowerRight)
}

fn chart<X>(
    title: &str,
    [x, y]: [&str; 2],
    lines: &Lines,
    range: X,
    legend: SeriesLabelPosition,
) -> Result<String, Failure>
where
    X: AsRangedCoord<Value = f64>,
    X::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let top = lines.values().flat_map(BTreeMap::values).flatten().copied().fold(0.0, f64::max).max(1e-3);
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(title, TITLE)
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(60)
            .build_cartesian_2d(range, 0.0..1.1 * top)?;
        let mut mesh = chart.configure_mesh();
        mesh.x_desc(x).y_desc(y).label_style(FONT).light_line_style(WHITE).x_label_formatter(&f64::to_string).draw()?;
        for (i, (name, line)) in lines.iter().enumerate() {
            let color = Palette99::pick(i).to_rgba();
            let points =
                line.iter().map(|(&x, values)| (f64::from_bits(x), values.iter().sum::<f64>() / values.len() as f64));
            let points: Vec<_> = points.collect();
            chart
                .draw_series(LineSeries::new(points.iter().copied(), color.stroke_width(2)))?
                .label(name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
            chart.draw_series(points.iter().map(|&point| Circle::new(point, 4, color.filled())))?;
            chart.draw_series(line.iter().map(|(&x, values)| {
                let (low, high) =
                    values.iter().fold((f64::INFINITY, 0.0f64), |(low, high), &y| (low.min(y), high.max(y)));
                PathElement::new([(f64::from_bits(x), low), (f64::from_bits(x), high)], color.stroke_width(1))
            }))?;
        }
        let mut labels = chart.configure_series_labels();
        labels.position(legend).background_style(WHITE.mix(0.8)).border_style(BLACK).label_font(FONT).draw()?;
        root.present()?;
    }
    Ok(text)
}
