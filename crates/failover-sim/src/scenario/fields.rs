//! Reads the values of a table, and names the field, its value and what would be right when one is wrong.

use std::ops::RangeInclusive;

use failover_core::Error;
use toml::{Table, Value};

use crate::Nanos;

/// The longest time that a scenario may name: a day.
pub(super) const DAY: Nanos = 86_400_000_000_000;

/// The fields of one table that have not been read yet.
pub(super) struct Fields {
    path: String,
    table: Table,
    known: Vec<&'static str>,
}

impl Fields {
    pub(super) fn new(path: &str, table: Table) -> Self {
        Self { path: path.to_owned(), table, known: Vec::new() }
    }

    /// The full name of a field.
    pub(super) fn path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    pub(super) fn take(&mut self, name: &'static str) -> Option<Value> {
        self.known.push(name);
        self.table.remove(name)
    }

    /// Every field has been read.
    ///
    /// # Errors
    ///
    /// `Validation` for one that has not: it names no field that there is.
    pub(super) fn finish(self) -> Result<(), Error> {
        match self.table.keys().next() {
            None => Ok(()),
            Some(key) => {
                let wanted = format!("one of {}", self.known.join(", "));
                Err(Error::invalid(&self.path(key), "an unknown key", &wanted))
            }
        }
    }

    pub(super) fn text(&mut self, name: &'static str) -> Result<Option<String>, Error> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) if !text.is_empty() && text.len() <= 200 => Ok(Some(text)),
            Some(other) => Err(invalid(&self.path(name), &other, "a text of 1 to 200 bytes")),
        }
    }

    pub(super) fn whole(
        &mut self,
        name: &'static str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<u64>, Error> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let number = value.as_integer().and_then(|number| u64::try_from(number).ok());
        let number = number.filter(|number| range.contains(number));
        let wanted = format!("a whole number from {} to {}", range.start(), range.end());
        number.map(Some).ok_or_else(|| invalid(&self.path(name), &value, &wanted))
    }

    pub(super) fn number(
        &mut self,
        name: &'static str,
        range: RangeInclusive<f64>,
    ) -> Result<Option<f64>, Error> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let number = value.as_float().or_else(|| value.as_integer().map(|whole| whole as f64));
        let number = number.filter(|number| range.contains(number));
        let wanted = format!("a number from {} to {}", range.start(), range.end());
        number.map(Some).ok_or_else(|| invalid(&self.path(name), &value, &wanted))
    }

    pub(super) fn time(
        &mut self,
        name: &'static str,
        range: RangeInclusive<Nanos>,
    ) -> Result<Option<Nanos>, Error> {
        let Some(value) = self.take(name) else { return Ok(None) };
        time(&self.path(name), &value, &range).map(Some)
    }

    /// A field that must be there.
    pub(super) fn required<T>(&self, name: &str, value: Option<T>, wanted: &str) -> Result<T, Error> {
        value.ok_or_else(|| Error::invalid(&self.path(name), "no value", wanted))
    }

    /// The tables of an array of tables, each with its full name.
    pub(super) fn tables(&mut self, name: &'static str) -> Result<Vec<Self>, Error> {
        let Some(value) = self.take(name) else { return Ok(Vec::new()) };
        let path = self.path(name);
        let wanted = || invalid(&path, &value, &format!("tables, each under [[{name}]]"));
        let Value::Array(list) = &value else { return Err(wanted()) };
        let tables = list.iter().enumerate().map(|(index, value)| match value {
            Value::Table(table) => Ok(Self::new(&format!("{path}[{index}]"), table.clone())),
            _ => Err(wanted()),
        });
        tables.collect()
    }

    /// One table.
    pub(super) fn table(&mut self, name: &'static str) -> Result<Option<Self>, Error> {
        let path = self.path(name);
        match self.take(name) {
            None => Ok(None),
            Some(Value::Table(table)) => Ok(Some(Self::new(&path, table))),
            Some(other) => Err(invalid(&path, &other, &format!("a table under [{name}]"))),
        }
    }
}

/// The error of a value that is not allowed.
pub(super) fn invalid(field: &str, value: &Value, wanted: &str) -> Error {
    match value {
        Value::String(text) => Error::invalid(field, text, wanted),
        Value::Integer(number) => Error::invalid(field, number, wanted),
        Value::Float(number) => Error::invalid(field, number, wanted),
        Value::Boolean(word) => Error::invalid(field, word, wanted),
        Value::Datetime(date) => Error::invalid(field, date, wanted),
        Value::Array(list) => Error::invalid(field, format!("a list of {}", list.len()), wanted),
        Value::Table(_) => Error::invalid(field, "a table", wanted),
    }
}

/// A time such as `"250ms"` or `"1.5s"`, within a range.
pub(super) fn time(field: &str, value: &Value, range: &RangeInclusive<Nanos>) -> Result<Nanos, Error> {
    let time = value.as_str().and_then(parse).filter(|time| range.contains(time));
    let wanted =
        || format!("a time from {} to {}, such as \"250ms\"", shown(*range.start()), shown(*range.end()));
    time.ok_or_else(|| invalid(field, value, &wanted()))
}

const UNITS: [(&str, Nanos); 6] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

fn parse(text: &str) -> Option<Nanos> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(end);
    let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let nanos = number.parse::<f64>().ok()? * *scale as f64;
    // Numbers up to this one are whole nanoseconds in a double.
    (nanos <= 9e15).then_some(nanos.round() as Nanos)
}

fn shown(time: Nanos) -> String {
    let (unit, scale) =
        UNITS.iter().rev().find(|(_, scale)| time >= *scale && time % scale == 0).unwrap_or(&UNITS[0]);
    format!("{}{unit}", time / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_shown() {
        for (text, nanos) in [
            ("250ms", Some(250_000_000)),
            ("1.5s", Some(1_500_000_000)),
            ("24h", Some(DAY)),
            ("1", None),
            ("-1s", None),
            ("s", None),
            ("1.2.3s", None),
            ("1 s", None),
            ("99999999999999h", None),
        ] {
            assert_eq!(parse(text), nanos, "{text}");
        }
        for (nanos, text) in [(1, "1ns"), (90_000_000_000, "90s"), (DAY, "24h"), (0, "0ns")] {
            assert_eq!(shown(nanos), text);
        }
    }
}
