//! What a ledger's file has already, told by the marks of its lines.

use std::io;
use std::path::Path;

use ring::digest::{Context, SHA256, digest};

use super::FileLedger;
use super::pages::{first_bytes, line_len, pages};
use crate::ledger::Mark;
use crate::ledger::codec;
use crate::proto::v1;

impl FileLedger {
    /// The mark of the line that says an event: of its bytes without the newline. `None` for one that has no line.
    #[must_use]
    pub fn mark(event: &v1::LedgerEvent) -> Option<Mark> {
        let line = codec::encode_line(event).ok()?;
        Some(first_bytes(digest(&SHA256, line.as_bytes()).as_ref()))
    }

    /// Tells the marks of all complete lines. A line that another program wrote may say the same in other bytes, and is
    /// then not known.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn each_mark(&self, each: &mut dyn FnMut(Mark)) -> io::Result<()> {
        let mut line = Context::new(&SHA256);
        pages(self.file(), 0, |_, page| {
            let mut rest = page;
            while let Some(len) = line_len(rest) {
                let (piece, behind) = rest.split_at_checked(len).unwrap_or((rest, &[]));
                line.update(piece.strip_suffix(b"\n").unwrap_or(piece));
                each(first_bytes(std::mem::replace(&mut line, Context::new(&SHA256)).finish().as_ref()));
                rest = behind;
            }
            line.update(rest);
            true
        })
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}
