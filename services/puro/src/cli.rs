//! What can be typed.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};
use puro_types::ServiceUrl;

use crate::commands::Request;

/// A mail server in one process, and the command line of its operator.
#[derive(Debug, Parser)]
#[command(name = "puro", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(flatten)]
    pub(crate) serve: ServeFlags,
    /// Without a command: serve
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run everything in one process
    Serve(ServeFlags),
    #[command(flatten)]
    Operate(Request),
}

/// What all commands understand.
#[derive(Debug, Args)]
#[command(next_help_heading = "Every command")]
pub(crate) struct Global {
    /// Read settings from this TOML file (or from the one that PURO_CONFIG names)
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where the metadata service is [env: PURO_METADATA_URL] [default: http://127.0.0.1:12501]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) metadata: Option<ServiceUrl>,
    /// Where the blob service is [env: PURO_BLOB_URL] [default: http://127.0.0.1:12502]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) blob: Option<ServiceUrl>,
    /// Print JSON, for scripts
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// How long a call may take
    #[arg(long, global = true, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub(crate) timeout: Duration,
}

/// What only `serve` understands; also without naming it.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Serving")]
pub(crate) struct ServeFlags {
    /// Check the settings and exit
    #[arg(long)]
    pub(crate) check_config: bool,
    /// Print the effective settings and exit
    #[arg(long)]
    pub(crate) print_config: bool,
    /// Set one key, such as smtp.listen=127.0.0.1:25; goes before file and environment
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) overrides: Vec<String>,
}

impl ServeFlags {
    /// Returns these flags and those that came behind the command.
    pub(crate) fn and(mut self, mut behind: Self) -> Self {
        self.overrides.append(&mut behind.overrides);
        Self {
            check_config: self.check_config || behind.check_config,
            print_config: self.print_config || behind.print_config,
            overrides: self.overrides,
        }
    }

    pub(crate) fn is_given(&self) -> bool {
        self.check_config || self.print_config || !self.overrides.is_empty()
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds @ 1..=86_400) => Ok(Duration::from_secs(seconds)),
        _ => Err("a number of seconds from 1 to 86400".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn serve_is_what_runs_without_a_command() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' '));
        assert!(parse("puro").unwrap().command.is_none());
        let before = parse("puro --set a=1 serve --set b=2 --check-config").unwrap();
        let Some(Command::Serve(behind)) = before.command else { panic!("not serve") };
        let flags = before.serve.and(behind);
        assert_eq!(flags.overrides, ["a=1", "b=2"]);
        assert!(flags.check_config && !flags.print_config);
    }

    #[test]
    fn flags_of_all_commands_stand_anywhere() {
        for line in ["puro --json user list --timeout 5", "puro user --timeout 5 list --json"] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert!(cli.global.json && cli.global.timeout == Duration::from_secs(5), "{line}");
        }
        for line in
            ["puro --timeout 0", "puro --metadata host:1 check", "puro user add me@x --password secret"]
        {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
