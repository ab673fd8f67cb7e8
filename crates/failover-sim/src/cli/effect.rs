//! Prints the effect table.

use failover_sim::effect;

pub(super) fn print(seeds: u64) -> Result<(), String> {
    let command = format!("cargo run --release -p failover-sim -- effect --seeds {seeds}");
    print!("{}", effect::page(seeds, &[], &command).map_err(|error| error.to_string())?);
    Ok(())
}
