//! Plots as SVG.

use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::prelude::*;
use std::error::Error;
use std::path::Path;

/// Lines on two axes.
pub struct Plot {
    title: String,
    x: Axis,
    y: Axis,
    lines: Vec<Line>,
}

/// What is on an axis, and the base of its logarithm if it has one.
pub struct Axis {
    label: String,
    base: Option<f64>,
}

/// A name and points.
pub struct Line {
    name: String,
    points: Vec<(f64, f64)>,
    dashed: bool,
}

impl Axis {
    pub fn log(label: &str, base: f64) -> Axis {
        Axis { label: label.into(), base: Some(base) }
    }

    pub fn linear(label: &str) -> Axis {
        Axis { label: label.into(), base: None }
    }
}

impl Line {
    /// What was measured.
    pub fn solid(name: &str, points: Vec<(f64, f64)>) -> Line {
        Line { name: name.into(), points, dashed: false }
    }

    /// What it is held against.
    pub fn dashed(name: &str, points: Vec<(f64, f64)>) -> Line {
        Line { name: name.into(), points, dashed: true }
    }
}

/// Dark enough to be read on white, and distinct to the colour-blind.
const COLOURS: [RGBColor; 4] =
    [RGBColor(0, 90, 170), RGBColor(200, 80, 0), RGBColor(0, 130, 90), RGBColor(150, 60, 140)];

impl Plot {
    pub fn new(title: &str, x: Axis, y: Axis, lines: Vec<Line>) -> Plot {
        Plot { title: title.into(), x, y, lines }
    }

    /// Writes it as SVG.
    pub fn draw(&self, path: &Path) -> Result<(), Box<dyn Error>> {
        let (x, mut y) = (self.range(&self.x, |p| p.0), self.range(&self.y, |p| p.1));
        if self.y.base.is_some() {
            // Room for the names of the lines.
            y.start /= 4.0;
        }
        match (self.x.base, self.y.base) {
            (Some(a), Some(b)) => self.draw_on(path, x.log_scale().base(a), y.log_scale().base(b)),
            (Some(a), None) => self.draw_on(path, x.log_scale().base(a), y),
            (None, Some(b)) => self.draw_on(path, x, y.log_scale().base(b)),
            (None, None) => self.draw_on(path, x, y),
        }
    }

    /// From the least to the greatest value, with a margin; a linear axis begins at zero.
    fn range(&self, axis: &Axis, of: impl Fn(&(f64, f64)) -> f64) -> std::ops::Range<f64> {
        let values = self.lines.iter().flat_map(|line| &line.points).map(of);
        let (least, most) =
            values.fold((f64::INFINITY, 0.0f64), |(low, high), v| (low.min(v), high.max(v)));
        if !least.is_finite() {
            return 1.0..2.0;
        }
        if axis.base.is_some() { least / 1.2..most * 1.2 } else { 0.0..most * 1.1 }
    }

    fn draw_on<X, Y>(
        &self,
        path: &Path,
        x: impl AsRangedCoord<CoordDescType = X, Value = f64>,
        y: impl AsRangedCoord<CoordDescType = Y, Value = f64>,
    ) -> Result<(), Box<dyn Error>>
    where
        X: Ranged<ValueType = f64> + ValueFormatter<f64>,
        Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let area = SVGBackend::new(path, (800, 500)).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(&self.title, ("sans-serif", 19))
            .margin(15)
            .x_label_area_size(45)
            .y_label_area_size(70)
            .build_cartesian_2d(x, y)?;
        chart
            .configure_mesh()
            .x_desc(&self.x.label)
            .y_desc(&self.y.label)
            .label_style(("sans-serif", 15))
            .x_label_formatter(&|value| number(*value))
            .y_label_formatter(&|value| number(*value))
            .max_light_lines(1)
            .draw()?;
        for (line, colour) in self.lines.iter().zip(COLOURS.into_iter().cycle()) {
            let colour = if line.dashed { RGBColor(90, 90, 90) } else { colour };
            let style = colour.stroke_width(2);
            let points = line.points.iter().copied();
            let drawn = if line.dashed {
                chart.draw_series(DashedLineSeries::new(points, 7, 5, style))?
            } else {
                let marks = line.points.iter().map(|p| Circle::new(*p, 4, colour.filled()));
                chart.draw_series(marks)?;
                chart.draw_series(LineSeries::new(points, style))?
            };
            let key = move |(x, y)| PathElement::new([(x, y), (x + 22, y)], style);
            drawn.label(&line.name).legend(key);
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerRight)
            .label_font(("sans-serif", 15))
            .background_style(WHITE.mix(0.85))
            .border_style(BLACK.mix(0.3))
            .draw()?;
        area.present()?;
        Ok(())
    }
}

/// As few digits as tell it from its neighbours.
fn number(value: f64) -> String {
    let rounded = (value * 1000.0).round() / 1000.0;
    rounded.to_string()
}
