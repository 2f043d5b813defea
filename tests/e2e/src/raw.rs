//! A client as one would be by telnet: octets out, lines in.

use std::{
    io::{Read, Write},
    net::{IpAddr, Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

/// How long a reply may take: a little more than what the system itself waits for a store that is silent.
const PATIENCE: Duration = Duration::from_secs(75);

/// A raw connection.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Raw {
    /// Connects.
    pub fn connect(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).unwrap_or_else(|error| panic!("cannot connect to {to}: {error}"));
        Self::over(stream)
    }

    /// Connects, where the server may be dead at the moment.
    pub fn try_connect(to: SocketAddr) -> Option<Self> {
        TcpStream::connect(to).ok().map(Self::over)
    }

    /// Connects from a given loopback address, as another client would.
    pub fn connect_from(from: IpAddr, to: SocketAddr) -> Self {
        let socket = socket2::Socket::new(socket2::Domain::for_address(to), socket2::Type::STREAM, None)
            .expect("a socket");
        socket.bind(&SocketAddr::new(from, 0).into()).expect("a loopback address");
        socket
            .connect(&to.into())
            .unwrap_or_else(|error| panic!("cannot connect from {from} to {to}: {error}"));
        Self::over(socket.into())
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        stream.set_write_timeout(Some(PATIENCE)).expect("a time-out");
        stream.set_nodelay(true).expect("no delay");
        Self { stream, buffer: Vec::new() }
    }

    /// Sends octets as they are.
    pub fn send(&mut self, octets: impl AsRef<[u8]>) {
        self.stream.write_all(octets.as_ref()).expect("the server takes what is sent");
    }

    /// Sends octets; a connection that the server has closed is no failure.
    pub fn try_send(&mut self, octets: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(octets.as_ref()).is_ok()
    }

    /// Sends octets one at a time, each in a packet of its own.
    pub fn send_slowly(&mut self, octets: impl AsRef<[u8]>) {
        octets.as_ref().iter().for_each(|octet| self.send([*octet]));
    }

    /// Shuts the sending side.
    pub fn end(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("a living connection");
    }

    /// Reads a line, its CRLF taken off. `None` at the end of the connection.
    pub fn line(&mut self) -> Option<String> {
        self.line_octets().map(|line| String::from_utf8_lossy(&line).into_owned())
    }

    fn line_octets(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let mut line: Vec<u8> = self.buffer.drain(..end + 2).collect();
                line.truncate(end);
                return Some(line);
            }
            let mut chunk = [0; 16 * 1024];
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(count) => self.buffer.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("no line within {PATIENCE:?}: {error}; so far {:?}", self.buffer.len()),
            }
        }
    }

    /// Reads an SMTP reply (all its lines; the last is returned) or a POP3 status line, and asserts how it begins.
    pub fn expect(&mut self, prefix: &str) -> String {
        loop {
            let line = self.line().unwrap_or_else(|| panic!("the connection ended; expected {prefix:?}"));
            let more = line.len() > 3 && line.as_bytes()[3] == b'-' && line.as_bytes()[0].is_ascii_digit();
            assert!(line.starts_with(prefix), "expected {prefix:?}, got {line:?}");
            if !more {
                return line;
            }
        }
    }

    /// Sends a command line and asserts how the reply begins.
    pub fn command(&mut self, line: &str, prefix: &str) -> String {
        self.send(format!("{line}\r\n"));
        self.expect(prefix)
    }

    /// Sends a command line, or nothing to wait for the greeting, and reads one line.
    ///
    /// # Errors
    /// The line, when it does not begin as it should; "closed" when there is none.
    pub fn ask(&mut self, line: &str, good: &str) -> Result<String, String> {
        if !line.is_empty() && !self.try_send(format!("{line}\r\n")) {
            return Err("closed".to_owned());
        }
        let reply = self.line().ok_or("closed")?;
        if reply.starts_with(good) { Ok(reply) } else { Err(reply) }
    }

    /// Asserts that the server closes the connection; returns what it said before.
    pub fn expect_end(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.line()).collect()
    }

    /// Reads all that comes until the server closes the connection.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.buffer);
        self.stream.read_to_end(&mut rest).expect("an end");
        rest
    }

    /// Reads a multi-line answer of POP3 to its dot, unstuffed, line ends kept.
    pub fn multi_line(&mut self) -> Vec<u8> {
        self.try_multi_line().expect("the connection ended inside a multi-line answer")
    }

    /// Reads a multi-line answer of POP3 to its dot. `None` when the connection ends before.
    pub fn try_multi_line(&mut self) -> Option<Vec<u8>> {
        let mut text = Vec::new();
        loop {
            let line = self.line_octets()?;
            if line == b"." {
                return Some(text);
            }
            text.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
            text.extend_from_slice(b"\r\n");
        }
    }

    /// Sends a transaction from MAIL to the dot; `text` is stuffed here. Returns the reply to the dot.
    pub fn send_message(&mut self, sender: &str, recipients: &[&str], text: &[u8]) -> String {
        self.command(&format!("MAIL FROM:{sender}"), "250");
        for recipient in recipients {
            self.command(&format!("RCPT TO:<{recipient}>"), "250");
        }
        self.command("DATA", "354");
        let mut wire = stuffed(text);
        wire.extend_from_slice(b".\r\n");
        self.send(wire);
        self.line().expect("a reply to the dot")
    }
}

/// Returns a text as it goes over the wire, without the dot that ends it.
pub(crate) fn stuffed(text: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(text.len() + 5);
    for line in text.split_inclusive(|octet| *octet == b'\n') {
        if line.starts_with(b".") {
            wire.push(b'.');
        }
        wire.extend_from_slice(line);
    }
    wire
}

/// Returns a message with this subject and body; the body ends with CRLF.
pub fn message(subject: &str, body: &str) -> Vec<u8> {
    format!(
        "From: sender@example.net\r\nTo: alice@example.test\r\nSubject: {subject}\r\nDate: Mon, 23 Nov 2026 12:00:00 +0000\r\nMessage-ID: <{subject}@example.net>\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Returns text that does not compress to nothing: lines of hexadecimal digits, different for each seed.
pub fn random_text(seed: usize, octets: usize) -> String {
    let mut numbers = Numbers::new(seed);
    let mut text = String::with_capacity(octets + octets / 8 + 34);
    while text.len() < octets {
        text.push_str(&format!("{:016x}{:016x}\r\n", numbers.next(), numbers.next()));
    }
    text
}

/// Returns lines of octets of 8 bits, which do not compress at all.
pub fn random_octets(seed: usize, octets: usize) -> Vec<u8> {
    let mut numbers = Numbers::new(seed);
    let mut text = Vec::with_capacity(octets + octets / 8);
    while text.len() < octets {
        for _ in 0..9 {
            let line = numbers.next().to_le_bytes();
            text.extend(line.iter().map(|octet| if b"\0\r\n".contains(octet) { b'.' } else { *octet }));
        }
        text.extend(b"\r\n");
    }
    text
}

/// SplitMix64.
struct Numbers(u64);

impl Numbers {
    fn new(seed: usize) -> Self {
        Self(seed as u64)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}
