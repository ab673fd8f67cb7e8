//! Checks that the contract, its levels, hooks and certificates say the same everywhere.

use crate::cargo;
use crate::tidy::files::{entries, read, shown};

/// A clause, as the suite's table has it.
struct Clause {
    number: String,
    level: String,
    name: String,
}

pub(crate) fn check(faults: &mut Vec<String>) -> Result<(), String> {
    let root = cargo::root();
    let clauses = clauses(&read(&root.join("crates/failover-conformance/src/cases.rs"))?);
    if clauses.len() < 30 {
        return Err("the table of clauses in cases.rs was not understood".to_owned());
    }
    contract(&clauses, &read(&root.join("docs/provider-contract.md"))?, faults);
    let subject = read(&root.join("crates/failover-conformance/src/subject.rs"))?;
    hooks(&subject, &read(&root.join("crates/failover-conformance/README.md"))?, faults);
    let list = read(&root.join("docs/providers.md"))?;
    let packages = cargo::packages()?;
    let version = |name: &str| {
        let package = packages.iter().find(|package| cargo::name(package) == name);
        package.and_then(|package| package["version"].as_str()).unwrap_or_default()
    };
    let versions = format!(
        "failover-conformance {}, failover-core {}",
        version("failover-conformance"),
        version("failover-core")
    );
    for file in entries(&root.join("docs/providers"))? {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = read(&file)?;
        for fault in certificate(&clauses, &name, &text, &versions, &list) {
            faults
                .push(format!("{}: {fault}; `cargo xtask certify {name} --record` renews it", shown(&file)));
        }
    }
    Ok(())
}

/// Reads lines such as `    1 Read "info answers at once" info;`.
fn clauses(cases: &str) -> Vec<Clause> {
    let clause = |line: &str| {
        let (number, rest) = line.strip_prefix("    ")?.split_once(' ')?;
        let (level, rest) = rest.split_once(" \"")?;
        let (name, _) = rest.split_once('"')?;
        number.parse::<u32>().ok()?;
        Some(Clause { number: number.to_owned(), level: level.to_owned(), name: name.to_owned() })
    };
    cases.lines().filter_map(clause).collect()
}

fn contract(clauses: &[Clause], document: &str, faults: &mut Vec<String>) {
    for Clause { number, level, .. } in clauses {
        if !document.contains(&format!("\n| {number} | {level} | ")) {
            faults.push(format!("docs/provider-contract.md: no row `| {number} | {level} |`"));
        }
    }
}

/// Checks that the README has the hooks' table of the rustdoc, without its links.
fn hooks(subject: &str, readme: &str, faults: &mut Vec<String>) {
    let rows: Vec<_> = subject.lines().filter_map(|line| line.trim().strip_prefix("/// | ")).collect();
    if rows.is_empty() {
        faults.push("crates/failover-conformance/src/subject.rs: there is no table of the hooks".to_owned());
    }
    for row in rows {
        let mut plain = String::new();
        for (number, part) in row.split("](Self::").enumerate() {
            let rest = if number == 0 { part } else { part.split_once(')').map_or("", |(_, rest)| rest) };
            plain.push_str(&rest.replace('[', ""));
        }
        if !readme.contains(&format!("| {plain}")) {
            faults.push(format!("crates/failover-conformance/README.md: its table lacks `| {plain}`"));
        }
    }
}

/// Returns what is wrong with the recorded reports of a provider.
fn certificate(clauses: &[Clause], name: &str, text: &str, versions: &str, list: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let reports: Vec<_> = text.split("\nprovider ").collect();
    for report in &reports {
        if !report.contains(versions) {
            faults.push(format!("it is not of {versions}"));
        }
        for Clause { number, name, .. } in clauses {
            let is_of = |line: &str| {
                line.trim_start().split_once(' ').is_some_and(|(first, rest)| {
                    first == number
                        && rest.trim_start().split_once(' ').is_some_and(|(_, rest)| rest.contains(name))
                })
            };
            if !report.lines().any(is_of) {
                faults.push(format!("it lacks clause {number}, {name:?}"));
            }
        }
        let levels = report.lines().find_map(|line| line.strip_prefix("levels: ")).unwrap_or("none");
        let row = list.lines().find(|line| line.contains(&format!("(providers/{name}.txt)")));
        match row {
            None => faults.push("docs/providers.md does not list it".to_owned()),
            Some(row) if !row.contains(&format!("| {levels} |")) => {
                faults.push(format!("docs/providers.md does not say that its levels are {levels}"));
            }
            Some(_) => {}
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_without_a_present_clause_or_with_other_levels_is_found() {
        let clauses =
            clauses("    1 Read \"info answers\" info;\n    60 Survive \"many are listed\" crowd;\n");
        assert_eq!(clauses.len(), 2);
        let list = "| x | [report](providers/x.txt) | Read, Survive |";
        let good = "provider x 1\nsuite 1\n  1  passed   info answers\n 60  passed   many are listed\nlevels: Read, Survive\n";
        let check = |text: &str, list: &str| certificate(&clauses, "x", text, "suite 1", list).len();
        assert_eq!(check(good, list), 0);
        assert_eq!(check(&format!("{good}\n{good}"), list), 0);
        assert_eq!(check(&good.replace("suite 1", "suite 2"), list), 1);
        assert_eq!(check(&good.replace(" 60  passed", " 61  passed"), list), 1);
        assert_eq!(check(&good.replace("many", "few"), list), 1);
        assert_eq!(check(&good.replace("levels: Read, Survive", "levels: Read"), list), 1);
        assert_eq!(check(good, ""), 1);
        assert_eq!(check(&format!("{good}\n{}", good.replace("many", "few")), list), 1);
    }
}
