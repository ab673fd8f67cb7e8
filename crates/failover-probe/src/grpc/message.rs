//! The two messages of `grpc.health.v1`: one field each, so no code is generated for them.
//!
//! `HealthCheckRequest { string service = 1; }` and
//! `HealthCheckResponse { ServingStatus status = 1; }`.

use bytes::{BufMut, Bytes, BytesMut};

/// The status of a service that takes calls.
pub(super) const SERVING: u64 = 1;
/// The length of a message's prefix: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// Returns the body of a request for a service.
pub(super) fn request(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    // As in protobuf, an empty text is left out.
    if !service.is_empty() {
        message.put_u8(1 << 3 | 2);
        let mut length = service.len();
        while length >= 0x80 {
            message.put_u8(length as u8 | 0x80);
            length >>= 7;
        }
        message.put_u8(length as u8);
        message.put_slice(service.as_bytes());
    }
    let mut body = BytesMut::with_capacity(PREFIX + message.len());
    body.put_u8(0);
    body.put_u32(message.len() as u32);
    body.put(message);
    body.freeze()
}

/// Returns the status in the body of an answer, or what is wrong with the body.
pub(super) fn status(body: &[u8]) -> Result<u64, &'static str> {
    let Some((prefix, mut message)) = body.split_at_checked(PREFIX) else {
        return Err(if body.is_empty() { "it has no message" } else { "its message is broken off" });
    };
    if prefix[0] != 0 {
        return Err("its message is compressed, which was not asked for");
    }
    let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
    if message.len() != length {
        return Err("its length is not that of one message");
    }
    let broken = "its message is no HealthCheckResponse";
    let mut status = 0;
    while !message.is_empty() {
        let key = varint(&mut message).ok_or(broken)?;
        match (key >> 3, key & 7) {
            // The last one counts.
            (1, 0) => status = varint(&mut message).ok_or(broken)?,
            (0 | 1, _) => return Err(broken),
            // Fields of a newer version are skipped.
            (_, kind) => skip(kind, &mut message).ok_or(broken)?,
        }
    }
    Ok(status)
}

/// Returns the name of a status.
pub(super) fn name(status: u64) -> String {
    match status {
        0 => "UNKNOWN".to_owned(),
        1 => "SERVING".to_owned(),
        2 => "NOT_SERVING".to_owned(),
        3 => "SERVICE_UNKNOWN".to_owned(),
        other => format!("the unknown status {other}"),
    }
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn skip(kind: u64, bytes: &mut &[u8]) -> Option<()> {
    let length = match kind {
        0 => return varint(bytes).map(drop),
        1 => 8,
        2 => usize::try_from(varint(bytes)?).ok()?,
        5 => 4,
        _ => return None,
    };
    *bytes = bytes.get(length..)?;
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_what_protobuf_writes() {
        assert_eq!(request("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(request("ab")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        let long = request(&"x".repeat(300));
        assert_eq!(long[..8], [0, 0, 0, 1, 47, 0x0a, 0xac, 2]);
        assert_eq!(long.len(), 5 + 303);
    }

    #[test]
    fn an_answer_is_read_and_anything_else_is_refused() {
        let framed = |message: &[u8]| [&[0, 0, 0, 0, message.len() as u8], message].concat();
        for (message, expected) in [
            (&[][..], 0),
            (&[8, 1], 1),
            (&[8, 2], 2),
            (&[8, 2, 8, 1], 1),
            (&[8, 0x81, 0], 1),
            (&[16, 5, 8, 1, 0x1a, 2, 7, 7, 0x25, 1, 2, 3, 4, 0x31, 1, 2, 3, 4, 5, 6, 7, 8], 1),
            (&[8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], u64::MAX),
        ] {
            assert_eq!(status(&framed(message)), Ok(expected), "{message:?}");
        }
        for message in [
            &[8][..],
            &[8, 0x80],
            &[8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
            &[10, 1, 1],
            &[0, 1],
            &[0x12, 9, 1],
            &[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
            &[0x13],
        ] {
            assert!(status(&framed(message)).is_err(), "{message:?}");
        }
        for body in [
            &[][..],
            &[0],
            &[0, 0, 0, 0, 2, 8],
            &[0, 0, 0, 0, 2, 8, 1, 0],
            &[0, 0xff, 0xff, 0xff, 0xff, 8, 1],
            &[1, 0, 0, 0, 2, 8, 1],
        ] {
            assert!(status(body).is_err(), "{body:?}");
        }
    }
}
