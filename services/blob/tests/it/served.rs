//! The service behind its client, over an in-memory connection.

use std::sync::Arc;

use bytes::Bytes;
use puro_api::{
    Backend, BlobClient, Connector, Endpoint, Failure, Settings, in_process, model::Part,
    pb::blob::v1::blob_service_client::BlobServiceClient,
};
use puro_blob::{BlobConfig, Blobs, routes, store::SegmentStore};
use puro_types::{Location, TransactionId};
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Server, Uri};

/// Octets of the largest message here.
pub(crate) const MESSAGE_MAX: usize = 3_000_000;

/// A served store and the way to it.
pub(crate) struct Served {
    pub(crate) client: BlobClient,
    connector: Connector,
    ended: JoinHandle<()>,
}

impl Served {
    /// Serves a store for as long as there are clients.
    pub(crate) fn new(store: Arc<dyn SegmentStore>) -> Self {
        Self::with(store, BlobConfig { max_message_bytes: MESSAGE_MAX as u64, ..BlobConfig::default() })
    }

    pub(crate) fn with(store: Arc<dyn SegmentStore>, config: BlobConfig) -> Self {
        let (connector, incoming) = in_process();
        let blobs = Blobs::new(store, config);
        let written = blobs.ended();
        let server = Server::builder().add_routes(routes(blobs));
        let ended = tokio::spawn(async move {
            server.serve_with_incoming(incoming).await.unwrap();
            written.await;
        });
        let backend = Backend::new(Endpoint::InProcess(connector.clone()), Settings::default());
        Self { client: BlobClient::new(backend), connector, ended }
    }

    /// Returns a client that may break the rules which [`BlobClient`] keeps.
    pub(crate) async fn raw(&self) -> BlobServiceClient<Channel> {
        let endpoint = tonic::transport::Endpoint::from(Uri::from_static("http://pipe"));
        BlobServiceClient::new(endpoint.connect_with_connector(self.connector.clone()).await.unwrap())
    }

    /// Goes away, and returns when the server has ended with all that it was about to write.
    pub(crate) async fn end(self) {
        let Self { client, connector, ended } = self;
        drop((client, connector));
        ended.await.unwrap();
    }

    /// Stores a message, given in chunks of so many octets.
    pub(crate) async fn store_in(&self, chunk: usize, message: &Bytes) -> Result<Location, Failure> {
        store(&self.client, chunk, message).await
    }

    pub(crate) async fn store(&self, message: &Bytes) -> Result<Location, Failure> {
        self.store_in(30_000, message).await
    }

    /// Reads a part whole, and checks that no chunk is too long.
    pub(crate) async fn read(&self, location: &Location, part: Part) -> Result<Bytes, Failure> {
        let mut stream = self.client.read(location, part).await?;
        let mut octets = Vec::new();
        while let Some(chunk) = stream.next().await? {
            assert!(chunk.len() <= 64 * 1024);
            octets.extend_from_slice(&chunk);
        }
        Ok(octets.into())
    }

    /// Returns the names and sizes of all segments, a page of `limit` at a time.
    pub(crate) async fn list(&self, limit: u32) -> Vec<(String, u64)> {
        let mut all = Vec::new();
        let mut after = None;
        loop {
            let page = self.client.list_segments(after.as_deref(), limit).await.unwrap();
            assert!(limit == 0 || page.items.len() <= limit as usize);
            assert!(page.items.iter().all(|segment| segment.created_ms > 1_600_000_000_000));
            all.extend(page.items.into_iter().map(|segment| (segment.object_name, segment.size_bytes)));
            match page.next {
                Some(next) => after = Some(next),
                None => return all,
            }
        }
    }
}

/// Stores a message through any clone of the client.
pub(crate) async fn store(client: &BlobClient, chunk: usize, message: &Bytes) -> Result<Location, Failure> {
    let mut stream = client.store(&TransactionId::new(1, [7; 11]));
    for chunk in message.chunks(chunk) {
        stream.send(message.slice_ref(chunk)).await?;
    }
    stream.finish(message.len() as u64).await
}
