//! What each table is called and which attributes make its key.

use super::Table;

/// The attribute that says when a store that tidies up by itself may take an item away, in seconds since the Unix epoch.
/// Nothing rests on that it does.
pub const TTL: &str = "ttl";

impl Table {
    /// Every table, in the order of the data model. New ones are appended.
    pub const ALL: [Self; 7] =
        [Self::User, Self::Folder, Self::MetaMail, Self::Config, Self::Domain, Self::Queue, Self::Segment];

    /// Returns the name under which the table is stored (DynamoDB adds the operator's prefix).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Folder => "folder",
            Self::MetaMail => "meta_mail",
            Self::Config => "config",
            Self::Domain => "domain",
            Self::Queue => "queue",
            Self::Segment => "segment",
        }
    }

    /// Says whether items of this table may have a [`TTL`].
    #[must_use]
    pub const fn expires(self) -> bool {
        matches!(self, Self::MetaMail)
    }

    /// Says whether this table is used for every message, so that capacity by the hour may pay. The others are read now
    /// and then, through caches.
    #[must_use]
    pub const fn is_busy(self) -> bool {
        !matches!(self, Self::Config | Self::Domain)
    }

    /// Returns the name of the partition key's attribute.
    #[must_use]
    pub const fn partition_attribute(self) -> &'static str {
        match self {
            Self::User => "email",
            Self::Folder => "mailbox",
            Self::MetaMail => "folder",
            Self::Config => "name",
            Self::Domain => "domain",
            Self::Queue => "shard",
            Self::Segment => "object_name",
        }
    }

    /// Returns the name of the sort key's attribute, if the table has one.
    #[must_use]
    pub const fn sort_attribute(self) -> Option<&'static str> {
        match self {
            Self::Folder => Some("name"),
            Self::MetaMail => Some("message"),
            Self::Queue => Some("due"),
            Self::User | Self::Config | Self::Domain | Self::Segment => None,
        }
    }
}
