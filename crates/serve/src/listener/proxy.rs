//! The PROXY protocol, versions 1 and 2 (the HAProxy project's `proxy-protocol.txt`).
//!
//! A trusted network must send the header on every connection: its section 2 forbids to guess whether one is there,
//! since a client could forge one otherwise. From anyone else a header is just a wrong first command.

use std::{io, net::SocketAddr};

use proxy_protocol_rs::{ParseError, V2_SIGNATURE, parse};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    net::TcpStream,
};

/// A version 1 line is no longer than this, CRLF included (section 2.1).
const V1_MAX: usize = 107;

/// A version 2 header with all its extensions: balancers send under 200 octets.
const V2_MAX: usize = 2048;

/// Octets that tell the versions apart; shorter than any header.
const SIGNATURE: usize = 12;

/// The fixed part of version 2: signature, command, family, length.
const V2_FIXED: usize = 16;

/// Why a connection from a trusted network has no good header.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProxyError {
    /// It was closed without a word: a health check.
    #[error("closed without a header")]
    Empty,
    /// The time was over.
    #[error("the header did not come in time")]
    TooSlow,
    /// The header is too long.
    #[error("the header is too long")]
    TooLong,
    /// Not a header.
    #[error(transparent)]
    Malformed(#[from] ParseError),
    /// The connection broke.
    #[error("while reading the header")]
    Io(#[from] io::Error),
}

/// Reads the header and not one octet more, so that what follows (a TLS handshake, say) is still in the stream.
/// None: the balancer speaks for itself (LOCAL, UNKNOWN), as in a health check.
pub(super) async fn read<S: Peek>(stream: &mut S) -> Result<Option<SocketAddr>, ProxyError> {
    let mut header = vec![0; SIGNATURE];
    if stream.read(&mut header[..1]).await? == 0 {
        return Err(ProxyError::Empty);
    }
    // Another protocol's first octet is answered at once, not when twelve are there.
    if !matches!(header[0], b'P' | b'\r') {
        return Err(ParseError::NotProxyProtocol.into());
    }
    stream.read_exact(&mut header[1..]).await?;
    if header == *V2_SIGNATURE {
        read_v2(stream, &mut header).await?
    } else {
        read_v1(stream, &mut header).await?
    }
    let (info, length) = parse(&header)?;
    debug_assert_eq!(length, header.len(), "exactly the header was read");
    // LOCAL and UNKNOWN have no source, whatever addresses stand there.
    Ok(info.source_inet())
}

async fn read_v2<S: Peek>(stream: &mut S, header: &mut Vec<u8>) -> Result<(), ProxyError> {
    header.resize(V2_FIXED, 0);
    stream.read_exact(&mut header[SIGNATURE..]).await?;
    let length = V2_FIXED + usize::from(u16::from_be_bytes([header[14], header[15]]));
    if length > V2_MAX {
        return Err(ProxyError::TooLong);
    }
    header.resize(length, 0);
    stream.read_exact(&mut header[V2_FIXED..]).await?;
    Ok(())
}

/// Looks ahead for the line's end and takes no more than that.
async fn read_v1<S: Peek>(stream: &mut S, header: &mut Vec<u8>) -> Result<(), ProxyError> {
    if !header.starts_with(b"PROXY ") {
        return Err(ParseError::NotProxyProtocol.into());
    }
    let mut ahead = [0; V1_MAX];
    while !header.ends_with(b"\n") {
        let room = V1_MAX - header.len();
        if room == 0 {
            return Err(ProxyError::TooLong);
        }
        let seen = stream.peek(&mut ahead[..room]).await?;
        if seen == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let line_end = ahead[..seen].iter().position(|octet| *octet == b'\n');
        let take = line_end.map_or(seen, |at| at + 1);
        let from = header.len();
        header.resize(from + take, 0);
        stream.read_exact(&mut header[from..]).await?;
    }
    // A line that ends in LF alone is no header; nor would more octets make it one.
    if header.ends_with(b"\r\n") { Ok(()) } else { Err(ParseError::NotProxyProtocol.into()) }
}

/// A stream that lets one look ahead.
pub(super) trait Peek: AsyncRead + Unpin + Send {
    /// Waits for octets and copies them without taking them; 0 at the end.
    fn peek(&self, ahead: &mut [u8]) -> impl Future<Output = io::Result<usize>> + Send;
}

impl Peek for TcpStream {
    fn peek(&self, ahead: &mut [u8]) -> impl Future<Output = io::Result<usize>> + Send {
        Self::peek(self, ahead)
    }
}
