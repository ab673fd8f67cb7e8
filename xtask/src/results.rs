//! Summarises the output of test programs.

use std::fmt;

/// The totals of all test programs.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    passed: u64,
    failed: u64,
    skipped: u64,
    skips: Vec<Skip>,
    failures: Vec<String>,
    /// The current program, until it prints its totals.
    open: Option<String>,
    /// The name of the current program, kept after its first totals: doc tests come in several
    /// batches.
    program: String,
    problems: Vec<String>,
}

/// A test that did not run, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Skip {
    name: String,
    reason: String,
}

impl Tally {
    /// Processes one line of output from cargo or a test program, in order.
    pub(crate) fn line(&mut self, line: &str) {
        if let Some(program) = program(line) {
            self.close();
            program.clone_into(&mut self.program);
            self.open = Some(program.to_owned());
        } else if is_start(line) {
            self.open = Some(self.program.clone());
        } else if let Some((passed, failed, skipped)) = libtest_sum(line).or_else(|| plain_sum(line)) {
            self.passed += passed;
            self.failed += failed;
            self.skipped += skipped;
            self.open = None;
        } else if let Some((name, verdict)) = verdict(line) {
            if verdict == "FAILED" {
                self.failures.push(format!("{}: {name}", self.program));
            } else if let Some(reason) = ignored(verdict) {
                self.skips.push(Skip { name: name.to_owned(), reason: reason.to_owned() });
            }
        } else if let Some(skip) = skip(line) {
            self.skips.push(skip);
        }
    }

    /// Processes the file of skipped tests: each line names a test that returned early, which
    /// libtest therefore counted as passed.
    pub(crate) fn early_returns(&mut self, text: &str) {
        // A test may print its skip as well as record it.
        let printed = self.skips.clone();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let found =
                skip(line).unwrap_or_else(|| Skip { name: line.to_owned(), reason: NO_REASON.to_owned() });
            self.passed = self.passed.saturating_sub(1);
            self.skipped += 1;
            if !printed.contains(&found) {
                self.skips.push(found);
            }
        }
    }

    /// Marks the end of the output of one command.
    pub(crate) fn end_of_part(&mut self) {
        self.close();
    }

    /// Marks the end of all output.
    pub(crate) fn end(&mut self) {
        self.close();
        if self.passed + self.failed == 0 {
            self.problem("no test ran");
        }
    }

    /// Adds a problem other than a failed test that invalidates the run.
    pub(crate) fn problem(&mut self, what: impl Into<String>) {
        self.problems.push(what.into());
    }

    /// Returns whether there was no failure and no other problem.
    pub(crate) fn is_good(&self) -> bool {
        self.failed == 0 && self.problems.is_empty()
    }

    /// Returns a line per reason for skipping, failure and problem.
    pub(crate) fn details(&self) -> String {
        let skips = self.skipped_by_reason().into_iter().map(|(reason, names)| match names[..] {
            [name] => format!("skipped: {name}: {reason}\n"),
            _ => format!("skipped: {} tests: {reason}\n", names.len()),
        });
        let failures = self.failures.iter().map(|name| format!("failed: {name}\n"));
        let problems = self.problems.iter().map(|what| format!("problem: {what}\n"));
        skips.chain(failures).chain(problems).collect()
    }

    /// Returns the skipped tests by reason, in order of appearance; a missing server is one reason
    /// for many tests.
    fn skipped_by_reason(&self) -> Vec<(&str, Vec<&str>)> {
        let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
        for Skip { name, reason } in &self.skips {
            match groups.iter_mut().find(|(of, _)| of == reason) {
                Some((_, names)) => names.push(name),
                None => groups.push((reason, vec![name])),
            }
        }
        groups
    }

    fn close(&mut self) {
        if let Some(program) = self.open.take() {
            self.problem(format!("{program} did not finish: it printed no sum"));
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

const NO_REASON: &str = "no reason given";

/// Parses cargo's announcement of a test program: `     Running tests/live.rs (target/…)`, `
/// Doc-tests failover`.
fn program(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("     Running ").or_else(|| line.strip_prefix("   Doc-tests "))?;
    // The path in parentheses distinguishes several `src/lib.rs`; its directory and hash are
    // dropped.
    let Some((_, path)) = rest.split_once(" (") else {
        return Some(rest);
    };
    let file = path.rsplit(['/', '\\']).next()?;
    Some(file.rsplit_once('-').map_or(file, |(name, _)| name))
}

/// Recognises libtest's first line: `running 12 tests`.
fn is_start(line: &str) -> bool {
    let count = line.strip_prefix("running ").and_then(|rest| {
        let rest = rest.strip_suffix(" tests").or_else(|| rest.strip_suffix(" test"));
        rest.and_then(|count| count.parse::<u64>().ok())
    });
    count.is_some()
}

/// Parses libtest's last line: `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; …`.
fn libtest_sum(line: &str) -> Option<(u64, u64, u64)> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count = |word: &str| counts.split("; ").find_map(|part| part.strip_suffix(word)?.trim().parse().ok());
    Some((count("passed")?, count("failed")?, count("ignored")?))
}

/// Parses the last line of a test program without libtest: `3 passed, 0 failed, 1 skipped`.
fn plain_sum(line: &str) -> Option<(u64, u64, u64)> {
    let mut parts = line.trim().split(", ");
    let mut count = |word: &str| parts.next()?.strip_suffix(word)?.trim_end().parse().ok();
    let sum = (count("passed")?, count("failed")?, count("skipped")?);
    parts.next().is_none().then_some(sum)
}

/// Parses `test NAME ... VERDICT`.
fn verdict(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("test ")?.rsplit_once(" ... ")
}

/// Returns the reason in a verdict `ignored, REASON`.
fn ignored(verdict: &str) -> Option<&str> {
    match verdict.strip_prefix("ignored")? {
        "" => Some(NO_REASON),
        rest => rest.strip_prefix(", "),
    }
}

/// Parses `skipped: NAME: REASON`; a name may contain `::`.
fn skip(line: &str) -> Option<Skip> {
    let (name, reason) = line.trim_end().strip_prefix("skipped: ")?.split_once(": ")?;
    Some(Skip { name: name.to_owned(), reason: reason.to_owned() })
}

#[cfg(test)]
mod tests;
