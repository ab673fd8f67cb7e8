//! What a table does not tell by itself: where the engine is not the best of all, and why.

/// The notes, by the name of the row or scenario.
const NOTES: &[(&str, &str)] = &[
    (
        "zone_down_silent",
        "The first calls to the own zone wait for their attempt's second. The policies with a lower p99 spread all calls \
         over all zones at all times, so that fewer of them meet a silent endpoint.",
    ),
    (
        "all_refused_held_of_3_returns_100_per_s",
        "One call of a thousand succeeds at a later attempt, 10 ms after its first, which ends the calls of others.",
    ),
    (
        "m1_half_n3_90",
        "While the capacity is halved, and while the queues empty, a retry is one more request for a full queue. The retry \
         gate lets few of them through, but the queues empty later for them: the default answers 1 % fewer calls than \
         plain round robin, and a tenth fewer where a hundred clients learn of the overload each from its own calls. It \
         recovers as callers do that never retry, unlike the other policies that retry.",
    ),
    ("m1_half_n3_90_100_clients", "See `m1_half_n3_90`."),
    (
        "four_processors_and_30_callers",
        "C1: a probing policy is published to lose a quarter of the throughput. Here it loses nothing, and random a \
         twentieth. Two random choices leave one queue a call longer than the others, which the exact turn of round robin \
         does not: 10 ms.",
    ),
    (
        "two_of_16_are_16_times_slower",
        "C2, published p99/p99.9 ms: probing 94/272, round robin 807/888, least connections 803/1007. The engine finds out \
         by real calls, eight of a thousand, whether a slow endpoint is slow still; a probing policy asks it instead.",
    ),
    (
        "two_of_16_slow_and_a_ramp",
        "C3, published p99/p99.9 ms: probing 123/824, round robin 832/1250, least connections 868/1597. As in C2.",
    ),
    (
        "twenty_queues_at_90_percent",
        "Twenty queues at 90 % load, without any fault. `least_busy` compares all twenty for each call. Two random choices \
         cost the same with ten thousand, and reach what they can.",
    ),
];

/// Returns what is to be said of the row or scenario of this name.
pub(super) fn of(name: &str) -> &'static str {
    NOTES.iter().find(|(of, _)| *of == name).map_or("", |(_, note)| note)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effect::{ROWS, tails};

    #[test]
    fn each_note_is_of_a_table() {
        let tails = tails::all();
        for (name, note) in NOTES {
            assert!(ROWS.contains(name) || tails.iter().any(|of| of.name() == *name), "{name}");
            assert_eq!(of(name), *note);
        }
    }
}
