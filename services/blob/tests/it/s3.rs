//! The service above S3: what it costs, how it starts, and what it holds in memory.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, Output, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::join_all;
use puro_api::{Backend, BlobClient, Endpoint, Settings, model::Part};
use puro_blob::{
    BlobConfig, Blobs, Step, StepOutcome, StoreStatus, init_store,
    store::{RequestCounts, S3Config, S3Store, SegmentStore, init_bucket},
    store_status,
};
use puro_serve::config::{self, Service, Sources};
use puro_stand_ins::{FaultProxy, Rule, StandIn, fresh_name};

use crate::{
    rig::{message, read, store as store_message},
    served,
};

/// The settings of a bucket of its own.
fn bucket() -> S3Config {
    let StandIn { endpoint, region, access_key_id, secret_access_key, .. } = puro_stand_ins::s3();
    let keys = (access_key_id.to_owned(), secret_access_key.to_owned());
    S3Config {
        bucket: fresh_name(),
        path_style: true,
        source: puro_aws::Source::Given { endpoint, region: region.to_owned(), keys },
        ..S3Config::default()
    }
}

/// A store in a bucket of its own.
pub(crate) async fn store() -> S3Store {
    let config = bucket();
    init_bucket(&config).await.unwrap();
    S3Store::open(config).await.unwrap()
}

#[tokio::test]
async fn a_message_costs_one_request_each_way() {
    let store = store().await;
    let requests = store.requests();
    let blobs = Blobs::new(Arc::new(store), BlobConfig::default());
    let mut spent = requests.counts();
    // A small one, one too large to share, and one larger than a part.
    for (length, puts, multiparts) in [(3_000, 1, 0), (2_000_000, 1, 0), (20_000_000, 0, 4)] {
        let whole = message(length, 1);
        let location = store_message(&blobs, &whole).await.unwrap();
        spent = RequestCounts { puts: spent.puts + puts, multiparts: spent.multiparts + multiparts, ..spent };
        assert_eq!(requests.counts(), spent, "delivery of {length}");
        for part in [Part::Header, Part::Body, Part::Message] {
            read(&blobs, &location, part).await.unwrap();
            spent.gets += 1;
            assert_eq!(requests.counts(), spent, "TOP or RETR of {length}");
        }
        // Absent ones are asked for too.
        let absent = (0..999).map(|number| format!("000{number:020}"));
        blobs.delete(&absent.chain([location.object_name]).collect::<Vec<_>>()).await.unwrap();
        spent.deletes += 1;
        assert_eq!(requests.counts(), spent, "a thousand deletions");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn under_load_a_message_costs_a_quarter_of_a_put_at_most() {
    let store = store().await;
    let requests = store.requests();
    let blobs = Blobs::new(Arc::new(store), BlobConfig::default());
    let tasks = (0..64).map(|client| {
        let blobs = blobs.clone();
        tokio::spawn(async move {
            for n in 0..10 {
                let whole = message(3000, client * 100 + n);
                let location = store_message(&blobs, &whole).await.unwrap();
                assert_eq!(read(&blobs, &location, Part::Message).await.unwrap(), whole);
            }
        })
    });
    for task in join_all(tasks).await {
        task.unwrap();
    }
    let counts = requests.counts();
    assert!(counts.puts * 4 <= 640 && counts.gets == 640, "{counts:?} for 640 messages");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_goes_away_leaves_no_upload_behind() {
    let store = store().await;
    let served = served::Served::with(
        Arc::new(store.clone()),
        BlobConfig { max_message_bytes: 60_000_000, ..BlobConfig::default() },
    );
    // Noise, so that what is stored is as long.
    let whole = message(20_000_000, 3);
    let mut sending = served.client.store(&puro_types::TransactionId::new(1, [7; 11]));
    for chunk in whole.chunks(200_000) {
        sending.send(whole.slice_ref(chunk)).await.unwrap();
    }
    // The parts go out while it is sent.
    while store.requests().counts().multiparts < 2 {
        tokio::task::yield_now().await;
    }
    drop(sending);
    served.end().await;
    store.end().await;
    assert_eq!(store.unfinished_uploads().await.unwrap(), 0);
    assert!(store.list(None, 10).await.unwrap().segments.is_empty());
}

const CHILD: &str = "PURO_TEST_S3_CHILD";

/// The variables of a process that is to use a bucket.
fn environment(bucket: &str, endpoint: &str) -> Vec<(&'static str, String)> {
    let mut all: Vec<_> = puro_stand_ins::s3().environment().into();
    all.retain(|(name, _)| *name != "AWS_ENDPOINT_URL_S3");
    all.extend([
        ("AWS_ENDPOINT_URL_S3", endpoint.to_owned()),
        ("PURO_BLOB_STORE", "s3".to_owned()),
        ("PURO_S3_BUCKET", bucket.to_owned()),
        ("PURO_S3_PATH_STYLE", "true".to_owned()),
        ("PURO_BLOB_LISTEN", "127.0.0.1:0".to_owned()),
        ("PURO_ADMIN_LISTEN", "127.0.0.1:0".to_owned()),
    ]);
    all
}

/// The child: sets the bucket up as its environment says, and tells what it did.
#[tokio::test]
async fn child() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let settings = config::Settings::load(Service::Puro, &Sources::environment()).unwrap();
    let StoreStatus::S3(before) = store_status(&settings).await.unwrap() else { panic!("it is S3") };
    assert_eq!((before.properties, before.region.as_str()), (None, "eu-west-1"));
    let steps: Vec<Step> = init_store(&settings).await.unwrap();
    assert_eq!(steps[0].outcome, StepOutcome::Done);
    let StoreStatus::S3(after) = store_status(&settings).await.unwrap() else { panic!("it is S3") };
    assert!(after.properties.is_some());
    println!("set up");
}

fn output(command: &mut Command) -> (Output, String) {
    let output = command.output().unwrap();
    let text = [&*output.stdout, &*output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    (output, text)
}

#[tokio::test]
async fn the_service_starts_only_where_the_bucket_is_and_tells_what_it_spends() {
    let (name, endpoint) = (fresh_name(), puro_stand_ins::s3().endpoint);
    let directory = tempfile::tempdir().unwrap();
    let ports = directory.path().join("ports");
    let mut service = Command::new(env!("CARGO_BIN_EXE_puro-blob"));
    service.envs(environment(&name, &endpoint)).env("PURO_PORTS_FILE", &ports);

    let (refused, text) = output(&mut service);
    assert_eq!(refused.status.code(), Some(69), "{text}");
    assert!(text.contains(&format!("there is no bucket {name}: run `puro store init`")), "{text}");

    let mut init = Command::new(std::env::current_exe().unwrap());
    init.args(["--exact", "s3::child", "--nocapture"]).env(CHILD, "1");
    let (done, text) = output(init.envs(environment(&name, &endpoint)));
    assert!(done.status.success() && text.contains("set up"), "{text}");

    let child = service.stderr(Stdio::null()).spawn().unwrap();
    let mut running = Running(child);
    let ports = running.ports(&ports);
    let address = |name: &str| ports.split(&format!("\"{name}\":\"")).nth(1)?.split('"').next();
    let (blob, admin) = (address("blob").unwrap(), address("admin").unwrap());
    let backend = Backend::new(Endpoint::Addresses(vec![blob.parse().unwrap()]), Settings::default());
    let client = BlobClient::new(backend);
    let whole = message(5_000, 1);
    let location = served::store(&client, 30_000, &whole).await.unwrap();
    let mut stream = client.read(&location, Part::Message).await.unwrap();
    let mut back = Vec::new();
    while let Some(chunk) = stream.next().await.unwrap() {
        back.extend_from_slice(&chunk);
    }
    assert!(back == whole);
    let metrics = http_get(admin, "/metrics");
    for line in [
        "puro_blob_s3_requests_total{kind=\"put\"",
        "puro_blob_s3_requests_total{kind=\"get\"",
        "puro_blob_s3_requests_total{kind=\"head\"",
    ] {
        let found = metrics.lines().find(|found| found.starts_with(line)).unwrap_or_default();
        assert!(found.ends_with(" 1"), "{line}: {found:?} in {metrics}");
    }
    drop(client);
    running.end();
}

#[test]
fn an_s3_that_does_not_answer_keeps_the_service_from_starting() {
    let proxy = FaultProxy::before_s3();
    proxy.take_down();
    let mut service = Command::new(env!("CARGO_BIN_EXE_puro-blob"));
    let (refused, text) = output(service.envs(environment("some-bucket", &proxy.endpoint())));
    assert_eq!(refused.status.code(), Some(69), "{text}");
    let mut nameless = Command::new(env!("CARGO_BIN_EXE_puro-blob"));
    let (refused, text) = output(nameless.envs(environment("", &proxy.endpoint())));
    assert_eq!(refused.status.code(), Some(64), "{text}");
    assert!(text.contains("s3.bucket"), "{text}");
}

/// A process that is killed where a test ends early.
struct Running(Child);

impl Running {
    /// Waits until the process has told its ports.
    fn ports(&mut self, file: &std::path::Path) -> String {
        let begun = Instant::now();
        loop {
            if let Ok(text) = fs::read_to_string(file) {
                return text;
            }
            assert!(self.0.try_wait().unwrap().is_none(), "it has ended");
            assert!(begun.elapsed() < Duration::from_secs(60), "no ports");
            std::thread::yield_now();
        }
    }

    /// Ends it as an operator does.
    fn end(&mut self) {
        let id = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already where all went well.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn http_get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// A whole day's worth of bad minutes: what was acknowledged is there, and the rest is neither whole nor half.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_through_faults_is_read_back() {
    let proxy = FaultProxy::before_s3();
    let mut config = bucket();
    init_bucket(&config).await.unwrap();
    if let puro_aws::Source::Given { endpoint, .. } = &mut config.source {
        *endpoint = proxy.endpoint();
    }
    let store = S3Store::open(config).await.unwrap();
    let blobs = Blobs::new(Arc::new(store), BlobConfig::default());
    proxy
        .set(puro_stand_ins::Plan::seeded(7).with(Rule::any_of(&puro_stand_ins::Fault::EACH).per_mille(300)));
    let tasks = (0..60_u64).map(|n| {
        let blobs = blobs.clone();
        let length = if n % 10 == 0 { 9_000_000 } else { 4_000 + 2_000 * (usize::from(n % 2 == 1)) };
        let whole: Bytes = message(length, n);
        tokio::spawn(async move { store_message(&blobs, &whole).await.map(|location| (location, whole)) })
    });
    let outcomes: Vec<_> = join_all(tasks).await.into_iter().map(Result::unwrap).collect();
    assert!(proxy.faults() > 3, "{} faults", proxy.faults());
    proxy.clear();
    let kept: Vec<_> = outcomes.into_iter().flatten().collect();
    assert!(kept.len() >= 30, "{} kept", kept.len());
    for (location, whole) in kept {
        assert!(read(&blobs, &location, Part::Message).await.unwrap() == whole);
    }
}
