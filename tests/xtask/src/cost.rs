//! The units that the code spends, which `puro cost` prices.

use anyhow::Result;

use crate::shell::{Workspace, run};
use crate::steps::Steps;

/// Runs the mail logic on metered stores and writes what it uses into `services/puro/data/cost/recorded.json`.
pub(crate) fn record(workspace: &Workspace, steps: &mut Steps) -> Result<()> {
    steps.run("the recorded units", || {
        let test = "commands::cost::record::the_recorded_file_is_what_a_run_gives";
        let mut write = workspace.cargo(["test", "-q", "-p", "puro", "--bin", "puro", "--", "--exact", test]);
        run(write.env("PURO_TEST_WRITE", "1"))
    })
}
