//! Which levels a provider has reached.

use crate::level::{Level, LevelReport, Standing};
use crate::outcome::{CaseReport, Lack, Outcome};

/// Derives all levels from the cases.
pub(crate) fn levels(cases: &[CaseReport]) -> Vec<LevelReport> {
    let read = standing(Level::Read, cases);
    let of = |level| match standing(level, cases) {
        Standing::Reached if read != Standing::Reached => {
            Standing::NotReached { why: "every level needs Read, which is not reached".to_owned() }
        }
        standing => standing,
    };
    Level::ALL.into_iter().map(|level| LevelReport { level, standing: of(level) }).collect()
}

fn standing(level: Level, cases: &[CaseReport]) -> Standing {
    let own = || cases.iter().filter(|case| case.level == level);
    let skipped = |case: &CaseReport| match &case.outcome {
        Outcome::Skipped { why, lack } => Some((*lack, case.number, why.clone())),
        _ => None,
    };
    if let Some(skipped) = own().map(skipped).collect::<Option<Vec<_>>>() {
        if let Some((.., why)) =
            skipped.first().filter(|_| skipped.iter().all(|(lack, ..)| *lack == Lack::Offer))
        {
            return Standing::NotOffered { why: why.clone() };
        }
    }
    let failed = |case: &&CaseReport| matches!(case.outcome, Outcome::Failed { .. });
    let numbers = |cases: Vec<&CaseReport>| cases.iter().map(|case| case.number).collect::<Vec<_>>();
    let of_its_own = numbers(own().filter(failed).collect());
    if !of_its_own.is_empty() {
        let why = format!("the clauses {of_its_own:?} failed; mend what the report says about them");
        return Standing::NotReached { why };
    }
    let all = numbers(cases.iter().filter(failed).collect());
    if !all.is_empty() {
        let why =
            format!("the clauses {all:?} of other levels failed, and a failure anywhere denies all levels");
        return Standing::NotReached { why };
    }
    let untested: Vec<_> = own().filter_map(skipped).filter(|(lack, ..)| *lack != Lack::Offer).collect();
    if !untested.is_empty() {
        let mut by_reason: Vec<(String, Vec<String>)> = Vec::new();
        for (_, number, why) in untested {
            match by_reason.iter_mut().find(|(known, _)| *known == why) {
                Some((_, numbers)) => numbers.push(number.to_string()),
                None => by_reason.push((why, vec![number.to_string()])),
            }
        }
        let each = by_reason.into_iter().map(|(why, numbers)| match &numbers[..] {
            [number] => format!("clause {number}: {why}"),
            _ => format!("clauses {}: {why}", numbers.join(", ")),
        });
        return Standing::NotReached { why: format!("not tested: {}", each.collect::<Vec<_>>().join("; ")) };
    }
    Standing::Reached
}
