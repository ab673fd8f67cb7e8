//! Runs a scenario file, prints a table, and writes a page.

use std::fs;
use std::path::Path;

use failover_sim::html::{self, Side};
use failover_sim::summary::Summary;
use failover_sim::{ScenarioFile, run};

/// Runs every policy of the file; `picture` is where one chart goes besides.
pub(super) fn command(path: &str, picture: Option<&str>) -> Result<(), String> {
    let file = ScenarioFile::read(path).map_err(|error| error.to_string())?;
    println!("{:18} {}", file.scenario.name(), Summary::header());
    let mut sides = Vec::new();
    for policy in &file.policies {
        let reports: Result<Vec<_>, _> =
            (1..=file.seeds).map(|seed| run(&file.scenario, *policy, seed)).collect();
        let mut reports = reports.map_err(|error| error.to_string())?;
        let summary = Summary::of(&file.scenario, &reports, 0);
        println!("{policy:18} {}", summary.line());
        sides.push(Side::new(*policy, reports.swap_remove(0), summary));
    }
    let page = Path::new(path).with_extension("html");
    let page = page.file_name().map_or(Path::new("scenario.html"), Path::new);
    write(page, &html::page(&file.scenario, file.seeds, &sides))?;
    picture.map_or(Ok(()), |picture| write(Path::new(picture), &html::picture(&sides)))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    println!("wrote {}", path.display());
    Ok(())
}
