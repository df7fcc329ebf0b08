//! Layouts of control groups as they are met, each written down as the kernel shows it.

use std::path::Path;

use super::*;

/// A machine of files. The last of two texts for a file counts.
struct Layout {
    root: tempfile::TempDir,
}

impl Layout {
    /// Four processors and 16 GiB, with what the kernel says of mounts and groups.
    fn new(cgroup: &str, mountinfo: &[&str]) -> Self {
        let layout = Self { root: tempfile::tempdir().expect("a folder") };
        layout
            .with("proc/self/cgroup", cgroup)
            .with("proc/self/mountinfo", &mountinfo.join("\n"))
            .with("proc/self/status", "Name:\tconsentd\nCpus_allowed:\tf\nCpus_allowed_list:\t0-3\n")
            .with("proc/meminfo", "MemTotal:       16777216 kB\nMemFree:         1000000 kB\n")
    }

    fn with(self, path: &str, text: &str) -> Self {
        let path = self.root.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text).expect("written");
        self
    }

    /// Thousandths of a processor, mebibytes, and the files that say so, below the root.
    fn look(&self) -> (u64, u64, [String; 2]) {
        let machine = Machine::look_in(self.root.path());
        let memory = machine.memory.expect("a size");
        let files = [machine.processors.bound, memory.bound].map(|bound| self.name(&bound));
        (machine.processors.thousandths, memory.bytes >> 20, files)
    }

    fn name(&self, bound: &Bound) -> String {
        match bound {
            Bound::Machine => "the machine".to_owned(),
            Bound::Group(file) => file.strip_prefix(self.root.path()).expect("below the root").display().to_string(),
        }
    }
}

const V2: &str = "29 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate";
/// The number that version 1 shows where there is no limit.
const NONE_V1: &str = "9223372036854771712\n";

fn files(processors: &str, memory: &str) -> [String; 2] {
    [processors.to_owned(), memory.to_owned()]
}

#[test]
fn a_machine_without_groups_is_as_large_as_it_is() {
    let layout = Layout::new("", &["22 1 254:0 / / rw,relatime - ext4 /dev/vda rw"]);
    assert_eq!(layout.look(), (4000, 16 << 10, files("the machine", "the machine")));
}

#[test]
fn a_pod_on_version_2_sees_its_container_as_the_whole() {
    // Kubernetes with a namespace of groups: what is at the mount point is the container's.
    let layout = Layout::new("0::/\n", &["22 1 0:21 / /proc rw - proc proc rw", V2])
        .with("sys/fs/cgroup/cpu.max", "20000 100000\n")
        .with("sys/fs/cgroup/memory.max", "67108864\n")
        .with("sys/fs/cgroup/memory.high", "max\n");
    assert_eq!(layout.look(), (200, 64, files("sys/fs/cgroup/cpu.max", "sys/fs/cgroup/memory.max")));
}

#[test]
fn a_service_of_systemd_is_limited_by_its_slice_too() {
    let layout = Layout::new("0::/system.slice/mail.slice/consentd.service\n", &[V2])
        .with("sys/fs/cgroup/system.slice/cpu.max", "max 100000\n")
        .with("sys/fs/cgroup/system.slice/memory.max", "max\n")
        .with("sys/fs/cgroup/system.slice/mail.slice/cpu.max", "150000 100000\n")
        .with("sys/fs/cgroup/system.slice/mail.slice/memory.max", "268435456\n")
        .with("sys/fs/cgroup/system.slice/mail.slice/consentd.service/cpu.max", "400000 100000\n")
        .with("sys/fs/cgroup/system.slice/mail.slice/consentd.service/memory.max", "536870912\n");
    let slice = "sys/fs/cgroup/system.slice/mail.slice";
    let expected = files(&format!("{slice}/cpu.max"), &format!("{slice}/memory.max"));
    assert_eq!(layout.look(), (1500, 256, expected), "the slice's are the smaller");
}

#[test]
fn a_kubelet_that_slows_down_before_it_kills_is_followed() {
    // The feature gate MemoryQoS sets `memory.high` below `memory.max`.
    let layout = Layout::new("0::/\n", &[V2])
        .with("sys/fs/cgroup/cpu.max", "max 100000\n")
        .with("sys/fs/cgroup/memory.max", "134217728\n")
        .with("sys/fs/cgroup/memory.high", "117440512\n");
    assert_eq!(layout.look(), (4000, 112, files("the machine", "sys/fs/cgroup/memory.high")));
}

#[test]
fn a_container_on_version_1_finds_its_group_at_the_mount_point() {
    // Docker: the group is named from outside, and mounted as if it were the whole.
    let id = "/docker/3e2d5cbd8f5f";
    let mount = |number: u32, name: &str| {
        format!(
            "{number} 650 0:30 {id} /sys/fs/cgroup/{name} ro,nosuid,nodev,noexec master:11 - cgroup cgroup rw,{name}"
        )
    };
    let layout = Layout::new(
        &format!("11:memory:{id}\n4:cpu,cpuacct:{id}\n1:name=systemd:{id}\n"),
        &[&mount(658, "cpu,cpuacct"), &mount(660, "memory")],
    )
    .with("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "50000\n")
    .with("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n")
    .with("sys/fs/cgroup/memory/memory.limit_in_bytes", "100663296\n");
    let expected = files("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "sys/fs/cgroup/memory/memory.limit_in_bytes");
    assert_eq!(layout.look(), (500, 96, expected));
}

#[test]
fn a_pod_on_version_1_is_limited_by_what_it_cannot_look_at() {
    // The pod's own limit lies above the mount point; the kernel says so in the container's group.
    let group = "/kubepods/burstable/pod7d1c/9f3a";
    let mount = format!("700 650 0:30 {group} /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory");
    let layout = Layout::new(&format!("3:memory:{group}\n2:cpu,cpuacct:{group}\n"), &[&mount])
        .with("sys/fs/cgroup/memory/memory.limit_in_bytes", NONE_V1)
        .with("sys/fs/cgroup/memory/memory.stat", "cache 0\nhierarchical_memory_limit 134217728\ntotal_rss 0\n");
    assert_eq!(layout.look(), (4000, 128, files("the machine", "sys/fs/cgroup/memory/memory.stat")));
}

#[test]
fn without_limits_version_1_says_numbers_larger_than_any_machine() {
    let layout = Layout::new(
        "3:memory:/\n2:cpu:/\n",
        &[
            "1 0 0:1 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory",
            "2 0 0:2 / /sys/fs/cgroup/cpu rw - cgroup x rw,cpu",
        ],
    )
    .with("sys/fs/cgroup/memory/memory.limit_in_bytes", NONE_V1)
    .with("sys/fs/cgroup/memory/memory.stat", "hierarchical_memory_limit 9223372036854771712\n")
    .with("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n")
    .with("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
    assert_eq!(layout.look(), (4000, 16 << 10, files("the machine", "the machine")));
}

#[test]
fn where_both_versions_are_mounted_both_are_looked_at() {
    // The hybrid layout of systemd: processors on version 1, memory on version 2.
    let layout = Layout::new(
        "5:cpu,cpuacct:/user.slice\n1:name=systemd:/user.slice\n0::/user.slice\n",
        &[
            "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct",
            "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd",
            "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw",
        ],
    )
    .with("sys/fs/cgroup/cpu,cpuacct/user.slice/cpu.cfs_quota_us", "250000\n")
    .with("sys/fs/cgroup/cpu,cpuacct/user.slice/cpu.cfs_period_us", "100000\n")
    .with("sys/fs/cgroup/unified/user.slice/memory.max", "1073741824\n");
    let quota = "sys/fs/cgroup/cpu,cpuacct/user.slice/cpu.cfs_quota_us";
    assert_eq!(layout.look(), (2500, 1024, files(quota, "sys/fs/cgroup/unified/user.slice/memory.max")));
}

#[test]
fn a_group_outside_of_the_namespace_is_not_looked_for() {
    let layout = Layout::new("0::/../../elsewhere\n", &[V2])
        .with("sys/fs/cgroup/cpu.max", "100000 100000\n")
        .with("sys/fs/cgroup/memory.max", "33554432\n");
    assert_eq!(layout.look(), (1000, 32, files("sys/fs/cgroup/cpu.max", "sys/fs/cgroup/memory.max")));
}

#[test]
fn of_two_mounts_the_one_counts_that_shows_more_of_what_is_above() {
    let layout = Layout::new(
        "0::/a/b\n",
        &[
            "1 0 0:26 /a/b /own rw - cgroup2 cgroup2 rw",
            "2 0 0:26 / /all\\040of\\134it rw - cgroup2 cgroup2 rw",
            "3 0 0:26 /c /other rw - cgroup2 cgroup2 rw",
        ],
    )
    .with("own/memory.max", "max\n")
    .with("all of\\it/a/memory.max", "134217728\n")
    .with("all of\\it/a/b/memory.max", "max\n")
    .with("other/memory.max", "1048576\n");
    assert_eq!(layout.look(), (4000, 128, files("the machine", "all of\\it/a/memory.max")));
}

#[test]
fn the_affinity_limits_as_a_quota_does() {
    let layout = Layout::new("0::/\n", &[V2])
        .with("proc/self/status", "Cpus_allowed_list:\t0,2-3,7\n")
        .with("sys/fs/cgroup/cpu.max", "800000 100000\n");
    assert_eq!(layout.look().0, 4000);
    let layout = layout.with("proc/self/status", "Cpus_allowed_list:\t5\n");
    assert_eq!(layout.look().0, 1000);
    let layout = layout.with("sys/fs/cgroup/cpu.max", "1000 1000000\n");
    assert_eq!(layout.look().0, 1, "a quota that is all but nothing is still something");
}

#[test]
fn what_cannot_be_read_limits_nothing() {
    for broken in ["", "max", "20000", "20000 0", "-1 100000", "x y", "18446744073709551615 1"] {
        let layout = Layout::new("0::/\n", &[V2, "broken", "1 2 3 - cgroup2", "- - -"])
            .with("sys/fs/cgroup/cpu.max", broken)
            .with("sys/fs/cgroup/memory.max", "67108864 bytes\n");
        assert_eq!(layout.look(), (4000, 16 << 10, files("the machine", "the machine")), "`{broken}`");
    }
    let nothing = Machine::look_in(Path::new("/nonexistent"));
    assert_eq!(nothing.memory, None);
    assert_eq!(nothing.processors.bound, Bound::Machine);
    assert!(nothing.processors.thousandths >= WHOLE, "the system says how many there are");
}

#[test]
fn half_of_the_processors_answer_and_at_least_one() {
    for (thousandths, workers) in
        [(1, 1), (200, 1), (1999, 1), (2000, 1), (3999, 1), (4000, 2), (9500, 4), (64_000, 32)]
    {
        let processors = Processors { thousandths, bound: Bound::Machine };
        assert_eq!(processors.workers().get(), workers, "{thousandths}");
    }
}

#[test]
fn sizes_are_shown_as_people_write_them() {
    let by = |file: &str| Bound::Group(file.into());
    let processors = |thousandths| Processors { thousandths, bound: by("/sys/fs/cgroup/cpu.max") }.to_string();
    assert_eq!(processors(200), "200m of a processor, by /sys/fs/cgroup/cpu.max");
    assert_eq!(processors(2500), "2500m of a processor, by /sys/fs/cgroup/cpu.max");
    assert_eq!(processors(4000), "4 processors, by /sys/fs/cgroup/cpu.max");
    assert_eq!(processors(1000), "1 processor, by /sys/fs/cgroup/cpu.max");
    let memory = Memory { bytes: 64 << 20, bound: Bound::Machine };
    assert_eq!(memory.to_string(), "64 MiB of memory, by the machine");
}
