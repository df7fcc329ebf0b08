//! What this process may use of the machine it is on: processors and memory.
//!
//! Owns the reading of control groups, of both versions and with all that are above the process's own, of the affinity and
//! of the size of the machine; and how the memory is shared out among those whose size nobody has chosen. Must not know
//! what the parts are for, nor what was configured.
//!
//! The standard library follows a group's processors and knows nothing of its memory; the libraries that do know look at
//! the process's own group only, or are there to make groups.
//!
//! Invariants:
//! - The least of all limits counts, wherever it stands: the kernel enforces each of them.
//! - What cannot be read limits nothing, and nothing here fails: a sidecar whose machine cannot be looked at serves with
//!   the defaults of a machine without limits.
//! - It is looked at once, at the start. A limit that is changed under a running process is followed by its next start.

mod group;
mod mounts;
mod shares;

pub use shares::{ENOUGH_BYTES, Shares};

use std::fmt;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use group::Limit;
use mounts::Mounts;

/// The thousandths of a processor that are one.
const WHOLE: u64 = 1000;

/// What this process may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Its processors.
    pub processors: Processors,
    /// Its memory; `None` where nobody says how much there is.
    pub memory: Option<Memory>,
}

/// How much of the processors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Processors {
    /// In thousandths of one, at least 1.
    pub thousandths: u64,
    /// What sets the limit.
    pub bound: Bound,
}

/// How much memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    /// In bytes. Pages of files that were read or written count as well.
    pub bytes: u64,
    /// What sets the limit.
    pub bound: Bound,
}

/// What sets a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bound {
    /// The machine is no larger.
    Machine,
    /// A control group; the file that says so.
    Group(PathBuf),
}

impl Machine {
    /// Looks at the machine that this process is on.
    #[must_use]
    pub fn look() -> Self {
        Self::look_in(Path::new("/"))
    }

    /// Looks at the machine whose `proc` and control groups lie in a folder.
    fn look_in(root: &Path) -> Self {
        let mounts = Mounts::read(root);
        let allowed = read(&root.join("proc/self/status")).as_deref().and_then(allowed_processors);
        // Where `proc` is not mounted, the system call says it, and reads quotas in places where they mostly are.
        let allowed = allowed.or_else(|| std::thread::available_parallelism().ok());
        let processors = u64::try_from(allowed.map_or(1, NonZeroUsize::get)).unwrap_or(u64::MAX).saturating_mul(WHOLE);
        let installed = read(&root.join("proc/meminfo")).as_deref().and_then(installed_memory);
        let (processors, bound) = tightest(Some(processors), group::processors(&mounts)).unwrap_or((1, Bound::Machine));
        Self {
            processors: Processors { thousandths: processors.max(1), bound },
            memory: tightest(installed, group::memory(&mounts)).map(|(bytes, bound)| Memory { bytes, bound }),
        }
    }
}

impl Processors {
    /// As many threads as answer best where nobody says how many: half of the processors, at least one. The callers, the
    /// ledger's follower and the flusher need processors too, and on two processors one thread answered more, and more
    /// evenly, than two (`benches/README.md`).
    #[must_use]
    pub fn workers(&self) -> NonZeroUsize {
        let half = usize::try_from(self.thousandths / (2 * WHOLE)).unwrap_or(usize::MAX);
        NonZeroUsize::new(half).unwrap_or(NonZeroUsize::MIN)
    }
}

/// The least of what the machine has and what groups allow.
fn tightest(machine: Option<u64>, groups: Vec<Limit>) -> Option<(u64, Bound)> {
    let machine = machine.map(|amount| (amount, Bound::Machine));
    let groups = groups.into_iter().map(|limit| (limit.amount, Bound::Group(limit.file)));
    // Of equal ones the first: a group that allows all that there is limits nothing.
    machine.into_iter().chain(groups).min_by_key(|(amount, _)| *amount)
}

/// The processors that the system may run us on. Source: Linux, `proc_pid_status(5)`.
fn allowed_processors(status: &str) -> Option<NonZeroUsize> {
    let ranges = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let count = ranges.trim().split(',').try_fold(0_usize, |count, range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        count.checked_add(last.checked_sub(first)?.checked_add(1)?)
    })?;
    NonZeroUsize::new(count)
}

/// The memory of the machine, in bytes. Source: Linux, `proc_meminfo(5)`.
fn installed_memory(meminfo: &str) -> Option<u64> {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = total.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// The text of a file, where it can be read.
fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

impl fmt::Display for Processors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.thousandths / WHOLE, self.thousandths % WHOLE) {
            (1, 0) => f.write_str("1 processor")?,
            (whole, 0) => write!(f, "{whole} processors")?,
            _ => write!(f, "{}m of a processor", self.thousandths)?,
        }
        write!(f, ", by {}", self.bound)
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB of memory, by {}", self.bytes >> 20, self.bound)
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Machine => f.write_str("the machine"),
            Self::Group(file) => write!(f, "{}", file.display()),
        }
    }
}

#[cfg(test)]
mod tests;
