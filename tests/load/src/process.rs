//! What the processes of a server used, read from /proc.
//!
//! CPU time is that of every process in the tree, with what each has inherited from children that it
//! waited for: a server that forks for each message is counted in full, provided that it waits for them.

use std::collections::BTreeMap;
use std::fs;

use serde::{Deserialize, Serialize};

/// Clock ticks a second in /proc: fixed in Linux's interface, whatever the kernel's own rate.
const TICKS: f64 = 100.0;

/// One look at a tree of processes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Snapshot {
    /// User and system time, ended children included, in seconds.
    pub cpu_seconds: f64,
    /// Resident memory, shared pages counted in every process that maps them.
    pub rss_bytes: u64,
    /// Proportional memory: shared pages divided among those that map them.
    pub pss_bytes: u64,
    /// Processes in the tree.
    pub processes: usize,
}

/// What a server used in a run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ServerUse {
    /// At the start.
    pub before: Snapshot,
    /// At the end.
    pub after: Snapshot,
    /// CPU time of the run.
    pub cpu_seconds: f64,
    /// The same for a thousand pieces of work that succeeded.
    pub cpu_seconds_per_1000: f64,
}

impl ServerUse {
    /// The difference between two looks, `done` pieces of work apart.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a report needs no more than 2^53")]
    pub fn between(before: Snapshot, after: Snapshot, done: u64) -> Self {
        let cpu_seconds = after.cpu_seconds - before.cpu_seconds;
        let cpu_seconds_per_1000 = if done == 0 { 0.0 } else { cpu_seconds * 1000.0 / done as f64 };
        Self { before, after, cpu_seconds, cpu_seconds_per_1000 }
    }
}

/// Looks at the processes `roots` and all that descend from them.
#[must_use]
pub fn snapshot(roots: &[u32]) -> Snapshot {
    let all = processes();
    let mut wanted: Vec<u32> = roots.iter().copied().filter(|pid| all.contains_key(pid)).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let mut at = 0;
    while let Some(&parent) = wanted.get(at) {
        for (pid, process) in &all {
            if process.parent == parent && !wanted.contains(pid) {
                wanted.push(*pid);
            }
        }
        at += 1;
    }
    let mut sum = Snapshot { processes: wanted.len(), ..Snapshot::default() };
    for pid in wanted {
        sum.cpu_seconds += all.get(&pid).map_or(0.0, |process| process.cpu_seconds);
        sum.rss_bytes += memory(pid, "status", "VmRSS:");
        sum.pss_bytes += memory(pid, "smaps_rollup", "Pss:");
    }
    sum
}

struct Process {
    parent: u32,
    cpu_seconds: f64,
}

fn processes() -> BTreeMap<u32, Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return BTreeMap::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter_map(|pid| Some((pid, parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?)))
        .collect()
}

/// Reads /proc/PID/stat (proc_pid_stat(5)): the name in brackets may hold blanks and brackets itself.
fn parse_stat(stat: &str) -> Option<Process> {
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split_ascii_whitespace().collect();
    let ticks: f64 = fields.get(11..15)?.iter().filter_map(|field| field.parse::<f64>().ok()).sum();
    Some(Process { parent: fields.get(1)?.parse().ok()?, cpu_seconds: ticks / TICKS })
}

fn memory(pid: u32, file: &str, field: &str) -> u64 {
    let Ok(text) = fs::read_to_string(format!("/proc/{pid}/{file}")) else { return 0 };
    let value = text.lines().find_map(|line| line.strip_prefix(field));
    let kib = value.and_then(|value| value.split_ascii_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_behind_the_name() {
        let line = "42 (a) b) S 7 1 1 0 -1 0 0 0 0 0 100 50 30 20 20 0 1 0 5 6 7";
        let process = parse_stat(line).unwrap();
        assert_eq!(process.parent, 7);
        assert!((process.cpu_seconds - 2.0).abs() < 1e-9);
    }

    #[test]
    fn a_child_is_part_of_the_tree() {
        let mut child =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let tree = snapshot(&[std::process::id()]);
        assert!(tree.processes >= 2 && tree.rss_bytes > 0 && tree.pss_bytes > 0);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
