//! Line charts as SVG.

use super::format::{escape, si};
use std::fmt::Write;

/// The drawing is this large in its own units; a page scales it. Text is 12 units high.
const WIDTH: f64 = 440.0;
const HEIGHT: f64 = 250.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 216.0;
const RIGHT: f64 = WIDTH - 10.0;

/// Width of a digit, on average; the style sheet has larger ones for small screens.
const DIGIT: f64 = 8.0;

/// Nothing that is larger is drawn, so that differences and quotients of what is are numbers.
const LARGEST: f64 = 1e30;

/// Points of a line that are drawn at most; of more, the extremes of neighbours.
const POINTS: usize = 400;

/// Lines over a common pair of axes.
pub(crate) struct Chart<'a> {
    /// What it shows, for those who do not see it.
    pub title: &'a str,
    /// What is measured upwards, with its unit.
    pub measure: &'a str,
    /// Where the epochs end.
    pub last: f64,
    /// Whether the measure starts at zero.
    pub from_zero: bool,
    /// Whether it may be drawn by its logarithm, where values are of different orders.
    pub logarithmic: bool,
    /// The lines, those in the background first.
    pub lines: Vec<Line<'a>>,
    /// What is said of a place along the epochs.
    pub notes: Vec<(f64, String)>,
}

/// A line.
pub(crate) struct Line<'a> {
    /// Its class in the style sheet, which gives its colour.
    pub class: &'a str,
    /// Its name in the legend.
    pub name: &'a str,
    /// Epoch and value; those that are not finite, or beyond all measure, are left out.
    pub points: Vec<(f64, f64)>,
}

/// From a value to a place, and where ticks are.
struct Axis {
    low: f64,
    high: f64,
    /// The ends on paper.
    from: f64,
    to: f64,
    logarithmic: bool,
    ticks: Vec<f64>,
}

impl Chart<'_> {
    /// A figure with its legend.
    pub(crate) fn html(&self) -> String {
        let mut lines: Vec<(&Line, Vec<(f64, f64)>)> = vec![];
        for line in &self.lines {
            let drawn =
                |point: &(f64, f64)| [point.0, point.1].into_iter().all(|v| v.abs() < LARGEST);
            let points: Vec<_> = line.points.iter().copied().filter(drawn).collect();
            if !points.is_empty() {
                lines.push((line, points));
            }
        }
        let mut out = String::from("<figure class=\"chart\"><figcaption>");
        let _ = write!(out, "<b>{}</b>", escape(self.title));
        if lines.len() > 1 {
            for (line, _) in &lines {
                let (class, name) = (line.class, escape(line.name));
                let _ = write!(out, "<span class=\"key {class}\">{name}</span>");
            }
        }
        out.push_str("</figcaption>");
        if lines.is_empty() {
            out.push_str("<p class=\"absent\">Nothing was measured.</p>");
        } else {
            self.draw(&lines, &mut out);
        }
        out.push_str("</figure>\n");
        out
    }

    fn draw(&self, lines: &[(&Line, Vec<(f64, f64)>)], out: &mut String) {
        let all = || lines.iter().flat_map(|(_, points)| points);
        let y = self.measure_axis(all().map(|point| point.1));
        let labels: Vec<String> = y.ticks.iter().map(|&tick| y.label(tick)).collect();
        let widest = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0);
        let left = 10.0 + DIGIT * widest as f64;
        let last = all().map(|point| point.0).fold(self.last.max(1.0), f64::max);
        let x = Axis::epochs(last, left + 6.0, RIGHT);

        let _ = write!(
            out,
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
            escape(self.title)
        );
        for (tick, label) in y.ticks.iter().zip(&labels) {
            let (at, text) = (y.place(*tick), left - 6.0);
            let _ = write!(
                out,
                "<path class=\"grid\" d=\"M{left:.1} {at:.1}H{RIGHT}\"/>\
                 <text class=\"tick end\" x=\"{text:.1}\" y=\"{:.1}\">{label}</text>",
                at + 4.0
            );
        }
        for &tick in &x.ticks {
            let (at, label, below) = (x.place(tick), x.label(tick), BOTTOM + 17.0);
            let _ = write!(out, "<text class=\"tick\" x=\"{at:.1}\" y=\"{below}\">{label}</text>");
        }
        let _ = write!(
            out,
            "<path class=\"axis\" d=\"M{left:.1} {BOTTOM}H{RIGHT}\"/>\
             <text class=\"unit\" x=\"0\" y=\"12\">{}{}</text>\
             <text class=\"unit end\" x=\"{RIGHT}\" y=\"{}\">epoch</text>",
            escape(self.measure),
            if y.logarithmic { ", logarithmic" } else { "" },
            HEIGHT - 2.0
        );
        for (line, points) in lines {
            draw_line(line.class, points, &x, &y, out);
        }
        self.draw_notes(&x, left, out);
        out.push_str("</svg>");
    }

    /// What a pointer is told: over each place a strip that nobody sees.
    fn draw_notes(&self, x: &Axis, left: f64, out: &mut String) {
        let middle = |a: f64, b: f64| 0.5 * (x.place(a) + x.place(b));
        for (i, (at, note)) in self.notes.iter().enumerate() {
            let from = i.checked_sub(1).map_or(left, |before| middle(self.notes[before].0, *at));
            let to = self.notes.get(i + 1).map_or(RIGHT, |after| middle(*at, after.0));
            let (width, height) = ((to - from).max(0.0), BOTTOM - TOP);
            let _ = write!(
                out,
                "<rect class=\"note\" x=\"{from:.1}\" y=\"{TOP}\" width=\"{width:.1}\" \
                 height=\"{height}\"><title>{}</title></rect>",
                escape(note)
            );
        }
    }

    fn measure_axis(&self, values: impl Iterator<Item = f64>) -> Axis {
        let [mut low, mut high] = [f64::INFINITY, f64::NEG_INFINITY];
        for value in values {
            (low, high) = (low.min(value), high.max(value));
        }
        let (from, to) = (BOTTOM, TOP);
        if self.logarithmic && low > 1.0 / LARGEST && high / low > 8.0 {
            let [low, high] = [0.9 * low, 1.1 * high];
            let ticks = logarithmic_ticks(low, high);
            let [low, high] = [low, high].map(f64::log10);
            return Axis { low, high, from, to, logarithmic: true, ticks };
        }
        if self.from_zero {
            (low, high) = (low.min(0.0), high.max(0.0));
        }
        if high - low <= (1e-9 * high.abs().max(low.abs())).max(1.0 / LARGEST) {
            let room = if high.abs() < 1.0 / LARGEST { 1.0 } else { 0.1 * high.abs() };
            (low, high) = (low - room, high + room);
        }
        let step = nice_step(high - low, 5);
        (low, high) = ((low / step).floor() * step, (high / step).ceil() * step);
        let count = ((high - low) / step).round() as usize;
        let ticks = (0..=count).map(|i| low + i as f64 * step).collect();
        Axis { low, high, from, to, logarithmic: false, ticks }
    }
}

impl Axis {
    fn epochs(last: f64, from: f64, to: f64) -> Axis {
        let step = nice_step(last, 8).max(1.0);
        let ticks = (0..=(last / step) as usize).map(|i| i as f64 * step).collect();
        Axis { low: 0.0, high: last, from, to, logarithmic: false, ticks }
    }

    fn place(&self, value: f64) -> f64 {
        let value = if self.logarithmic { value.log10() } else { value };
        self.from + (value - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    fn label(&self, tick: f64) -> String {
        let step = if self.logarithmic { tick } else { self.ticks[1] - self.ticks[0] };
        si(tick, step)
    }
}

/// The line, and its points where there are few.
fn draw_line(class: &str, points: &[(f64, f64)], x: &Axis, y: &Axis, out: &mut String) {
    let place = |&(a, b): &(f64, f64)| (x.place(a), y.place(b));
    let points: Vec<(f64, f64)> = thinned(points).iter().map(place).collect();
    let _ = write!(out, "<path class=\"line {class}\" d=\"");
    for (i, (a, b)) in points.iter().enumerate() {
        let command = if i == 0 { 'M' } else { 'L' };
        let _ = write!(out, "{command}{a:.1} {b:.1}");
    }
    out.push_str("\"/>");
    if points.len() <= 30 {
        for (a, b) in &points {
            let _ =
                write!(out, "<circle class=\"{class}\" cx=\"{a:.1}\" cy=\"{b:.1}\" r=\"2.6\"/>");
        }
    }
}

/// Of runs of neighbours the lowest and the highest, in their order.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if points.len() <= POINTS {
        return points.to_vec();
    }
    let mut kept = vec![];
    for run in points.chunks((2 * points.len()).div_ceil(POINTS)) {
        let by_value = |&a: &usize, &b: &usize| run[a].1.total_cmp(&run[b].1);
        let lowest = (0..run.len()).min_by(by_value).unwrap_or(0);
        let highest = (0..run.len()).max_by(by_value).unwrap_or(0);
        kept.push(run[lowest.min(highest)]);
        if lowest != highest {
            kept.push(run[lowest.max(highest)]);
        }
    }
    kept
}

/// 1, 2 or 5 times a power of ten, of which the range holds about as many as asked for.
fn nice_step(range: f64, count: usize) -> f64 {
    let rough = range / count as f64;
    let power = 10f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= 0.999 * rough);
    factor.unwrap_or(10.0) * power
}

/// Powers of ten within the range, in a range of few also twice and five times them.
fn logarithmic_ticks(low: f64, high: f64) -> Vec<f64> {
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    let step = ((last - first) / 8 + 1) as usize;
    let factors: &[f64] = if last - first <= 3 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let powers = (first..=last).step_by(step).map(|power| 10f64.powi(power));
    let ticks = powers.flat_map(|power| factors.iter().map(move |factor| factor * power));
    ticks.filter(|tick| (low..=high).contains(tick)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(f64, f64)>) -> Chart<'static> {
        Chart {
            title: "loss",
            measure: "nats",
            last: 1.0,
            from_zero: true,
            logarithmic: true,
            lines: vec![Line { class: "training", name: "training", points }],
            notes: vec![],
        }
    }

    fn ticks(values: &[f64]) -> Vec<String> {
        let axis = chart(vec![]).measure_axis(values.iter().copied());
        axis.ticks.iter().map(|&tick| axis.label(tick)).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(ticks(&[0.3, 2.3]), ["0", "0.5", "1.0", "1.5", "2.0", "2.5"]);
        assert_eq!(ticks(&[0.15, 2.3]), ["0.2", "0.5", "1", "2"]);
        assert_eq!(ticks(&[251_000.0]), ["0", "100k", "200k", "300k"]);
        assert_eq!(ticks(&[1e-5, 0.1]), ["1e-5", "1e-4", "0.001", "0.01", "0.1"]);
        assert_eq!(ticks(&[0.0]).len(), 5);
        assert_eq!(Axis::epochs(1.0, 0.0, 1.0).ticks, [0.0, 1.0]);
        assert_eq!(Axis::epochs(16.0, 0.0, 1.0).ticks.len(), 9);
    }

    /// Every number that is drawn is one, and lies on the paper.
    #[test]
    fn any_values_are_drawn_on_the_paper() {
        let cases = [
            vec![],
            vec![(1.0, 0.5)],
            vec![(1.0, 0.0), (2.0, 0.0)],
            vec![(1.0, f64::NAN), (2.0, f64::INFINITY)],
            vec![(1.0, 1e-300), (2.0, 1e300)],
            vec![(1.0, 1e-29), (2.0, 9e29)],
            vec![(1.0, -9e29), (2.0, 9e29)],
            vec![(1.0, 1.0), (2.0, 1.0 + 1e-9)],
            vec![(1.0, -1e308), (2.0, 1e308)],
            vec![(1.0, 5e-324), (2.0, 5e-324)],
            (0..100_000).map(|i| (i as f64, 1.0 / (1.0 + i as f64))).collect(),
        ];
        for points in cases {
            let first = points.first().copied();
            let html = chart(points).html();
            assert!(!html.contains("NaN") && !html.contains("inf"), "{first:?}: {html}");
            assert!(html.len() < 20_000);
            for path in html.split(" d=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
                for number in path.split(|c: char| !"-.0123456789".contains(c)) {
                    let at: f64 = if number.is_empty() { 0.0 } else { number.parse().unwrap() };
                    assert!((0.0..=WIDTH).contains(&at), "{first:?}: {path}");
                }
            }
        }
    }
}
