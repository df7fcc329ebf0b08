//! What a ledger's file has already: the marks of its lines, and halves of lines that writers have left that died.

use std::borrow::Cow;
use std::io;
use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::FileLedger;
use super::pages::{is_blank, line_len, mark, pages};
use crate::domain::Position;
use crate::ledger::codec::{self, LINE_BYTES_MAX};
use crate::ledger::{Had, Half, Mark};
use crate::proto::v1;

impl FileLedger {
    /// The mark of the line that says an event: of its bytes without the newline. `None` for one that has no line.
    #[must_use]
    pub fn mark(event: &v1::LedgerEvent) -> Option<Mark> {
        let line = codec::encode_line(event).ok()?;
        Some(mark(line.as_bytes()))
    }

    /// Whether a text begins with half a line that was found.
    pub(in crate::ledger) fn begins_with(text: &str, half: &Half) -> bool {
        text.as_bytes().get(..half.len).is_some_and(|head| mark(head) == half.mark)
    }

    /// Tells of all complete lines. A line that another program wrote may say the same in other bytes, and is then not
    /// known.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn each_had(&self, each: &mut dyn FnMut(Had)) -> io::Result<()> {
        let mut line = Vec::new();
        pages(self.file(), 0, |_, page| {
            let mut rest = page;
            while let Some(len) = line_len(rest) {
                let (piece, behind) = rest.split_at_checked(len).unwrap_or((rest, &[]));
                keep(&mut line, piece.strip_suffix(b"\n").unwrap_or(piece));
                tell(&line, each);
                line.clear();
                rest = behind;
            }
            keep(&mut line, rest);
            true
        })?;
        // What is not ended yet is no line. The next writer ends it.
        tell_half(&line, each);
        Ok(())
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Of a line that is longer than one can be, only so much is kept that this is seen.
fn keep(line: &mut Vec<u8>, piece: &[u8]) {
    let room = (LINE_BYTES_MAX + 1).saturating_sub(line.len());
    line.extend(piece.iter().take(room));
}

fn tell(line: &[u8], each: &mut dyn FnMut(Had)) {
    /// What a line says of itself.
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Said<'l> {
        #[serde(borrow, default)]
        event_id: Cow<'l, str>,
        #[serde(borrow, default)]
        supersedes: Vec<Cow<'l, str>>,
    }
    if is_blank(line) {
        return;
    }
    each(Had::Mark(mark(line)));
    match serde_json::from_slice::<Said<'_>>(line) {
        Ok(said) if said.supersedes.contains(&said.event_id) => each(Had::Mended(mark(line))),
        Ok(_) => {}
        Err(_) => tell_half(line, each),
    }
}

fn tell_half(line: &[u8], each: &mut dyn FnMut(Had)) {
    let is_half = serde_json::from_slice::<IgnoredAny>(line).is_err_and(|error| error.is_eof());
    if is_half
        && !is_blank(line)
        && let Err(unreadable) = codec::decode(line, Position(0))
    {
        each(Had::Half(Half { id: unreadable.event_id, len: line.len(), mark: mark(line) }));
    }
}
