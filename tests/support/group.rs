//! Control groups of a test's own, of either version: a small machine inside of this one.

#![allow(clippy::panic, clippy::expect_used, reason = "tests may fail loudly")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Where systems mount control groups.
const MOUNTED: &str = "/sys/fs/cgroup";
/// The period of a quota. Source: Linux, the kernel's default, which kubelets take too.
const PERIOD_US: u64 = 100_000;

/// A group, removed with the test once nobody is in it.
pub(crate) struct Group {
    processors: PathBuf,
    memory: PathBuf,
    is_v2: bool,
}

impl Group {
    /// A group without limits, or why there cannot be one here.
    pub(crate) fn make() -> Result<Self, String> {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let name = format!("consentd-test-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let at = |controller: &str| Path::new(MOUNTED).join(controller).join(&name);
        let is_v2 = Path::new(MOUNTED).join("cgroup.controllers").exists();
        let (processors, memory) = if is_v2 { (at(""), at("")) } else { (at("cpu"), at("memory")) };
        let group = Self { processors, memory, is_v2 };
        group.set_up().map_err(|error| format!("no control group can be made here: {error}"))?;
        Ok(group)
    }

    fn set_up(&self) -> io::Result<()> {
        if self.is_v2 {
            fs::write(Path::new(MOUNTED).join("cgroup.subtree_control"), "+cpu +memory")?;
        }
        for folder in [&self.processors, &self.memory] {
            fs::create_dir_all(folder)?;
        }
        // Here a controller that is not there shows.
        self.allow_processors(1000)?;
        self.allow_memory(1 << 30)
    }

    /// Limits the processor time, in thousandths of a processor.
    pub(crate) fn allow_processors(&self, thousandths: u64) -> io::Result<()> {
        let quota = PERIOD_US * thousandths / 1000;
        if self.is_v2 {
            return fs::write(self.processors.join("cpu.max"), format!("{quota} {PERIOD_US}"));
        }
        fs::write(self.processors.join("cpu.cfs_period_us"), PERIOD_US.to_string())?;
        fs::write(self.processors.join("cpu.cfs_quota_us"), quota.to_string())
    }

    /// Limits the memory, in bytes.
    pub(crate) fn allow_memory(&self, bytes: u64) -> io::Result<()> {
        fs::write(self.memory_file(), bytes.to_string())
    }

    /// The file that says how much processor time there is.
    pub(crate) fn processors_file(&self) -> PathBuf {
        self.processors.join(if self.is_v2 { "cpu.max" } else { "cpu.cfs_quota_us" })
    }

    /// The file that says how much memory there is.
    pub(crate) fn memory_file(&self) -> PathBuf {
        self.memory.join(if self.is_v2 { "memory.max" } else { "memory.limit_in_bytes" })
    }

    /// A command that runs a program inside of the group, with the arguments that it is given.
    pub(crate) fn run(&self, program: &str) -> Command {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "echo $$ >\"$1\" && echo $$ >\"$2\" && shift 2 && exec \"$@\"", "sh"]);
        shell.arg(self.processors.join("cgroup.procs")).arg(self.memory.join("cgroup.procs")).arg(program);
        shell
    }

    /// How often the kernel has killed somebody in it for the lack of memory.
    pub(crate) fn kills(&self) -> u64 {
        let file = self.memory.join(if self.is_v2 { "memory.events" } else { "memory.oom_control" });
        let text = fs::read_to_string(file).expect("the kernel says so");
        let told = text.lines().find_map(|line| line.strip_prefix("oom_kill ")).expect("a count");
        told.parse().expect("a number")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Whoever was in it takes a moment to leave.
        let until = Instant::now() + Duration::from_secs(5);
        for folder in [&self.processors, &self.memory] {
            while fs::remove_dir(folder).is_err_and(|error| error.kind() != io::ErrorKind::NotFound) {
                if Instant::now() > until {
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}
