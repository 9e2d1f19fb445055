//! Plots of the report: where each spectrum was cut, and the error at other numbers of parameters.

use plotters::prelude::*;
use skinny::compress::Choice;
use skinny::model::{BudgetPoint, MatrixReport};

type Failure = Box<dyn std::error::Error>;

const SIZE: (u32, u32) = (900, 1000);
/// With a third plot.
const TALL: (u32, u32) = (900, 1400);
const FONT: (&str, u32) = ("sans-serif", 14);
const TITLE: (&str, u32) = ("sans-serif", 18);

/// Draws an SVG with two plots. One has the singular values of each matrix, and its cut. The other has `curve`, the
/// pairs (parameters, error) of other budgets, with `chosen` marked. If budgets were measured, a third has the frames that agree.
pub fn svg(
    matrices: &[MatrixReport],
    curve: &[(f64, f64)],
    chosen: (f64, f64),
    measured: &[BudgetPoint],
) -> Result<String, Failure> {
    let mut text = String::new();
    {
        let size = if measured.is_empty() { SIZE } else { TALL };
        let root = SVGBackend::with_string(&mut text, size).into_drawing_area();
        root.fill(&WHITE)?;
        let (root, lowest) = root.split_vertically(SIZE.1);
        if !measured.is_empty() {
            agreements(&lowest, measured)?;
        }
        let (upper, lower) = root.split_vertically(600);
        spectra(&upper, matrices)?;
        errors(&lower, curve, chosen)?;
        root.present()?;
    }
    Ok(text)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn spectra(area: &Area<'_>, matrices: &[MatrixReport]) -> Result<(), Failure> {
    // Relative to the greatest, to make matrices comparable.
    let relative = |matrix: &MatrixReport| -> Vec<f64> {
        let greatest = matrix.singular_values.first().copied().unwrap_or(1.0).max(f64::MIN_POSITIVE);
        matrix.singular_values.iter().map(|sigma| (sigma / greatest).max(1e-4)).collect()
    };
    let longest = matrices.iter().map(|matrix| matrix.singular_values.len()).max().unwrap_or(1);
    let mut chart = ChartBuilder::on(area)
        .caption("Singular values, relative to the greatest; the dot marks the cut", TITLE)
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(1.0..longest as f64, (1e-4..1.0).log_scale())?;
    let whole = |index: &f64| format!("{index:.0}");
    chart
        .configure_mesh()
        .x_label_formatter(&whole)
        .x_desc("index")
        .y_desc("singular value")
        .label_style(FONT)
        .light_line_style(WHITE)
        .draw()?;
    for (i, matrix) in matrices.iter().enumerate() {
        let color = Palette99::pick(i).to_rgba();
        let sigma = relative(matrix);
        let points = sigma.iter().enumerate().map(|(i, &sigma)| (1.0 + i as f64, sigma));
        chart
            .draw_series(LineSeries::new(points, color.stroke_width(2)))?
            .label(&matrix.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
        if let Choice::LowRank(rank) = matrix.choice {
            chart.draw_series([Circle::new((rank as f64, sigma[rank - 1]), 5, color.filled())])?;
        }
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK).label_font(FONT).draw()?;
    Ok(())
}

fn agreements(area: &Area<'_>, measured: &[BudgetPoint]) -> Result<(), Failure> {
    let mut chart = ChartBuilder::on(area)
        .caption(
            "Frames with the same greatest output, measured on data held out, against the share of the weights",
            TITLE,
        )
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..1.05, 0.0..1.05)?;
    let percent = |share: &f64| format!("{:.0}%", 100.0 * share);
    chart
        .configure_mesh()
        .x_desc("budget")
        .y_desc("frames that agree")
        .label_style(FONT)
        .light_line_style(WHITE)
        .y_label_formatter(&percent)
        .draw()?;
    let points = || measured.iter().map(|point| (point.share, point.fidelity.agreement()));
    chart.draw_series(LineSeries::new(points(), BLUE.stroke_width(2)))?;
    chart.draw_series(points().map(|point| Circle::new(point, 3, BLUE.filled())))?;
    Ok(())
}

fn errors(area: &Area<'_>, curve: &[(f64, f64)], chosen: (f64, f64)) -> Result<(), Failure> {
    let points = || curve.iter().chain([&chosen]);
    let right = points().map(|point| point.0).fold(1.0, f64::max);
    let top = points().map(|point| point.1).fold(0.01, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption("Predicted error, relative, against parameters of the matrices; the dot is what was chosen", TITLE)
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..right * 1.05, 0.0..top * 1.1)?;
    let percent = |error: &f64| format!("{:.1}%", 100.0 * error);
    let whole = |parameters: &f64| format!("{parameters:.0}");
    chart
        .configure_mesh()
        .x_desc("parameters")
        .y_desc("error")
        .label_style(FONT)
        .light_line_style(WHITE)
        .x_label_formatter(&whole)
        .y_label_formatter(&percent)
        .draw()?;
    chart.draw_series(LineSeries::new(curve.iter().copied(), BLUE.stroke_width(2)))?;
    chart.draw_series([Circle::new(chosen, 6, RED.filled())])?;
    Ok(())
}
