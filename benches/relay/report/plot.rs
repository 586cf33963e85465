//! Plots as SVG: relay rate against connections, and accept latency against offered load.
//!
//! A line a system, always in the same colour; a vertical stroke goes from the least to the greatest repeat. Text is text, no font is
//! needed to write it.

use plotters::chart::ChartContext;
use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use super::figure::{Figure, Unit, significant};
use super::results::{Measurement, Results, Spread, show_size};
use crate::scenario::{OPEN_LOOP, RELAY};

/// One line of a plot.
struct Line {
    name: String,
    color: RGBColor,
    /// Pixels of a dash; `None`: a full line.
    dash: Option<u32>,
    /// x, and y over the repeats.
    points: Vec<(f64, Spread)>,
}

/// What stands around the lines.
struct Words<'a> {
    title: &'a str,
    x: &'a str,
    y: &'a str,
}

/// Width and height in pixels.
const SIZE: (u32, u32) = (960, 520);

/// Pixels for the legend, of a sample of a line in it, and between two dashes.
const LEGEND_WIDTH: i32 = 170;
const SAMPLE: u32 = 24;
const GAP: u32 = 5;

/// Okabe and Ito: told apart by people who see fewer colours, too.
const COLORS: [(&str, RGBColor); 5] = [
    ("no relay", RGBColor(120, 120, 120)),
    ("Onward", RGBColor(213, 94, 0)),
    ("Postfix", RGBColor(0, 114, 178)),
    ("Exim", RGBColor(0, 158, 115)),
    ("OpenSMTPD", RGBColor(204, 121, 167)),
];

/// Relay rate against connections, for the size that was measured at the most numbers of connections.
///
/// `None` when there is not one line with two points.
pub(crate) fn throughput(results: &Results) -> Option<String> {
    let rows: Vec<&Measurement> = rows(results, RELAY);
    let sizes = rows.iter().map(|row| row.point.size);
    let size = sizes
        .clone()
        .max_by_key(|size| sizes.clone().filter(|other| other == size).count())?;
    let of_size = rows.iter().filter(|row| row.point.size == size);
    let mut lines: Vec<Line> = Vec::new();
    for row in of_size {
        let Some(rate) = row.spread(Figure::Rate) else {
            continue;
        };
        add(
            &mut lines,
            &row.system,
            None,
            row.point.connections as f64,
            rate,
        );
    }
    let title = format!("Relay rate: forward + SRS, {}", show_size(size));
    let words = Words {
        title: &title,
        x: "connections",
        y: "messages delivered per second",
    };
    chart(&words, lines, Scale::Linear)
}

/// Accept latency against offered load: median full, 99 % and 99.9 % dashed. `None` when there are no two points.
pub(crate) fn latency(results: &Results) -> Option<String> {
    let mut lines = Vec::new();
    for row in rows(results, OPEN_LOOP) {
        let Some(offered) = row.spread(Figure::Offered) else {
            continue;
        };
        let figures = [
            (None, Figure::AcceptP50),
            (Some(12), Figure::AcceptP99),
            (Some(6), Figure::AcceptP999),
        ];
        for (dash, figure) in figures {
            if let Some(spread) = row.spread(figure) {
                let name = format!("{} {}", row.system, &figure.title()["accept ".len()..]);
                add(&mut lines, &name, dash, offered.median, spread);
            }
        }
    }
    let words = Words {
        title: "Accept latency, from the intended send time to the 250",
        x: "offered load, messages per second",
        y: "milliseconds",
    };
    chart(&words, lines, Scale::Log)
}

fn rows<'a>(results: &'a Results, scenario: &str) -> Vec<&'a Measurement> {
    let rows = results.measurements.iter();
    rows.filter(|row| row.scenario == scenario).collect()
}

fn add(lines: &mut Vec<Line>, name: &str, dash: Option<u32>, x: f64, y: Spread) {
    if let Some(line) = lines.iter_mut().find(|line| line.name == name) {
        line.points.push((x, y));
        return;
    }
    let known = COLORS.iter().find(|(system, _)| name.starts_with(system));
    lines.push(Line {
        name: name.to_owned(),
        color: known.map_or(BLACK, |(_, color)| *color),
        dash,
        points: vec![(x, y)],
    });
}

/// How y is divided; x is logarithmic, so that one connection and 400, or slow systems and fast ones, fit one plot.
#[derive(Clone, Copy)]
enum Scale {
    /// From zero.
    Linear,
    Log,
}

fn chart(words: &Words<'_>, mut lines: Vec<Line>, scale: Scale) -> Option<String> {
    for line in &mut lines {
        line.points.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    let points = || lines.iter().flat_map(|line| &line.points);
    // Two points make a line.
    lines.iter().find(|line| line.points.len() > 1)?;
    let x = Spread::of(points().map(|(x, _)| *x).collect())?;
    let least = points().map(|(_, y)| y.min).min_by(f64::total_cmp)?;
    let most = points().map(|(_, y)| y.max).max_by(f64::total_cmp)?;
    let mut text = String::new();
    let drawn = {
        let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        let x = (x.min / 1.2..x.max * 1.2).log_scale();
        match scale {
            Scale::Linear => draw(&area, words, &lines, x, linear(most)),
            Scale::Log => {
                let least = least.max(most / 1e6).max(1e-3);
                let y = (least / 1.5..most.max(least) * 1.5).log_scale();
                draw(&area, words, &lines, x, y)
            }
        }
    };
    // The backend writes to a string: what can go wrong is a range of no width, and then there is no plot.
    drawn.ok().map(|()| text)
}

fn linear(most: f64) -> RangedCoordf64 {
    (0.0..most * 1.08).into()
}

fn draw<X, Y>(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    words: &Words<'_>,
    lines: &[Line],
    x: X,
    y: Y,
) -> Result<(), Failure<'static>>
where
    X: AsRangedCoord<Value = f64>,
    Y: AsRangedCoord<Value = f64>,
    X::CoordDescType: ValueFormatter<f64>,
    Y::CoordDescType: ValueFormatter<f64>,
{
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(area)
        .caption(words.title, ("sans-serif", 20))
        .margin(14)
        .margin_right(LEGEND_WIDTH)
        .x_label_area_size(46)
        .y_label_area_size(72)
        .build_cartesian_2d(x, y)?;
    let format = |value: &f64| tick(*value);
    chart
        .configure_mesh()
        .x_desc(words.x)
        .y_desc(words.y)
        .x_label_formatter(&format)
        .y_label_formatter(&format)
        .label_style(("sans-serif", 13))
        .light_line_style(WHITE)
        .bold_line_style(RGBColor(225, 225, 225))
        .draw()?;
    for line in lines {
        draw_line(&mut chart, line)?;
    }
    for (line, at) in lines.iter().zip(0..) {
        legend(area, line, at)?;
    }
    area.present()
}

/// A number at an axis.
fn tick(value: f64) -> String {
    if value >= 1.0 && value.fract() < 1e-9 {
        return Unit::Count.show(value);
    }
    significant(value)
}

type Failure<'a> = DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>;

/// A line of the legend, to the right of the plot, where it hides nothing.
fn legend<'a>(
    area: &DrawingArea<SVGBackend<'a>, Shift>,
    line: &Line,
    at: i32,
) -> Result<(), Failure<'a>> {
    let (x, y) = (SIZE.0 as i32 - LEGEND_WIDTH + 12, 56 + 20 * at);
    let length = line.dash.unwrap_or(SAMPLE) as i32;
    for from in (0..SAMPLE as i32).step_by((length + GAP as i32) as usize) {
        let to = (from + length).min(SAMPLE as i32);
        let piece = [(x + from, y), (x + to, y)];
        area.draw(&PathElement::new(piece, line.color.stroke_width(2)))?;
    }
    let place = (x + SAMPLE as i32 + 8, y - 6);
    area.draw(&Text::new(line.name.as_str(), place, ("sans-serif", 13)))
}

fn draw_line<'a, X, Y>(
    chart: &mut ChartContext<'_, SVGBackend<'a>, Cartesian2d<X, Y>>,
    line: &Line,
) -> Result<(), Failure<'a>>
where
    X: Ranged<ValueType = f64>,
    Y: Ranged<ValueType = f64>,
{
    let style = line.color.stroke_width(2);
    let medians = line.points.iter().map(|(x, y)| (*x, y.median));
    let color = line.color;
    match line.dash {
        None => chart.draw_series(LineSeries::new(medians.clone(), style))?,
        Some(dash) => {
            chart.draw_series(DashedLineSeries::new(medians.clone(), dash, GAP, style))?
        }
    };
    chart.draw_series(medians.map(|point| Circle::new(point, 3, color.filled())))?;
    let spreads = line.points.iter().filter(|(_, y)| y.count > 1);
    chart.draw_series(
        spreads.map(|(x, y)| PathElement::new([(*x, y.min), (*x, y.max)], color.stroke_width(1))),
    )?;
    Ok(())
}
