//! Which of several sources carries the calls.

use std::collections::BTreeMap;

use crate::engine::control::state::Control;
use crate::engine::snapshot::{Rank, Snapshot};
use crate::events::{Event, EventKind};

/// Emits an event if most calls now go to a different source tier. If nothing is available, the
/// source tier counts as unchanged.
pub(super) fn emit(control: &mut Control, snapshot: &Snapshot, events: &mut Vec<Event>) {
    let Some((tier, percent)) = busiest(snapshot) else { return };
    let before = control.serving.replace(tier);
    if before == Some(tier) || (before.is_none() && tier == 0) {
        return;
    }
    let names: Vec<_> =
        control.sources.iter().filter(|source| source.tier == tier).map(|source| &source.name).collect();
    let Some(name) = names.first() else { return };
    let all = names.iter().map(|name| &***name).collect::<Vec<_>>().join(", ");
    let why = match before {
        Some(before) if before > tier => "its endpoints are available again",
        _ => "too few endpoints of the sources before it are available",
    };
    let reason = format!("{percent} % of the calls now go to the endpoints of {all}: {why}");
    events.push(
        Event::new(EventKind::SourceChanged, reason)
            .provider(name)
            .detail("source_tier", tier)
            .detail("percent", percent),
    );
}

/// Returns the source tier that receives most calls, and their percentage.
fn busiest(snapshot: &Snapshot) -> Option<(u32, u32)> {
    if snapshot.closed() == 0 {
        return None;
    }
    let recompute_shares = snapshot.share_percent();
    let mut by_source = BTreeMap::new();
    for (tier, percent) in snapshot.tiers.iter().zip(&recompute_shares) {
        *by_source.entry(tier.rank.source).or_default() += percent;
    }
    // On a tie, the first one.
    let most = by_source.iter().rev().max_by_key(|(_, percent)| **percent);
    most.filter(|(_, percent)| **percent > 0).map(|(source, percent)| (*source, *percent))
}

pub(super) fn shares_event(snapshot: &Snapshot) -> Event {
    let recompute_shares = snapshot.share_percent();
    let steps = snapshot.tiers.iter().any(|tier| tier.rank.step > 0);
    let words: Vec<_> = snapshot
        .tiers
        .iter()
        .zip(&recompute_shares)
        .map(|(tier, percent)| {
            let Rank { source, priority, step } = tier.rank;
            let step = if steps { format!(", step {step}") } else { String::new() };
            let panic = if tier.in_panic() { " (panic mode: too few are available)" } else { "" };
            format!("{percent} % to priority {priority} of source tier {source}{step}{panic}")
        })
        .collect();
    Event::new(EventKind::LoadBalance, format!("calls go {}", words.join(", ")))
        .detail("percent", recompute_shares)
}
