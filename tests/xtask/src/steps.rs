//! Named steps with their times; the first that fails ends the run.

use std::time::Instant;

use anyhow::{Context, Result};

/// Counts the steps of a run.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    done: usize,
}

impl Steps {
    /// Runs a step, telling its name before and its time after.
    pub(crate) fn run<T>(&mut self, name: &str, step: impl FnOnce() -> Result<T>) -> Result<T> {
        self.done += 1;
        eprintln!("\n== {}. {name}", self.done);
        let start = Instant::now();
        let result = step().with_context(|| format!("step {} ({name})", self.done))?;
        eprintln!("== {}. {name}: ok, {:.1} s", self.done, start.elapsed().as_secs_f64());
        Ok(result)
    }
}
