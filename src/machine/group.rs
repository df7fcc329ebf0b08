//! What control groups allow. Each limit of each group on the way up is looked at: a container's own group often has none
//! while the pod's above it does.

use std::path::PathBuf;

use super::mounts::{Hierarchy, Mounts};
use super::{WHOLE, read};

/// An amount, and the file that says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Limit {
    pub(super) amount: u64,
    pub(super) file: PathBuf,
}

/// The limits of processor time, in thousandths of a processor.
pub(super) fn processors(mounts: &Mounts) -> Vec<Limit> {
    // Source: Linux, Documentation/admin-guide/cgroup-v2.rst, "cpu.max": quota and period in µs.
    let v2 = limits(mounts, Hierarchy::V2, "cpu.max", |text| {
        let (quota, period) = text.trim().split_once(' ')?;
        thousandths(quota.parse().ok()?, period.parse().ok()?)
    });
    // Source: Linux, Documentation/scheduler/sched-bwc.rst. A quota of -1 is none.
    let v1 = mounts.folders(Hierarchy::V1("cpu")).into_iter().filter_map(|folder| {
        let number = |name| read(&folder.join(name))?.trim().parse::<u64>().ok();
        let amount = thousandths(number("cpu.cfs_quota_us")?, number("cpu.cfs_period_us")?)?;
        Some(Limit { amount, file: folder.join("cpu.cfs_quota_us") })
    });
    v2.into_iter().chain(v1).collect()
}

/// The limits of memory, in bytes.
pub(super) fn memory(mounts: &Mounts) -> Vec<Limit> {
    let bytes = |text: &str| text.trim().parse::<u64>().ok();
    // Source: Linux, Documentation/admin-guide/cgroup-v2.rst: above `memory.high` a process is not killed, but it is slowed
    // down until it is below.
    let v2 = ["memory.max", "memory.high"].into_iter().flat_map(|file| limits(mounts, Hierarchy::V2, file, bytes));
    // Source: Linux, Documentation/admin-guide/cgroup-v1/memory.rst. Without a limit the number is larger than any machine.
    // `memory.stat` also has the limits of groups above the mount point, where a container cannot look.
    let v1 = Hierarchy::V1("memory");
    let own = limits(mounts, v1, "memory.limit_in_bytes", bytes);
    let above = limits(mounts, v1, "memory.stat", |text| {
        bytes(text.lines().find_map(|line| line.strip_prefix("hierarchical_memory_limit "))?)
    });
    v2.chain(own).chain(above).collect()
}

/// What a file says in each group on the way up.
fn limits(mounts: &Mounts, hierarchy: Hierarchy, file: &str, amount: impl Fn(&str) -> Option<u64>) -> Vec<Limit> {
    let files = mounts.folders(hierarchy).into_iter().map(|folder| folder.join(file));
    files.filter_map(|file| Some(Limit { amount: amount(&read(&file)?)?, file })).collect()
}

/// A quota in each period as thousandths of a processor, at least one.
fn thousandths(quota: u64, period: u64) -> Option<u64> {
    Some(quota.checked_mul(WHOLE)?.checked_div(period)?.max(1))
}
