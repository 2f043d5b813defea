//! The kinds of value that a setting can have, each read from a file's value or from text (environment, flag).

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;
use puro_session::PlaintextAuth;
use puro_types::{ByteSize, ServiceUrl, ServiceUrlError};
use toml::Value;

/// A value as it came in.
#[derive(Debug, Clone, Copy)]
pub enum Raw<'a> {
    /// From the environment or a flag.
    Text(&'a str),
    /// From the file.
    Toml(&'a Value),
}

impl Raw<'_> {
    fn text(&self) -> Result<&str, String> {
        match self {
            Self::Text(text) => Ok(text.trim()),
            Self::Toml(Value::String(text)) => Ok(text.trim()),
            Self::Toml(other) => Err(format!("a text is wanted, not {}", other.type_str())),
        }
    }
}

/// A kind of value.
pub trait Setting: Sized {
    /// Reads the value.
    ///
    /// # Errors
    /// Says what is wrong with it, for the person who wrote it.
    fn read(raw: Raw<'_>) -> Result<Self, String>;

    /// Writes the value as it stands in a file.
    fn write(&self) -> Value;
}

impl Setting for String {
    fn read(raw: Raw<'_>) -> Result<Self, String> {
        raw.text().map(str::to_owned)
    }

    fn write(&self) -> Value {
        Value::String(self.clone())
    }
}

impl Setting for bool {
    fn read(raw: Raw<'_>) -> Result<Self, String> {
        match raw {
            Raw::Toml(Value::Boolean(truth)) => Ok(*truth),
            raw => match raw.text()? {
                "true" => Ok(true),
                "false" => Ok(false),
                other => Err(format!("{other:?} is not true or false")),
            },
        }
    }

    fn write(&self) -> Value {
        Value::Boolean(*self)
    }
}

impl Setting for u32 {
    fn read(raw: Raw<'_>) -> Result<Self, String> {
        match raw {
            Raw::Toml(Value::Integer(number)) => Self::try_from(*number).map_err(|_| out_of_range(number)),
            Raw::Text(text) => text.trim().parse().map_err(|_| out_of_range(text)),
            Raw::Toml(other) => Err(format!("a whole number is wanted, not {}", other.type_str())),
        }
    }

    fn write(&self) -> Value {
        Value::Integer(i64::from(*self))
    }
}

fn out_of_range(what: impl std::fmt::Debug) -> String {
    format!("{what:?} is not a whole number from 0 to {}", u32::MAX)
}

impl Setting for ByteSize {
    fn read(raw: Raw<'_>) -> Result<Self, String> {
        match raw {
            Raw::Toml(Value::Integer(number)) => {
                u64::try_from(*number).map(Self).map_err(|_| format!("{number} is not a size"))
            }
            raw => raw.text()?.parse().map_err(|error: puro_types::ByteSizeError| error.to_string()),
        }
    }

    fn write(&self) -> Value {
        Value::String(self.to_string())
    }
}

impl Setting for Duration {
    fn read(raw: Raw<'_>) -> Result<Self, String> {
        let text = raw.text()?;
        let fault = || format!("{text:?} is not a time (a number and ms, s, m, h or d)");
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| fault())?;
        let unit_ms = DURATION_UNITS.iter().find(|(name, _)| *name == unit.trim()).ok_or_else(fault)?.1;
        number.checked_mul(unit_ms).map(Self::from_millis).ok_or_else(fault)
    }

    fn write(&self) -> Value {
        let ms = self.as_millis();
        let (name, unit_ms) = DURATION_UNITS
            .into_iter()
            .find(|(_, unit_ms)| ms >= u128::from(*unit_ms) && ms.is_multiple_of(u128::from(*unit_ms)))
            .unwrap_or(("s", 1_000));
        Value::String(format!("{}{name}", ms / u128::from(unit_ms)))
    }
}

/// Largest first.
const DURATION_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Where to listen: an address and a port, or nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Listen(pub Option<SocketAddr>);

impl Listen {
    /// The loopback address and this port.
    #[must_use]
    pub const fn loopback(port: u16) -> Self {
        Self(Some(SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), port)))
    }
}

impl Setting for Listen {
    fn read(raw: Raw<'_>) -> Result<Self, String> {
        let text = raw.text()?;
        if text.is_empty() {
            return Ok(Self(None));
        }
        text.parse().map(|address| Self(Some(address))).map_err(|_| {
            format!("{text:?} is not an address and a port, such as 127.0.0.1:25 or [::]:25 (empty: off)")
        })
    }

    fn write(&self) -> Value {
        Value::String(self.0.map(|address| address.to_string()).unwrap_or_default())
    }
}

impl Setting for PathBuf {
    fn read(raw: Raw<'_>) -> Result<Self, String> {
        match raw.text()? {
            "" => Err("a path is wanted".to_owned()),
            text => Ok(Self::from(text)),
        }
    }

    fn write(&self) -> Value {
        Value::String(self.display().to_string())
    }
}

impl Setting for Option<PathBuf> {
    fn read(raw: Raw<'_>) -> Result<Self, String> {
        Ok(Some(raw.text()?).filter(|text| !text.is_empty()).map(PathBuf::from))
    }

    fn write(&self) -> Value {
        Value::String(self.as_ref().map(|path| path.display().to_string()).unwrap_or_default())
    }
}

impl Setting for Vec<IpNet> {
    fn read(raw: Raw<'_>) -> Result<Self, String> {
        match raw {
            Raw::Toml(Value::Array(items)) => {
                items.iter().map(|item| network(Raw::Toml(item).text()?)).collect()
            }
            raw => raw
                .text()?
                .split([',', ' '])
                .map(str::trim)
                .filter(|part| !part.is_empty())
                .map(network)
                .collect(),
        }
    }

    fn write(&self) -> Value {
        Value::Array(self.iter().map(|net| Value::String(net.to_string())).collect())
    }
}

/// A network, or one address.
fn network(text: &str) -> Result<IpNet, String> {
    text.parse::<IpNet>()
        .or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from))
        .map_err(|_| format!("{text:?} is not a network, such as 10.0.0.0/8"))
}

impl Setting for ServiceUrl {
    fn read(raw: Raw<'_>) -> Result<Self, String> {
        raw.text()?.parse().map_err(|error: ServiceUrlError| error.to_string())
    }

    fn write(&self) -> Value {
        Value::String(self.to_string())
    }
}

/// Makes a type a setting that is one of a few words.
macro_rules! words {
    ($name:ident { $( $variant:ident = $word:literal, )* }) => {
        impl Setting for $name {
            fn read(raw: Raw<'_>) -> Result<Self, String> {
                match raw.text()? {
                    $( $word => Ok(Self::$variant), )*
                    other => Err(format!("{other:?} is not one of {}", [$($word),*].join(", "))),
                }
            }

            fn write(&self) -> Value {
                let word = match self { $( Self::$variant => $word, )* };
                Value::String(word.to_owned())
            }
        }
    };
}

words! {
    PlaintextAuth { Never = "never", Loopback = "loopback", Always = "always", }
}

/// Declares a setting that is one of a few words.
macro_rules! choices {
    ($(
        $(#[doc = $doc:literal])*
        $name:ident {
            $( $(#[doc = $variant_doc:literal])* $variant:ident = $word:literal, )*
        }
    )*) => { $(
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $( $(#[doc = $variant_doc])* $variant, )*
        }

        words! { $name { $( $variant = $word, )* } }
    )* };
}

choices! {
    /// What becomes of a bare CR or a bare LF in a message.
    BareLineEnds {
        /// The message is refused.
        Refuse = "refuse",
        /// Each becomes CRLF; none ends the message.
        Normalise = "normalise",
    }
    /// Where the metadata service keeps its items.
    MetadataStore {
        /// In the data directory.
        Embedded = "embedded",
        /// In Amazon DynamoDB.
        Dynamodb = "dynamodb",
        /// Nowhere: all is lost at the end. For trials.
        Memory = "memory",
    }
    /// Where the blob service keeps its segments.
    BlobStore {
        /// In the data directory.
        Disk = "disk",
        /// In an S3 bucket.
        S3 = "s3",
        /// Nowhere: all is lost at the end. For trials.
        Memory = "memory",
    }
    /// How the log is written.
    LogFormat {
        /// Text on a terminal, JSON otherwise.
        Auto = "auto",
        /// Lines for people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}
