//! How much memory a connection costs that waits: opens them against a listener of its own and prints KB each.
//!
//! `cargo run --release -p puro-serve --example idle_connections -- [NUMBER]`
//!
//! The clients live in a child process, so that only the server's side is counted; the kernel's socket buffers are not.

use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use bytes::{Bytes, BytesMut};
use puro_serve::{
    config::{Listen, Settings},
    driver::{Handler, Limits},
    listener::{self, Connection, Front, FrontLimits, Protocol, Refusal, Wanted},
    process::Process,
    tls::CertificateStore,
};
use puro_session::{Input, Machine, Step, Tls};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Greets and answers each line.
#[derive(Default)]
struct Idle {
    output: BytesMut,
    over: bool,
}

impl Machine for Idle {
    type Question = ();
    type Answer = ();

    fn step(&mut self, now: Instant) -> Step<()> {
        if self.over {
            Step::Close
        } else {
            Step::Read { until: now + Duration::from_secs(600), bulk: false }
        }
    }

    fn receive(&mut self, input: Input<'_>, _now: Instant) {
        if !input.octets.split().is_empty() {
            self.output.extend_from_slice(b"250 yes\r\n");
        }
        self.over |= input.end;
    }

    fn answer(&mut self, (): (), _now: Instant) {}
    fn tls_started(&mut self, _tls: Tls, _now: Instant) {}
    fn expire(&mut self, _now: Instant) {
        self.over = true;
    }
    fn drain(&mut self, _now: Instant) {
        self.over = true;
    }
    fn output(&mut self) -> &mut BytesMut {
        &mut self.output
    }
}

struct Nothing;

impl Handler<Idle> for Nothing {
    async fn answer(&mut self, (): ()) {}
}

impl Protocol for Nothing {
    type Machine = Idle;
    type Handler = Self;

    fn session(&self, _connection: Connection) -> (Idle, Self) {
        (Idle { output: BytesMut::from("220 ready\r\n"), over: false }, Self)
    }

    fn refusal(&self, _why: Refusal) -> Bytes {
        Bytes::new()
    }
}

/// Resident memory of this process in KB.
fn resident_kb() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Runtime::new()?;
    match arguments.first().map(String::as_str) {
        Some("client") => runtime.block_on(client(&arguments[1..])),
        Some("server") => runtime.block_on(server(&arguments[1..])),
        number => ["plain", "tls"].into_iter().try_for_each(|kind| {
            // A process each: memory that one kind gave back would be used by the other.
            let mut child = Command::new(std::env::current_exe()?);
            let status = child.args(["server", kind, number.unwrap_or("1000")]).status()?;
            anyhow::ensure!(status.success(), "the server failed");
            Ok(())
        }),
    }
}

async fn server(arguments: &[String]) -> Result<()> {
    let [kind, number] = arguments else { anyhow::bail!("kind, number") };
    let number: usize = number.parse()?;
    let folder = tempfile::tempdir()?;
    let mut settings = Settings::default();
    settings.general.data_dir = folder.path().to_owned();
    settings.general.hostname = "localhost".to_owned();
    let store = CertificateStore::open(&settings)?;
    let process = Process::new();
    let want = |key, implicit_tls| Wanted { key, listen: Listen::loopback(0), implicit_tls };
    let bound = listener::bind(&[want("plain", false), want("tls", true)])?;
    let addresses: Vec<(&str, SocketAddr)> = bound.iter().map(|bound| (bound.key, bound.address)).collect();
    let limits = FrontLimits {
        connections: 100_000,
        connections_per_address: 0,
        proxies: Vec::new(),
        proxy_timeout: Duration::from_secs(5),
        driver: Limits::default(),
    };
    let front = Front { name: "idle", protocol: Nothing, tls: Some(store.acceptor()), limits };
    listener::spawn(front, bound, &process);
    for (key, address) in addresses.into_iter().filter(|(key, _)| key == kind) {
        // The first ones warm up what all share.
        open(key, address, 10, store.certificate_path())?;
        let before = resident_kb()?;
        let after = open(key, address, number, store.certificate_path())?;
        let each = after.saturating_sub(before) as f64 / number as f64;
        println!("{key}: {number} idle connections, {each:.1} KB each");
    }
    Ok(())
}

/// Opens connections from a child process and returns the memory while they are open.
fn open(key: &str, address: SocketAddr, number: usize, cert: &std::path::Path) -> Result<u64> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["client", key, &address.to_string(), &number.to_string()])
        .arg(cert)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    // Blocks a worker, and the others go on.
    BufReader::new(child.stdout.take().context("stdout")?).read_line(&mut line)?;
    anyhow::ensure!(line == "open\n", "the clients failed");
    let memory = resident_kb();
    drop(child.stdin.take());
    child.wait()?;
    memory
}

async fn client(arguments: &[String]) -> Result<()> {
    let [key, address, number, cert] = arguments else { anyhow::bail!("key, address, number, certificate") };
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&std::fs::read(cert)?)?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(
        config.with_root_certificates(roots).with_no_client_auth(),
    ));
    let mut plain = Vec::new();
    let mut secure = Vec::new();
    for _ in 0..number.parse()? {
        let mut stream = TcpStream::connect(address).await?;
        if key == "plain" {
            talk(&mut stream).await?;
            plain.push(stream);
        } else {
            let mut stream = connector.connect(ServerName::try_from("localhost")?, stream).await?;
            talk(&mut stream).await?;
            secure.push(stream);
        }
    }
    println!("open");
    std::io::stdout().flush()?;
    // Until the server has looked.
    tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await??;
    Ok(())
}

/// One command, so that buffers were in use.
async fn talk<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(stream: &mut S) -> Result<()> {
    let mut reply = [0; 11];
    stream.read_exact(&mut reply).await?;
    stream.write_all(b"EHLO client.example\r\n").await?;
    stream.read_exact(&mut reply[..9]).await?;
    Ok(())
}
