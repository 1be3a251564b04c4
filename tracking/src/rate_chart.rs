//! The loss against a rising learning rate, as an SVG picture of its own.

use std::fmt::Write;
use trainer::{RateSearch, RateStep};

/// The picture, and the part of it between the axes.
const SIZE: [f64; 2] = [720.0, 420.0];
const LEFT: f64 = 64.0;
const RIGHT: f64 = 700.0;
const TOP: f64 = 48.0;
const BOTTOM: f64 = 370.0;

/// Lines across for the losses.
const LINES: usize = 5;

/// A picture of the search: the loss of each step as a dot, the smoothed loss as a line, the suggestion as a line
/// down.
#[must_use]
pub fn rate_chart(search: &RateSearch) -> String {
    let [width, height] = SIZE;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"13\" fill=\"#5d6778\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"26\" font-size=\"16\" font-weight=\"600\" fill=\"#1b2230\">Loss against learning \
         rate</text>\n"
    );
    match search.steps.as_slice() {
        [] => {
            let _ = writeln!(out, "<text x=\"{LEFT}\" y=\"{TOP}\">No step was taken.</text>");
        }
        steps => draw(search, steps, &mut out),
    }
    out + "</svg>\n"
}

fn draw(search: &RateSearch, steps: &[RateStep], out: &mut String) {
    let first = steps[0].rate.log10();
    let last = steps[steps.len() - 1].rate.log10().max(first + 1e-3);
    // The losses as they were may leave the picture, the smoothed ones do not.
    let smoothed = || steps.iter().map(|step| step.smoothed);
    let (low, high) = (smoothed().fold(f64::INFINITY, f64::min), smoothed().fold(0.0, f64::max));
    let margin = (0.08 * (high - low)).max(1e-3 * high).max(1e-9);
    let (low, high) = ((low - margin).max(0.0), high + margin);
    let x = |rate: f64| LEFT + (rate.log10() - first) / (last - first) * (RIGHT - LEFT);
    let y = |loss: f64| BOTTOM - (loss - low) / (high - low) * (BOTTOM - TOP);
    for i in 0..=LINES {
        let loss = low + (high - low) * i as f64 / LINES as f64;
        let at = y(loss);
        let _ = writeln!(
            out,
            "<path d=\"M{LEFT} {at:.1}H{RIGHT}\" stroke=\"#e1e5eb\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{loss:.2}</text>",
            LEFT - 8.0,
            at + 4.0
        );
    }
    for power in first.ceil() as i32..=last.floor() as i32 {
        let at = x(10f64.powi(power));
        let _ = writeln!(
            out,
            "<path d=\"M{at:.1} {TOP}V{BOTTOM}\" stroke=\"#e1e5eb\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">1e{power}</text>",
            BOTTOM + 20.0
        );
    }
    let _ = writeln!(
        out,
        "<text x=\"{RIGHT}\" y=\"{:.1}\" text-anchor=\"end\">learning rate, logarithmic</text>",
        BOTTOM + 40.0
    );
    for step in steps.iter().filter(|step| (low..=high).contains(&step.loss)) {
        let (a, b) = (x(step.rate), y(step.loss));
        let _ = write!(out, "<circle cx=\"{a:.1}\" cy=\"{b:.1}\" r=\"1.8\" fill=\"#a9c1ea\"/>");
    }
    out.push_str("\n<path fill=\"none\" stroke=\"#2a66c8\" stroke-width=\"2\" d=\"");
    for (i, step) in steps.iter().enumerate() {
        let command = if i == 0 { 'M' } else { 'L' };
        let _ = write!(out, "{command}{:.1} {:.1}", x(step.rate), y(step.smoothed));
    }
    out.push_str("\"/>\n");
    if let Some(rate) = search.suggestion {
        let at = x(rate);
        let anchor = if at > 0.5 * (LEFT + RIGHT) { "end" } else { "start" };
        let _ = writeln!(
            out,
            "<path d=\"M{at:.1} {TOP}V{BOTTOM}\" stroke=\"#c4570c\" stroke-dasharray=\"5 4\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\" fill=\"#c4570c\">suggestion: {rate:.1e}</text>",
            TOP - 6.0
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the losses are, every number is one, and what must be drawn lies on the paper.
    #[test]
    fn any_search_is_drawn_on_the_paper() {
        let search = |losses: &[f64], suggestion| RateSearch {
            steps: (losses.iter().enumerate())
                .map(|(i, &loss)| RateStep {
                    rate: 1e-6 * 2f64.powi(i as i32),
                    loss,
                    smoothed: loss,
                })
                .collect(),
            suggestion,
        };
        for losses in [&[][..], &[2.3], &[0.0, 0.0], &[2.0, 1.0, 8.0], &[1e30, 1e-30, 1e38]] {
            let svg = rate_chart(&search(losses, losses.first().map(|_| 1e-6)));
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            assert_eq!(svg.contains("suggestion: 1.0e-6"), !losses.is_empty());
            for path in svg.split(" d=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
                for number in path.split(|c: char| !"-.0123456789".contains(c)) {
                    let at: f64 = if number.is_empty() { 0.0 } else { number.parse().unwrap() };
                    assert!((0.0..=SIZE[0]).contains(&at), "{losses:?}: {path}");
                }
            }
        }
    }
}
