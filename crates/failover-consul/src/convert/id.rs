//! Ids that Consul can distinguish.

use std::borrow::Cow;
use std::fmt::Write;

use failover_core::EndpointId;

/// Prefix of an escaped id.
const ESCAPED: &str = "fo.";
const LONGEST: usize = 200;

/// Returns an id for Consul: unchanged if that is safe, otherwise with `_xx` for each unsafe byte.
/// Consul ignores case, cannot deregister `..` over HTTP, and decodes `%` twice in some versions.
pub(crate) fn encode(id: &EndpointId) -> String {
    let id = id.as_str();
    let plain =
        |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b':' | b'@' | b'-');
    let safe =
        id.len() <= LONGEST && id.bytes().all(plain) && id != "." && id != ".." && !id.starts_with(ESCAPED);
    if safe {
        return id.to_owned();
    }
    let mut out = ESCAPED.to_owned();
    for b in id.bytes() {
        if plain(b) && b != b'_' {
            out.push(char::from(b));
        } else {
            let _ = write!(out, "_{b:02x}");
        }
    }
    out
}

/// Decodes an id; a text that is not escaped is returned unchanged.
pub(crate) fn decode(text: &str) -> Cow<'_, str> {
    text.strip_prefix(ESCAPED).and_then(unescape).map_or(Cow::Borrowed(text), Cow::Owned)
}

fn unescape(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        if b == b'_' {
            let high = char::from(bytes.next()?).to_digit(16)?;
            let low = char::from(bytes.next()?).to_digit(16)?;
            out.push((high * 16 + low) as u8);
        } else {
            out.push(b);
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn usual_ids_are_kept_and_odd_ones_are_escaped() {
        for (id, text) in [
            ("users-1", "users-1"),
            ("10.0.0.1:8080", "10.0.0.1:8080"),
            ("a_b@node", "a_b@node"),
            ("..", "fo..."),
            (".", "fo.."),
            ("a/../b", "fo.a_2f.._2fb"),
            ("a%2Fb", "fo.a_252_46b"),
            ("A", "fo._41"),
            ("fo.a", "fo.fo.a"),
            ("\u{fc}", "fo._c3_bc"),
        ] {
            let encoded = encode(&EndpointId::new(id).expect(id));
            assert_eq!(encoded, text);
            assert_eq!(decode(&encoded), id);
        }
        assert_eq!(decode("fo._4"), "fo._4", "not one of ours");
        assert_eq!(decode("fo._ff"), "fo._ff", "not UTF-8");
    }

    proptest! {
        #[test]
        fn every_id_comes_back_and_needs_no_encoding_in_a_path(id in "[^\\s\\p{C}]{1,255}") {
            let Ok(id) = EndpointId::new(&id) else { return Ok(()) };
            let text = encode(&id);
            prop_assert_eq!(decode(&text), id.as_str());
            prop_assert!(text != "." && text != "..");
            let safe = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._:@-".contains(&b);
            prop_assert!(text.bytes().all(safe), "{}", text);
        }
    }
}
