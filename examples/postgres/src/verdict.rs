//! What the databases have in the end, compared with what the writers reported.

use std::collections::HashMap;
use std::fmt;

use tokio_postgres::{Client, Error};

use crate::writers::{Account, WRITERS};

/// The result of a program.
pub(crate) struct Verdict {
    writes: usize,
    failed: usize,
    gap_ms: u128,
    on_old_primary: i64,
    /// What became of each write that failed.
    pub(crate) notes: Vec<String>,
    pub(crate) faults: Vec<String>,
}

impl Verdict {
    /// Reads the rows of a table on the new primary, and on the old one those since it was started again.
    pub(crate) async fn of(
        account: &Account,
        table: &str,
        new: &Client,
        old: &Client,
    ) -> Result<Self, Error> {
        let rows = new.query(&format!("SELECT number, count(*) FROM {table} GROUP BY number"), &[]).await?;
        let rows: HashMap<i64, i64> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        let since = format!("SELECT count(*) FROM {table} WHERE at >= pg_postmaster_start_time()");
        let on_old_primary: i64 = old.query_one(&since, &[]).await?.get(0);
        Ok(Self {
            writes: account.done.len() + account.failed.len(),
            failed: account.failed.len(),
            gap_ms: account.gap_ms(),
            on_old_primary,
            notes: account.failed.iter().map(|failed| note(failed.number, &rows)).collect(),
            faults: faults(account, &rows, on_old_primary),
        })
    }
}

fn note(number: i64, rows: &HashMap<i64, i64>) -> String {
    let was = if rows.contains_key(&number) { "was" } else { "was not" };
    format!("write {number}, whose fate was unknown, {was} executed")
}

fn faults(account: &Account, rows: &HashMap<i64, i64>, on_old_primary: i64) -> Vec<String> {
    let mut faults = Vec::new();
    let times = |number: &i64| rows.get(number).copied().unwrap_or_default();
    for number in account.done.iter().filter(|number| times(number) != 1) {
        faults.push(format!("write {number} was done, and is there {} times", times(number)));
    }
    for failed in &account.failed {
        if !failed.is_unknown {
            faults.push(format!("write {} failed, although it was not executed", failed.number));
        }
        if times(&failed.number) > 1 {
            faults.push(format!("write {} was repeated", failed.number));
        }
    }
    if account.failed.len() > WRITERS {
        faults.push(format!("more writes failed than the {WRITERS} connections had in flight"));
    }
    if on_old_primary > 0 {
        faults.push(format!("{on_old_primary} rows were written to the old primary"));
    }
    faults
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { writes, failed, gap_ms, on_old_primary, .. } = self;
        write!(f, "writes={writes} failed={failed} gap_ms={gap_ms} on_old_primary={on_old_primary}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::writers::Failed;

    fn account(done: &[i64], failed: &[(i64, bool)]) -> Account {
        let failed = failed.iter().map(|(number, is_unknown)| Failed {
            number: *number,
            why: String::new(),
            is_unknown: *is_unknown,
        });
        let mut account = Account::default();
        account.done.extend(done);
        account.failed.extend(failed);
        account
    }

    #[test]
    fn each_promise_that_is_broken_is_a_fault() {
        let rows = HashMap::from([(1, 1), (2, 2), (4, 1), (6, 2)]);
        let found =
            |done: &[i64], failed: &[(i64, bool)], on_old| faults(&account(done, failed), &rows, on_old);
        assert_eq!(found(&[1], &[(4, true), (5, true)], 0), Vec::<String>::new());
        for (done, failed, on_old, expected) in [
            (&[1, 2][..], &[][..], 0, "write 2 was done, and is there 2 times"),
            (&[3], &[], 0, "write 3 was done, and is there 0 times"),
            (&[], &[(5, false)], 0, "write 5 failed, although it was not executed"),
            (&[], &[(6, true)], 0, "write 6 was repeated"),
            (&[], &[(7, true); 9], 0, "more writes failed than the 8 connections had in flight"),
            (&[], &[], 3, "3 rows were written to the old primary"),
        ] {
            assert_eq!(found(done, failed, on_old), [expected]);
        }
    }
}
