//! A chart that is being drawn: first what values are held against, then they, then what is marked.

use std::collections::BTreeMap;

use super::axis::{self, Scale};
use super::canvas::{self, Area, Canvas, LETTER, text_width};
use super::{Chart, Color, Legend, Line, MARGIN, ROW, Shade, Shape, Side, entry_width};

const LINE: f64 = 2.0;
const THIN: f64 = 1.0;
/// How much of what is behind a shaded area is covered.
const SHADE: f64 = 0.15;
const STACK: f64 = 0.6;

/// Colours of what is no line.
pub(super) struct Theme {
    pub back: Color,
    grid: Color,
    ink: Color,
}

pub(super) const LIGHT: Theme = Theme {
    back: [255, 255, 255],
    grid: [225, 228, 232],
    ink: [84, 91, 100],
};
pub(super) const DARK: Theme = Theme {
    back: [42, 46, 51],
    grid: [68, 73, 80],
    ink: [213, 219, 219],
};

/// A chart that is being drawn.
pub(super) struct Drawing<'a> {
    pub chart: &'a Chart,
    pub canvas: Canvas,
    pub plot: Area,
    pub left: Scale,
    pub right: Scale,
    pub theme: Theme,
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
    pub(super) fn grid(&mut self, has_right: bool) {
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
    pub(super) fn shades(&mut self) {
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

    pub(super) fn line(&mut self, line: &Line) {
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
    pub(super) fn marks(&mut self) {
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

    pub(super) fn legend(&mut self, area: Area) {
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
