//! Named rows: a scenario of a fault, what must hold, and a naive control that must fail it.

mod collapse;
mod discovery;
mod errors;
mod flapping;
mod outage;
mod overload;
mod row;
mod silent;
mod stall;
mod standby;
mod tail;
mod target;
mod unrepeatable;
mod zones;

pub use collapse::{cells, hard_cells};
pub use row::Row;
pub use target::Verdict;

/// Every row, without the cells of the matrix.
pub fn all() -> Vec<Row> {
    let families = [
        errors::crashes(),
        silent::rows(),
        overload::rows(),
        outage::rows(),
        collapse::rows(),
        flapping::rows(),
        errors::rows(),
        tail::rows(),
        stall::rows(),
        standby::rows(),
        zones::rows(),
        unrepeatable::rows(),
        discovery::rows(),
    ];
    families.into_iter().flatten().collect()
}
