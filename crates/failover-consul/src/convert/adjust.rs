//! Fits what other software registered into the limits of the model, and says what was changed.

use std::collections::BTreeMap;
use std::fmt::Write;

use failover_core::{EndpointId, Error, ErrorKind};

/// The error code for what was changed of an instance that is used nevertheless.
const ADJUSTED: &str = "ADJUSTED";

/// The model's limits: characters of an id; number, bytes and all bytes of tags; number of pairs, bytes
/// of a key and of a value of the metadata.
const ID: usize = 255;
const TAGS: usize = 256;
const TAG: usize = 1024;
const PAIRS: usize = 256;
const KEY: usize = 256;
const VALUE: usize = 16 * 1024;
const ALL: usize = 64 * 1024;
/// What a cut id ends with: a tilde and the hash of the whole.
const MARK: usize = 17;

/// What was changed of an instance.
#[derive(Debug, Default)]
pub(crate) struct Notes(Vec<String>);

impl Notes {
    /// Returns an error that says what was changed, if anything was.
    pub(super) fn error(&self) -> Option<Error> {
        let changes = self.0.join("; ");
        let message = format!("it is used, but changed: {changes}");
        (!self.0.is_empty()).then(|| Error::new(ErrorKind::Validation, message).with_code(ADJUSTED))
    }
}

/// Returns an id of the model: the same where it is one; otherwise with white space and what cannot be
/// printed in percent-encoding; and cut, with a hash that keeps it unique, if it is longer than 255
/// characters.
pub(super) fn id(text: &str, notes: &mut Notes) -> String {
    if text.is_empty() || EndpointId::new(text).is_ok() {
        return text.to_owned();
    }
    let mut shown = String::with_capacity(text.len());
    let mut buffer = [0; 4];
    for c in text.chars() {
        let letter = c.encode_utf8(&mut buffer);
        if EndpointId::new(&letter).is_ok() {
            shown.push(c);
        } else {
            for byte in letter.bytes() {
                let _ = write!(shown, "%{byte:02X}");
            }
        }
    }
    if shown != text {
        notes.0.push("its id has characters that an id cannot have, and is encoded".to_owned());
    }
    let count = shown.chars().count();
    if count > ID {
        notes.0.push(format!("its id has {count} characters, and is cut to {ID}"));
        let kept = shown.char_indices().nth(ID - MARK).map_or(shown.len(), |(end, _)| end);
        shown.truncate(kept);
        let _ = write!(shown, "~{:016x}", fnv(text));
    }
    shown
}

/// The hash FNV-1a, the same in every process.
fn fnv(text: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}

/// Returns as much of the tags as the model has room for.
pub(super) fn tags(mut tags: Vec<String>, notes: &mut Notes) -> Vec<String> {
    let before = tags.len();
    let long = tags.iter_mut().map(|tag| cut(tag, TAG)).filter(|is_cut| *is_cut).count();
    if long > 0 {
        notes.0.push(format!("{long} of its tags are longer than {TAG} bytes, and are cut"));
    }
    let mut bytes = 0;
    let fits = |tag: &String| {
        bytes += tag.len();
        bytes <= ALL
    };
    let room = tags.iter().take(TAGS).map(fits).take_while(|fits| *fits).count();
    tags.truncate(room);
    if room < before {
        notes.0.push(format!("of its {before} tags only the first {room} are kept"));
    }
    tags
}

/// Returns as much of the metadata as the model has room for.
pub(super) fn metadata(all: BTreeMap<String, String>, notes: &mut Notes) -> BTreeMap<String, String> {
    let (before, mut bytes, mut long) = (all.len(), 0, 0);
    let mut kept = BTreeMap::new();
    for (key, mut value) in all {
        long += usize::from(cut(&mut value, VALUE));
        let size = key.len() + value.len();
        if (1..=KEY).contains(&key.len()) && kept.len() < PAIRS && bytes + size <= ALL {
            bytes += size;
            kept.insert(key, value);
        }
    }
    if long > 0 {
        notes.0.push(format!("{long} values of its metadata are longer than {VALUE} bytes, and are cut"));
    }
    if kept.len() < before {
        notes.0.push(format!("of the {before} pairs of its metadata only {} are kept", kept.len()));
    }
    kept
}

/// Cuts a text to a maximum length in bytes, and returns whether that was necessary.
fn cut(text: &mut String, most: usize) -> bool {
    if text.len() <= most {
        return false;
    }
    let end = (0..=most).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.truncate(end);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(notes: &Notes) -> String {
        notes.error().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn ids_stay_themselves_where_they_can_and_distinct_where_not() {
        let shown = |text: &str| {
            let mut notes = Notes::default();
            let shown = id(text, &mut notes);
            assert!(text.is_empty() || EndpointId::new(&shown).is_ok(), "{shown}");
            (shown, said(&notes))
        };
        assert_eq!(shown("A/b%20c"), ("A/b%20c".to_owned(), String::new()));
        assert_eq!(shown("x y\u{202e}").0, "x%20y%E2%80%AE");
        assert!(shown("x y").1.contains("encoded"));
        let (one, two) = (shown(&format!("{}1", "i".repeat(285))), shown(&format!("{}2", "i".repeat(285))));
        assert_ne!(one.0, two.0);
        assert_eq!((one.0.len(), one.1.contains("286 characters")), (255, true));
        assert_eq!(shown(&"\u{e9} ".repeat(5000)).0.chars().count(), 255);
        assert_eq!(shown(&"\u{e9}".repeat(255)).1, "");
    }

    #[test]
    fn tags_and_metadata_are_kept_as_far_as_there_is_room() {
        let kept = |given: Vec<String>| {
            let mut notes = Notes::default();
            (tags(given, &mut notes), said(&notes))
        };
        let (few, said_of_few) = kept(vec!["a".to_owned(), String::new()]);
        assert_eq!((few.len(), said_of_few.as_str()), (2, ""));
        let (long, said_of_long) = kept(vec!["\u{e9}".repeat(600), "b".to_owned()]);
        assert_eq!((long[0].len(), long[1].as_str()), (1024, "b"));
        assert!(said_of_long.contains("1 of its tags"), "{said_of_long}");
        let (many, said_of_many) = kept((0..300).map(|n| n.to_string()).collect());
        assert_eq!(many.len(), 256);
        assert!(said_of_many.contains("of its 300 tags only the first 256"), "{said_of_many}");
        assert_eq!(kept(vec!["x".repeat(1024); 200]).0.len(), 64);

        let pairs = |count: usize, size: usize| -> BTreeMap<String, String> {
            (0..count).map(|n| (format!("k{n:04}"), "v".repeat(size))).collect()
        };
        let kept = |given: BTreeMap<String, String>| {
            let mut notes = Notes::default();
            (metadata(given, &mut notes), said(&notes))
        };
        assert_eq!(kept(pairs(256, 100)), (pairs(256, 100), String::new()));
        assert_eq!(kept(pairs(300, 1)).0.len(), 256);
        assert_eq!(kept(pairs(1, 20_000)).0["k0000"].len(), 16_384);
        assert!(kept(pairs(10, 16_000)).1.contains("only 4 are kept"));
        assert_eq!(
            kept(BTreeMap::from([(String::new(), "v".to_owned()), ("k".repeat(300), String::new())])).0.len(),
            0
        );
    }
}
