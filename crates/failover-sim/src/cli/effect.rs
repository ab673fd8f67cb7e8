//! Prints docs/effect.md.

use failover_sim::effect;
use failover_sim::summary::Summary;

const HEAD: &str = "\
# Effect

What callers see of a fault, under the engine and under what it is compared with. The first three policies of each table
are the engine of today with its defaults and an algorithm each (`default` is round robin). `random`, `round_robin` and
`least_busy` make one attempt and look at no health; `health_checks` takes part in a check each second; `request_budget` is
random with retries that a fifth of the requests pays for; `tower` is tower's own power of two choices with `PeakEwma`,
retries and budget; `probing` is a model after Prequal, with the retries of `request_budget`.

Attempts take at most 1 s and calls 3 s, with two retries. Each run has a state of its own. `met` is the number of seeds
that met the row's target; it is absent where there is none. The other figures are those of all seeds together: `back s`
is the time from the end of the fault, or from its beginning where it lasts, until 99 % of the calls of five seconds
succeed; `share %` the smallest and the largest share of the attempts of an endpoint. The last tables leave out the first
15 s; what their publishers do not say of the servers is assumed.

No policy of the comparison knows tiers, so that the rows with a standby are not here. Every row with its target and today's
result is in [expected.txt](../crates/failover-sim/expected.txt).
";

pub(super) fn print(seeds: u64) -> Result<(), String> {
    let table = effect::table(seeds).map_err(|error| error.to_string())?;
    println!("{HEAD}");
    println!("Measured by `cargo run --release -p failover-sim -- effect --seeds {seeds} > docs/effect.md`.");
    for section in table {
        println!("\n## {}\n", section.name);
        if !section.note.is_empty() {
            println!("{}\n", section.note);
        }
        println!("```text\n{:18} {:>6} {}", "policy", "met", Summary::header());
        for line in section.lines {
            let met = line.met.map_or_else(String::new, |met| format!("{met}/{seeds}"));
            println!("{:18} {met:>6} {}", line.policy, line.summary.line());
        }
        println!("```");
    }
    Ok(())
}
