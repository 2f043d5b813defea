//! Segments behind the blob service.

use async_trait::async_trait;
use puro_api::{
    BlobClient, Failure,
    model::{Labelled, Part, SegmentPage},
};
use puro_types::Location;

use super::{Presence, Segments, SegmentsError};

/// Segments behind the blob service.
#[derive(Debug)]
pub struct BlobSegments(BlobClient);

impl BlobSegments {
    /// Returns the segments that this client reaches.
    pub fn new(blob: BlobClient) -> Self {
        Self(blob)
    }
}

#[async_trait]
impl Segments for BlobSegments {
    async fn delete(&self, object_names: &[String]) -> Result<(), SegmentsError> {
        self.0.delete_segments(object_names).await.map_err(failed)
    }

    async fn labels(&self, object_name: &str, size_bytes: u64) -> Result<Vec<Labelled>, SegmentsError> {
        match self.0.labels(object_name, size_bytes).await {
            Err(Failure::DataLoss(why)) => {
                tracing::error!(object_name, why, "the labels of a segment are damaged");
                Ok(Vec::new())
            }
            other => other.map_err(failed),
        }
    }

    async fn copy(&self, locations: &[Location]) -> Result<Option<Vec<Location>>, SegmentsError> {
        match self.0.copy_messages(locations).await {
            Ok(copies) => Ok(Some(copies)),
            Err(Failure::NotFound(why) | Failure::DataLoss(why) | Failure::Invalid(why)) => {
                tracing::error!(why, "messages cannot be copied");
                Ok(None)
            }
            Err(failure) => Err(failed(failure)),
        }
    }

    async fn list(&self, after: Option<&str>) -> Result<SegmentPage, SegmentsError> {
        self.0.segment_page(after, 0).await.map_err(failed)
    }

    async fn inspect(&self, location: &Location) -> Result<Presence, SegmentsError> {
        match read_to_end(&self.0, location).await {
            Ok(()) => Ok(Presence::Whole),
            Err(Failure::NotFound(_)) => Ok(Presence::Gone),
            Err(Failure::DataLoss(_) | Failure::Invalid(_)) => Ok(Presence::Damaged),
            Err(failure) => Err(failed(failure)),
        }
    }
}

async fn read_to_end(blob: &BlobClient, location: &Location) -> Result<(), Failure> {
    let mut octets = blob.read(location, Part::Message).await?;
    while octets.next().await?.is_some() {}
    Ok(())
}

fn failed(failure: Failure) -> SegmentsError {
    SegmentsError(failure.to_string())
}
