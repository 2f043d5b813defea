//! What each table is called and which attributes make its key.

use super::Table;

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
