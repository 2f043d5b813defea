//! `cargo xtask …`: every habit of the project is one command, which installs what it needs.
//!
//! It runs other programs and judges what they say; nothing else may depend on it.

mod bench;
mod cost;
mod lint;
mod shell;
mod stand_ins;
mod steps;
mod suite;
mod tools;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::shell::Workspace;
use crate::steps::Steps;

/// The project's habits.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    habit: Habit,
}

#[derive(Debug, Subcommand)]
enum Habit {
    /// Everything that must hold before a change goes in.
    Test(suite::TestArgs),
    /// Formatting, lints, documentation, dependencies, interfaces: no test is run.
    Lint(lint::LintArgs),
    /// Install what the tests need (and, with --bench, what the benchmark needs).
    Tools(tools::ToolsArgs),
    /// Run the servers that stand in for AWS until Ctrl-C, for single tests.
    StandIns,
    /// Measure `puro serve` and, in the same run, Postfix with Dovecot.
    Bench(bench::BenchArgs),
    /// Write anew which units the code spends, after a change of what it spends (`puro cost` prices them).
    CostRecord,
    /// Format, apply what clippy can mend, write generated files anew.
    Tidy,
}

fn main() -> ExitCode {
    let mut steps = Steps::default();
    match run(&Args::parse().habit, &mut steps) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nFAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(habit: &Habit, steps: &mut Steps) -> Result<()> {
    let workspace = Workspace::find()?;
    match habit {
        Habit::Test(args) => suite::test(&workspace, steps, args),
        Habit::Lint(args) => {
            tools::install_lint_tools(&workspace, steps)?;
            lint::lint(&workspace, steps, args)
        }
        Habit::Tools(args) => tools::install(&workspace, steps, args),
        Habit::StandIns => stand_ins::serve(&workspace, steps),
        Habit::Bench(args) => bench::bench(&workspace, steps, args),
        Habit::CostRecord => cost::record(&workspace, steps),
        Habit::Tidy => suite::tidy(&workspace, steps),
    }
}
