//! The values that every part of PuRo Mail speaks of: addresses, identifiers, sizes, locations.
//!
//! What it is: types that cannot hold a wrong value, parsed once at the edge. What it is not: it does no I/O, reads no
//! clock and knows no protocol. Any crate may depend on it.

mod address;
mod id;
mod location;
mod service_url;
mod size;

pub use address::{AddressError, DOMAIN_MAX, DomainName, EmailAddress, LOCAL_PART_MAX};
pub use id::{IdError, MailboxId, MessageId, TransactionId};
pub use location::{Codec, Frame, Location};
pub use service_url::{ServiceUrl, ServiceUrlError};
pub use size::{ByteSize, ByteSizeError};
