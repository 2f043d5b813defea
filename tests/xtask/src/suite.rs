//! Runs all tests, and tidies.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::{env, iter};

use anyhow::{Context, Result, bail};

use crate::lint::{self, LintArgs};
use crate::shell::{Workspace, run};
use crate::stand_ins::StandIns;
use crate::steps::Steps;
use crate::tools;

#[derive(Debug, clap::Args)]
pub(crate) struct TestArgs {
    #[command(flatten)]
    lint: LintArgs,
    /// Leave the lints out.
    #[arg(long)]
    no_lint: bool,
    /// Only tests whose name holds this.
    filter: Option<String>,
}

pub(crate) fn test(workspace: &Workspace, steps: &mut Steps, args: &TestArgs) -> Result<()> {
    tools::install_test_tools(steps)?;
    if !args.no_lint {
        tools::install_lint_tools(workspace, steps)?;
        lint::lint(workspace, steps, &args.lint)?;
    }
    let nextest_folder = tools::nextest(workspace, steps)?;
    steps.run("build", || run(&mut workspace.cargo(["build", "--workspace", "--bins"])))?;
    let stand_ins = StandIns::start(workspace, steps)?;
    stand_ins.end_by_signal()?;
    let (passed, failed) = steps
        .run("tests", || nextest(workspace, nextest_folder.as_deref(), &stand_ins, args.filter.as_deref()))?;
    stand_ins.check()?;
    drop(stand_ins);
    if failed > 0 {
        bail!("{passed} passed, {failed} failed");
    }
    if passed == 0 {
        bail!("no test was run");
    }
    println!("\n{passed} passed, 0 failed");
    Ok(())
}

/// Tests by nextest, which tells its own sum, and the examples in the documentation, which it leaves out.
fn nextest(
    workspace: &Workspace,
    folder: Option<&Path>,
    stand_ins: &StandIns,
    filter: Option<&str>,
) -> Result<(usize, usize)> {
    let mut tests = with_binaries(workspace, workspace.cargo_that_mounts(["nextest", "run", "--workspace"]));
    if let Some(folder) = folder {
        // Cargo looks for its subcommands on the search path.
        let path = env::var_os("PATH").unwrap_or_default();
        let folders = iter::once(folder.to_owned()).chain(env::split_paths(&path));
        tests.env("PATH", env::join_paths(folders)?);
    }
    stand_ins.tell(&mut tests);
    let sum = counted(tests.args(filter), Stream::Stderr)?;
    let mut examples = workspace.cargo(["test", "--workspace", "--doc", "--no-fail-fast"]);
    stand_ins.tell(&mut examples);
    let documented = counted(&mut examples, Stream::Stdout)?;
    Ok((sum.0 + documented.0, sum.1 + documented.1))
}

/// The black box tests start the binaries which were built a step before.
fn with_binaries(workspace: &Workspace, mut command: Command) -> Command {
    command.env("PURO_TEST_BIN_DIR", workspace.target.join("debug"));
    command
}

#[derive(Clone, Copy)]
enum Stream {
    Stdout,
    Stderr,
}

/// Runs tests, passes on what they write, and adds up what they count.
///
/// A runner that ends badly without a failed test (it did not build, it crashed) is an error.
fn counted(command: &mut Command, stream: Stream) -> Result<(usize, usize)> {
    match stream {
        Stream::Stdout => command.stdout(Stdio::piped()),
        Stream::Stderr => command.stderr(Stdio::piped()),
    };
    let mut child = command.spawn().context("cannot start the tests")?;
    let pipe: Box<dyn std::io::Read> = match (child.stdout.take(), child.stderr.take()) {
        (Some(pipe), _) => Box::new(pipe),
        (_, Some(pipe)) => Box::new(pipe),
        _ => bail!("the tests have no output"),
    };
    let (mut passed, mut failed) = (0, 0);
    for line in BufReader::new(pipe).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        println!("{line}");
        if line.starts_with("test result:") || line.trim_start().starts_with("Summary ") {
            passed += number_before(&line, " passed");
            failed += number_before(&line, " failed");
        }
    }
    let status = child.wait()?;
    if !status.success() && failed == 0 {
        bail!("the tests could not be run to their end: {status}");
    }
    Ok((passed, failed))
}

fn number_before(line: &str, word: &str) -> usize {
    let Some(end) = line.find(word) else { return 0 };
    let digits = line[..end].rsplit(|c: char| !c.is_ascii_digit()).next();
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

pub(crate) fn tidy(workspace: &Workspace, steps: &mut Steps) -> Result<()> {
    steps.run("what clippy can mend", || {
        run(&mut workspace.cargo([
            "clippy",
            "--workspace",
            "--all-targets",
            "--fix",
            "--allow-dirty",
            "--allow-staged",
        ]))
    })?;
    steps.run("formatting", || run(&mut workspace.cargo(["fmt", "--all"])))?;
    steps.run("the example of all settings", || {
        let mut write = workspace.cargo(["test", "-q", "-p", "puro-serve", "the_example_file"]);
        run(write.env("PURO_TEST_WRITE", "1"))
    })
}

#[cfg(test)]
mod tests {
    use super::number_before;

    #[test]
    fn sums_of_both_runners_are_read() {
        let cargo = "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured";
        let nextest = "     Summary [   0.100s] 12 tests run: 12 passed (1 slow), 3 failed, 0 skipped";
        for line in [cargo, nextest] {
            assert_eq!((number_before(line, " passed"), number_before(line, " failed")), (12, 3));
        }
        assert_eq!(number_before("nothing", " passed"), 0);
    }
}
