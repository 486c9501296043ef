//! What a chart is drawn on: pixels, straight lines with soft edges, rectangles and small letters.

use font8x8::UnicodeFonts as _;

/// A colour: red, green, blue.
pub type Color = [u8; 3];

/// The side of a letter's square.
pub(super) const LETTER: i32 = 8;

/// An image in the making.
pub(super) struct Canvas {
    width: i32,
    height: i32,
    pixels: Vec<u8>,
}

/// A part of the canvas. Empty if its sides are not positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Area {
    pub left: i32,
    pub top: i32,
    pub right: i32,
    pub bottom: i32,
}

impl Area {
    pub(super) fn width(self) -> i32 {
        (self.right - self.left).max(0)
    }

    pub(super) fn height(self) -> i32 {
        (self.bottom - self.top).max(0)
    }
}

impl Canvas {
    /// A canvas of one colour.
    pub(super) fn new(width: u16, height: u16, color: Color) -> Self {
        let count = usize::from(width) * usize::from(height);
        Self {
            width: width.into(),
            height: height.into(),
            pixels: color.repeat(count),
        }
    }

    pub(super) fn area(&self) -> Area {
        Area {
            left: 0,
            top: 0,
            right: self.width,
            bottom: self.height,
        }
    }

    pub(super) fn into_png(self) -> Vec<u8> {
        let side = |side: i32| u32::try_from(side).unwrap_or(0);
        super::png::encode(side(self.width), side(self.height), &self.pixels)
    }

    /// Lays a colour over a pixel; 1 covers it.
    fn blend(&mut self, x: i32, y: i32, color: Color, cover: f64) {
        if x < 0 || y < 0 || x >= self.width || y >= self.height {
            return;
        }
        let at = usize::try_from(y * self.width + x).unwrap_or(0) * 3;
        let cover = cover.clamp(0.0, 1.0);
        for (pixel, color) in self.pixels.iter_mut().skip(at).zip(color) {
            let mixed = f64::from(*pixel) * (1.0 - cover) + f64::from(color) * cover;
            *pixel = byte(mixed);
        }
    }

    /// Fills a part.
    pub(super) fn fill(&mut self, area: Area, color: Color, cover: f64) {
        let whole = self.area();
        for y in area.top.max(0)..area.bottom.min(whole.bottom) {
            for x in area.left.max(0)..area.right.min(whole.right) {
                self.blend(x, y, color, cover);
            }
        }
    }

    /// Fills a column from one height to another, wherever it lies within a part.
    pub(super) fn column(
        &mut self,
        within: Area,
        x: i32,
        (top, bottom): (f64, f64),
        color: Color,
        cover: f64,
    ) {
        let (top, bottom) = (top.min(bottom), top.max(bottom));
        let area = Area {
            left: x,
            right: x + 1,
            top: pixel(top).max(within.top),
            bottom: pixel(bottom).min(within.bottom),
        };
        if x >= within.left && x < within.right {
            self.fill(area, color, cover);
        }
    }

    /// A straight line, as far as it lies within a part.
    pub(super) fn line(
        &mut self,
        within: Area,
        from: (f64, f64),
        to: (f64, f64),
        width: f64,
        color: Color,
    ) {
        let reach = width / 2.0 + 1.0;
        let left = pixel(from.0.min(to.0) - reach).max(within.left);
        let right = (pixel(from.0.max(to.0) + reach) + 1).min(within.right);
        let top = pixel(from.1.min(to.1) - reach).max(within.top);
        let bottom = (pixel(from.1.max(to.1) + reach) + 1).min(within.bottom);
        for y in top..bottom {
            for x in left..right {
                let middle = (f64::from(x) + 0.5, f64::from(y) + 0.5);
                let cover = width / 2.0 + 0.5 - distance(middle, from, to);
                if cover > 0.0 {
                    self.blend(x, y, color, cover);
                }
            }
        }
    }

    /// Letters, from a corner on. What the font does not have is a question mark.
    pub(super) fn text(&mut self, x: i32, y: i32, text: &str, color: Color) {
        for (number, letter) in (0_i32..).zip(text.chars()) {
            let left = x + number * LETTER;
            if left >= self.width {
                return;
            }
            let glyph = font8x8::BASIC_FONTS
                .get(letter)
                .or_else(|| font8x8::LATIN_FONTS.get(letter))
                .or_else(|| font8x8::BASIC_FONTS.get('?'));
            for (row, bits) in (0_i32..).zip(glyph.unwrap_or_default()) {
                for column in 0..LETTER {
                    if bits >> column & 1 == 1 {
                        self.blend(left + column, y + row, color, 1.0);
                    }
                }
            }
        }
    }
}

/// How wide a text is.
pub(super) fn text_width(text: &str) -> i32 {
    i32::try_from(text.chars().count())
        .unwrap_or(i32::MAX / LETTER)
        .saturating_mul(LETTER)
}

/// From a point to the nearest of a line.
fn distance(point: (f64, f64), from: (f64, f64), to: (f64, f64)) -> f64 {
    let (dx, dy) = (to.0 - from.0, to.1 - from.1);
    let length = dx * dx + dy * dy;
    let share = match length > 0.0 {
        true => ((point.0 - from.0) * dx + (point.1 - from.1) * dy) / length,
        false => 0.0,
    };
    let share = share.clamp(0.0, 1.0);
    let (x, y) = (from.0 + dx * share, from.1 + dy * share);
    (point.0 - x).hypot(point.1 - y)
}

/// The pixel that a place lies in; one far off is as good as any other.
pub(super) fn pixel(place: f64) -> i32 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "within bounds; what is no number becomes 0"
    )]
    let pixel = place.floor().clamp(-1e6, 1e6) as i32;
    pixel
}

fn byte(value: f64) -> u8 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "within bounds"
    )]
    let byte = value.round().clamp(0.0, 255.0) as u8;
    byte
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHITE: Color = [255; 3];
    const BLACK: Color = [0; 3];

    fn at(canvas: &Canvas, x: usize, y: usize) -> u8 {
        canvas.pixels[(y * 20 + x) * 3]
    }

    #[test]
    fn a_line_is_where_it_is_drawn() {
        let mut canvas = Canvas::new(20, 20, WHITE);
        let within = canvas.area();
        canvas.line(within, (2.0, 10.5), (15.0, 10.5), 1.0, BLACK);
        for x in 3..14 {
            assert_eq!((at(&canvas, x, 10), at(&canvas, x, 8)), (0, 255), "{x}");
        }
        assert_eq!(at(&canvas, 18, 10), 255);
        // What is outside its part is not drawn, and nothing is drawn outside the canvas.
        let part = Area {
            bottom: 5,
            ..within
        };
        canvas.line(part, (5.5, -100.0), (5.5, 1e9), 1.0, BLACK);
        assert_eq!((at(&canvas, 5, 3), at(&canvas, 5, 6)), (0, 255));
        canvas.line(within, (f64::NAN, 1.0), (1e300, 1.0), 1.0, BLACK);
    }

    #[test]
    fn letters_differ() {
        let draw = |text: &str| {
            let mut canvas = Canvas::new(20, 20, WHITE);
            canvas.text(1, 1, text, BLACK);
            canvas.pixels
        };
        assert_ne!(draw("A"), draw("B"));
        assert_ne!(draw(" "), draw("é"));
        assert_eq!(draw("\u{1F600}"), draw("?"));
        assert_eq!(text_width("abc"), 24);
    }

    #[test]
    fn covers_mix() {
        let mut canvas = Canvas::new(20, 20, WHITE);
        let area = Area {
            left: 0,
            top: 0,
            right: 2,
            bottom: 100,
        };
        canvas.fill(area, BLACK, 0.5);
        assert_eq!((at(&canvas, 1, 19), at(&canvas, 2, 19)), (128, 255));
        assert!(canvas.into_png().starts_with(b"\x89PNG"));
    }
}
