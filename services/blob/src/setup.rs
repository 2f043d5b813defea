//! Setting the store up and telling how it is, for the operator's command line. The running service needs none of these
//! rights.

use std::path::PathBuf;

use puro_serve::config::{BlobStore, Settings};

use crate::{
    process::{disk_folder, s3_config},
    store::{self, BucketStatus},
};

/// What a step of setting a store up came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepOutcome {
    /// It was done now.
    Done,
    /// It was so before.
    AlreadyDone,
    /// The store does not offer this, or the operator chose otherwise; it works without. Says why, for people.
    Skipped(String),
}

/// A step of setting a store up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What it is about, for people: "bucket puro-mail".
    pub what: String,
    /// What came of it.
    pub outcome: StepOutcome,
}

/// How a store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreStatus {
    /// Segments are in files, in this directory.
    Disk {
        /// The directory.
        directory: PathBuf,
        /// Whether it is there; the service makes it at its first start.
        exists: bool,
    },
    /// Segments are in memory.
    Memory,
    /// Segments are in a bucket.
    S3(BucketStatus),
}

/// Why a store could not be set up or asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// The settings, or those of the AWS SDK, do not tell enough.
    #[error("{0}")]
    Settings(String),
    /// The store does not answer.
    #[error("{0}")]
    Unavailable(String),
    /// There is no such bucket.
    #[error("{0}")]
    Missing(String),
    /// The store refuses: rights are missing, or the bucket is somebody else's.
    #[error("{0}")]
    Refused(String),
}

/// Makes what the store needs, as far as it is not there: on S3 the bucket with encryption, without public access, and
/// with a rule that throws abandoned uploads away. Run again, it changes nothing. On disk there is nothing to do.
///
/// # Errors
/// See [`SetupError`]. Steps before the one that failed stay done.
pub async fn init_store(settings: &Settings) -> Result<Vec<Step>, SetupError> {
    match settings.blob.store {
        BlobStore::Disk | BlobStore::Memory => Ok(Vec::new()),
        BlobStore::S3 => store::init_bucket(&s3_config(settings)).await,
    }
}

/// Tells how the store is.
///
/// # Errors
/// See [`SetupError`]. A bucket that is not there is no error.
pub async fn store_status(settings: &Settings) -> Result<StoreStatus, SetupError> {
    match settings.blob.store {
        BlobStore::Memory => Ok(StoreStatus::Memory),
        BlobStore::Disk => {
            let directory = disk_folder(settings);
            let exists = tokio::fs::try_exists(&directory).await.unwrap_or_default();
            Ok(StoreStatus::Disk { directory, exists })
        }
        BlobStore::S3 => store::bucket_status(&s3_config(settings)).await.map(StoreStatus::S3),
    }
}
