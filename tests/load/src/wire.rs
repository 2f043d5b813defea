//! A connection: lines and dot-ended blocks in, octets out, TLS without any verification.

use std::io;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::target::{Encryption, Target};

const READ_OCTETS: usize = 64 * 1024;
/// A line longer than this is no answer of any mail server.
const LINE_LIMIT: usize = 64 * 1024;

/// Why an exchange with the server failed.
#[derive(Debug, Error)]
pub enum Failure {
    /// The connection could not be made, or broke.
    #[error("{stage}: {error}")]
    Io {
        /// What was being done.
        stage: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// The server did not answer in time.
    #[error("{stage}: no answer in time")]
    Timeout {
        /// What was being done.
        stage: &'static str,
    },
    /// The server said no.
    #[error("{stage}: {reply}")]
    Refused {
        /// What was being done.
        stage: &'static str,
        /// The reply's code (SMTP), or its response code (POP3), or `-ERR`.
        code: String,
        /// The reply's first line.
        reply: String,
    },
    /// All of a message was sent and the reply never came: it may be there or not.
    #[error("the message was sent and the reply was lost")]
    ReplyLost,
}

impl Failure {
    /// A short name under which failures are counted.
    #[must_use]
    pub fn kind(&self) -> String {
        match self {
            Self::Io { stage, error } => format!("{stage}: {:?}", error.kind()),
            Self::Timeout { stage } => format!("{stage}: timeout"),
            Self::Refused { stage, code, .. } => format!("{stage}: {code}"),
            Self::ReplyLost => "reply lost".to_owned(),
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A buffered connection.
pub struct Wire {
    stream: Box<dyn Stream>,
    input: BytesMut,
    patience: Duration,
}

impl Wire {
    /// Connects, and encrypts when the target is TLS from the first octet.
    ///
    /// # Errors
    /// [`Failure::Io`] or [`Failure::Timeout`].
    pub async fn connect(target: &Target) -> Result<Self, Failure> {
        let stage = "connect";
        let stream = timeout(target.patience, TcpStream::connect(target.address))
            .await
            .map_err(|_| Failure::Timeout { stage })?
            .and_then(|stream| stream.set_nodelay(true).map(|()| stream))
            .map_err(|error| Failure::Io { stage, error })?;
        let wire = Self { stream: Box::new(stream), input: BytesMut::new(), patience: target.patience };
        if target.encryption == Encryption::Tls { wire.encrypted().await } else { Ok(wire) }
    }

    /// Starts TLS on this connection.
    ///
    /// # Errors
    /// [`Failure::Io`] when the handshake fails.
    pub async fn encrypted(self) -> Result<Self, Failure> {
        let stage = "tls";
        let name = ServerName::try_from("localhost").map_err(|error| Failure::Io {
            stage,
            error: io::Error::new(io::ErrorKind::InvalidInput, error),
        })?;
        let connector = TlsConnector::from(TLS.clone());
        let stream = timeout(self.patience, connector.connect(name, self.stream))
            .await
            .map_err(|_| Failure::Timeout { stage })?
            .map_err(|error| Failure::Io { stage, error })?;
        Ok(Self { stream: Box::new(stream), input: BytesMut::new(), patience: self.patience })
    }

    /// Writes all of `octets`.
    ///
    /// # Errors
    /// [`Failure::Io`] or [`Failure::Timeout`].
    pub async fn send(&mut self, stage: &'static str, octets: &[u8]) -> Result<(), Failure> {
        let write = async {
            self.stream.write_all(octets).await?;
            self.stream.flush().await
        };
        timeout(self.patience, write)
            .await
            .map_err(|_| Failure::Timeout { stage })?
            .map_err(|error| Failure::Io { stage, error })
    }

    /// Reads one line, without its end.
    ///
    /// # Errors
    /// [`Failure::Io`], also when the server closes, or [`Failure::Timeout`].
    pub async fn line(&mut self, stage: &'static str) -> Result<String, Failure> {
        let mut searched = 0;
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.input[searched..]) {
                let line = self.input.split_to(searched + at + 1);
                let line = line.strip_suffix(b"\r\n").or(line.strip_suffix(b"\n")).unwrap_or(&line);
                return Ok(String::from_utf8_lossy(line).into_owned());
            }
            searched = self.input.len();
            if searched > LINE_LIMIT {
                let error = io::Error::new(io::ErrorKind::InvalidData, "endless line");
                return Err(Failure::Io { stage, error });
            }
            self.more(stage).await?;
        }
    }

    /// Reads up to the line that is a single dot and returns what came before it, unstuffed.
    ///
    /// # Errors
    /// [`Failure::Io`], also when the server closes, or [`Failure::Timeout`].
    pub async fn block(&mut self, stage: &'static str) -> Result<Vec<u8>, Failure> {
        let mut searched: usize = 0;
        loop {
            if self.input.starts_with(b".\r\n") {
                self.input.advance(3);
                return Ok(Vec::new());
            }
            let from = searched.saturating_sub(4);
            if let Some(at) = memchr::memmem::find(&self.input[from..], b"\r\n.\r\n") {
                let block = self.input.split_to(from + at + 2);
                self.input.advance(3);
                return Ok(unstuffed(&block));
            }
            searched = self.input.len();
            self.more(stage).await?;
        }
    }

    async fn more(&mut self, stage: &'static str) -> Result<(), Failure> {
        self.input.reserve(READ_OCTETS);
        match timeout(self.patience, self.stream.read_buf(&mut self.input)).await {
            Err(_) => Err(Failure::Timeout { stage }),
            Ok(Err(error)) => Err(Failure::Io { stage, error }),
            Ok(Ok(0)) => Err(Failure::Io { stage, error: io::ErrorKind::UnexpectedEof.into() }),
            Ok(Ok(_)) => Ok(()),
        }
    }
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire").field("buffered", &self.input.len()).finish_non_exhaustive()
    }
}

fn unstuffed(block: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(block.len());
    let mut from = usize::from(block.first() == Some(&b'.'));
    for at in memchr::memmem::find_iter(block, b"\r\n.") {
        out.extend_from_slice(&block[from..at + 2]);
        from = at + 3;
    }
    out.extend_from_slice(&block[from..]);
    out
}

static TLS: LazyLock<Arc<rustls::ClientConfig>> = LazyLock::new(|| {
    let config = rustls::ClientConfig::builder()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate))
        .with_no_client_auth();
    Arc::new(config)
});

/// Accepts whatever certificate a server shows: test servers sign their own.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(input: &[u8]) -> Wire {
        let (mut far, near) = tokio::io::duplex(1 << 16);
        let input = input.to_vec();
        tokio::spawn(async move {
            for octet in input {
                let _ = far.write_all(&[octet]).await;
            }
        });
        Wire { stream: Box::new(near), input: BytesMut::new(), patience: Duration::from_secs(5) }
    }

    #[tokio::test]
    async fn block_ends_at_the_single_dot_and_is_unstuffed() {
        let mut wire = wire(b"..a\r\nb\r\n...\r\n.c\r\n.\r\n+OK next\r\n");
        assert_eq!(wire.block("t").await.unwrap(), b".a\r\nb\r\n..\r\nc\r\n");
        assert_eq!(wire.line("t").await.unwrap(), "+OK next");
    }

    #[tokio::test]
    async fn empty_block_and_closed_connection() {
        let mut wire = wire(b".\r\nhalf");
        assert!(wire.block("t").await.unwrap().is_empty());
        assert!(matches!(wire.line("t").await, Err(Failure::Io { .. })));
    }
}
