//! Lines over periods, as SVG. A line is told from another by colour, by dashes and by its marks, and is named beside the
//! plot; each point says its value.

use std::fmt::Write as _;

use super::{escaped, grouped, percent};

/// The plot's size, in units that the page scales.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 260.0;
/// What is left free around the lines: for the scale, the periods, and half a mark.
const LEFT: f64 = 72.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 36.0;
/// Lines of one plot that can be told apart.
pub const LINES_MAX: usize = 8;
/// Labels under the plot that do not touch each other.
const LABELS_MAX: usize = 6;

/// One plot.
#[derive(Debug)]
pub struct Plot<'a> {
    /// Unique on the page.
    pub id: &'a str,
    /// Its heading.
    pub title: &'a str,
    /// The periods.
    pub labels: &'a [String],
    /// The most points of a line that are marked. Of more each second is, or each third, and those without neighbours.
    pub marks: usize,
    /// At most [`LINES_MAX`].
    pub lines: &'a [Line],
    /// What the values are.
    pub scale: Scale,
}

/// A value for each period; `None` leaves a gap.
#[derive(Debug, Clone)]
pub struct Line {
    /// What it is of.
    pub name: String,
    /// In the order of the periods.
    pub values: Vec<Option<f64>>,
}

/// What the values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Parts of 1.
    Rate,
    /// Whole numbers.
    Count,
}

impl Plot<'_> {
    /// The plot with its heading and the names of its lines.
    #[must_use]
    pub fn svg(&self) -> String {
        let mut out = String::new();
        let Self { id, lines, .. } = self;
        let title = escaped(self.title);
        let _ = write!(
            out,
            "<figure>\n<figcaption>{title}</figcaption>\n<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
             aria-labelledby=\"{id}-t {id}-d\">\n<title id=\"{id}-t\">{title}</title>\n<desc id=\"{id}-d\">{}</desc>\n",
            escaped(&self.described())
        );
        let top = self.top();
        self.grid(&mut out, top);
        for (number, line) in lines.iter().enumerate() {
            self.line(&mut out, number, line, top);
        }
        out.push_str("</svg>\n<ul class=\"legend\">\n");
        for (number, line) in lines.iter().enumerate() {
            let _ = writeln!(
                out,
                "<li class=\"l{number}\"><svg viewBox=\"0 0 32 12\" aria-hidden=\"true\"><path class=\"line\" d=\"M1 \
                 6H31\"/>{}</svg> {}</li>",
                mark(number, 16.0, 6.0),
                escaped(&line.name)
            );
        }
        out.push_str("</ul>\n</figure>\n");
        out
    }

    /// What the plot shows, for those who do not see it: where each line begins and ends.
    fn described(&self) -> String {
        let mut text = String::new();
        for line in self.lines {
            let points = || line.values.iter().zip(self.labels).filter_map(|(value, label)| Some(((*value)?, label)));
            match (points().next(), points().next_back()) {
                (Some((first, from)), Some((last, to))) if from != to => {
                    let (first, last) = (self.shown(first), self.shown(last));
                    let _ = write!(text, "{}: {first} in {from}, {last} in {to}. ", line.name);
                }
                (Some((only, at)), _) => {
                    let _ = write!(text, "{}: {} in {at}. ", line.name, self.shown(only));
                }
                (None, _) => {
                    let _ = write!(text, "{}: nothing to be shown. ", line.name);
                }
            }
        }
        text.push_str("All values stand in the table below.");
        text
    }

    /// The value at the top of the plot.
    fn top(&self) -> f64 {
        let greatest = self.lines.iter().flat_map(|line| line.values.iter().flatten()).copied().fold(0.0, f64::max);
        match self.scale {
            Scale::Rate => 1.0,
            Scale::Count => round_above(greatest),
        }
    }

    fn grid(&self, out: &mut String, top: f64) {
        for quarter in 0..=4_u8 {
            let value = top * f64::from(quarter) / 4.0;
            let y = y(value, top);
            let label = match self.scale {
                Scale::Rate => format!("{:.0} %", value * 100.0),
                Scale::Count => short(rounded(value)),
            };
            let (right, before) = (WIDTH - RIGHT, LEFT - 8.0);
            let _ = writeln!(
                out,
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/><text x=\"{before}\" y=\"{:.1}\" \
                 text-anchor=\"end\">{label}</text>",
                y + 4.0
            );
        }
        let count = self.labels.len();
        let step = count.div_ceil(LABELS_MAX).max(1);
        for (place, label) in self.labels.iter().enumerate().step_by(step) {
            let x = self.x(place);
            let anchor = if count > 1 && place + 1 == count { "end" } else { "middle" };
            // On a narrow screen letters are larger, and every other label has no room.
            let class = if (place / step).is_multiple_of(2) { "" } else { " class=\"alt\"" };
            let label = escaped(label.split(' ').next().unwrap_or(label));
            let _ = writeln!(
                out,
                "<text{class} x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{label}</text>",
                HEIGHT - BOTTOM + 22.0
            );
        }
    }

    fn line(&self, out: &mut String, number: usize, line: &Line, top: f64) {
        let mut path = String::new();
        let mut is_drawn = false;
        for (place, value) in line.values.iter().enumerate() {
            if let Some(value) = value {
                let verb = if is_drawn { 'L' } else { 'M' };
                let _ = write!(path, "{verb}{:.1} {:.1}", self.x(place), y(*value, top));
            }
            is_drawn = value.is_some();
        }
        let _ = writeln!(out, "<g class=\"l{number}\"><path class=\"line\" d=\"{path}\"/>");
        let known = line.values.iter().flatten().count();
        let step = known.div_ceil(self.marks.max(1)).max(1);
        for (place, value) in line.values.iter().enumerate() {
            let Some(value) = value else { continue };
            // Without neighbours a point would not be seen.
            let neighbour =
                |place: Option<usize>| place.and_then(|place| line.values.get(place)).is_some_and(Option::is_some);
            let is_alone = !neighbour(place.checked_sub(1)) && !neighbour(place.checked_add(1));
            if !place.is_multiple_of(step) && !is_alone {
                continue;
            }
            let label = self.labels.get(place).map_or("", String::as_str);
            let said = escaped(&format!("{}, {label}: {}", line.name, self.shown(*value)));
            let _ = writeln!(out, "<g><title>{said}</title>{}</g>", mark(number, self.x(place), y(*value, top)));
        }
        out.push_str("</g>\n");
    }

    fn x(&self, place: usize) -> f64 {
        let span = WIDTH - LEFT - RIGHT;
        if self.labels.len() < 2 {
            return LEFT + span / 2.0;
        }
        LEFT + span * as_f64(place) / as_f64(self.labels.len() - 1)
    }

    fn shown(&self, value: f64) -> String {
        match self.scale {
            Scale::Rate => percent(value),
            Scale::Count => grouped(rounded(value)),
        }
    }
}

fn y(value: f64, top: f64) -> f64 {
    let span = HEIGHT - TOP - BOTTOM;
    TOP + span * (1.0 - (value / top).clamp(0.0, 1.0))
}

/// A mark whose form tells its line from the others.
fn mark(number: usize, x: f64, y: f64) -> String {
    match number % 4 {
        0 => format!("<circle class=\"mark\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"/>"),
        1 => format!("<rect class=\"mark\" x=\"{:.1}\" y=\"{:.1}\" width=\"8\" height=\"8\"/>", x - 4.0, y - 4.0),
        2 => format!("<path class=\"mark\" d=\"M{x:.1} {:.1}l5 9h-10z\"/>", y - 6.0),
        _ => format!("<path class=\"mark\" d=\"M{x:.1} {:.1}l5 5l-5 5l-5-5z\"/>", y - 5.0),
    }
}

/// A count beside the plot, where there is little room.
fn short(count: u64) -> String {
    let (whole, tenth, unit) = match count {
        0..10_000 => return grouped(count),
        10_000..10_000_000 => (count / 1000, count % 1000 / 100, "k"),
        _ => (count / 1_000_000, count % 1_000_000 / 100_000, "M"),
    };
    let tenth = if tenth == 0 { String::new() } else { format!(".{tenth}") };
    format!("{}{tenth} {unit}", grouped(whole))
}

/// The next value above whose quarters are whole numbers that read well.
fn round_above(value: f64) -> f64 {
    let mut step = 1.0;
    loop {
        for part in [1.0, 2.0, 2.5, 5.0] {
            let quarter: f64 = step * part;
            if quarter.fract() == 0.0 && quarter * 4.0 >= value {
                return quarter * 4.0;
            }
        }
        step *= 10.0;
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts are not negative, and far below what fits"
)]
fn rounded(value: f64) -> u64 {
    value.round() as u64
}

#[allow(clippy::cast_precision_loss, reason = "a thousand periods at most")]
const fn as_f64(place: usize) -> f64 {
    place as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_ends_at_a_round_number_above() {
        for (value, top) in [(0.0, 4.0), (4.0, 4.0), (5.0, 8.0), (9.0, 20.0), (101.0, 200.0), (801.0, 1000.0)] {
            assert!((round_above(value) - top).abs() < f64::EPSILON, "{value}: {}", round_above(value));
        }
    }

    #[test]
    fn counts_beside_the_plot_are_short() {
        let shown = [0, 9999, 12_500, 50_000, 2_500_000, 12_000_000].map(short);
        assert_eq!(shown, ["0", "9\u{202f}999", "12.5 k", "50 k", "2\u{202f}500 k", "12 M"]);
    }

    #[test]
    fn a_gap_is_not_bridged_and_lone_points_are_seen() {
        let labels: Vec<String> = (0..3).map(|place| place.to_string()).collect();
        let lines = [Line { name: "<one>".to_owned(), values: vec![Some(0.5), None, Some(1.0)] }];
        let plot = Plot { id: "x", title: "t", labels: &labels, marks: 60, lines: &lines, scale: Scale::Rate };
        let svg = plot.svg();
        assert_eq!(svg.matches("<circle").count(), 3, "two points and the legend's");
        assert!(!svg.contains('L'), "{svg}");
        assert!(svg.contains("&lt;one&gt;: 50.0 % in 0, 100.0 % in 2.") && !svg.contains("<one>"), "{svg}");
    }
}
