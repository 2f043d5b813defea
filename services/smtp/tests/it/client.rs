//! The service, and clients of it over pipes.

use puro_scripted::Services;
use puro_serve::{
    config::{PlaintextAuth, Settings},
    driver::{self, Context, End, Limits, Stream},
    listener::{Connection, Protocol},
};
use puro_session::Peer;
use puro_smtp::{Clients, Smtp, Sources};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// The transaction that all messages of a test have: its time and chance stand still.
pub(crate) const QUEUE_ID: &str = "NjEtLV-0kR60kR60kR60k";

pub(crate) struct Front {
    smtp: Smtp,
    listener: &'static str,
    drain: CancellationToken,
}

impl Front {
    pub(crate) fn new(services: &Services) -> Self {
        Self::on("smtp.listen", services)
    }

    pub(crate) fn on(listener: &'static str, services: &Services) -> Self {
        Self::with(listener, services, PlaintextAuth::Always, false)
    }

    pub(crate) fn with(
        listener: &'static str,
        services: &Services,
        clear_text: PlaintextAuth,
        tls_available: bool,
    ) -> Self {
        let tune = |settings: &mut Settings| settings.general.allow_plaintext_auth = clear_text;
        Self::tuned(listener, services, tls_available, tune)
    }

    /// With settings of the test's own.
    pub(crate) fn tuned(
        listener: &'static str,
        services: &Services,
        tls_available: bool,
        tune: impl FnOnce(&mut Settings),
    ) -> Self {
        let mut settings = Settings::default();
        settings.general.hostname = "mail.example".to_owned();
        tune(&mut settings);
        let sources = Sources { now: || "2023-11-14T22:13:20Z".parse().unwrap(), random: || Some([7; 11]) };
        let backend = services.serve();
        let clients = Clients::new(backend.clone(), backend);
        let smtp = Smtp::new(&settings, clients, sources, tls_available);
        Self { smtp, listener, drain: CancellationToken::new() }
    }

    /// Connects; the greeting is still to be read.
    pub(crate) fn connect(&self) -> (DuplexStream, JoinHandle<End>) {
        self.connect_with(None)
    }

    /// The same, where STARTTLS works.
    pub(crate) fn connect_with(&self, tls: Option<TlsAcceptor>) -> (DuplexStream, JoinHandle<End>) {
        let (stream, theirs) = tokio::io::duplex(64 * 1024);
        let peer = Peer { ip: [192, 0, 2, 1].into(), tls: None };
        let connection = Connection { peer, port: 1, listener: self.listener };
        let (machine, handler) = self.smtp.session(connection);
        let drain = self.drain.clone();
        let session = tokio::spawn(async move {
            let context = Context { tls: tls.as_ref(), drain: &drain, limits: Limits::default() };
            driver::run(machine, handler, Stream::plain(theirs), context).await
        });
        (stream, session)
    }

    /// Shuts the service down.
    pub(crate) fn drain(&self) {
        self.drain.cancel();
    }

    /// Sends all of this behind an EHLO, shuts its side, and returns the replies behind EHLO's.
    pub(crate) async fn dialogue(&self, commands: &str) -> String {
        let (mut stream, session) = self.connect();
        let commands = format!("EHLO client.example\r\n{commands}");
        let (mut reader, mut writer) = tokio::io::split(&mut stream);
        let mut replies = String::new();
        let write = async {
            writer.write_all(commands.as_bytes()).await.unwrap();
            writer.shutdown().await.unwrap();
        };
        let (read, ()) = tokio::join!(reader.read_to_string(&mut replies), write);
        read.unwrap();
        session.await.unwrap();
        let (_, behind) = replies.split_once("ENHANCEDSTATUSCODES\r\n").expect("EHLO is answered");
        behind.trim_start_matches("250 AUTH PLAIN LOGIN\r\n").to_owned()
    }

    /// One message to these recipients, CRLF for every line end in it.
    pub(crate) async fn send(&self, recipients: &[&str], message: &str) -> String {
        let rcpt: String = recipients.iter().map(|rcpt| format!("RCPT TO:<{rcpt}>\r\n")).collect();
        let replies = self
            .dialogue(&format!("MAIL FROM:<a@remote.example>\r\n{rcpt}DATA\r\n{message}.\r\nQUIT\r\n"))
            .await;
        last_but_bye(&replies)
    }
}

/// The reply before QUIT's.
pub(crate) fn last_but_bye(replies: &str) -> String {
    let lines: Vec<&str> = replies.lines().collect();
    assert_eq!(lines.last(), Some(&"221 2.0.0 Bye"), "{replies}");
    lines[lines.len() - 2].to_owned()
}

/// Sends this, and returns what comes back up to and including the line that begins with `end`.
pub(crate) async fn ask(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    command: &str,
    end: &str,
) -> String {
    stream.write_all(command.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut reply = Vec::new();
    loop {
        assert!(
            stream.read_buf(&mut reply).await.unwrap() > 0,
            "closed behind {:?}",
            reply.escape_ascii().to_string()
        );
        let text = String::from_utf8_lossy(&reply);
        if text.ends_with("\r\n") && text.lines().last().is_some_and(|line| line.starts_with(end)) {
            return text.into_owned();
        }
    }
}
