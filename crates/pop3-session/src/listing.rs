//! LIST and UIDL of all messages, in pieces: a maildrop may hold very many.

use bytes::BytesMut;

use crate::{reply, transaction::Transaction};

/// What is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// LIST: exact octets.
    Sizes,
    /// UIDL: the ids.
    Ids,
}

/// A listing under way.
#[derive(Debug)]
pub(crate) struct Listing {
    kind: Kind,
    next: usize,
}

impl Listing {
    pub(crate) fn new(kind: Kind) -> Self {
        Self { kind, next: 0 }
    }

    /// Appends lines until `out` holds `high_water` octets or all is said; says whether all is.
    pub(crate) fn write(&mut self, transaction: &Transaction, out: &mut BytesMut, high_water: usize) -> bool {
        while self.next < transaction.len() {
            if out.len() >= high_water {
                return false;
            }
            if let Some(entry) = transaction.at(self.next) {
                let number = self.next + 1;
                match self.kind {
                    Kind::Sizes => reply::line(out, format_args!("{number} {}", entry.size_bytes)),
                    Kind::Ids => reply::line(out, format_args!("{number} {}", entry.id)),
                }
            }
            self.next += 1;
        }
        reply::end(out);
        true
    }
}
