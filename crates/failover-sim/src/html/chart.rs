//! Charts as SVG.

use std::fmt::Write;

use crate::record::Second;

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 150.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = WIDTH - 8.0;
const BOTTOM: f64 = 18.0;
const TOP: f64 = 16.0;
/// More points than this cannot be distinguished.
const MOST_POINTS: usize = 300;

/// One line of a chart, with a value for each second.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) colour: &'static str,
    pub(super) points: Vec<f64>,
}

/// Lines over time, above bands that mark the seconds with a fault.
pub(super) fn lines(lines: &[Line], faulty: &[bool], unit: &str) -> String {
    let seconds = faulty.len().max(1);
    let largest = lines.iter().flat_map(|line| &line.points).copied().fold(0.0, f64::max);
    let top = ceiling(largest);
    let x = |second: usize| LEFT + (RIGHT - LEFT) * second as f64 / seconds as f64;
    let y = |value: f64| TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - value / top);
    let mut svg = open(HEIGHT);
    for (from, until) in runs(faulty) {
        rectangle(&mut svg, (x(from), TOP, x(until) - x(from), HEIGHT - TOP - BOTTOM), "#fde0dd");
    }
    for value in [0.0, top / 2.0, top] {
        let (at, label) = (y(value), LEFT - 4.0);
        let _ = write!(
            svg,
            "<path d=\"M{LEFT} {at:.1}H{RIGHT}\" stroke=\"#ccc\"/><text x=\"{label}\" y=\"{:.1}\" \
             text-anchor=\"end\">{value}{unit}</text>",
            at + 4.0
        );
    }
    axis(&mut svg, seconds, HEIGHT);
    let step = seconds.div_ceil(MOST_POINTS).max(1);
    let mut legend = LEFT;
    for line in lines {
        let points =
            line.points.chunks(step).enumerate().fold(String::new(), |mut points, (index, chunk)| {
                // The largest value of a step: a peak is seen at every scale.
                let value = chunk.iter().copied().fold(0.0, f64::max);
                let _ = write!(points, "{:.1},{:.1} ", x(index * step), y(value));
                points
            });
        let (colour, name) = (line.colour, &line.name);
        let _ = write!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.3\"/>\
             <text x=\"{legend:.0}\" y=\"10\" fill=\"{colour}\">{name}</text>",
            points.trim_end()
        );
        legend += name.len() as f64 * 6.0 + 10.0;
    }
    svg.push_str("</svg>");
    svg
}

/// A strip for each endpoint: the darker, the larger its share of the attempts of that second.
pub(super) fn strips(seconds: &[Second]) -> String {
    let endpoints = seconds.first().map_or(0, |second| second.attempts.len());
    let strip = if endpoints <= 12 { 14.0 } else { 6.0 };
    let height = TOP + strip * endpoints as f64 + BOTTOM;
    let mut svg = open(height);
    let step = seconds.len().div_ceil(MOST_POINTS).max(1);
    let x = |second: usize| LEFT + (RIGHT - LEFT) * second as f64 / seconds.len().max(1) as f64;
    for index in 0..endpoints {
        let y = TOP + strip * index as f64;
        if strip > 10.0 || index % 10 == 0 {
            let _ = write!(
                svg,
                "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{index}</text>",
                LEFT - 4.0,
                y + 9.0
            );
        }
        let shades: Vec<_> = seconds.chunks(step).map(|chunk| shade(chunk, index)).collect();
        let mut from = 0;
        while from < shades.len() {
            let length = shades[from..].iter().take_while(|shade| **shade == shades[from]).count();
            let span = (x(from * step), x(((from + length) * step).min(seconds.len())));
            let colour = format!("hsl(210,70%,{}%)", 100 - shades[from] * 5);
            rectangle(&mut svg, (span.0, y, span.1 - span.0, strip - 1.0), &colour);
            from += length;
        }
        let faulty: Vec<_> = seconds.iter().map(|second| second.faulty[index]).collect();
        let out: Vec<_> = seconds.iter().map(|second| second.out[index]).collect();
        for (from, until) in runs(&faulty) {
            rectangle(&mut svg, (x(from), y, x(until) - x(from), 2.0), "#d62728");
        }
        for (from, until) in runs(&out) {
            rectangle(&mut svg, (x(from), y + strip - 3.0, x(until) - x(from), 2.0), "#000");
        }
    }
    axis(&mut svg, seconds.len(), height);
    svg.push_str("</svg>");
    svg
}

/// From 0, no attempts, to 10, three times the fair share or more.
fn shade(seconds: &[Second], endpoint: usize) -> u64 {
    let attempts: u64 = seconds.iter().map(|second| second.attempts[endpoint]).sum();
    let all: u64 = seconds.iter().flat_map(|second| &second.attempts).sum();
    let fair = all as f64 / seconds.first().map_or(1, |second| second.attempts.len()) as f64;
    if attempts == 0 { 0 } else { (attempts as f64 / fair * 10.0 / 3.0).clamp(1.0, 10.0) as u64 }
}

/// The spans of what is true, as first and one past last.
fn runs(states: &[bool]) -> Vec<(usize, usize)> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for (index, _) in states.iter().enumerate().filter(|(_, state)| **state) {
        match runs.last_mut() {
            Some((_, until)) if *until == index => *until = index + 1,
            _ => runs.push((index, index + 1)),
        }
    }
    runs
}

/// The next of 1, 2, 5 and their powers of ten.
fn ceiling(value: f64) -> f64 {
    let scale = 10_f64.powf(value.max(1.0).log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|step| step * scale).into_iter().find(|top| *top >= value).unwrap_or(1.0)
}

fn open(height: f64) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" font-family=\"sans-serif\" font-size=\"10\">\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>"
    )
}

fn rectangle(svg: &mut String, (x, y, width, height): (f64, f64, f64, f64), colour: &str) {
    let _ = write!(
        svg,
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>"
    );
}

fn axis(svg: &mut String, seconds: usize, height: f64) {
    let y = height - 5.0;
    let _ = write!(
        svg,
        "<text x=\"{LEFT}\" y=\"{y}\">0 s</text><text x=\"{RIGHT}\" y=\"{y}\" text-anchor=\"end\">{seconds} s</text>"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_and_ceilings() {
        assert_eq!(runs(&[false, true, true, false, true]), [(1, 3), (4, 5)]);
        assert_eq!(runs(&[]), []);
        for (value, top) in [(0.0, 1.0), (1.0, 1.0), (1.1, 2.0), (99.0, 100.0), (201.0, 500.0)] {
            assert_eq!(ceiling(value), top);
        }
    }
}
