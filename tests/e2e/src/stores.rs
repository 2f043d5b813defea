//! Where a system keeps its mail, and the settings that say so.

use std::collections::BTreeMap;

/// Which stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stores {
    /// Files in the data folder.
    Embedded,
    /// DynamoDB and S3, as the shared stand-ins play them; tables and bucket are the test's own.
    Aws,
}

impl Stores {
    /// Returns the settings, as environment variables. Tables and bucket have new names each time, and are not made yet.
    pub fn settings(self) -> BTreeMap<String, String> {
        match self {
            Self::Embedded => BTreeMap::new(),
            Self::Aws => on_stand_ins(),
        }
    }
}

fn on_stand_ins() -> BTreeMap<String, String> {
    let name = puro_stand_ins::fresh_name();
    let own = [
        ("PURO_METADATA_STORE", "dynamodb"),
        ("PURO_DYNAMODB_TABLE_PREFIX", &name),
        ("PURO_BLOB_STORE", "s3"),
        ("PURO_S3_BUCKET", &name),
        ("PURO_S3_PATH_STYLE", "true"),
    ];
    let own = own.into_iter().map(|(key, value)| (key, value.to_owned()));
    let theirs = [puro_stand_ins::dynamodb().environment(), puro_stand_ins::s3().environment()];
    own.chain(theirs.into_iter().flatten()).map(|(key, value)| (key.to_owned(), value)).collect()
}
