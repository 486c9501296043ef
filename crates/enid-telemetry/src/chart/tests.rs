//! Charts are read back: what is where.

use std::io::Read as _;

use super::*;

const RED: Color = [255, 0, 0];
const GREEN: Color = [0, 255, 0];
const BLUE: Color = [0, 0, 255];
const HOUR: i64 = 3_600_000;

fn chart(lines: Vec<Line>) -> Chart {
    Chart {
        width: 400,
        height: 300,
        title: None,
        start: Timestamp(0),
        end: Timestamp(4 * HOUR),
        offset_ms: 0,
        is_stacked: false,
        is_dark: false,
        legend: Legend::Hidden,
        left: Axis {
            label: None,
            min: Some(0.0),
            max: Some(100.0),
        },
        right: Axis::default(),
        lines,
        levels: Vec::new(),
        moments: Vec::new(),
    }
}

fn line(color: Color, points: &[(i64, f64)]) -> Line {
    let points = points.iter().map(|(hours, value)| (hours * HOUR, *value));
    Line {
        label: "l".to_owned(),
        color,
        side: Side::Left,
        period_ms: HOUR,
        shape: Shape::Line(points.collect()),
    }
}

/// The places of pixels of exactly this colour.
fn found(chart: &Chart, color: Color) -> Vec<(usize, usize)> {
    let file = chart.png();
    let at = file.windows(4).position(|part| part == b"IDAT").unwrap();
    let mut rows = Vec::new();
    let mut packed = flate2::read::ZlibDecoder::new(&file[at + 4..]);
    packed.read_to_end(&mut rows).unwrap();
    let row = usize::from(chart.width) * 3 + 1;
    assert_eq!(rows.len(), row * usize::from(chart.height));
    let mut found = Vec::new();
    for (y, row) in rows.chunks(row).enumerate() {
        for (x, pixel) in row[1..].chunks(3).enumerate() {
            if *pixel == color {
                found.push((x, y));
            }
        }
    }
    found
}

/// The middle of what there is of a colour, and its extent.
fn middle(chart: &Chart, color: Color) -> (f64, f64, usize) {
    let found = found(chart, color);
    assert!(!found.is_empty(), "nothing of {color:?}");
    let count = u32::try_from(found.len()).unwrap();
    let sum = |of: fn(&(usize, usize)) -> usize| {
        let sum: usize = found.iter().map(of).sum();
        f64::from(u32::try_from(sum).unwrap()) / f64::from(count)
    };
    let rows: std::collections::BTreeSet<usize> = found.iter().map(|(_, y)| *y).collect();
    (sum(|(x, _)| *x), sum(|(_, y)| *y), rows.len())
}

#[test]
fn a_line_is_where_its_values_are() {
    let level = |color, value: f64| {
        let points: Vec<(i64, f64)> = (0..=4).map(|hour| (hour, value)).collect();
        line(color, &points)
    };
    let chart = chart(vec![
        level(RED, 0.0),
        level(GREEN, 50.0),
        level(BLUE, 100.0),
    ]);
    let [zero, half, full] = [RED, GREEN, BLUE].map(|color| middle(&chart, color));
    for (_, _, rows) in [zero, half, full] {
        assert!(rows <= 2, "a level line is level");
    }
    assert!(zero.1 > half.1 && half.1 > full.1);
    assert!((half.1 - f64::midpoint(zero.1, full.1)).abs() <= 1.0);
    // 0 lies at the bottom of the plot, whose place the layout tells.
    let (plot, _) = chart.layout(Canvas::new(400, 300, RED).area());
    assert!((zero.1 - f64::from(plot.bottom)).abs() <= 1.5);
    assert!((full.1 - f64::from(plot.top)).abs() <= 1.5);
}

#[test]
fn a_rise_is_where_its_time_is() {
    let chart = chart(vec![line(
        RED,
        &[(0, 10.0), (1, 10.0), (2, 10.0), (3, 90.0), (4, 90.0)],
    )]);
    let found = found(&chart, RED);
    let (plot, _) = chart.layout(Canvas::new(400, 300, RED).area());
    let middle = usize::try_from((plot.top + plot.bottom) / 2).unwrap();
    // It passes the middle between the second and the third hour.
    let crossing = found.iter().find(|(_, y)| *y == middle).unwrap().0;
    let wanted = plot.left + plot.width() * 5 / 8;
    assert!(crossing.abs_diff(usize::try_from(wanted).unwrap()) <= 3);
    let early = found.iter().filter(|(_, y)| *y > middle + 40);
    let last = early.map(|(x, _)| *x).max().unwrap();
    assert!(last < usize::try_from(wanted).unwrap());
}

#[test]
fn a_gap_breaks_a_line() {
    let chart = chart(vec![line(RED, &[(0, 50.0), (1, 50.0), (3, 50.0)])]);
    let (plot, _) = chart.layout(Canvas::new(400, 300, RED).area());
    let at = |share: i32| usize::try_from(plot.left + plot.width() * share / 8).unwrap();
    let columns: std::collections::BTreeSet<usize> =
        found(&chart, RED).into_iter().map(|(x, _)| x).collect();
    assert!(columns.contains(&at(1)), "the first hour is a line");
    assert!(!columns.contains(&at(4)), "nothing is told of the second");
    assert!(columns.contains(&at(6)), "the third is a dot");
}

#[test]
fn stacked_lines_stand_upon_each_other() {
    let mut chart = chart(vec![
        line(RED, &[(0, 30.0), (4, 30.0)]),
        line(GREEN, &[(0, 20.0), (4, 20.0)]),
    ]);
    for line in &mut chart.lines {
        line.period_ms = 4 * HOUR;
    }
    let alone = middle(&chart, GREEN).1;
    chart.is_stacked = true;
    let stacked = middle(&chart, GREEN).1;
    let (plot, _) = chart.layout(Canvas::new(400, 300, RED).area());
    let rise = f64::from(plot.height()) * 0.3;
    assert!((alone - stacked - rise).abs() <= 2.0, "{alone} {stacked}");
}

#[test]
fn marks_and_the_second_axis() {
    let mut chart = chart(vec![line(RED, &[(0, 50.0), (1, 50.0)])]);
    chart.levels.push(Level {
        value: 1.0,
        label: None,
        color: GREEN,
        side: Side::Right,
        shade: Shade::None,
    });
    chart.right = Axis {
        label: None,
        min: Some(0.0),
        max: Some(2.0),
    };
    chart.moments.push(Moment {
        at: Timestamp(2 * HOUR),
        label: None,
        color: BLUE,
        until: None,
    });
    let (plot, _) = chart.layout(Canvas::new(400, 300, RED).area());
    let level = middle(&chart, GREEN);
    let center = f64::midpoint(f64::from(plot.top), f64::from(plot.bottom));
    assert!(
        (level.1 - center).abs() <= 1.5,
        "1 of 2 on its own axis is half"
    );
    let moment = middle(&chart, BLUE);
    let wanted = f64::midpoint(f64::from(plot.left), f64::from(plot.right));
    assert!((moment.0 - wanted).abs() <= 1.5);
}

#[test]
fn the_legend_names_lines_where_it_is_wanted() {
    let mut chart = chart(vec![line(RED, &[(0, 50.0), (4, 50.0)])]);
    let count = |chart: &Chart| found(chart, RED).len();
    let hidden = count(&chart);
    for legend in [Legend::Bottom, Legend::Right] {
        chart.legend = legend;
        assert!(count(&chart) >= hidden.min(40) + 50, "{legend:?}");
    }
}

#[test]
fn any_size_is_an_image() {
    for (width, height) in [(1, 1), (30, 2000), (2000, 20), (600, 400)] {
        let mut chart = chart(vec![line(RED, &[(0, f64::NAN), (1, 1e300), (2, -1e300)])]);
        (chart.width, chart.height) = (width, height);
        chart.title = Some("a title".to_owned());
        chart.legend = Legend::Right;
        chart.left = Axis::default();
        let file = chart.png();
        assert_eq!(&file[16..20], u32::from(width).to_be_bytes());
        assert_eq!(&file[20..24], u32::from(height).to_be_bytes());
    }
}
