//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, anyhow};
use clap::{Parser, Subcommand, ValueEnum};
use puro_load::deliver::Delivery;
use puro_load::fetch::{Fetch, Visit};
use puro_load::message::Content;
use puro_load::pace::Limits;
use puro_load::target::{Encryption, Target, User, numbered_users, read_users};
use puro_load::wait::Arrivals;

/// Load on a mail server, every message accounted for.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Deliver messages.
    Smtp(DeliverArgs),
    /// Retrieve or poll maildrops.
    Pop3(Pop3Args),
    /// Deliver, retrieve with deletion, and poll, all at once.
    Mixed(MixedArgs),
    /// Hold many POP3 sessions which are logged in.
    Idle(IdleArgs),
    /// Compare maildrops with a ledger; exit 1 when a message was lost, duplicated or corrupted.
    Verify(VerifyArgs),
}

/// A server, and accounts on it.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct PlaceArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    #[command(flatten)]
    pub(crate) users: UserArgs,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ServerArgs {
    /// Where the server listens.
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) address: SocketAddr,
    /// How the connection is encrypted (any certificate will do).
    #[arg(long, value_enum, default_value = "none")]
    pub(crate) encryption: Encryption,
    /// The longest wait for one answer, in seconds.
    #[arg(long, default_value_t = 30)]
    pub(crate) patience: u64,
    /// The server's processes, whose CPU and memory (children included) are reported.
    #[arg(long, value_delimiter = ',')]
    pub(crate) pid: Vec<u32>,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct UserArgs {
    /// A file of accounts: one a line, address, a space, password.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["users", "password"])]
    pub(crate) user_list: Option<PathBuf>,
    /// That many accounts: PREFIX1@DOMAIN and so on.
    #[arg(long, default_value_t = 1)]
    pub(crate) users: usize,
    /// What numbered accounts begin with.
    #[arg(long, default_value = "user")]
    pub(crate) prefix: String,
    /// The domain of numbered accounts.
    #[arg(long, default_value = "puro.localhost")]
    pub(crate) domain: String,
    /// The password of numbered accounts; they are test accounts.
    #[arg(long, env = "PURO_LOAD_PASSWORD", default_value = "load")]
    pub(crate) password: String,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct PaceArgs {
    /// Connections at once.
    #[arg(long, default_value_t = 16)]
    pub(crate) connections: usize,
    /// Stop after this time, in seconds.
    #[arg(long)]
    pub(crate) seconds: Option<f64>,
    /// Open loop: so many a second, latency counted from the due time.
    #[arg(long)]
    pub(crate) rate: Option<f64>,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DeliverArgs {
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    #[command(flatten)]
    pub(crate) pace: PaceArgs,
    /// Stop after so many messages.
    #[arg(long)]
    pub(crate) messages: Option<u64>,
    /// Octets of a message.
    #[arg(long, default_value_t = 4096)]
    pub(crate) size: usize,
    /// Bodies of random Base64 instead of words.
    #[arg(long)]
    pub(crate) incompressible: bool,
    /// Messages a connection carries; 0 = any number.
    #[arg(long, default_value_t = 0)]
    pub(crate) per_connection: u64,
    /// Log in first.
    #[arg(long)]
    pub(crate) login: bool,
    /// The envelope sender instead of the recipient.
    #[arg(long)]
    pub(crate) sender: Option<String>,
    /// The same seed makes the same messages; a new one each time when absent.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Append what is sent and what is acknowledged to this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) ledger: Option<PathBuf>,
    /// Count up to arrival, seen in the Maildirs below this folder.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) arrival_maildirs: Option<PathBuf>,
    /// Count up to arrival, seen over POP3 at this address.
    #[arg(long, value_name = "IP:PORT", conflicts_with = "arrival_maildirs")]
    pub(crate) arrival_pop3: Option<SocketAddr>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum VisitArg {
    /// Login, UIDL, LIST, RETR of all, QUIT.
    Retrieve,
    /// Login, STAT, QUIT.
    Poll,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Pop3Args {
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    #[command(flatten)]
    pub(crate) pace: PaceArgs,
    /// What a session does.
    #[arg(long, value_enum, default_value = "retrieve")]
    pub(crate) visit: VisitArg,
    /// Delete what was retrieved.
    #[arg(long)]
    pub(crate) delete: bool,
    /// Stop after so many sessions; one for each account when neither this nor a time is given.
    #[arg(long)]
    pub(crate) sessions: Option<u64>,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct MixedArgs {
    #[command(flatten)]
    pub(crate) deliver: DeliverArgs,
    /// The POP3 listener, encrypted like the SMTP one.
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) pop3_address: SocketAddr,
    /// POP3 sessions at once that retrieve and delete.
    #[arg(long, default_value_t = 4)]
    pub(crate) retrieve_connections: usize,
    /// POP3 sessions at once that poll.
    #[arg(long, default_value_t = 4)]
    pub(crate) poll_connections: usize,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct IdleArgs {
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// Sessions to open.
    #[arg(long, default_value_t = 200)]
    pub(crate) connections: usize,
    /// Sessions to open before memory is first read: what the first ones cost once is no part of what each costs.
    #[arg(long, default_value_t = 0)]
    pub(crate) base: usize,
    /// How long to hold them before memory is read, in seconds.
    #[arg(long, default_value_t = 2)]
    pub(crate) seconds: u64,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// The ledger of the run.
    #[arg(long, value_name = "FILE")]
    pub(crate) ledger: PathBuf,
}

impl ServerArgs {
    pub(crate) fn target(&self) -> Target {
        let patience = Duration::from_secs(self.patience);
        Target { address: self.address, encryption: self.encryption, patience }
    }
}

impl UserArgs {
    pub(crate) fn list(&self) -> Result<Vec<User>> {
        match &self.user_list {
            Some(file) => read_users(file),
            None if self.users == 0 => Err(anyhow!("--users must be at least 1")),
            None => Ok(numbered_users(self.users, &self.prefix, &self.domain, &self.password)),
        }
    }
}

impl PaceArgs {
    fn limits(&self, count: Option<u64>) -> Result<Limits> {
        let time = self.seconds.map(Duration::try_from_secs_f64).transpose()?;
        if self.rate.is_some_and(|rate| rate <= 0.0) {
            return Err(anyhow!("--rate must be above 0"));
        }
        Ok(Limits { count, time, rate: self.rate })
    }
}

impl DeliverArgs {
    pub(crate) fn arrivals(&self) -> Result<Option<Arrivals>> {
        if let Some(address) = self.arrival_pop3 {
            return Ok(Some(Arrivals::Maildrops(Target::clear(address), self.place.users.list()?)));
        }
        Ok(self.arrival_maildirs.clone().map(Arrivals::Maildirs))
    }
}

impl TryFrom<&DeliverArgs> for Delivery {
    type Error = anyhow::Error;

    fn try_from(args: &DeliverArgs) -> Result<Self> {
        if args.messages.is_none() && args.pace.seconds.is_none() {
            return Err(anyhow!("say how much: --messages or --seconds"));
        }
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        #[expect(clippy::cast_possible_truncation, reason = "the low 64 bits of nanoseconds differ enough")]
        let seed = args.seed.unwrap_or(clock.as_nanos() as u64);
        Ok(Self {
            target: args.place.server.target(),
            users: args.place.users.list()?,
            login: args.login,
            sender: args.sender.clone(),
            connections: args.pace.connections,
            per_connection: args.per_connection,
            octets: args.size,
            content: if args.incompressible { Content::Incompressible } else { Content::Text },
            seed,
            limits: args.pace.limits(args.messages)?,
            reconnect_after: Duration::from_millis(100),
        })
    }
}

impl TryFrom<&Pop3Args> for Fetch {
    type Error = anyhow::Error;

    fn try_from(args: &Pop3Args) -> Result<Self> {
        let users = args.place.users.list()?;
        let once = args.pace.seconds.is_none().then_some(users.len() as u64);
        let visit = match (args.visit, args.delete) {
            (VisitArg::Poll, _) => Visit::Poll,
            (VisitArg::Retrieve, false) => Visit::Retrieve,
            (VisitArg::Retrieve, true) => Visit::RetrieveAndDelete,
        };
        Ok(Self {
            target: args.place.server.target(),
            users,
            visit,
            connections: args.pace.connections,
            limits: args.pace.limits(args.sessions.or(once))?,
            reconnect_after: Duration::from_millis(100),
        })
    }
}

impl MixedArgs {
    pub(crate) fn fetch(&self, visit: Visit, connections: usize) -> Result<Fetch> {
        let time = self.deliver.pace.seconds.ok_or_else(|| anyhow!("mixed needs --seconds"))?;
        let limits = Limits { time: Some(Duration::try_from_secs_f64(time)?), ..Limits::default() };
        let target = Target { address: self.pop3_address, ..self.deliver.place.server.target() };
        let users = self.deliver.place.users.list()?;
        Ok(Fetch { target, users, visit, connections, limits, reconnect_after: Duration::from_millis(100) })
    }
}
