//! Charts of metrics, as PNG: lines or stacked areas over time, two axes, annotations and a legend.
//!
//! Drawn with a hundred lines of our own and a font of 8 by 8 pixels: a drawing library would bring some
//! sixty crates, and a font file of its own, for one operation.

mod axis;
mod canvas;
mod drawing;
mod png;

use std::collections::BTreeMap;

use enid_model::time::Timestamp;

pub use canvas::Color;

use self::axis::Scale;
use self::canvas::{Area, Canvas, LETTER, text_width};
use self::drawing::{DARK, Drawing, LIGHT};

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

const MARGIN: i32 = 10;
/// Beside an axis, for what is written there.
const AXIS: i32 = 56;
/// A row of writing.
const ROW: i32 = 14;

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

#[cfg(test)]
mod tests;
