//! A segment's file: the few calls whose failure poisons the log, in one place so that tests can make them fail.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

/// A file that evidence is written to.
#[derive(Debug)]
pub(super) struct Device {
    file: File,
    #[cfg(test)]
    faults: Faults,
}

/// What a test lets fail; nothing at all outside tests.
#[derive(Debug, Clone, Default)]
pub(super) struct Faults {
    #[cfg(test)]
    pub(super) plan: std::sync::Arc<Plan>,
}

/// Countdowns: the call that finds 1 fails, 0 never fails.
#[cfg(test)]
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) write: std::sync::atomic::AtomicU64,
    /// The failing write writes this many bytes first.
    pub(super) written_before: std::sync::atomic::AtomicU64,
    pub(super) sync: std::sync::atomic::AtomicU64,
    pub(super) writes_tried: std::sync::atomic::AtomicU64,
    pub(super) syncs_tried: std::sync::atomic::AtomicU64,
}

#[cfg(test)]
impl Plan {
    fn due(countdown: &std::sync::atomic::AtomicU64) -> bool {
        use std::sync::atomic::Ordering::SeqCst;
        countdown.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)) == Ok(1)
    }
}

impl Device {
    /// Makes an empty file, or empties the one there is.
    pub(super) fn create(path: &Path, faults: &Faults) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)?;
        Ok(Self::over(file, faults))
    }

    /// Opens a file for reading and writing.
    pub(super) fn open(path: &Path, faults: &Faults) -> io::Result<Self> {
        Ok(Self::over(OpenOptions::new().read(true).write(true).open(path)?, faults))
    }

    #[cfg(not(test))]
    fn over(file: File, _: &Faults) -> Self {
        Self { file }
    }

    #[cfg(test)]
    fn over(file: File, faults: &Faults) -> Self {
        Self { file, faults: faults.clone() }
    }

    /// Writes with one call. Fewer bytes written than asked is a failure: what remains is never tried again, because
    /// nothing is known of a device that has failed once.
    pub(super) fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        #[cfg(test)]
        {
            use std::sync::atomic::Ordering::SeqCst;
            self.faults.plan.writes_tried.fetch_add(1, SeqCst);
            if Plan::due(&self.faults.plan.write) {
                let before = usize::try_from(self.faults.plan.written_before.load(SeqCst)).unwrap_or(0);
                self.file.write_at(bytes.get(..before).unwrap_or(bytes), offset)?;
                return Err(io::Error::from_raw_os_error(Errno::NOSPC.raw_os_error()));
            }
        }
        let written = self.file.write_at(bytes, offset)?;
        if written == bytes.len() {
            Ok(())
        } else {
            Err(io::Error::new(
                io::ErrorKind::WriteZero,
                format!("only {written} of {} bytes were written", bytes.len()),
            ))
        }
    }

    /// Waits until everything written is on the device.
    pub(super) fn sync(&self) -> io::Result<()> {
        #[cfg(test)]
        {
            self.faults.plan.syncs_tried.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            if Plan::due(&self.faults.plan.sync) {
                return Err(io::Error::from_raw_os_error(Errno::IO.raw_os_error()));
            }
        }
        self.file.sync_data()
    }

    /// Reserves zero-filled space up to a length, so that a full device is met here and not in the middle of a frame.
    pub(super) fn reserve(&self, length: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, length) {
            // Some file systems cannot reserve. A file with a hole reads the same; a full device is then met by a write.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                let present = self.file.metadata()?.len();
                self.file.set_len(length.max(present))
            }
            reserved => Ok(reserved?),
        }
    }

    /// Cuts the file to a length.
    pub(super) fn cut(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    /// Whether the file is the one at a path. A file that was removed, or whose folder was, takes writes as before and goes
    /// with the process.
    pub(super) fn is_at(&self, path: &Path) -> io::Result<bool> {
        let (own, found) = (self.file.metadata()?, std::fs::symlink_metadata(path)?);
        Ok((own.dev(), own.ino()) == (found.dev(), found.ino()))
    }

    /// The file's length in bytes.
    pub(super) fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}
