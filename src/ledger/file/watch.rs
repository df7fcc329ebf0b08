//! Sleeping until a file may have changed, a time has passed, or somebody calls.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};

/// What may change.
#[derive(Debug)]
pub(super) struct Watch {
    /// `None` where the kernel has no more watches to give: then only the time passes.
    inotify: Option<OwnedFd>,
    stop: Option<Arc<OwnedFd>>,
}

impl Watch {
    /// Watches a file that is there. File systems that do not tell, such as NFS for other machines' writes, are looked
    /// at when the time has passed.
    pub(super) fn file(path: &Path, stop: Option<Arc<OwnedFd>>) -> Self {
        let changes = WatchFlags::MODIFY | WatchFlags::ATTRIB | WatchFlags::MOVE_SELF | WatchFlags::DELETE_SELF;
        let inotify = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok();
        let inotify = inotify.filter(|inotify| add_watch(inotify, path, changes).is_ok());
        Self { inotify, stop }
    }

    /// Watches for a file that may not be there: it and its folder.
    pub(super) fn arrival(path: &Path, stop: Option<Arc<OwnedFd>>) -> Self {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let inotify = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok();
        if let Some(inotify) = &inotify {
            // Where one of them is not there, the time that passes is enough.
            let _ = add_watch(inotify, folder, WatchFlags::CREATE | WatchFlags::MOVED_TO);
            let _ = add_watch(inotify, path, WatchFlags::MODIFY | WatchFlags::ATTRIB);
        }
        Self { inotify, stop }
    }

    /// Sleeps until something may have changed, and tells whether it was the file, or until the time has passed.
    pub(super) fn wait(&self, longest: Duration) -> bool {
        let fds = [&self.inotify.as_ref(), &self.stop.as_deref()];
        let mut polled: Vec<PollFd<'_>> = fds.into_iter().flatten().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
        let timeout = Timespec {
            tv_sec: i64::try_from(longest.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(longest.subsec_nanos()),
        };
        // An interrupted sleep is a short one.
        let _ = poll(&mut polled, Some(&timeout));
        self.drain()
    }

    /// Takes what was told, of which only that it was told matters: what has changed is read from the file itself.
    fn drain(&self) -> bool {
        let Some(inotify) = &self.inotify else { return false };
        let mut told = false;
        let mut buffer = [0_u8; 4096];
        while rustix::io::read(inotify, &mut buffer).is_ok_and(|read| read > 0) {
            told = true;
        }
        told
    }
}
