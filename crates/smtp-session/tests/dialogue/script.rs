//! Reads scripts.

use std::time::Duration;

use puro_session::Peer;
use puro_smtp_session::{BareLineEnds, Config, Listener, PlaintextAuth};

/// One dialogue.
pub(crate) struct Script {
    pub(crate) config: Config,
    pub(crate) peer: Peer,
    /// Cutting the client's octets into pieces would change what they mean.
    pub(crate) whole_only: bool,
    pub(crate) items: Vec<Item>,
}

/// One thing that happens.
#[derive(Debug, Clone)]
pub(crate) enum Item {
    Send(Vec<u8>),
    Wait(Duration),
    Drain,
    End,
    /// A line of the log as it should be.
    Expect(String),
    /// A question and its answer.
    Answer((String, String)),
}

impl Item {
    /// Says whether this is the client's or the world's doing.
    pub(crate) fn is_clients(&self) -> bool {
        !matches!(self, Self::Expect(_) | Self::Answer(_))
    }

    /// The line of the log that this stands for.
    pub(crate) fn show(&self) -> String {
        match self {
            Self::Expect(line) => line.clone(),
            Self::Answer((question, answer)) => format!("? {question} -> {answer}"),
            other => format!("{other:?}"),
        }
    }
}

impl Script {
    /// Reads a script.
    ///
    /// # Panics
    /// Where the script is no script.
    pub(crate) fn parse(text: &str) -> Self {
        let mut config = Config::new("mail.example".to_owned());
        config.limits.pause = Duration::from_secs(1);
        let peer = Peer { ip: "127.0.0.1".parse().unwrap(), tls: None };
        let mut script = Self { config, peer, whole_only: false, items: Vec::new() };
        for line in expand(text) {
            script.line(&line);
        }
        script
    }

    fn line(&mut self, line: &str) {
        if line.is_empty() || line.starts_with('#') {
            return;
        }
        let (mark, rest) = line.split_at(2.min(line.len()));
        let text = rest.strip_prefix(' ').unwrap_or(rest);
        match mark {
            "@ " => self.setting(text),
            "C:" | "C>" => {
                let mut octets = unescape(text);
                if mark == "C:" {
                    octets.extend_from_slice(b"\r\n");
                }
                match self.items.last_mut() {
                    Some(Item::Send(last)) => last.extend_from_slice(&octets),
                    _ => self.items.push(Item::Send(octets)),
                }
            }
            "S:" => self.items.push(Item::Expect(format!("S: {}", show(&unescape(text))))),
            "! " => self.items.push(Item::Expect(format!("! {text}"))),
            "? " => {
                let (question, answer) = text.rsplit_once(" -> ").expect("question -> answer");
                self.items.push(Item::Answer((show(&unescape(question)), answer.to_owned())));
            }
            "T:" => self.items.push(match text.split_once(' ') {
                Some(("wait", seconds)) => Item::Wait(Duration::from_secs(seconds.parse().unwrap())),
                None if text == "drain" => Item::Drain,
                None if text == "end" => Item::End,
                _ => panic!("unknown {line:?}"),
            }),
            _ => panic!("unknown line {line:?}"),
        }
    }

    fn setting(&mut self, text: &str) {
        let config = &mut self.config;
        let (key, value) = text.split_once(' ').unwrap_or((text, ""));
        match (key, value) {
            ("listener", "submission") => config.listener = Listener::Submission,
            ("tls-available", "") => config.tls_available = true,
            ("implicit-tls", "") => self.peer.tls = Some(super::tls()),
            ("ip", ip) => self.peer.ip = ip.parse().unwrap(),
            ("plaintext-auth", "never") => config.plaintext_auth = PlaintextAuth::Never,
            ("plaintext-auth", "always") => config.plaintext_auth = PlaintextAuth::Always,
            ("bare-line-ends", "normalise") => config.bare_line_ends = BareLineEnds::Normalise,
            ("max-message", octets) => config.max_message_bytes = octets.parse().unwrap(),
            ("max-recipients", count) => config.max_recipients = count.parse().unwrap(),
            ("errors-before-pause", count) => config.limits.errors_before_pause = count.parse().unwrap(),
            ("errors", count) => config.limits.errors = count.parse().unwrap(),
            ("refused-before-pause", count) => {
                config.limits.refused_recipients_before_pause = count.parse().unwrap();
            }
            ("refused", count) => config.limits.refused_recipients = count.parse().unwrap(),
            ("transactions", count) => config.limits.transactions = count.parse().unwrap(),
            ("data-min-rate", rate) => config.timeouts.data_min_rate = rate.parse().unwrap(),
            ("pieces", "whole") => self.whole_only = true,
            _ => panic!("unknown setting {text:?}"),
        }
    }
}

/// Writes `REPEAT n` … `END` out.
fn expand(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut block: Option<(usize, Vec<String>)> = None;
    for line in text.lines() {
        match (&mut block, line.strip_prefix("REPEAT ")) {
            (None, Some(count)) => block = Some((count.parse().unwrap(), Vec::new())),
            (Some(_), None) if line == "END" => {
                let (count, body) = block.take().unwrap();
                (0..count).for_each(|_| lines.extend_from_slice(&body));
            }
            (Some((_, body)), None) => body.push(line.to_owned()),
            (None, None) => lines.push(line.to_owned()),
            (Some(_), Some(_)) => panic!("REPEAT inside REPEAT"),
        }
    }
    assert!(block.is_none(), "REPEAT without END");
    lines
}

/// Reads escapes and repeats.
fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '\\' => {
                let kind = rest.chars().next().expect("an escape");
                rest = &rest[1..];
                out.push(match kind {
                    'r' => b'\r',
                    'n' => b'\n',
                    't' => b'\t',
                    '0' => 0,
                    '\\' => b'\\',
                    '{' => b'{',
                    'x' => {
                        let octet = u8::from_str_radix(&rest[..2], 16).expect("two digits");
                        rest = &rest[2..];
                        octet
                    }
                    _ => panic!("unknown escape in {text:?}"),
                });
            }
            '{' => {
                let (body, behind) = rest.split_once('}').expect("a closing brace");
                let (what, count) = body.rsplit_once('*').expect("text*count");
                out.extend_from_slice(&unescape(what).repeat(count.parse().expect("a count")));
                rest = behind;
            }
            c => out.extend_from_slice(c.to_string().as_bytes()),
        }
    }
    out
}

/// The octets as visible ASCII.
pub(crate) fn show(octets: &[u8]) -> String {
    octets.escape_ascii().to_string().replace("\\'", "'").replace("\\\"", "\"").replace("\\x00", "\\0")
}
