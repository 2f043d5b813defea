use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::*;
use crate::{
    config::{Drain, Listen},
    listener::{self, Wanted},
};

const DRAIN: Drain = Drain { wait: Duration::ZERO, grace: Duration::from_secs(20) };

fn start(process: &Process) -> SocketAddr {
    let wanted = Wanted { key: "test.listen", listen: Listen::loopback(0), implicit_tls: false };
    let bound = listener::bind(&[wanted]).unwrap().remove(0);
    spawn_tcp("test", Routes::default(), bound, process)
}

async fn connect(address: SocketAddr) -> HealthClient<Channel> {
    HealthClient::new(Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap())
}

#[tokio::test]
async fn a_server_tells_its_health_and_drains_though_it_is_watched() {
    let process = Process::new();
    let address = start(&process);
    let mut client = connect(address).await;
    let request = HealthCheckRequest { service: String::new() };
    let status = client.check(request.clone()).await.unwrap().into_inner().status();
    assert_eq!(status, ServingStatus::Serving);

    let mut watch = client.watch(request).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let handle = process.clone();
    let drained = tokio::spawn(async move { handle.drain(&DRAIN).await });
    let mut last = ServingStatus::Serving;
    while let Ok(Some(message)) = watch.message().await {
        last = message.status();
    }
    assert_ne!(last, ServingStatus::Serving, "who watches learns of the drain");
    assert!(drained.await.unwrap(), "the watcher did not hold the drain up");
    assert_eq!(process.failure(), None);
}

#[tokio::test]
async fn a_server_inside_the_process_answers_over_a_pipe_and_drains() {
    let process = Process::new();
    let (_reporter, health) = tonic_health::server::health_reporter();
    let (connections, incoming) =
        tokio::sync::mpsc::channel::<Result<tokio::io::DuplexStream, std::io::Error>>(1);
    let incoming = tokio_stream::wrappers::ReceiverStream::new(incoming);
    spawn_in_process("test", Routes::new(health), incoming, &process);

    let (near, far) = tokio::io::duplex(64 * 1024);
    connections.send(Ok(far)).await.unwrap();
    let mut near = Some(hyper_util::rt::TokioIo::new(near));
    let connector = tower_service(move || near.take());
    let channel = Endpoint::from_static("http://test").connect_with_connector(connector).await.unwrap();
    let request = HealthCheckRequest { service: String::new() };
    let status = HealthClient::new(channel).check(request).await.unwrap().into_inner().status();
    assert_eq!(status, ServingStatus::Serving);
    assert!(process.drain(&DRAIN).await);
}

/// The last client of an in-process server goes before the server is told to end: that is how a drain looks.
#[tokio::test]
async fn an_in_process_server_without_clients_ends_in_peace() {
    let process = Process::new();
    let incoming = tokio_stream::empty::<Result<tokio::io::DuplexStream, std::io::Error>>();
    spawn_in_process("test", Routes::default(), incoming, &process);
    assert!(process.drain(&crate::config::Drain::default()).await);
    assert_eq!(process.failure(), None);
}

/// A connector that gives its one connection away.
fn tower_service<F, T>(
    mut connection: F,
) -> impl tower::Service<
    http::Uri,
    Response = T,
    Error = std::io::Error,
    Future = std::future::Ready<Result<T, std::io::Error>>,
> + Send
+ 'static
where
    F: FnMut() -> Option<T> + Send + 'static,
    T: Send + 'static,
{
    tower::service_fn(move |_: http::Uri| {
        std::future::ready(connection().ok_or_else(|| std::io::Error::other("one connection only")))
    })
}
