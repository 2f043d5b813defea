//! Every setting there is: name, meaning and default in one place. The example file, the environment variables and
//! the checks for unknown keys all come from here.

use std::{path::PathBuf, time::Duration};

use ipnet::IpNet;
use puro_session::PlaintextAuth;
use puro_types::{ByteSize, ServiceUrl};

use super::{
    section::{Key, Section, assign, sections},
    value::{BareLineEnds, BlobStore, Listen, LogFormat, MetadataStore, Raw, Setting},
};

const fn minutes(number: u64) -> Duration {
    Duration::from_secs(number * 60)
}

sections! {
    /// What all services share.
    "" General {
        /// Where the embedded stores and the self-signed certificate are.
        data_dir: PathBuf = PathBuf::from("./puro-data");
        /// This host's name, for greetings and trace fields. Empty: the system's.
        hostname: String = String::new();
        /// Whether a password may travel in clear text: never, loopback (only from this machine) or always.
        allow_plaintext_auth: PlaintextAuth = PlaintextAuth::Loopback;
        /// Networks of the load balancers, which must begin each connection with a PROXY header (v1 or v2).
        proxy_protocol_from: Vec<IpNet> = Vec::new();
        /// Logins that may fail from one address (an IPv6 /64 counts as one), whatever the account; one more every ten
        /// seconds. Beyond that every login from there is put off. 0: no limit. Each front end counts for itself.
        max_failed_logins_per_address: u32 = 50;
    }

    /// The SMTP front end. Listeners are "address:port"; empty: off; port 0: any free one.
    "smtp" Smtp {
        /// Mail from other servers, and submission after STARTTLS and AUTH. In production port 25.
        listen: Listen = Listen::loopback(12365);
        /// Submission with implicit TLS. In production port 465.
        tls_listen: Listen = Listen::loopback(12366);
        /// Submission with STARTTLS. In production port 587.
        submission_listen: Listen = Listen::loopback(12367);
        /// The largest message taken, at most 1000MiB. Lines in it may be as long as that: they are passed on and never held.
        max_message_bytes: ByteSize = ByteSize(50_000_000);
        /// Recipients of one message; a sender brings the rest in another transaction. At least 100, at most 10000, which is
        /// also the most mailboxes that aliases make of them.
        max_recipients: u32 = 1000;
        /// A bare CR or LF in a message: refuse it, or normalise it to CRLF.
        bare_line_ends: BareLineEnds = BareLineEnds::Refuse;
        /// How long a client may take for a command (RFC 5321 section 4.5.3.2 asks for 5 minutes).
        command_timeout: Duration = minutes(5);
        /// How long a client may pause inside a message.
        data_timeout: Duration = minutes(10);
        /// How long a client may take for a whole message, however steadily it trickles.
        message_timeout: Duration = minutes(60);
        /// A client that takes no octet of a reply for this long is cut off.
        write_timeout: Duration = minutes(5);
        /// Wrong commands in a row before a connection is closed; half as many are answered without a pause. Refused logins,
        /// in a row or not, close it at half the number, refused recipients at 100 in a row, whatever stands here.
        max_errors: u32 = 10;
        /// Connections at one time, on all SMTP listeners together. A low limit of open files (ulimit -Hn) lowers it.
        max_connections: u32 = 10_000;
        /// Connections at one time from one address (an IPv6 /64 counts as one); 0: no limit. Loopback is exempt.
        max_connections_per_address: u32 = 100;
        /// Messages that one address may send in a minute without logging in; beyond that they are put off with 451.
        /// 0: no limit. Loopback is exempt, and each front end counts for itself.
        max_messages_per_minute_per_address: u32 = 1000;
        /// Messages that one account may send in a minute; beyond that they are put off with 451. 0: no limit. Loopback is
        /// exempt, and each front end counts for itself.
        max_messages_per_minute_per_account: u32 = 100;
    }

    /// The POP3 front end.
    "pop3" Pop3 {
        /// POP3 with STLS. In production port 110.
        listen: Listen = Listen::loopback(12450);
        /// POP3 with implicit TLS. In production port 995.
        tls_listen: Listen = Listen::loopback(12451);
        /// A client that says nothing for this long is cut off; at least 10 minutes (RFC 1939 section 3).
        idle_timeout: Duration = minutes(10);
        /// A client that takes no octet of a reply for this long is cut off.
        write_timeout: Duration = minutes(5);
        /// Wrong commands in a row before a connection is closed, and refused logins, in a row or not.
        max_errors: u32 = 10;
        /// Connections at one time, on both listeners together. A low limit of open files (ulimit -Hn) lowers it.
        max_connections: u32 = 10_000;
        /// Connections at one time from one address (an IPv6 /64 counts as one); 0: no limit. Loopback is exempt.
        max_connections_per_address: u32 = 100;
    }

    /// The metadata service: where it listens (its own process) and where the others find it.
    "metadata" Metadata {
        /// gRPC; `puro serve` listens here too, for the operator's commands. No password is asked for: whoever reaches it
        /// reads and changes all mail and every account, so keep it on a private network.
        listen: Listen = Listen::loopback(12501);
        /// Where the front ends find it.
        url: ServiceUrl = ServiceUrl::loopback(12501);
        /// embedded (in the data directory), dynamodb or memory (for trials).
        store: MetadataStore = MetadataStore::Embedded;
        /// Messages in the maildrop listings kept at hand, of some 250 octets each. A POP3 session on a maildrop that is
        /// not among them reads all of its items, which DynamoDB bills.
        listed_messages: u32 = 100_000;
    }

    /// The blob service: where it listens (its own process) and where the others find it.
    "blob" Blob {
        /// gRPC; `puro serve` listens here too. No password is asked for: whoever reaches it reads and deletes all mail, so
        /// keep it on a private network.
        listen: Listen = Listen::loopback(12502);
        /// Where the front ends find it.
        url: ServiceUrl = ServiceUrl::loopback(12502);
        /// disk (in the data directory), s3 (see the section s3) or memory (for trials).
        store: BlobStore = BlobStore::Disk;
        /// Milliseconds, up to 1000, that a message waits for others to share its write with. 0: none.
        linger_ms: u32 = 0;
    }

    /// The items in DynamoDB, where metadata.store is dynamodb. Credentials and region come by the AWS SDK's own chain
    /// (environment, profile, web identity, task role), another endpoint by AWS_ENDPOINT_URL_DYNAMODB. `puro store init`
    /// makes the tables.
    "dynamodb" Dynamodb {
        /// What the tables' names begin with: "puro" makes puro-user, puro-folder and so on.
        table_prefix: String = "puro".to_owned();
        /// Requests to DynamoDB at one time, each on a connection of its own; eight times as many wait, the rest is put off.
        max_connections: u32 = 128;
    }

    /// The segments in S3, where blob.store is s3. Credentials and region come by the AWS SDK's own chain (environment,
    /// profile, web identity, task role), another endpoint by AWS_ENDPOINT_URL_S3. `puro store init` makes the bucket.
    "s3" S3 {
        /// The bucket, which holds nothing else.
        bucket: String = String::new();
        /// Put the bucket's name into the path, not into the host's name: for S3-compatible stores.
        path_style: bool = false;
        /// The KMS key by which a new bucket encrypts, with a bucket key. Empty: S3's own keys (SSE-S3).
        kms_key_id: String = String::new();
        /// Requests to S3 at one time, each on a connection of its own; eight times as many wait, the rest is put off. Four
        /// times as many messages may be on their way to readers.
        max_connections: u32 = 128;
    }

    /// Health and metrics over HTTP: /livez, /readyz, /metrics.
    "admin" Admin {
        /// The default port depends on the service: 12600 smtp and `puro serve`, 12601 pop3, 12602 metadata,
        /// 12603 blob, 12604 relay.
        listen: Listen = Listen::loopback(12600);
    }

    /// TLS of the front ends.
    "tls" TlsFiles {
        /// The certificate chain, PEM; reread when it changes. Empty: a self-signed one in the data directory.
        cert: Option<PathBuf> = None;
        /// The certificate's private key, PEM.
        key: Option<PathBuf> = None;
        /// How long a client may take for the handshake.
        handshake_timeout: Duration = Duration::from_secs(30);
    }

    /// The log, on standard error.
    "log" Log {
        /// text, json, or auto: text on a terminal and JSON otherwise.
        format: LogFormat = LogFormat::Auto;
        /// error, warn, info, debug or trace; also by target: "info,puro_smtp=debug".
        level: String = "info".to_owned();
    }

    /// The end: SIGTERM or SIGINT. A second signal ends at once.
    "drain" Drain {
        /// How long to go on accepting while the load balancer learns that this process is not ready any more.
        wait: Duration = Duration::ZERO;
        /// How long sessions may take to end.
        grace: Duration = Duration::from_secs(25);
    }
}

/// All settings, checked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// The keys at the top.
    pub general: General,
    /// `[smtp]`
    pub smtp: Smtp,
    /// `[pop3]`
    pub pop3: Pop3,
    /// `[metadata]`
    pub metadata: Metadata,
    /// `[blob]`
    pub blob: Blob,
    /// `[dynamodb]`
    pub dynamodb: Dynamodb,
    /// `[s3]`
    pub s3: S3,
    /// `[admin]`
    pub admin: Admin,
    /// `[tls]`
    pub tls: TlsFiles,
    /// `[log]`
    pub log: Log,
    /// `[drain]`
    pub drain: Drain,
}

impl Settings {
    pub(super) fn sections(&self) -> [&dyn Section; 11] {
        [
            &self.general,
            &self.smtp,
            &self.pop3,
            &self.metadata,
            &self.blob,
            &self.dynamodb,
            &self.s3,
            &self.admin,
            &self.tls,
            &self.log,
            &self.drain,
        ]
    }

    pub(super) fn sections_mut(&mut self) -> [&mut dyn Section; 11] {
        [
            &mut self.general,
            &mut self.smtp,
            &mut self.pop3,
            &mut self.metadata,
            &mut self.blob,
            &mut self.dynamodb,
            &mut self.s3,
            &mut self.admin,
            &mut self.tls,
            &mut self.log,
            &mut self.drain,
        ]
    }

    /// What one value alone cannot tell: `(path, fault)`.
    pub(super) fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        let mut check = |wrong: bool, path: &'static str, why: &str| {
            if wrong {
                faults.push((path, why.to_owned()));
            }
        };
        let hostname = &self.general.hostname;
        check(
            hostname.is_empty()
                || hostname.len() > 255
                || !hostname.bytes().all(|octet| octet.is_ascii_graphic()),
            "hostname",
            "a host's name is wanted, up to 255 ASCII characters without spaces",
        );
        check(
            self.tls.cert.is_some() != self.tls.key.is_some(),
            "tls.cert",
            "tls.cert and tls.key go together: set both or neither",
        );
        // RFC 5321 section 4.5.3.1.8.
        check(self.smtp.max_recipients < 100, "smtp.max_recipients", "at least 100");
        // What one delivery takes (`puro_api::model::MAILBOXES_MAX`).
        check(self.smtp.max_recipients > 10_000, "smtp.max_recipients", "at most 10000");
        check(self.smtp.max_message_bytes.0 < 65_536, "smtp.max_message_bytes", "at least 64KiB");
        // The blob service takes 1 GiB, with trace fields and normalised line ends.
        check(self.smtp.max_message_bytes.0 > 1000 << 20, "smtp.max_message_bytes", "at most 1000MiB");
        check(self.smtp.max_connections == 0, "smtp.max_connections", "at least 1");
        check(self.pop3.max_connections == 0, "pop3.max_connections", "at least 1");
        check(self.pop3.idle_timeout < minutes(10), "pop3.idle_timeout", "at least 10m (RFC 1939 section 3)");
        let prefix = &self.dynamodb.table_prefix;
        // A table's name has 3 to 255 of these characters (Amazon DynamoDB Developer Guide, "Naming rules").
        check(
            prefix.is_empty()
                || prefix.len() > 200
                || !prefix.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"_.-".contains(&octet)),
            "dynamodb.table_prefix",
            "1 to 200 letters, digits, `_`, `-` and `.` are wanted",
        );
        check(self.dynamodb.max_connections == 0, "dynamodb.max_connections", "at least 1");
        check(self.blob.linger_ms > 1000, "blob.linger_ms", "at most 1000");
        let bucket = &self.s3.bucket;
        // Amazon S3 User Guide, "General purpose bucket naming rules".
        let is_bucket = (3..=63).contains(&bucket.len())
            && bucket.bytes().all(|octet| matches!(octet, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.'));
        let (wanted, given) = (self.blob.store == BlobStore::S3, !bucket.is_empty());
        check(wanted && !given, "s3.bucket", "the name of a bucket is wanted where blob.store is s3");
        check(given && !is_bucket, "s3.bucket", "3 to 63 small letters, digits, hyphens and dots");
        check(self.s3.max_connections == 0, "s3.max_connections", "at least 1");
        let positive = [
            ("smtp.command_timeout", self.smtp.command_timeout),
            ("smtp.data_timeout", self.smtp.data_timeout),
            ("smtp.message_timeout", self.smtp.message_timeout),
            ("smtp.write_timeout", self.smtp.write_timeout),
            ("pop3.write_timeout", self.pop3.write_timeout),
            ("tls.handshake_timeout", self.tls.handshake_timeout),
        ];
        for (path, time) in positive {
            check(time < Duration::from_secs(1), path, "at least 1s");
        }
        faults
    }
}
