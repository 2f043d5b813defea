//! Dialogues in files.
//!
//! `#` a comment, which cites the rule; `!` a setting, before the dialogue:
//! `! peer IP`, `! tls available|up`, `! plaintext never|loopback|always`, `! login NAME`, `! password TEXT`,
//! `! message TEXT` (one a line), `! chunk OCTETS`, `! failed_logins N`, `! bad_lines N`, `! hostname TEXT`,
//! `! implementation TEXT`, `! answer open|fetch|more|remove truth|unavailable|broken|done` (in the order of the
//! questions of that kind; the truth after the last).
//!
//! The dialogue: `C: ` a line that the client sends, `C> ` octets as they are, `S: ` and `S> ` likewise what the server
//! sends, `P: SECONDS` a pause of the server, `W: SECONDS` the client is silent, `T:` the driver starts TLS, `I:` it
//! ends the connection because of octets behind STLS, `D:` it drains, `L:` the client shuts its side, `Q: ` a question
//! (where one is given, all are), and last `E: ` how it ended, or `open`.
//!
//! In texts: `\r`, `\n`, `\\`, `\{`, `\xNN`, and `{3*text}` for a repetition.

use std::{fs, path::Path, time::Duration};

use puro_pop3_session::{Config, PlaintextAuth};
use puro_session::{Peer, Tls};

use crate::{
    client::Event,
    world::{Scripted, World},
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line {
    Send(Vec<u8>),
    Shut,
    Wait(Duration),
    Drain,
    /// Expected, then done.
    StartTls,
    Expect(Event),
}

#[derive(Clone)]
pub(crate) struct Script {
    pub(crate) config: Config,
    pub(crate) peer: Peer,
    pub(crate) world: World,
    pub(crate) lines: Vec<Line>,
    pub(crate) questions: Vec<String>,
    /// A word of `Ending`, or `open`.
    pub(crate) ending: String,
}

pub(crate) fn octets(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        rest = behind;
        match first {
            b'\\' => {
                let (kind, behind) = rest.split_first().expect("an escape has a second character");
                rest = behind;
                out.push(match kind {
                    b'r' => b'\r',
                    b'n' => b'\n',
                    b'x' => {
                        let hex = std::str::from_utf8(&rest[..2]).unwrap();
                        rest = &rest[2..];
                        u8::from_str_radix(hex, 16).expect("two hexadecimal digits")
                    }
                    other => *other,
                });
            }
            b'{' => {
                let end = rest.iter().position(|octet| *octet == b'}').expect("a repetition has an end");
                let inside = std::str::from_utf8(&rest[..end]).unwrap();
                let (count, repeated) = inside.split_once('*').expect("COUNT*TEXT");
                out.extend(octets(repeated).repeat(count.parse().expect("a count")));
                rest = &rest[end + 1..];
            }
            octet => out.push(*octet),
        }
    }
    out
}

fn crlf(text: &str) -> Vec<u8> {
    let mut line = octets(text);
    line.extend_from_slice(b"\r\n");
    line
}

fn seconds(text: &str) -> Duration {
    Duration::from_secs_f64(text.parse().expect("seconds"))
}

impl Script {
    pub(crate) fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let mut script = Self {
            config: Config::new("mail.example.org"),
            peer: Peer { ip: [127, 0, 0, 1].into(), tls: None },
            world: World::default(),
            lines: Vec::new(),
            questions: Vec::new(),
            ending: String::new(),
        };
        for line in text.lines() {
            assert!(script.ending.is_empty(), "nothing follows E: in {path:?}");
            let (kind, rest) = line.split_at(line.len().min(2));
            let rest = rest.strip_prefix(' ').unwrap_or(rest);
            match kind {
                "" | "# " | "#" => {}
                "! " => script.setting(rest),
                "C:" => script.lines.push(Line::Send(crlf(rest))),
                "C>" => script.lines.push(Line::Send(octets(rest))),
                "S:" => script.expect(Event::Sent(crlf(rest))),
                "S>" => script.expect(Event::Sent(octets(rest))),
                "P:" => script.expect(Event::Paused(seconds(rest))),
                "I:" => script.expect(Event::Injection),
                "W:" => script.lines.push(Line::Wait(seconds(rest))),
                "T:" => script.lines.push(Line::StartTls),
                "D:" => script.lines.push(Line::Drain),
                "L:" => script.lines.push(Line::Shut),
                "Q:" => script.questions.push(rest.to_owned()),
                "E:" => script.ending = rest.to_owned(),
                _ => panic!("{path:?}: cannot read {line:?}"),
            }
        }
        assert!(!script.ending.is_empty(), "{path:?} lacks E:");
        script
    }

    fn expect(&mut self, event: Event) {
        self.lines.push(Line::Expect(event));
    }

    fn setting(&mut self, text: &str) {
        let (key, value) = text.split_once(' ').unwrap_or((text, ""));
        let number = || value.parse().expect("a number");
        match (key, value) {
            ("peer", ip) => self.peer.ip = ip.parse().expect("an address"),
            ("tls", "available") => self.config.tls_available = true,
            ("tls", "up") => {
                let version = "TLSv1.3".to_owned();
                self.peer.tls = Some(Tls { version, cipher: String::new(), server_name: None });
            }
            ("plaintext", "never") => self.config.plaintext_auth = PlaintextAuth::Never,
            ("plaintext", "loopback") => self.config.plaintext_auth = PlaintextAuth::Loopback,
            ("plaintext", "always") => self.config.plaintext_auth = PlaintextAuth::Always,
            ("login", name) => name.clone_into(&mut self.world.login),
            ("password", text) => self.world.password = String::from_utf8(octets(text)).unwrap(),
            ("message", text) => self.world.messages.push(octets(text)),
            ("chunk", _) => self.world.chunk = value.parse().expect("octets"),
            ("failed_logins", _) => self.config.limits.failed_logins = number(),
            ("bad_lines", _) => self.config.limits.bad_lines = number(),
            ("hostname", text) => text.clone_into(&mut self.config.hostname),
            ("implementation", text) => {
                self.config.implementation = String::from_utf8(octets(text)).unwrap();
            }
            ("answer", pair) => {
                let (question, answer) = pair.split_once(' ').expect("a question and an answer");
                let answer = match answer {
                    "truth" => Scripted::Truth,
                    "unavailable" => Scripted::Unavailable,
                    "broken" => Scripted::Broken,
                    "done" => Scripted::Done,
                    other => panic!("no answer {other:?}"),
                };
                match question {
                    "open" => self.world.open.push_back(answer),
                    "fetch" => self.world.fetch.push_back(answer),
                    "more" => self.world.more.push_back(answer),
                    "remove" => self.world.remove.push_back(answer),
                    other => panic!("no question {other:?}"),
                }
            }
            _ => panic!("no setting {text:?}"),
        }
    }
}
