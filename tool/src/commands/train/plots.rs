//! The study's plots, in the style of the paper's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::prelude::*;

use super::claims;
use super::results::Row;
use super::statistics::Mean;

type Failure = Box<dyn std::error::Error>;

const SIZE: (u32, u32) = (900, 560);
const FONT: (&str, u32) = ("sans-serif", 14);
const TITLE: (&str, u32) = ("sans-serif", 18);

/// For each line and each x, the values over seeds. An x is stored as its bits, which sort like the positive numbers.
type Lines = BTreeMap<String, BTreeMap<u64, Vec<f64>>>;

/// Draws `parameters.svg`, `differences.svg`, `nu.svg` and `transition.svg` from the rows of a table.
pub fn draw(rows: &[Row], folder: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(folder)?;
    let of = |studies: &'static [&str]| rows.iter().filter(move |row| studies.contains(&row.study.as_str()));

    let mut lines = Lines::new();
    for row in of(&["main"]).filter(|row| row.rank().is_some()) {
        add(&mut lines, row.method.clone(), row.parameters as f64, row.cer_test);
    }
    let title = "Test CER against parameters: every seed, and lines through the means";
    let axes = ["parameters", "CER, percent"];
    std::fs::write(folder.join("parameters.svg"), errors(title, axes, &lines)?)?;
    std::fs::write(folder.join("differences.svg"), differences(&claims::differences(rows))?)?;

    let mut lines = Lines::new();
    // One point for each stage 1, whatever it is cut to; one strength for all weights.
    let mut seen = BTreeSet::new();
    let penalized = of(&["main", "strength"]).filter(|row| row.lambda_rec > 0.0 && row.lambda_rec == row.lambda_nonrec);
    for row in penalized {
        if seen.insert((&row.method, row.lambda_rec.to_bits(), row.seed)) {
            add(&mut lines, row.method.clone(), row.lambda_rec.into(), row.nu);
        }
    }
    // The controls have no strength, so each is a horizontal line.
    let (least, most) = ends(&lines);
    for row in of(&["main"]).filter(|row| row.lambda_rec == 0.0) {
        if seen.insert((&row.method, 0, row.seed)) {
            add(&mut lines, row.method.clone(), least, row.nu);
            add(&mut lines, row.method.clone(), most, row.nu);
        }
    }
    let title = "nu after stage 1 against the strength of the penalty, mean over weights: every seed";
    let axes = ["strength of the penalty", "nu"];
    std::fs::write(folder.join("nu.svg"), strengths(title, axes, &lines)?)?;

    let mut lines = Lines::new();
    // The main part has runs with the same settings and its own transition, a point of each line.
    for row in of(&["main", "transition"]).filter(|row| row.method == "trace" && row.settle == 0.0) {
        if let Some(rank @ (4 | 8)) = row.rank() {
            add(&mut lines, format!("{}, rank {rank}", row.method), row.transition as f64, row.cer_test);
        }
    }
    let title = "Test CER against the epoch of the transition, of equally many epochs: every seed";
    let axes = ["epochs of stage 1", "CER, percent"];
    std::fs::write(folder.join("transition.svg"), errors(title, axes, &lines)?)?;
    Ok(())
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

/// A plot of paired differences, one below the other: a point for each seed, and a bar for the confidence interval.
fn differences(pairs: &[(String, Vec<f64>)]) -> Result<String, Failure> {
    let size = (SIZE.0, 90 + 26 * pairs.len() as u32);
    let all = || pairs.iter().flat_map(|(_, differences)| differences).copied();
    let (least, most) = (all().fold(-1.0, f64::min), all().fold(1.0, f64::max));
    let margin = 0.05 * (most - least);
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, size).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .caption("Differences of test CER, seed by seed, with 95% intervals of the mean", TITLE)
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(340)
            .build_cartesian_2d((least - margin)..(most + margin), -0.5..pairs.len() as f64 - 0.5)?;
        let mut mesh = chart.configure_mesh();
        mesh.x_desc("CER of the left method minus that of the right one, in points").label_style(FONT);
        mesh.light_line_style(WHITE).disable_y_axis().y_labels(0).draw()?;
        let zero = [(0.0, -0.5), (0.0, pairs.len() as f64 - 0.5)];
        chart.draw_series(LineSeries::new(zero, BLACK.stroke_width(1)))?;
        // The first pair is at the top.
        for (i, (name, differences)) in pairs.iter().rev().enumerate() {
            let (at, color) = (i as f64, Palette99::pick(0).to_rgba());
            let Some(Mean { value, margin }) = Mean::of(differences) else { continue };
            if let Some(margin) = margin {
                let bar = [(value - margin, at), (value + margin, at)];
                chart.draw_series(LineSeries::new(bar, color.stroke_width(2)))?;
            }
            chart.draw_series([TriangleMarker::new((value, at), 5, color.filled())])?;
            chart.draw_series(differences.iter().map(|&x| Circle::new((x, at), 3, BLACK.mix(0.5).filled())))?;
            let (_, row) = chart.backend_coord(&(0.0, at));
            root.draw(&Text::new(name.as_str(), (12, row - 7), FONT))?;
        }
        root.present()?;
    }
    Ok(text)
}

/// A plot of error rates, whose axis is logarithmic.
fn errors(title: &str, axes: [&str; 2], lines: &Lines) -> Result<String, Failure> {
    let (least, most) = ends(lines);
    let margin = 0.05 * (most - least);
    let rates = || lines.values().flat_map(BTreeMap::values).flatten().copied();
    let (low, high) = (rates().fold(f64::INFINITY, f64::min), rates().fold(0.0, f64::max));
    // There may be no rows yet, or models without an error.
    let low = if low.is_finite() { low.max(0.1) } else { 0.1 };
    let range = (low / 1.2..high.max(2.0 * low) * 1.2).log_scale();
    chart(title, axes, lines, (least - margin)..(most + margin), range, SeriesLabelPosition::UpperRight)
}

/// A plot against strengths, whose axis is logarithmic.
fn strengths(title: &str, axes: [&str; 2], lines: &Lines) -> Result<String, Failure> {
    let (least, most) = ends(lines);
    let range = (least / 1.2..most * 1.2).log_scale();
    chart(title, axes, lines, range, 0.0..1.0, SeriesLabelPosition::LowerLeft)
}

fn chart<X, Y>(
    title: &str,
    [x, y]: [&str; 2],
    lines: &Lines,
    across: X,
    up: Y,
    legend: SeriesLabelPosition,
) -> Result<String, Failure>
where
    X: AsRangedCoord<Value = f64>,
    X::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(title, TITLE)
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(60)
            .build_cartesian_2d(across, up)?;
        let mut mesh = chart.configure_mesh();
        mesh.x_desc(x).y_desc(y).label_style(FONT).light_line_style(WHITE);
        // Marks of a logarithmic axis are products of powers of ten, with their rounding.
        let number = |value: &f64| ((value * 1e6).round() / 1e6).to_string();
        mesh.x_label_formatter(&number).y_label_formatter(&number).draw()?;
        for (i, (name, line)) in lines.iter().enumerate() {
            let color = Palette99::pick(i).to_rgba();
            let means = line.iter().map(|(&x, values)| {
                let mean = values.iter().sum::<f64>() / values.len() as f64;
                (f64::from_bits(x), mean)
            });
            chart
                .draw_series(LineSeries::new(means, color.stroke_width(2)))?
                .label(name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
            let points = line.iter().flat_map(|(&x, values)| values.iter().map(move |&y| (f64::from_bits(x), y)));
            chart.draw_series(points.map(|point| Circle::new(point, 3, color.mix(0.7).filled())))?;
        }
        let mut labels = chart.configure_series_labels();
        labels.position(legend).background_style(WHITE.mix(0.8)).border_style(BLACK).label_font(FONT).draw()?;
        root.present()?;
    }
    Ok(text)
}
