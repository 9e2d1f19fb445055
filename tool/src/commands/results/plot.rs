//! Measured times against predicted ones.

use plotters::prelude::*;

use super::{Measured, of_best_tier};
use crate::results::{From, Product, Values};

type Failure = Box<dyn std::error::Error>;

const SIZE: (u32, u32) = (900, 900);
const FONT: (&str, u32) = ("sans-serif", 14);
const TITLE: (&str, u32) = ("sans-serif", 18);

/// A plot with a point for each product: a dot for weights in a cache, a ring for weights in memory. The line is where
/// measured times are as predicted.
pub fn svg(all: &[&Measured]) -> Result<String, Failure> {
    let mut series = Vec::new();
    for Measured { name, results, predictions } in all {
        for prediction in predictions {
            let layers_take = of_best_tier(results).filter(|product| product.values == Values::F32);
            let point = |product: &Product| (prediction.us(product), product.us.least(), product.from);
            let points: Vec<(f64, f64, From)> = layers_take.map(point).collect();
            series.push((format!("{name}, {}", prediction.kind), points));
        }
    }
    let times = || series.iter().flat_map(|(_, points)| points).flat_map(|&(predicted, found, _)| [predicted, found]);
    let (least, most) = (times().fold(f64::INFINITY, f64::min), times().fold(0.0, f64::max));
    let (least, most) = if least < most { (0.8 * least, 1.25 * most) } else { (1.0, 1e3) };
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .caption("Products, measured against predicted: in a cache a dot, from memory a ring", TITLE)
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(70)
            .build_cartesian_2d((least..most).log_scale(), (least..most).log_scale())?;
        let number = |us: &f64| ((us * 1e6).round() / 1e6).to_string();
        let mut mesh = chart.configure_mesh();
        mesh.x_desc("predicted microseconds").y_desc("measured microseconds").label_style(FONT);
        mesh.light_line_style(WHITE).x_label_formatter(&number).y_label_formatter(&number).draw()?;
        chart.draw_series(LineSeries::new([(least, least), (most, most)], BLACK.stroke_width(1)))?;
        for (i, (name, points)) in series.iter().enumerate() {
            let color = Palette99::pick(i).to_rgba();
            let style = |from: &From| match from {
                From::Cache => color.filled(),
                From::Memory => color.stroke_width(1),
            };
            chart
                .draw_series(points.iter().map(|(x, y, from)| Circle::new((*x, *y), 4, style(from))))?
                .label(name)
                .legend(move |(x, y)| Circle::new((x + 9, y), 4, color.filled()));
        }
        let mut labels = chart.configure_series_labels();
        labels.position(SeriesLabelPosition::UpperLeft).background_style(WHITE.mix(0.8)).border_style(BLACK);
        labels.label_font(FONT).draw()?;
        root.present()?;
    }
    Ok(text)
}
