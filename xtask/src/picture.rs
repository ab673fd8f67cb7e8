//! Draws `docs/images/quickstart.svg` from a real run of the quick start.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::cargo::{self, cargo};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 460.0;
/// The margins of the plot.
const LEFT: f64 = 76.0;
const RIGHT: f64 = WIDTH - 28.0;
const TOP: f64 = 144.0;
const BOTTOM: f64 = HEIGHT - 64.0;
/// Space at the start of the plot for the names of the bands.
const INSET: f64 = 14.0;

/// Colours for both schemes: a page that embeds the file as an image applies its reader's scheme.
const STYLE: &str = "
  text { font: 13px system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif; fill: #59636e }
  .paper { fill: #ffffff; stroke: #d1d9e0 }
  .title { font-size: 20px; font-weight: 600; fill: #1f2328 }
  .fact { font-size: 14px; fill: #59636e }
  .good { font-weight: 700; fill: #1a7f37 }
  .bad { font-weight: 700; fill: #cf222e }
  .mark { font-weight: 600; fill: #1f2328 }
  .band { font-weight: 600; fill: #ffffff }
  .line { stroke: #1f2328; stroke-width: 1.5; stroke-dasharray: 5 4 }
  .dot { fill: #1f2328 }
  .grid { stroke: #ffffff; stroke-opacity: .3 }
  .axis { stroke: #818b98 }
  .s0 { fill: #3d6bb3 } .s1 { fill: #15837b } .s2 { fill: #b5651d }
  @media (prefers-color-scheme: dark) {
    text, .fact { fill: #9198a1 }
    .paper { fill: #0d1117; stroke: #3d444d }
    .title, .mark { fill: #f0f6fc }
    .good { fill: #3fb950 } .bad { fill: #f85149 }
    .line { stroke: #f0f6fc } .dot { fill: #f0f6fc }
    .band { fill: #ffffff }
    .s0 { fill: #34609f } .s1 { fill: #11736c } .s2 { fill: #9c5718 }
  }";

/// Runs `cargo xtask picture [SAMPLES]`: draws these samples, or those of a new run.
pub(crate) fn command(args: &[String]) -> Result<(), String> {
    let text = match args {
        [] => run_quickstart()?,
        [file] => read(Path::new(file))?,
        _ => return Err("one file of samples is all that this command takes".to_owned()),
    };
    let file = cargo::root().join("docs/images/quickstart.svg");
    fs::write(&file, draw(&Run::read(&text)?))
        .map_err(|error| format!("{} cannot be written: {error}", file.display()))?;
    println!("{}", file.display());
    Ok(())
}

fn read(samples: &Path) -> Result<String, String> {
    fs::read_to_string(samples).map_err(|error| format!("{} cannot be read: {error}", samples.display()))
}

fn run_quickstart() -> Result<String, String> {
    let file = std::env::temp_dir().join(format!("quickstart-{}.csv", std::process::id()));
    let mut command = cargo(["run", "--package", "quickstart", "--", "--samples"]);
    command.arg(&file);
    let text = cargo::run(command).and_then(|()| read(&file));
    let _ = fs::remove_file(&file);
    text
}

/// A run of the quick start, as its samples describe it.
#[derive(Debug, Default, PartialEq)]
struct Run {
    /// For each sample its start, in tenths of a second, and the calls that each server answered.
    served: BTreeMap<u32, BTreeMap<String, f64>>,
    /// Seconds, kind of disturbance, and the affected server.
    marks: Vec<(f64, String, String)>,
    summary: BTreeMap<String, String>,
}

impl Run {
    fn read(text: &str) -> Result<Self, String> {
        let mut run = Self::default();
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split(',').collect();
            let wrong = || format!("not a line of samples: {line}");
            let [seconds, kind, name, value] = fields[..] else { return Err(wrong()) };
            let number = |text: &str| text.parse::<f64>().map_err(|_| wrong());
            match kind {
                "served" => {
                    let tenth = (number(seconds)? * 10.0).round() as u32;
                    run.served.entry(tenth).or_default().insert(name.to_owned(), number(value)?);
                }
                "summary" => {
                    run.summary.insert(name.to_owned(), value.to_owned());
                }
                _ => run.marks.push((number(seconds)?, kind.to_owned(), name.to_owned())),
            }
        }
        if run.served.len() < 2 { Err("these samples hold no run".to_owned()) } else { Ok(run) }
    }

    fn servers(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.served.values().flat_map(BTreeMap::keys).map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn fact(&self, name: &str) -> &str {
        self.summary.get(name).map_or("?", String::as_str)
    }

    /// Returns the start of each sample in seconds and each server's share; the shares add up to 1.
    fn shares(&self) -> Vec<(f64, Vec<f64>)> {
        let servers = self.servers();
        let share = |calls: &BTreeMap<String, f64>| {
            let all: f64 = calls.values().sum();
            servers.iter().map(|server| calls.get(*server).unwrap_or(&0.0) / all).collect()
        };
        self.served.iter().map(|(start, calls)| (f64::from(*start) / 10.0, share(calls))).collect()
    }
}

fn draw(run: &Run) -> String {
    let mut shares = run.shares();
    // Replies after the last started call would form a short sample.
    let end = shares.last().map_or(1.0, |(seconds, _)| seconds.floor());
    shares.retain(|(seconds, _)| *seconds < end);
    let x = |seconds: f64| LEFT + (RIGHT - LEFT) * seconds.clamp(0.0, end) / end;
    let y = |share: f64| BOTTOM - (BOTTOM - TOP) * share;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         aria-labelledby=\"title\">\n<title id=\"title\">The share of calls that each server answers while one is \
         killed and another freezes</title>\n<style>{STYLE}\n</style>\n\
         <rect class=\"paper\" x=\".5\" y=\".5\" width=\"{}\" height=\"{}\" rx=\"10\"/>\n",
        WIDTH - 1.0,
        HEIGHT - 1.0
    );
    heading(&mut svg, run, end);
    bands(&mut svg, &shares, end, x, y);
    axes(&mut svg, end, x, y);
    names(&mut svg, &run.servers(), &shares, y);
    marks(&mut svg, run, x);
    svg.push_str("</svg>\n");
    svg
}

fn heading(svg: &mut String, run: &Run, end: f64) {
    let _ = writeln!(
        svg,
        "<text class=\"title\" x=\"28\" y=\"40\">A server is killed, another freezes, and calls go on</text>"
    );
    let failed = run.fact("failed");
    let class = if failed == "0" { "good" } else { "bad" };
    let _ = writeln!(
        svg,
        "<text class=\"fact\" x=\"28\" y=\"66\">{} calls in {end:.0} s · <tspan class=\"{class}\">failed={failed}</tspan> · \
         {} retried on another server · 99 % answered within {} ms</text>",
        grouped(run.fact("calls")),
        run.fact("failovers"),
        run.fact("p99_ms")
    );
    for (index, server) in run.servers().iter().enumerate() {
        let left = RIGHT - 88.0 * (run.servers().len() - index) as f64;
        let _ = writeln!(
            svg,
            "<rect class=\"s{index}\" x=\"{left}\" y=\"{}\" width=\"12\" height=\"12\" rx=\"3\"/>\
             <text x=\"{}\" y=\"{}\">{server}</text>",
            BOTTOM + 33.0,
            left + 18.0,
            BOTTOM + 44.0
        );
    }
}

/// Formats `28801` as `28 801`.
fn grouped(number: &str) -> String {
    let mut text = String::new();
    for (index, digit) in number.chars().enumerate() {
        if index > 0 && (number.len() - index).is_multiple_of(3) {
            text.push('\u{a0}');
        }
        text.push(digit);
    }
    text
}

/// Draws the shares as stacked areas, the first server's on top.
fn bands(
    svg: &mut String,
    shares: &[(f64, Vec<f64>)],
    end: f64,
    x: impl Fn(f64) -> f64,
    y: impl Fn(f64) -> f64,
) {
    // Steps, not slopes: a sample does not describe the time before its start.
    let ends = shares.iter().skip(1).map(|(seconds, _)| *seconds).chain([end]);
    let points: Vec<_> = shares.iter().zip(ends).flat_map(|((t, s), end)| [(*t, s), (end, s)]).collect();
    for server in 0..shares.first().map_or(0, |(_, shares)| shares.len()) {
        let above = |share: &[f64]| 1.0 - share[..server].iter().sum::<f64>();
        let below = |share: &[f64]| (1.0 - share[..=server].iter().sum::<f64>()).max(0.0);
        let mut path = String::new();
        for (seconds, share) in &points {
            let _ = write!(path, "{:.1},{:.1} ", x(*seconds), y(above(share)));
        }
        for (seconds, share) in points.iter().rev() {
            let _ = write!(path, "{:.1},{:.1} ", x(*seconds), y(below(share)));
        }
        let _ = writeln!(svg, "<polygon class=\"s{server}\" points=\"{}\"/>", path.trim_end());
    }
}

fn axes(svg: &mut String, end: f64, x: impl Fn(f64) -> f64, y: impl Fn(f64) -> f64) {
    for percent in [0, 25, 50, 75, 100] {
        let at = y(f64::from(percent) / 100.0);
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{percent} %</text>",
            LEFT - 9.0,
            at + 4.5
        );
    }
    for second in 0..=end as u32 {
        let at = x(f64::from(second));
        let _ = writeln!(
            svg,
            "<line class=\"axis\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{BOTTOM}\" y2=\"{}\"/>\
             <text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{second}</text>",
            BOTTOM + 5.0,
            BOTTOM + 20.0
        );
    }
    let middle = f64::midpoint(TOP, BOTTOM);
    let _ = writeln!(
        svg,
        "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{BOTTOM}\" y2=\"{BOTTOM}\"/>\n\
         <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">seconds since the load began</text>\n\
         <text transform=\"translate(24 {middle}) rotate(-90)\" text-anchor=\"middle\">share of answered calls</text>",
        f64::midpoint(LEFT, RIGHT),
        BOTTOM + 44.0
    );
}

/// Draws each server's name in its band, at the start of the run.
fn names(svg: &mut String, servers: &[&str], shares: &[(f64, Vec<f64>)], y: impl Fn(f64) -> f64) {
    let Some((_, first)) = shares.first() else { return };
    for (index, server) in servers.iter().enumerate() {
        let middle = 1.0 - first[..index].iter().sum::<f64>() - first[index] / 2.0;
        let _ = writeln!(
            svg,
            "<text class=\"band\" x=\"{}\" y=\"{:.1}\">{server}</text>",
            LEFT + INSET,
            y(middle) - 5.0
        );
    }
}

/// Draws a line at each disturbance, with a label above it.
fn marks(svg: &mut String, run: &Run, x: impl Fn(f64) -> f64) {
    for (seconds, kind, server) in &run.marks {
        let at = x(*seconds);
        let what = match kind.as_str() {
            "kill" => "is killed",
            "return" => "is started again",
            "freeze" => "freezes",
            "thaw" => "thaws",
            other => other,
        };
        let _ = writeln!(
            svg,
            "<line class=\"line\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{}\" y2=\"{BOTTOM}\"/>\
             <circle class=\"dot\" cx=\"{at:.1}\" cy=\"{}\" r=\"3.5\"/>\n\
             <text class=\"mark\" x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{server}</text>\
             <text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{what} at {seconds:.1} s</text>",
            TOP - 8.0,
            TOP - 8.0,
            TOP - 36.0,
            TOP - 20.0
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLES: &str = "seconds,kind,name,value\n0.0,served,a,30\n0.0,served,b,10\n0.2,served,a,5\n\
                           2.00,kill,b,\n,summary,calls,28801\n,summary,failed,0\n";

    #[test]
    fn samples_are_read_as_shares_marks_and_summary() {
        let run = Run::read(SAMPLES).expect("samples");
        assert_eq!(run.servers(), ["a", "b"]);
        let shares: Vec<_> = run.shares().into_iter().map(|(_, shares)| shares).collect();
        assert_eq!(shares, [vec![0.75, 0.25], vec![1.0, 0.0]]);
        assert_eq!(run.marks, [(2.0, "kill".to_owned(), "b".to_owned())]);
        assert_eq!((run.fact("failed"), run.fact("calls")), ("0", "28801"));
        assert_eq!(grouped("28801"), "28\u{a0}801");
    }

    #[test]
    fn a_failed_call_is_not_drawn_as_good() {
        let good = draw(&Run::read(SAMPLES).expect("samples"));
        assert!(good.contains("<tspan class=\"good\">failed=0</tspan>"));
        let bad = draw(&Run::read(&SAMPLES.replace("failed,0", "failed,3")).expect("samples"));
        assert!(bad.contains("<tspan class=\"bad\">failed=3</tspan>"));
    }

    #[test]
    fn what_is_no_run_is_refused() {
        assert!(Run::read("seconds,kind,name,value\n").is_err());
        assert!(Run::read("seconds,kind,name,value\nx,served,a,1\n").is_err());
        assert!(Run::read("seconds,kind,name,value\n1,served\n").is_err());
    }
}
