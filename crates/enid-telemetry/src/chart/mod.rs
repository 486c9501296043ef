//! Charts of metrics, as PNG: lines or stacked areas over time, two axes, annotations and a legend.
//!
//! Drawn with a hundred lines of our own and a font of 8 by 8 pixels: a drawing library would bring some
//! sixty crates, and a font file of its own, for one operation.

mod axis;
mod canvas;
mod png;

use std::collections::BTreeMap;

use enid_model::time::Timestamp;

pub use canvas::Color;

use self::axis::Scale;
use self::canvas::{Area, Canvas, LETTER, text_width};

/// A chart.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// How wide, in pixels.
    pub width: u16,
    /// How high.
    pub height: u16,
    /// What stands above it.
    pub title: Option<String>,
    /// The time that it shows, from
    pub start: Timestamp,
    /// to.
    pub end: Timestamp,
    /// What clocks show beyond Greenwich.
    pub offset_ms: i64,
    /// Whether lines are stacked upon each other.
    pub is_stacked: bool,
    /// Whether it is light on dark.
    pub is_dark: bool,
    /// Where it says which line is what.
    pub legend: Legend,
    /// The axis on the left.
    pub left: Axis,
    /// The axis on the right, which is there if something goes by it.
    pub right: Axis,
    /// What it shows.
    pub lines: Vec<Line>,
    /// Values that are marked.
    pub levels: Vec<Level>,
    /// Times that are marked.
    pub moments: Vec<Moment>,
}

/// Where a legend is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Legend {
    /// Below.
    #[default]
    Bottom,
    /// Nowhere.
    Hidden,
    /// On the right.
    Right,
}

/// An axis.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Axis {
    /// What stands above it.
    pub label: Option<String>,
    /// Where it starts.
    pub min: Option<f64>,
    /// Where it ends.
    pub max: Option<f64>,
}

/// Which axis something goes by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Side {
    /// The left one.
    #[default]
    Left,
    /// The right one.
    Right,
}

/// What a chart shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// What it is called.
    pub label: String,
    /// Its colour.
    pub color: Color,
    /// Its axis.
    pub side: Side,
    /// How far its points are apart, in milliseconds; where they are farther, the line is broken.
    pub period_ms: i64,
    /// What is shown.
    pub shape: Shape,
}

/// How something is shown.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// As the area between two lines: the bounds at each time.
    Band(BTreeMap<i64, (f64, f64)>),
    /// As a line.
    Line(BTreeMap<i64, f64>),
}

/// A value that is marked.
#[derive(Clone, Debug, PartialEq)]
pub struct Level {
    /// The value.
    pub value: f64,
    /// What is said of it.
    pub label: Option<String>,
    /// Its colour.
    pub color: Color,
    /// Its axis.
    pub side: Side,
    /// What is shaded beside it.
    pub shade: Shade,
}

/// What is shaded beside a value that is marked.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Shade {
    /// What is above.
    Above,
    /// What is below.
    Below,
    /// Nothing.
    #[default]
    None,
    /// What is between it and another value.
    To(f64),
}

/// A time that is marked.
#[derive(Clone, Debug, PartialEq)]
pub struct Moment {
    /// When.
    pub at: Timestamp,
    /// What is said of it.
    pub label: Option<String>,
    /// Its colour.
    pub color: Color,
    /// Up to when it is shaded; nothing, if it is a moment.
    pub until: Option<Timestamp>,
}

/// The colours of lines that have none of their own.
pub const COLORS: [Color; 10] = [
    [0x1f, 0x77, 0xb4],
    [0xff, 0x7f, 0x0e],
    [0x2c, 0xa0, 0x2c],
    [0xd6, 0x27, 0x28],
    [0x94, 0x67, 0xbd],
    [0x8c, 0x56, 0x4b],
    [0xe3, 0x77, 0xc2],
    [0x7f, 0x7f, 0x7f],
    [0xbc, 0xbd, 0x22],
    [0x17, 0xbe, 0xcf],
];

const LINE: f64 = 2.0;
const THIN: f64 = 1.0;
const MARGIN: i32 = 10;
/// Beside an axis, for what is written there.
const AXIS: i32 = 56;
/// A row of writing.
const ROW: i32 = 14;
/// How much of what is behind a shaded area is covered.
const SHADE: f64 = 0.15;
const STACK: f64 = 0.6;

/// Colours of what is no line.
struct Theme {
    back: Color,
    grid: Color,
    ink: Color,
}

const LIGHT: Theme = Theme {
    back: [255, 255, 255],
    grid: [225, 228, 232],
    ink: [84, 91, 100],
};
const DARK: Theme = Theme {
    back: [42, 46, 51],
    grid: [68, 73, 80],
    ink: [213, 219, 219],
};

impl Chart {
    /// The chart as a PNG file.
    #[must_use]
    pub fn png(&self) -> Vec<u8> {
        let theme = if self.is_dark { DARK } else { LIGHT };
        let canvas = Canvas::new(self.width, self.height, theme.back);
        let (plot, legend) = self.layout(canvas.area());
        let lines = self.lines();
        let has_right = lines.iter().any(|line| line.side == Side::Right)
            || self.levels.iter().any(|level| level.side == Side::Right);
        let mut drawing = Drawing {
            left: self.scale(&lines, Side::Left),
            right: self.scale(&lines, Side::Right),
            chart: self,
            canvas,
            plot,
            theme,
        };
        drawing.grid(has_right);
        drawing.shades();
        for line in &lines {
            drawing.line(line);
        }
        drawing.marks();
        drawing.legend(legend);
        drawing.canvas.into_png()
    }

    /// Where lines are drawn, and where the legend is.
    fn layout(&self, whole: Area) -> (Area, Area) {
        let mut plot = Area {
            left: whole.left + AXIS,
            top: whole.top + MARGIN,
            right: whole.right - AXIS,
            bottom: whole.bottom - MARGIN - ROW,
        };
        if self.title.is_some() {
            plot.top += ROW + MARGIN / 2;
        }
        if self.left.label.is_some() || self.right.label.is_some() {
            plot.top += ROW;
        }
        let mut legend = Area {
            left: MARGIN,
            top: whole.bottom,
            right: whole.right - MARGIN,
            bottom: whole.bottom,
        };
        match self.legend {
            Legend::Hidden => {}
            Legend::Bottom => {
                let rows = self.legend_rows(legend.width());
                // A legend takes a third at most: what does not fit is left out.
                let height = (rows * ROW).min(whole.height() / 3);
                plot.bottom -= height;
                legend.top = whole.bottom - height - MARGIN / 2;
                legend.bottom = whole.bottom - MARGIN / 2;
            }
            Legend::Right => {
                let widest = self.lines.iter().map(|line| entry_width(&line.label));
                let width = widest.max().unwrap_or(0).min(whole.width() / 3);
                plot.right -= width;
                legend = Area {
                    left: whole.right - width,
                    top: plot.top,
                    right: whole.right,
                    bottom: whole.bottom - MARGIN,
                };
            }
        }
        (plot, legend)
    }

    fn legend_rows(&self, width: i32) -> i32 {
        let (mut rows, mut used) = (1, 0);
        for line in &self.lines {
            let entry = entry_width(&line.label);
            if used > 0 && used + entry > width {
                rows += 1;
                used = 0;
            }
            used += entry;
        }
        rows
    }

    /// The lines as they are drawn: stacked, each stands upon those before it on its side.
    fn lines(&self) -> Vec<Line> {
        let mut below: [BTreeMap<i64, f64>; 2] = Default::default();
        let stacked = |line: &Line| {
            let Shape::Line(points) = &line.shape else {
                return line.clone();
            };
            let [left, right] = &mut below;
            let below = match line.side {
                Side::Left => left,
                Side::Right => right,
            };
            let band = points.iter().map(|(time, value)| {
                let base = below.get(time).copied().unwrap_or(0.0);
                (*time, (base, base + value))
            });
            let band: BTreeMap<i64, (f64, f64)> = band.collect();
            for (time, (_, top)) in &band {
                below.insert(*time, *top);
            }
            Line {
                shape: Shape::Band(band),
                ..line.clone()
            }
        };
        match self.is_stacked {
            true => self.lines.iter().map(stacked).collect(),
            false => self.lines.clone(),
        }
    }

    fn scale(&self, lines: &[Line], side: Side) -> Scale {
        let axis = match side {
            Side::Left => &self.left,
            Side::Right => &self.right,
        };
        let lines = lines.iter().filter(|line| line.side == side);
        let mut values: Vec<f64> = Vec::new();
        for line in lines {
            match &line.shape {
                Shape::Line(points) => values.extend(points.values()),
                Shape::Band(points) => {
                    values.extend(points.values().flat_map(|(lower, upper)| [*lower, *upper]));
                }
            }
        }
        for level in self.levels.iter().filter(|level| level.side == side) {
            values.push(level.value);
            if let Shade::To(other) = level.shade {
                values.push(other);
            }
        }
        Scale::of(values.into_iter(), axis.min, axis.max)
    }
}

/// A line's entry in the legend: a square, a label and some room.
fn entry_width(label: &str) -> i32 {
    text_width(label) + LETTER * 4
}

/// A chart that is being drawn.
struct Drawing<'a> {
    chart: &'a Chart,
    canvas: Canvas,
    plot: Area,
    left: Scale,
    right: Scale,
    theme: Theme,
}

impl Drawing<'_> {
    fn x(&self, time: i64) -> f64 {
        let chart = self.chart;
        let share = millis(time - chart.start.0) / millis((chart.end.0 - chart.start.0).max(1));
        f64::from(self.plot.left) + share * f64::from(self.plot.width())
    }

    fn y(&self, value: f64, side: Side) -> f64 {
        let scale = match side {
            Side::Left => &self.left,
            Side::Right => &self.right,
        };
        f64::from(self.plot.bottom) - scale.share(value) * f64::from(self.plot.height())
    }

    /// Everything but what is shown: title, axes, and lines to hold values against.
    fn grid(&mut self, has_right: bool) {
        let (plot, chart) = (self.plot, self.chart);
        let (grid, ink) = (self.theme.grid, self.theme.ink);
        if let Some(title) = &chart.title {
            let left = (self.canvas.area().width() - text_width(title)) / 2;
            self.canvas.text(left.max(MARGIN), MARGIN, title, ink);
        }
        if plot.width() == 0 || plot.height() == 0 {
            return;
        }
        for tick in self.left.ticks.clone() {
            let y = crisp(self.y(tick, Side::Left));
            let (from, to) = (f64::from(plot.left), f64::from(plot.right));
            let within = Area {
                bottom: plot.bottom + 1,
                ..plot
            };
            self.canvas.line(within, (from, y), (to, y), THIN, grid);
            let text = axis::shown(tick);
            let x = plot.left - text_width(&text) - LETTER / 2;
            self.canvas
                .text(x, canvas::pixel(y) - LETTER / 2, &text, ink);
        }
        if has_right {
            for tick in self.right.ticks.clone() {
                let y = canvas::pixel(self.y(tick, Side::Right)) - LETTER / 2;
                let text = axis::shown(tick);
                self.canvas.text(plot.right + LETTER / 2, y, &text, ink);
            }
        }
        let above = plot.top - ROW;
        if let Some(label) = &chart.left.label {
            self.canvas.text(MARGIN, above, label, ink);
        }
        if let Some(label) = chart.right.label.as_ref().filter(|_| has_right) {
            let x = self.canvas.area().right - MARGIN - text_width(label);
            self.canvas.text(x, above, label, ink);
        }
        let most = i64::from(plot.width() / (LETTER * 13));
        for (time, text) in axis::times(chart.start, chart.end, chart.offset_ms, most) {
            let x = self.x(time.0);
            let bottom = f64::from(plot.bottom);
            let within = Area {
                bottom: plot.bottom + 4,
                ..plot
            };
            self.canvas
                .line(within, (x, bottom), (x, bottom + 4.0), THIN, ink);
            let left = canvas::pixel(x) - text_width(&text) / 2;
            self.canvas.text(left, plot.bottom + 6, &text, ink);
        }
    }

    /// What is shaded beside marked values and between marked times.
    fn shades(&mut self) {
        let plot = self.plot;
        for level in &self.chart.levels {
            let y = self.y(level.value, level.side);
            let other = match level.shade {
                Shade::Above => f64::from(plot.top),
                Shade::Below => f64::from(plot.bottom),
                Shade::None => continue,
                Shade::To(other) => self.y(other, level.side),
            };
            for x in plot.left..plot.right {
                self.canvas.column(plot, x, (y, other), level.color, SHADE);
            }
        }
        for moment in &self.chart.moments {
            if let Some(until) = moment.until {
                let area = Area {
                    left: canvas::pixel(self.x(moment.at.0)).max(plot.left),
                    right: canvas::pixel(self.x(until.0)).min(plot.right),
                    ..plot
                };
                self.canvas.fill(area, moment.color, SHADE);
            }
        }
    }

    fn line(&mut self, line: &Line) {
        match &line.shape {
            Shape::Line(points) => {
                let points = points.iter();
                let points: Vec<(i64, f64)> = points.map(|(time, y)| (*time, *y)).collect();
                self.strokes(line, &points);
            }
            Shape::Band(points) => {
                for pair in runs(points, line.period_ms) {
                    self.band(line, pair);
                }
                if self.chart.is_stacked {
                    let tops = points.iter().map(|(time, (_, upper))| (*time, *upper));
                    let tops: Vec<(i64, f64)> = tops.collect();
                    self.strokes(line, &tops);
                }
            }
        }
    }

    /// From point to point; a point without neighbours is a dot.
    fn strokes(&mut self, line: &Line, points: &[(i64, f64)]) {
        let place = |drawing: &Self, (time, value): (i64, f64)| {
            (drawing.x(time), drawing.y(value, line.side))
        };
        // A line along the edge is seen as any other.
        let within = Area {
            top: self.plot.top - 1,
            bottom: self.plot.bottom + 1,
            ..self.plot
        };
        let is_near = |from: (i64, f64), to: (i64, f64)| to.0 - from.0 <= line.period_ms;
        for (at, point) in points.iter().enumerate() {
            let here = place(self, *point);
            let before = at.checked_sub(1).and_then(|at| points.get(at));
            let next = points.get(at + 1);
            match next.filter(|next| is_near(*point, **next)) {
                Some(next) => {
                    let there = place(self, *next);
                    self.canvas.line(within, here, there, LINE, line.color);
                }
                None if before.is_some_and(|before| is_near(*before, *point)) => {}
                None => self.canvas.line(within, here, here, LINE * 2.0, line.color),
            }
        }
    }

    /// The area between the bounds of two neighbouring times.
    fn band(&mut self, line: &Line, [from, to]: [(i64, (f64, f64)); 2]) {
        let cover = match self.chart.is_stacked {
            true => STACK,
            false => SHADE * 2.0,
        };
        let (left, right) = (self.x(from.0), self.x(to.0));
        let y = |drawing: &Self, value: f64| drawing.y(value, line.side);
        let (lower, upper) = from.1;
        let (lower, upper) = (y(self, lower), y(self, upper));
        let (next_lower, next_upper) = (y(self, to.1.0), y(self, to.1.1));
        for x in canvas::pixel(left)..canvas::pixel(right).max(canvas::pixel(left) + 1) {
            let share = match right > left {
                true => ((f64::from(x) + 0.5 - left) / (right - left)).clamp(0.0, 1.0),
                false => 0.0,
            };
            let between = |from: f64, to: f64| from + (to - from) * share;
            let bounds = (between(lower, next_lower), between(upper, next_upper));
            self.canvas.column(self.plot, x, bounds, line.color, cover);
        }
    }

    /// Marked values and times, above what is shown.
    fn marks(&mut self) {
        let plot = self.plot;
        let (left, right) = (f64::from(plot.left), f64::from(plot.right));
        let (top, bottom) = (f64::from(plot.top), f64::from(plot.bottom));
        for level in &self.chart.levels {
            let both = match level.shade {
                Shade::To(other) => [Some(level.value), Some(other)],
                _ => [Some(level.value), None],
            };
            for value in both.into_iter().flatten() {
                let y = crisp(self.y(value, level.side));
                self.canvas
                    .line(plot, (left, y), (right, y), THIN, level.color);
            }
            if let Some(label) = &level.label {
                let y = canvas::pixel(self.y(level.value, level.side)) - LETTER - 2;
                let x = plot.left + LETTER / 2;
                self.canvas.text(x, y.max(plot.top), label, level.color);
            }
        }
        for moment in &self.chart.moments {
            for at in [Some(moment.at), moment.until].into_iter().flatten() {
                let x = crisp(self.x(at.0));
                self.canvas
                    .line(plot, (x, top), (x, bottom), THIN, moment.color);
            }
            if let Some(label) = &moment.label {
                let x = canvas::pixel(self.x(moment.at.0)) + 3;
                self.canvas.text(x, plot.top + 2, label, moment.color);
            }
        }
    }

    fn legend(&mut self, area: Area) {
        if self.chart.legend == Legend::Hidden {
            return;
        }
        let (mut x, mut y) = (area.left, area.top);
        for line in &self.chart.lines {
            let entry = entry_width(&line.label);
            let is_full = x > area.left && x + entry > area.right;
            if is_full {
                (x, y) = (area.left, y + ROW);
            }
            if y + LETTER > area.bottom {
                return;
            }
            let square = Area {
                left: x,
                top: y,
                right: x + LETTER,
                bottom: y + LETTER,
            };
            self.canvas.fill(square, line.color, 1.0);
            let ink = self.theme.ink;
            self.canvas
                .text(x + LETTER + LETTER / 2, y, &line.label, ink);
            match self.chart.legend {
                Legend::Right => y += ROW,
                Legend::Bottom | Legend::Hidden => x += entry,
            }
        }
    }
}

type Bounds = (i64, (f64, f64));

/// Neighbouring bounds; one without a neighbour is its own.
fn runs(points: &BTreeMap<i64, (f64, f64)>, period_ms: i64) -> Vec<[Bounds; 2]> {
    let points: Vec<Bounds> = points.iter().map(|(time, of)| (*time, *of)).collect();
    let mut runs = Vec::new();
    for (at, point) in points.iter().enumerate() {
        let is_near = |from: &Bounds, to: &Bounds| to.0 - from.0 <= period_ms;
        let before = at.checked_sub(1).and_then(|at| points.get(at));
        match points.get(at + 1).filter(|next| is_near(point, next)) {
            Some(next) => runs.push([*point, *next]),
            None if before.is_some_and(|before| is_near(before, point)) => {}
            None => runs.push([*point, *point]),
        }
    }
    runs
}

/// The middle of the pixel that a place lies in: a thin line there has sharp edges.
fn crisp(place: f64) -> f64 {
    f64::from(canvas::pixel(place)) + 0.5
}

#[expect(clippy::cast_precision_loss, reason = "spans of a few years")]
fn millis(span: i64) -> f64 {
    span as f64
}

#[cfg(test)]
mod tests;
