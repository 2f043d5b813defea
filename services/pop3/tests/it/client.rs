//! The service, and clients of it over pipes.

use puro_pop3::{Clients, Pop3};
use puro_scripted::Services;
use puro_serve::{
    config::{PlaintextAuth, Settings},
    driver::{self, Context, End, Limits, Stream},
    listener::{Connection, Protocol},
};
use puro_session::Peer;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

pub(crate) struct Front {
    pop3: Pop3,
    drain: CancellationToken,
}

impl Front {
    pub(crate) fn new(services: &Services) -> Self {
        let mut settings = Settings::default();
        settings.general.allow_plaintext_auth = PlaintextAuth::Always;
        let backend = services.serve();
        let clients = Clients::new(backend.clone(), backend);
        Self { pop3: Pop3::new(&settings, clients, false), drain: CancellationToken::new() }
    }

    /// Connects.
    pub(crate) fn connect(&self) -> Live {
        let (stream, theirs) = tokio::io::duplex(64 * 1024);
        let peer = Peer { ip: [192, 0, 2, 1].into(), tls: None };
        let connection = Connection { peer, port: 1, listener: "pop3.listen" };
        let (machine, handler) = self.pop3.session(connection);
        let drain = self.drain.clone();
        let session = tokio::spawn(async move {
            let context = Context { tls: None, drain: &drain, limits: Limits::default() };
            driver::run(machine, handler, Stream::plain(theirs), context).await
        });
        Live { stream, session }
    }

    /// Sends all of this, and returns all that comes back until the connection is closed.
    pub(crate) async fn dialogue(&self, commands: &str) -> (String, End) {
        let Live { mut stream, session } = self.connect();
        stream.write_all(commands.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut replies = String::new();
        stream.read_to_string(&mut replies).await.unwrap();
        (replies, session.await.unwrap())
    }

    /// The same behind a login; what comes before its answer is left out.
    pub(crate) async fn logged_in(&self, commands: &str) -> String {
        let (replies, _) = self.dialogue(&format!("USER me\r\nPASS secret\r\n{commands}")).await;
        let (_, behind) = replies.split_once("+OK send PASS\r\n").expect("USER is answered");
        behind.to_owned()
    }
}

/// A connection that talks by turns.
pub(crate) struct Live {
    stream: DuplexStream,
    session: JoinHandle<End>,
}

impl Live {
    /// Sends this, and returns what comes back up to and including `end`.
    pub(crate) async fn ask(&mut self, command: &str, end: &str) -> String {
        self.stream.write_all(command.as_bytes()).await.unwrap();
        let mut reply = Vec::new();
        while !reply.ends_with(end.as_bytes()) {
            assert!(self.stream.read_buf(&mut reply).await.unwrap() > 0, "closed behind {reply:?}");
        }
        String::from_utf8(reply).unwrap()
    }
}
