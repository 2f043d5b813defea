//! Servers that do as a script says.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures_util::{future::BoxFuture, stream::BoxStream};
use puro_api::{
    Backend, Deadlines, Failure, Settings, in_process,
    pb::{
        blob::v1::{self as blob, blob_service_server as blob_server},
        metadata::v1::{
            self as metadata, delivery_service_server as delivery_server,
            directory_service_server as directory_server, maildrop_service_server as maildrop_server,
        },
    },
    server_builder,
};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Server, server::Router},
};

type Answer<T> = BoxFuture<'static, Result<T, Status>>;
type Step<Q, R> = Box<dyn Fn(usize, Request<Q>) -> Answer<R> + Send + Sync>;
pub(crate) type Chunks<T> = BoxStream<'static, Result<T, Status>>;

/// What a server does; each step is told how many calls of its kind came before.
#[derive(Default)]
pub(crate) struct Script {
    pub(crate) authenticate: Option<Step<metadata::AuthenticateRequest, metadata::AuthenticateResponse>>,
    pub(crate) deliver: Option<Step<metadata::DeliverRequest, metadata::DeliverResponse>>,
    pub(crate) list: Option<Step<metadata::ListRequest, Chunks<metadata::ListResponse>>>,
    pub(crate) store: Option<Step<Streaming<blob::StoreRequest>, blob::StoreResponse>>,
    pub(crate) read: Option<Step<blob::ReadRequest, Chunks<blob::ReadResponse>>>,
}

/// Makes a step of an async function.
pub(crate) fn step<Q, R, F, A>(run: F) -> Option<Step<Q, R>>
where
    F: Fn(usize, Request<Q>) -> A + Send + Sync + 'static,
    A: Future<Output = Result<R, Status>> + Send + 'static,
{
    Some(Box::new(move |count, request| Box::pin(run(count, request))))
}

/// Counts the calls that a server got.
#[derive(Clone)]
pub(crate) struct Scripted(Arc<(Script, AtomicUsize)>);

impl Scripted {
    pub(crate) fn new(script: Script) -> Self {
        Self(Arc::new((script, AtomicUsize::new(0))))
    }

    pub(crate) fn calls(&self) -> usize {
        self.0.1.load(Ordering::SeqCst)
    }

    fn run<Q, R>(&self, step: &Option<Step<Q, R>>, request: Request<Q>) -> Answer<Response<R>>
    where
        R: Send + 'static,
    {
        let count = self.0.1.fetch_add(1, Ordering::SeqCst);
        let answer = step.as_ref().expect("a call that the script knows")(count, request);
        Box::pin(async move { answer.await.map(Response::new) })
    }

    fn router(&self) -> Router {
        self.on(server_builder())
    }

    /// Returns what this server serves, on a server with settings of its own.
    pub(crate) fn on(&self, mut server: Server) -> Router {
        server
            .add_service(directory_server::DirectoryServiceServer::new(self.clone()))
            .add_service(delivery_server::DeliveryServiceServer::new(self.clone()))
            .add_service(maildrop_server::MaildropServiceServer::new(self.clone()))
            .add_service(blob_server::BlobServiceServer::new(self.clone()))
    }

    /// Serves inside the process, for as long as the returned backend or a clone of it exists.
    pub(crate) fn in_process(&self, settings: Settings) -> Backend {
        let (connector, incoming) = in_process();
        tokio::spawn(self.router().serve_with_incoming(incoming));
        Backend::new(connector.into(), settings)
    }

    /// Serves on an address until [`Serving::stop`].
    pub(crate) async fn serve(&self, address: SocketAddr) -> Serving {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let router = self.router();
        let incoming = TcpListenerStream::new(listener);
        let task = tokio::spawn(async move {
            let _ = router.serve_with_incoming_shutdown(incoming, async { drop(stopped.await) }).await;
        });
        Serving { address, stop, task }
    }
}

/// A server on TCP.
pub(crate) struct Serving {
    pub(crate) address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Serving {
    /// Ends it and waits until its port is free and its connections are closed.
    pub(crate) async fn stop(self) {
        let _ = self.stop.send(());
        self.task.await.unwrap();
    }
}

/// Settings whose every deadline is this many milliseconds.
pub(crate) fn within_ms(deadline_ms: u64) -> Settings {
    let deadline = std::time::Duration::from_millis(deadline_ms);
    Settings { deadlines: Deadlines::all(deadline), ..Settings::default() }
}

/// An account that a server knows.
pub(crate) fn account() -> metadata::AuthenticateResponse {
    metadata::AuthenticateResponse { email: "me@example.org".into(), mailbox: "0123456789abcdef".into() }
}

/// A location that a server gives.
pub(crate) fn location() -> blob::Location {
    let frame = |length| blob::Frame { stored_length: length, length, codec: 1, checksum: 7 };
    blob::Location {
        bucket: String::new(),
        object_name: "segment".into(),
        offset: 0,
        header: Some(frame(3)),
        body: Some(frame(4)),
        slot: 0,
        slots: 1,
    }
}

/// Something that a server writes down for the test.
#[derive(Clone)]
pub(crate) struct Notes<T>(Arc<Mutex<Vec<T>>>);

impl<T> Default for Notes<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Notes<T> {
    pub(crate) fn add(&self, note: T) {
        self.0.lock().unwrap().push(note);
    }

    pub(crate) fn take(&self) -> Vec<T> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// An answer that no script here gives.
fn unscripted<T>() -> Result<Response<T>, Status> {
    Err(Failure::Internal("not in the script".into()).into())
}

#[tonic::async_trait]
impl directory_server::DirectoryService for Scripted {
    async fn authenticate(
        &self,
        request: Request<metadata::AuthenticateRequest>,
    ) -> Result<Response<metadata::AuthenticateResponse>, Status> {
        self.run(&self.0.0.authenticate, request).await
    }

    async fn resolve(
        &self,
        _: Request<metadata::ResolveRequest>,
    ) -> Result<Response<metadata::ResolveResponse>, Status> {
        unscripted()
    }

    async fn check_sender(
        &self,
        _: Request<metadata::CheckSenderRequest>,
    ) -> Result<Response<metadata::CheckSenderResponse>, Status> {
        unscripted()
    }
}

#[tonic::async_trait]
impl delivery_server::DeliveryService for Scripted {
    async fn deliver(
        &self,
        request: Request<metadata::DeliverRequest>,
    ) -> Result<Response<metadata::DeliverResponse>, Status> {
        self.run(&self.0.0.deliver, request).await
    }
}

#[tonic::async_trait]
impl maildrop_server::MaildropService for Scripted {
    type ListStream = Chunks<metadata::ListResponse>;

    async fn list(
        &self,
        request: Request<metadata::ListRequest>,
    ) -> Result<Response<Self::ListStream>, Status> {
        self.run(&self.0.0.list, request).await
    }

    async fn remove(
        &self,
        _: Request<metadata::RemoveRequest>,
    ) -> Result<Response<metadata::RemoveResponse>, Status> {
        unscripted()
    }
}

#[tonic::async_trait]
impl blob_server::BlobService for Scripted {
    type ReadStream = Chunks<blob::ReadResponse>;

    async fn store(
        &self,
        request: Request<Streaming<blob::StoreRequest>>,
    ) -> Result<Response<blob::StoreResponse>, Status> {
        self.run(&self.0.0.store, request).await
    }

    async fn read(&self, request: Request<blob::ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        self.run(&self.0.0.read, request).await
    }

    async fn delete_segments(
        &self,
        _: Request<blob::DeleteSegmentsRequest>,
    ) -> Result<Response<blob::DeleteSegmentsResponse>, Status> {
        unscripted()
    }

    async fn list_segments(
        &self,
        _: Request<blob::ListSegmentsRequest>,
    ) -> Result<Response<blob::ListSegmentsResponse>, Status> {
        unscripted()
    }

    async fn list_labels(
        &self,
        _: Request<blob::ListLabelsRequest>,
    ) -> Result<Response<blob::ListLabelsResponse>, Status> {
        unscripted()
    }

    async fn copy_messages(
        &self,
        _: Request<blob::CopyMessagesRequest>,
    ) -> Result<Response<blob::CopyMessagesResponse>, Status> {
        unscripted()
    }
}
