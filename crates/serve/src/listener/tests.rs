use std::{
    net::IpAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use puro_session::{Input, Machine, Step, Tls};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;
use crate::{
    config::Drain,
    driver::{Handler, Limits},
    process::Process,
};

/// Greets with what it knows of the client, answers each octet by itself, ends with the drain.
struct Echo {
    output: BytesMut,
    over: bool,
}

impl Machine for Echo {
    type Question = ();
    type Answer = ();

    fn step(&mut self, now: Instant) -> Step<()> {
        match self.over {
            true => Step::Close,
            false => Step::Read { until: now + Duration::from_secs(60), bulk: true },
        }
    }

    fn receive(&mut self, input: Input<'_>, _now: Instant) {
        self.output.extend_from_slice(&input.octets.split());
        self.over |= input.end;
    }

    fn answer(&mut self, (): (), _now: Instant) {}

    fn tls_started(&mut self, _tls: Tls, _now: Instant) {}

    fn expire(&mut self, _now: Instant) {
        self.over = true;
    }

    fn drain(&mut self, _now: Instant) {
        self.output.extend_from_slice(b"drained\n");
        self.over = true;
    }

    fn output(&mut self) -> &mut BytesMut {
        &mut self.output
    }
}

struct NoQuestions;

impl Handler<Echo> for NoQuestions {
    async fn answer(&mut self, (): ()) {}
}

#[derive(Clone, Default)]
struct EchoProtocol(Arc<Mutex<Vec<Connection>>>);

impl Protocol for EchoProtocol {
    type Machine = Echo;
    type Handler = NoQuestions;

    fn session(&self, connection: Connection) -> (Echo, NoQuestions) {
        let greeting = format!("hello {}\n", connection.peer.ip);
        self.0.lock().unwrap().push(connection);
        (Echo { output: BytesMut::from(greeting.as_bytes()), over: false }, NoQuestions)
    }

    fn refusal(&self, why: Refusal) -> Bytes {
        Bytes::from(format!("refused {why:?}\n"))
    }
}

struct Server {
    address: SocketAddr,
    process: Process,
    seen: EchoProtocol,
}

fn start(connections: u32, per_address: u32, proxies: &[&str]) -> Server {
    let protocol = EchoProtocol::default();
    let wanted = Wanted { key: "echo.listen", listen: Listen::loopback(0), implicit_tls: false };
    let bound = bind(&[wanted]).unwrap();
    let (address, process) = (bound[0].address, Process::new());
    let limits = FrontLimits {
        connections,
        connections_per_address: per_address,
        proxies: proxies.iter().map(|net| net.parse().unwrap()).collect(),
        proxy_timeout: Duration::from_secs(5),
        driver: Limits::default(),
    };
    spawn(Front { name: "echo", protocol: protocol.clone(), tls: None, limits }, bound, &process);
    Server { address, process, seen: protocol }
}

impl Server {
    /// Connects, sends this in pieces of `size`, and returns the stream.
    async fn connect(&self, text: &[u8], size: usize) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        for piece in text.chunks(size) {
            // A server that has heard enough may be gone.
            if stream.write_all(piece).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
        stream
    }
}

async fn line(stream: &mut TcpStream) -> String {
    let mut line = String::new();
    while !line.ends_with('\n') {
        match stream.read_u8().await {
            Ok(octet) => line.push(char::from(octet)),
            Err(_) => break,
        }
    }
    line
}

async fn all(mut stream: TcpStream) -> String {
    let mut all = String::new();
    // A connection cut off (RST) is as good as closed here.
    let _ = stream.read_to_string(&mut all).await;
    all
}

fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([0x20 | command, family]);
    header.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
    header.extend(rest);
    header
}

/// 192.0.2.9:4000 to 192.0.2.1:25, and an extension of an unknown type.
const V2_INET: [u8; 17] = [192, 0, 2, 9, 192, 0, 2, 1, 0x0f, 0xa0, 0, 25, 0xea, 0, 2, 1, 2];

#[tokio::test]
async fn a_direct_client_is_known_by_its_own_address() {
    let server = start(10, 10, &[]);
    let mut stream = server.connect(b"ping\n", 100).await;
    assert_eq!(line(&mut stream).await, "hello 127.0.0.1\n");
    assert_eq!(line(&mut stream).await, "ping\n");
    let seen = server.seen.0.lock().unwrap()[0].clone();
    assert_eq!((seen.listener, seen.port), ("echo.listen", stream.local_addr().unwrap().port()));
}

#[tokio::test]
async fn a_proxy_header_in_any_pieces_tells_the_client_and_takes_nothing_more() {
    let server = start(10, 10, &["127.0.0.0/8"]);
    let v6: Vec<u8> =
        [&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9][..], &[0; 16], &[0, 9, 0, 25]].concat();
    for (header, client) in [
        (b"PROXY TCP4 192.0.2.9 192.0.2.1 4000 25\r\n".to_vec(), "192.0.2.9"),
        (b"PROXY TCP6 2001:db8::9 2001:db8::1 4000 25\r\n".to_vec(), "2001:db8::9"),
        (b"PROXY TCP6 ::ffff:192.0.2.9 ::1 4000 25\r\n".to_vec(), "192.0.2.9"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (v2(1, 0x11, &V2_INET), "192.0.2.9"),
        (v2(1, 0x21, &v6), "2001:db8::9"),
        // LOCAL: a health check of the balancer, whatever addresses stand there.
        (v2(0, 0x11, &V2_INET), "127.0.0.1"),
        (v2(0, 0, &[]), "127.0.0.1"),
    ] {
        for size in [1, 5, 16, 1000] {
            let text = [&header[..], b"ping\n"].concat();
            let mut stream = server.connect(&text, size).await;
            assert_eq!(line(&mut stream).await, format!("hello {client}\n"), "{header:?}");
            assert_eq!(line(&mut stream).await, "ping\n");
        }
    }
}

#[tokio::test]
async fn a_trusted_peer_without_a_good_header_is_cut_off() {
    let server = start(100, 100, &["127.0.0.0/8"]);
    let long = [b"PROXY TCP4 ".as_slice(), &[b'1'; 200], b"\r\n"].concat();
    for garbage in [
        b"EHLO client\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.9\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.9 192.0.2.1 4000 25\nrest of it\r\n".to_vec(),
        b"PROXY UDP4 192.0.2.9 192.0.2.1 4000 25\r\n".to_vec(),
        b"PROXYTCP4 192.0.2.9 192.0.2.1 4000 25\r\n".to_vec(),
        long,
        b"\r\n\r\n\0\r\nQUIX\n\x21\x11\0\x0c".to_vec(),
        v2(1, 0x11, &[1, 2, 3]),
        v2(7, 0x11, &V2_INET),
        v2(1, 0x11, &[0; 5000]),
    ] {
        let stream = server.connect(&garbage, 1000).await;
        assert_eq!(all(stream).await, "", "{garbage:?}");
    }
    // Half a header and the end.
    let mut stream = server.connect(b"PROXY TCP4 192.0.", 1000).await;
    let _ = stream.shutdown().await;
    assert_eq!(all(stream).await, "");
    assert!(server.seen.0.lock().unwrap().is_empty(), "no session was opened");
}

#[tokio::test]
async fn an_untrusted_peer_cannot_claim_an_address() {
    let server = start(10, 10, &["10.0.0.0/8"]);
    let header = "PROXY TCP4 192.0.2.9 192.0.2.1 4000 25\n";
    let mut stream = server.connect(header.as_bytes(), 1000).await;
    assert_eq!(line(&mut stream).await, "hello 127.0.0.1\n");
    assert_eq!(line(&mut stream).await, header, "a wrong command like any other");
}

#[tokio::test]
async fn the_total_is_limited_and_room_comes_back() {
    let server = start(2, 0, &[]);
    let mut first = server.connect(b"", 1).await;
    let mut second = server.connect(b"", 1).await;
    assert_eq!(line(&mut first).await, "hello 127.0.0.1\n");
    assert_eq!(line(&mut second).await, "hello 127.0.0.1\n");
    assert_eq!(all(server.connect(b"", 1).await).await, "refused Busy\n");
    first.shutdown().await.unwrap();
    assert_eq!(all(first).await, "");
    // The permit goes with the session's task, a moment after its last octet.
    loop {
        let mut again = server.connect(b"", 1).await;
        if line(&mut again).await == "hello 127.0.0.1\n" {
            break;
        }
    }
}

#[tokio::test]
async fn each_client_behind_a_proxy_is_limited_alone() {
    let server = start(100, 1, &["127.0.0.0/8"]);
    let header = |last: u8| format!("PROXY TCP4 192.0.2.{last} 192.0.2.1 4000 25\r\n");
    let mut first = server.connect(header(1).as_bytes(), 1000).await;
    assert_eq!(line(&mut first).await, "hello 192.0.2.1\n");
    assert_eq!(all(server.connect(header(1).as_bytes(), 1000).await).await, "refused TooMany\n");
    let mut other = server.connect(header(2).as_bytes(), 1000).await;
    assert_eq!(line(&mut other).await, "hello 192.0.2.2\n");
}

#[tokio::test]
async fn drain_closes_listeners_and_ends_sessions() {
    let server = start(10, 10, &[]);
    let mut stream = server.connect(b"", 1).await;
    assert_eq!(line(&mut stream).await, "hello 127.0.0.1\n");
    let drain = Drain { wait: Duration::ZERO, grace: Duration::from_secs(20) };
    let process = server.process.clone();
    let drained = tokio::spawn(async move { process.drain(&drain).await });
    assert_eq!(all(stream).await, "drained\n");
    // The listener belongs to its task, so it is closed now.
    assert!(drained.await.unwrap(), "everything ended in time");
}

#[tokio::test]
async fn every_listener_that_cannot_be_bound_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = Listen(Some(taken.local_addr().unwrap()));
    // An address of the documentation range: no machine has it.
    let foreign = Listen("192.0.2.1:0".parse().ok());
    let _holder = bind(&[Wanted { key: "x", listen: taken, implicit_tls: false }]);
    let wanted = [
        Wanted { key: "smtp.listen", listen: taken, implicit_tls: false },
        Wanted { key: "smtp.tls_listen", listen: Listen(None), implicit_tls: true },
        Wanted { key: "pop3.listen", listen: foreign, implicit_tls: false },
    ];
    let text = bind(&wanted).unwrap_err().to_string();
    assert!(text.contains(&format!("smtp.listen = \"{}\"", taken.0.unwrap())), "{text}");
    assert!(text.contains("pop3.listen = \"192.0.2.1:0\""), "{text}");
    assert!(!text.contains("tls_listen"), "{text}");
}

#[test]
fn limits_come_from_the_settings() {
    let mut settings = crate::config::Settings::default();
    settings.tls.handshake_timeout = Duration::from_secs(7);
    settings.general.proxy_protocol_from = vec!["10.0.0.0/8".parse().unwrap()];
    let limits = FrontLimits::new(&settings, 3, 2, Duration::from_secs(5));
    assert_eq!((limits.connections, limits.connections_per_address), (3, 2));
    assert_eq!(limits.proxies, settings.general.proxy_protocol_from);
    assert_eq!(limits.proxy_timeout, Duration::from_secs(7));
    assert_eq!(limits.driver.handshake, Duration::from_secs(7));
    assert_eq!(limits.driver.write_stall, Duration::from_secs(5));
}

#[test]
fn an_ipv6_network_counts_as_one() {
    let counted = |text: &str| front::counted(text.parse::<IpAddr>().unwrap()).to_string();
    assert_eq!(counted("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    assert_eq!(counted("::ffff:192.0.2.1"), "192.0.2.1");
}

/// Not a test by itself: the process that the next one starts.
#[test]
fn child_with_few_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    if std::env::var_os("PURO_TEST_FEW_DESCRIPTORS").is_none() {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let server = start(1000, 0, &[]);
        let used = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
        let maximum = getrlimit(Resource::Nofile).maximum;
        setrlimit(Resource::Nofile, Rlimit { current: Some(used + 4), maximum }).unwrap();
        println!("\naddress {}", server.address);
        std::future::pending::<()>().await;
    });
}

#[tokio::test]
async fn a_full_table_of_descriptors_is_survived() {
    let mut child = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "listener::tests::child_with_few_descriptors", "--nocapture"])
        .env("PURO_TEST_FEW_DESCRIPTORS", "1")
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = tokio::io::BufReader::new(child.stdout.take().unwrap()).lines();
    let address: SocketAddr = loop {
        let text = lines.next_line().await.unwrap().expect("the process ended");
        if let Some(address) = text.strip_prefix("address ") {
            break address.parse().unwrap();
        }
    };
    let mut many = Vec::new();
    for _ in 0..20 {
        many.push(TcpStream::connect(address).await.unwrap());
    }
    assert_eq!(line(&mut many[0]).await, "hello 127.0.0.1\n");
    // The last ones are in the backlog: there is no descriptor for them.
    let waiting = tokio::time::timeout(Duration::from_millis(300), line(&mut many[19])).await;
    assert!(waiting.is_err(), "the table was not full");
    drop(many);
    let mut later = TcpStream::connect(address).await.unwrap();
    let greeting = tokio::time::timeout(Duration::from_secs(20), line(&mut later)).await;
    assert_eq!(greeting.unwrap(), "hello 127.0.0.1\n");
}
