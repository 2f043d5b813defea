use opentelemetry::metrics::MeterProvider as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::{
    config::{Drain, Listen},
    telemetry,
};

struct Rig {
    address: SocketAddr,
    process: Process,
    meters: opentelemetry_sdk::metrics::SdkMeterProvider,
}

fn rig() -> Rig {
    let (metrics, meters) = telemetry::for_tests();
    let process = Process::new();
    let bound = bind(&Admin { listen: Listen::loopback(0) }).unwrap().unwrap();
    Rig { address: spawn(bound, &process, metrics), process, meters }
}

impl Rig {
    async fn ask(&self, method: &str, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }
}

#[tokio::test]
async fn alive_before_ready() {
    let rig = rig();
    assert_eq!(rig.ask("GET", "/livez").await.0, 200);
    assert_eq!(rig.ask("GET", "/readyz").await.0, 503);
    rig.process.readiness().set();
    assert_eq!(rig.ask("GET", "/readyz").await.0, 200);
    assert_eq!(rig.ask("GET", "/").await.0, 404);
    assert_eq!(rig.ask("POST", "/readyz").await.0, 405);
    assert_eq!(rig.ask("HEAD", "/livez").await, (200, String::new()));
}

#[tokio::test]
async fn a_draining_process_answers_and_is_not_ready() {
    let rig = rig();
    rig.process.readiness().set();
    // A session holds the drain up.
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    rig.process.spawn(Phase::Front, async move { drop(ended.await) });
    let process = rig.process.clone();
    let drain = Drain { wait: Duration::ZERO, grace: Duration::from_secs(20) };
    let drained = tokio::spawn(async move { process.drain(&drain).await });
    rig.process.stopped(Phase::Front).cancelled().await;
    assert_eq!(rig.ask("GET", "/readyz").await.0, 503);
    assert_eq!(rig.ask("GET", "/livez").await.0, 200);
    end.send(()).unwrap();
    assert!(drained.await.unwrap(), "the endpoints end with the back ends");
}

#[tokio::test]
async fn metrics_have_the_names_that_were_given() {
    let rig = rig();
    let meter = rig.meters.meter("puro");
    let kind = [opentelemetry::KeyValue::new("outcome", "accepted")];
    meter.u64_counter("puro_smtp_messages").with_unit("{message}").build().add(3, &kind);
    meter.f64_histogram("puro_smtp_delivery_seconds").with_unit("s").build().record(0.2, &[]);
    meter.i64_up_down_counter("puro_smtp_connections_open").build().add(5, &[]);
    let (status, text) = rig.ask("GET", "/metrics").await;
    assert_eq!(status, 200);
    for line in [
        "puro_smtp_messages_total{outcome=\"accepted\"} 3",
        "puro_smtp_delivery_seconds_bucket{le=\"5\"} 1",
        "puro_smtp_connections_open 5",
        "service_name=\"puro-test\"",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
}
