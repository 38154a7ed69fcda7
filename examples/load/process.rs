//! What the system says of a process: Linux only.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use crate::Failure;

/// How long a tick of `/proc/PID/stat` is, on every machine that this runs on.
const TICK: Duration = Duration::from_millis(10);

#[derive(Clone, Copy, Debug)]
pub(crate) struct Process {
    pid: u32,
}

/// CPU time up to one moment, user and system.
#[derive(Debug)]
pub(crate) struct Usage {
    /// By thread, to the nanosecond; of threads that live.
    threads: HashMap<String, Duration>,
    /// Of all there ever were, in ticks.
    coarse: Duration,
}

impl Usage {
    /// What was used since then.
    ///
    /// Where a thread has ended meanwhile, its share is only in the coarse sum.
    pub(crate) fn since(&self, earlier: &Self) -> Duration {
        if earlier
            .threads
            .keys()
            .all(|id| self.threads.contains_key(id))
        {
            let sum = |usage: &Self| usage.threads.values().sum::<Duration>();
            sum(self).saturating_sub(sum(earlier))
        } else {
            self.coarse.saturating_sub(earlier.coarse)
        }
    }
}

/// All nodes of a server together; none, if their processes are not known.
#[derive(Debug)]
pub(crate) struct Processes(Vec<Process>);

impl Processes {
    pub(crate) fn new(pids: impl IntoIterator<Item = u32>) -> Option<Self> {
        let processes: Vec<_> = pids.into_iter().map(Process::new).collect();
        (!processes.is_empty()).then_some(Self(processes))
    }

    pub(crate) fn usage(&self) -> Result<Vec<Usage>, Failure> {
        let usages = self.0.iter().copied().map(Process::usage);
        usages.collect()
    }

    pub(crate) fn used_since(&self, earlier: &[Usage]) -> Result<Duration, Failure> {
        let now = self.usage()?;
        Ok(now
            .iter()
            .zip(earlier)
            .map(|(now, then)| now.since(then))
            .sum())
    }

    pub(crate) fn resident_kb(&self) -> Result<u64, Failure> {
        self.0.iter().copied().map(Process::resident_kb).sum()
    }
}

impl Process {
    pub(crate) fn new(pid: u32) -> Self {
        Self { pid }
    }

    /// The process that runs this.
    pub(crate) fn own() -> Self {
        Self::new(std::process::id())
    }

    pub(crate) fn usage(self) -> Result<Usage, Failure> {
        let mut threads = HashMap::new();
        for thread in fs::read_dir(format!("/proc/{}/task", self.pid))? {
            let thread = thread?;
            // One that ends right now counts as ended.
            let Ok(schedule) = fs::read_to_string(thread.path().join("schedstat")) else {
                continue;
            };
            let on_cpu = schedule.split(' ').next().unwrap_or_default().parse()?;
            let id = thread.file_name().to_string_lossy().into_owned();
            threads.insert(id, Duration::from_nanos(on_cpu));
        }
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        // The name before it may hold anything.
        let (_, rest) = stat.rsplit_once(')').ok_or("no name in stat")?;
        let ticks = rest
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(str::parse::<u32>);
        let ticks = ticks.sum::<Result<u32, _>>()?;
        Ok(Usage {
            threads,
            coarse: TICK * ticks,
        })
    }

    /// Resident memory.
    pub(crate) fn resident_kb(self) -> Result<u64, Failure> {
        let map = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid))?;
        let line = map.lines().find_map(|line| line.strip_prefix("Rss:"));
        let size = line.and_then(|line| line.split_whitespace().next());
        Ok(size.ok_or("no Rss in smaps_rollup")?.parse()?)
    }
}
