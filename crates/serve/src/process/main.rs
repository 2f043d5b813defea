//! A binary's main: flags, settings, telemetry, build, wait, drain, exit code.

use std::{future::Future, path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use super::{Process, descriptors, private};
use crate::{
    config::{self, Faults, Service, Settings, Sources},
    listener::BindErrors,
    telemetry::Telemetry,
    tls::TlsError,
};

/// Exit codes, by sysexits(3).
mod exit {
    /// All went well.
    pub(super) const OK: u8 = 0;
    /// A failure while running.
    pub(super) const SOFTWARE: u8 = 70;
    /// The settings are not right (EX_USAGE).
    pub(super) const SETTINGS: u8 = 64;
    /// A service that is needed does not answer (EX_UNAVAILABLE).
    pub(super) const UNAVAILABLE: u8 = 69;
    /// A listener could not be bound (EX_OSERR).
    pub(super) const BIND: u8 = 71;
    /// A file could not be read or made (EX_CANTCREAT).
    pub(super) const FILES: u8 = 73;
}

/// The flags of every server.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct Flags {
    /// Read settings from this TOML file (or from the one that PURO_CONFIG names)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Check the settings and exit
    #[arg(long)]
    pub check_config: bool,
    /// Print the effective settings and exit
    #[arg(long)]
    pub print_config: bool,
    /// Set one key, such as smtp.listen=127.0.0.1:25; goes before file and environment
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
}

impl Flags {
    /// Reads the settings of a service with these flags and the process's environment.
    ///
    /// # Errors
    /// Every fault found.
    pub fn settings(&self, service: Service) -> Result<Settings, Faults> {
        let sources = Sources {
            file: self.config.clone(),
            overrides: self.overrides.clone(),
            ..Sources::environment()
        };
        Settings::load(service, &sources)
    }
}

/// Why a process does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The settings are not right: exit code 64.
    #[error(transparent)]
    Settings(#[from] Faults),
    /// Listeners could not be bound: exit code 71.
    #[error(transparent)]
    Bind(#[from] BindErrors),
    /// The certificate or its key is not usable: exit code 73.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A service that is needed does not answer: exit code 69.
    #[error("{0}")]
    Unavailable(String),
    /// Anything else: exit code 70.
    #[error(transparent)]
    Other(#[from] Box<dyn std::error::Error + Send + Sync>),
}

impl StartError {
    /// Any other error.
    pub fn other(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Other(Box::new(error))
    }

    fn exit_code(&self) -> u8 {
        match self {
            Self::Settings(_) => exit::SETTINGS,
            Self::Bind(_) => exit::BIND,
            Self::Tls(_) => exit::FILES,
            Self::Unavailable(_) => exit::UNAVAILABLE,
            Self::Other(_) => exit::SOFTWARE,
        }
    }
}

#[derive(Debug, Parser)]
#[command(version)]
struct Command {
    #[command(flatten)]
    flags: Flags,
}

/// The main of a service with a binary of its own: reads the flags and calls [`run`].
pub fn main<F, B>(service: Service, about: &'static str, build: B) -> ExitCode
where
    B: FnOnce(Settings, Process) -> F,
    F: Future<Output = Result<(), StartError>>,
{
    use clap::{CommandFactory, FromArgMatches};
    let matches = Command::command().name(service.binary()).about(about).get_matches();
    match Command::from_arg_matches(&matches) {
        Ok(command) => run(service, &command.flags, build),
        Err(error) => error.exit(),
    }
}

/// Runs a service: settings, telemetry and runtime; `build` binds and spawns; then a signal is waited for and everything
/// drained. The health endpoints are up before `build` and say not ready until [`super::Readiness::set`], which
/// `build` (or a task of it) calls.
pub fn run<F, B>(service: Service, flags: &Flags, build: B) -> ExitCode
where
    B: FnOnce(Settings, Process) -> F,
    F: Future<Output = Result<(), StartError>>,
{
    ExitCode::from(exit_code(service, flags, build))
}

/// Does what [`run`] says; returns the exit code as a number.
pub(super) fn exit_code<F, B>(service: Service, flags: &Flags, build: B) -> u8
where
    B: FnOnce(Settings, Process) -> F,
    F: Future<Output = Result<(), StartError>>,
{
    let mut settings = match flags.settings(service) {
        Ok(settings) => settings,
        Err(faults) => return refuse(&StartError::Settings(faults)),
    };
    if flags.print_config {
        print!("{}", config::print(&settings));
    }
    if flags.check_config || flags.print_config {
        return exit::OK;
    }
    private::make_private();
    let descriptors_max = descriptors::raise();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(&StartError::Other(error.into())),
    };
    let telemetry = {
        let _inside = runtime.enter();
        match Telemetry::start(service, &settings.log) {
            Ok(telemetry) => telemetry,
            Err(error) => return refuse(&StartError::Other(error.into())),
        }
    };
    descriptors::fit(service, &mut settings, descriptors_max);
    let outcome = runtime.block_on(life(service, settings, &telemetry, build));
    // Off the runtime, while it still turns: exporters send with its help.
    telemetry.shutdown(TELEMETRY_GRACE);
    runtime.shutdown_timeout(RUNTIME_GRACE);
    match outcome {
        Ok(()) => exit::OK,
        Err(error) => refuse(&error),
    }
}

const TELEMETRY_GRACE: Duration = Duration::from_secs(3);
const RUNTIME_GRACE: Duration = Duration::from_secs(1);

async fn life<F, B>(
    service: Service,
    settings: Settings,
    telemetry: &Telemetry,
    build: B,
) -> Result<(), StartError>
where
    B: FnOnce(Settings, Process) -> F,
    F: Future<Output = Result<(), StartError>>,
{
    let process = Process::new();
    let drain = settings.drain.clone();
    watch_signals(&process).map_err(|error| StartError::Other(error.into()))?;
    let health = crate::health::bind(&settings.admin)?;
    let admin = health.map(|listener| crate::health::spawn(listener, &process, telemetry.metrics()));
    let admin = admin.map(tracing::field::display);
    tracing::info!(service = service.binary(), admin, "starting");
    private::keep_private(&settings.general.data_dir);
    Box::pin(build(settings, process.clone())).await?;
    if let Some(path) = std::env::var_os(super::PORTS_FILE).filter(|path| !path.is_empty()) {
        process.0.ports.write(path.as_ref()).map_err(|error| StartError::Other(error.into()))?;
    }
    process.stop_requested().await;
    tracing::info!("draining");
    let all = process.drain(&drain).await;
    tracing::info!(all, "stopped");
    match process.failure() {
        None => Ok(()),
        Some(reason) => Err(StartError::Other(reason.into())),
    }
}

/// The first SIGTERM or SIGINT asks the process to end, the second ends it.
fn watch_signals(process: &Process) -> std::io::Result<()> {
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let process = process.clone();
    // Outside the tracked tasks: it lives until the process ends.
    drop(tokio::spawn(async move {
        for first in [true, false] {
            let name = tokio::select! {
                _ = term.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            tracing::info!(signal = name, "signal");
            match first {
                true => process.request_stop(),
                false => std::process::exit(i32::from(exit::SOFTWARE)),
            }
        }
    }));
    Ok(())
}

/// Tells the error; returns its exit code.
fn refuse(error: &StartError) -> u8 {
    // Telemetry may not be up, and a person at a terminal should see it: straight to standard error.
    eprintln!("{error}");
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        eprintln!("  because: {cause}");
        source = cause.source();
    }
    error.exit_code()
}
