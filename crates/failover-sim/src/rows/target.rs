//! What must hold in a row, and how a report is judged by it.

use crate::Nanos;
use crate::record::{Report, SECOND};

/// The share of the calls that succeed after a recovery; less is a relapse.
const STAYS: f64 = 0.9;

/// One condition; a row passes when all of its conditions hold.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// At most this share of the calls from this second on fails.
    Visible { from: usize, most: f64 },
    /// At least 99 % of the calls succeed within 45 s of this second, or within 1.3 times what random needs, and at least
    /// 90 % from then on.
    Recovers { after: usize },
    /// At most this many first attempts fail.
    FirstAttempts(u64),
    /// No endpoint is out at the end of any second from this one on.
    NoneOut { from: usize },
    /// Each of these endpoints has been out at the end of some second before this one, or is avoided: it gets less than
    /// a tenth of its fair share of the attempts from then on.
    OutBy { endpoints: Vec<usize>, second: usize },
    /// The first success comes within a second of this time or is that of one of the next calls, as many as there are
    /// endpoints; it may take as much longer as its attempts may take.
    Returns { at: Nanos, patience: Nanos },
    /// These endpoints get a share of the attempts within these bounds.
    Share { endpoints: Vec<usize>, span: (usize, usize), bounds: (f64, f64) },
    /// These endpoints get at most this many attempts.
    Attempts { endpoints: Vec<usize>, span: (usize, usize), most: u64 },
    /// At least this many calls that began in these seconds succeed.
    Succeed { span: (usize, usize), least: u64 },
    /// The 99th percentile of the times of the calls of each second from this one on, on average.
    P99 { from: usize, most: Nanos },
    /// At most this many attempts for each call of these seconds.
    Amplification { span: (usize, usize), most: f64 },
    /// In each tenth of these seconds an endpoint gets at most twice its fair share of the attempts, and two more.
    NoBurst { endpoint: usize, fair: f64, span: (usize, usize) },
    /// This many stalls of the own process are reported, by a policy that reports any.
    Stalls(u64),
}

/// Whether a condition holds, and the measured figure in words.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Verdict {
    /// Whether the target was met.
    pub passed: bool,
    /// The measured figure, in words.
    pub figure: String,
}

impl Verdict {
    fn new(passed: bool, figure: String) -> Self {
        Self { passed, figure }
    }

    /// The verdict on several conditions.
    pub(crate) fn all(parts: Vec<Self>) -> Self {
        let passed = parts.iter().all(|part| part.passed);
        let figures: Vec<_> = parts.into_iter().map(|part| part.figure).collect();
        Self { passed, figure: figures.join(", ") }
    }
}

impl Target {
    /// Judges a report. `random` says how long random without any logic needs to recover.
    pub(crate) fn judge(&self, report: &Report, random: impl Fn() -> Option<usize>) -> Verdict {
        match self {
            Self::Visible { from, most } => {
                let (calls, failed) = report.failed_between(*from, report.seconds.len());
                let figure = format!("{failed} of {calls} calls failed from second {from} on");
                Verdict::new(failed as f64 <= calls as f64 * most, figure)
            }
            Self::Recovers { after } => recovers(report, *after, random),
            Self::FirstAttempts(most) => {
                let figure = format!("{} first attempts failed", report.first_failed);
                Verdict::new(report.first_failed <= *most, figure)
            }
            Self::NoneOut { from } => {
                let seconds = report.seconds.iter().skip(*from);
                let most = seconds.map(|s| s.out.iter().filter(|out| **out).count()).max().unwrap_or(0);
                Verdict::new(most == 0, format!("{most} endpoints out at once"))
            }
            Self::OutBy { endpoints, second } => {
                let all = report.worked.len() as f64;
                let was_out = |index: usize| {
                    report.seconds.iter().take(*second).any(|s| s.out[index])
                        || report.share_of(&[index], (*second, report.seconds.len())) < 0.1 / all
                };
                let out = endpoints.iter().filter(|index| was_out(**index)).count();
                let figure = format!("{out} of {} out by second {second}", endpoints.len());
                Verdict::new(out == endpoints.len(), figure)
            }
            Self::Returns { at, patience } => returns(report, *at, *patience),
            Self::Share { endpoints, span, bounds } => {
                let share = report.share_of(endpoints, *span);
                let figure = format!("{:.2} % of the attempts at {endpoints:?} in {span:?} s", share * 100.0);
                Verdict::new((bounds.0..=bounds.1).contains(&share), figure)
            }
            Self::Attempts { endpoints, span, most } => {
                let attempts: u64 = endpoints.iter().map(|at| report.attempts_at(*at, span.0, span.1)).sum();
                let figure = format!("{attempts} attempts at {endpoints:?} in {span:?} s");
                Verdict::new(attempts <= *most, figure)
            }
            Self::Succeed { span, least } => {
                let (calls, failed) = report.failed_between(span.0, span.1);
                let figure = format!("{} of at least {least} calls succeeded in {span:?} s", calls - failed);
                Verdict::new(calls - failed >= *least, figure)
            }
            Self::P99 { from, most } => {
                let seconds: Vec<_> = report.seconds.iter().skip(*from).map(|second| second.p99).collect();
                let mean = seconds.iter().sum::<u64>() / seconds.len().max(1) as u64;
                Verdict::new(mean <= *most, format!("p99 {:.1} ms", mean as f64 / 1e6))
            }
            Self::Amplification { span, most } => {
                let seconds = report.seconds.iter().take(span.1).skip(span.0);
                let (attempts, calls) = seconds.fold((0, 0), |(attempts, calls), second| {
                    (attempts + second.attempts.iter().sum::<u64>(), calls + second.calls)
                });
                let attempts = attempts as f64 / calls.max(1) as f64;
                Verdict::new(attempts <= *most, format!("{attempts:.2} attempts for each call in {span:?} s"))
            }
            Self::NoBurst { endpoint, fair, span } => no_burst(report, *endpoint, *fair, *span),
            Self::Stalls(stalls) => {
                let Some(reported) = report.stalls else {
                    return Verdict::new(true, "no stalls reported".to_owned());
                };
                Verdict::new(reported == *stalls, format!("{reported} stalls of the process reported"))
            }
        }
    }

    /// The share of seeds that must pass, in percent.
    pub(crate) fn needed_percent(&self) -> u64 {
        // The target of a return is a 95th percentile.
        if matches!(self, Self::Returns { .. }) { 95 } else { 85 }
    }
}

fn recovers(report: &Report, after: usize, random: impl Fn() -> Option<usize>) -> Verdict {
    let Some(needed) = report.recovery(after) else {
        let last = report.seconds.len();
        let goodput = report.goodput(last.saturating_sub(10), last) * 100.0;
        return Verdict::new(false, format!("never recovered, {goodput:.1} % at the end"));
    };
    let since = report.goodput(after + needed, report.seconds.len());
    let figure = format!("recovered {needed} s after the trigger, {:.1} % since", since * 100.0);
    // Where a client without any logic never recovers, recovering is enough.
    let soon = needed <= 45 || random().is_none_or(|random| needed as f64 <= random as f64 * 1.3);
    Verdict::new(soon && since >= STAYS, figure)
}

fn no_burst(report: &Report, endpoint: usize, fair: f64, span: (usize, usize)) -> Verdict {
    let tenths = report.tenths.iter().take(span.1 * 10).skip(span.0 * 10);
    let excess = tenths.map(|tenth| {
        let share = f64::from(tenth.iter().sum::<u32>()) * fair;
        f64::from(tenth[endpoint]) - (2.0 * share + 2.0)
    });
    let worst = excess.fold(f64::MIN, f64::max);
    Verdict::new(worst <= 0.0, format!("at most {worst:+.1} attempts beside the bound of 100 ms"))
}

fn returns(report: &Report, at: Nanos, patience: Nanos) -> Verdict {
    let Some(time) = report.first_success_after(at) else {
        return Verdict::new(false, "no success after the return".to_owned());
    };
    let count = report.seconds.first().map_or(1, |second| second.attempts.len());
    let turn =
        report.began.iter().filter(|began| **began >= at).nth(count - 1).map_or(SECOND, |began| began - at);
    let figure = format!("first success after {:.2} s", time as f64 / SECOND as f64);
    Verdict::new(time <= turn.max(SECOND) + patience, figure)
}
