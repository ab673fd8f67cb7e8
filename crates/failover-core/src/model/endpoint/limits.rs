//! The maximum sizes of an endpoint's parts, which bound the memory that a registry can make this
//! process use.

use jiff::Timestamp;

/// Bytes of a service name, as of a DNS name.
pub(crate) const SERVICE_NAME: usize = 253;
/// Characters of an endpoint id.
pub(crate) const ENDPOINT_ID: usize = 255;
/// Bytes of a host name, without a trailing dot (RFC 1123).
pub(crate) const HOST: usize = 253;
/// Bytes of one label of a host name.
pub(crate) const HOST_LABEL: usize = 63;
/// Bytes of a protocol.
pub(crate) const PROTOCOL: usize = 32;
/// Entries of the metadata.
pub(crate) const METADATA: usize = 256;
/// Bytes of a metadata key.
pub(crate) const METADATA_KEY: usize = 256;
/// Bytes of a metadata value.
pub(crate) const METADATA_VALUE: usize = 16 * 1024;
/// Bytes of all metadata keys and values together, and of all tags.
pub(crate) const ALL_BYTES: usize = 64 * 1024;
/// Number of tags.
pub(crate) const TAGS: usize = 256;
/// Bytes of a tag.
pub(crate) const TAG: usize = 1024;
/// Characters of a region or zone.
pub(crate) const LOCALITY: usize = 63;
/// Times before the year 2 are Go's zero time, in any time zone.
pub(super) const FIRST_TIME: Timestamp = Timestamp::constant(-62_104_060_800, 0);
pub(super) const PORT_WANTED: &str = "a number from 1 to 65535";
