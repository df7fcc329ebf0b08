//! A flush that failed is remembered for as long as the machine runs.
//!
//! After a failed `fsync` Linux may drop the pages that did not reach the device, and still show them to readers as long
//! as they are cached; the next `fsync` then succeeds. A process that starts anew would find every record, take them for
//! kept, and go on. Only a start of the machine shows what the device really holds.

use std::fs;

use super::files::{At, Cause, Layout, read_small};

/// The note that a process leaves for those after it.
#[derive(Debug)]
pub(super) struct Note {
    layout: Layout,
    /// The running kernel's boot id; nothing where the kernel does not tell it.
    boot_id: Option<String>,
}

impl Note {
    pub(super) fn new(layout: &Layout, boot_id: Option<&str>) -> Self {
        Self { layout: layout.clone(), boot_id: boot_id.map(str::to_owned) }
    }

    /// Leaves the note. What cannot be written is only said: the device is failing.
    pub(super) fn leave(&self, cause: &Cause) {
        let path = self.layout.failed_flush();
        // No flush and no rename: the note must outlive this process, not the machine.
        let text = format!("{}\n{cause}\n", self.boot_id.as_deref().unwrap_or_default());
        if let Err(error) = fs::write(&path, text).at("write", &path) {
            tracing::error!(%error, "the next start would take up the evidence as if no flush had failed");
        }
    }

    /// Refuses a folder in which a flush failed since the machine was started; forgets one from before.
    pub(super) fn check(&self) -> Result<(), Cause> {
        let path = self.layout.failed_flush();
        let Some(bytes) = read_small(&path).at("read", &path)? else { return Ok(()) };
        let text = String::from_utf8_lossy(&bytes);
        let (then, cause) = text.split_once('\n').unwrap_or(("", &text));
        if self.boot_id.as_deref().is_some_and(|now| !then.is_empty() && then != now) {
            return fs::remove_file(&path).at("remove", &path);
        }
        Err(Cause::new(format!(
            "a flush failed since this machine was started ({}), so that what is read here may not be on the device; \
             start the machine again, or move the folder away, keep it, and begin with an empty one",
            cause.trim_end()
        )))
    }
}
