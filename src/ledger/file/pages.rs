//! Reading a ledger's file by offset: its identity, its lines' bounds, the fingerprint before a place.

use std::fs::File;
use std::io::{self, BufRead as _};
use std::os::unix::fs::FileExt as _;

use ring::digest::{Context, SHA256, digest};

use crate::ledger::LedgerId;

/// How many bytes before a position its mark covers.
pub(super) const MARK_WINDOW: u64 = 4096;

const PAGE: usize = 64 * 1024;

/// Fills as much of the buffer as the file has from an offset on.
pub(super) fn read_at(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The file's bytes page by page, with the offset of each page, from an offset on.
pub(super) fn pages(file: &File, from: u64, mut each: impl FnMut(u64, &[u8]) -> bool) -> io::Result<()> {
    let mut buffer = vec![0; PAGE];
    let mut offset = from;
    loop {
        let filled = read_at(file, offset, &mut buffer)?;
        let page = buffer.get(..filled).unwrap_or_default();
        if page.is_empty() || !each(offset, page) {
            return Ok(());
        }
        offset += filled as u64;
    }
}

/// How many bytes of a text lie up to and with its first newline.
pub(super) fn line_len(text: &[u8]) -> Option<usize> {
    let mut rest = text;
    // A slice has no errors to give.
    let skipped = rest.skip_until(b'\n').unwrap_or(0);
    text.get(..skipped).filter(|line| line.ends_with(b"\n")).map(<[u8]>::len)
}

/// Whether a line says nothing.
pub(super) fn is_blank(line: &[u8]) -> bool {
    line.iter().all(u8::is_ascii_whitespace)
}

/// Who the ledger is, once it has a first line that is not blank.
pub(super) fn ledger_id(file: &File) -> io::Result<Option<LedgerId>> {
    let mut line = Context::new(&SHA256);
    let mut blank = true;
    let mut complete = false;
    pages(file, 0, |_, page| {
        let mut rest = page;
        while !complete && !rest.is_empty() {
            let len = line_len(rest);
            let (piece, behind) = rest.split_at_checked(len.unwrap_or(rest.len())).unwrap_or((rest, &[]));
            line.update(piece);
            blank &= is_blank(piece);
            rest = behind;
            if len.is_some() {
                if blank {
                    line = Context::new(&SHA256);
                } else {
                    complete = true;
                }
            }
        }
        !complete
    })?;
    Ok(complete.then(|| LedgerId(first_bytes(line.finish().as_ref()))))
}

/// The fingerprint of a window.
pub(super) fn mark(window: &[u8]) -> [u8; 16] {
    first_bytes(digest(&SHA256, window).as_ref())
}

/// The fingerprint of what precedes an offset.
pub(super) fn mark_before(file: &File, offset: u64) -> io::Result<[u8; 16]> {
    let start = offset.saturating_sub(MARK_WINDOW);
    let mut window = vec![0; usize::try_from(offset - start).unwrap_or_default()];
    let filled = read_at(file, start, &mut window)?;
    Ok(mark(window.get(..filled).unwrap_or_default()))
}

/// Where a line begins: with `lines` 0 the one that holds the byte before `before`'s end but is not complete, or
/// `before` itself if it is behind a newline; else that many lines further up, or the beginning.
pub(super) fn line_start_before(file: &File, before: u64, lines: usize) -> io::Result<u64> {
    let mut newlines_left = lines;
    let mut end = before;
    let mut buffer = vec![0; PAGE];
    while end > 0 {
        let start = end.saturating_sub(PAGE as u64);
        let len = usize::try_from(end - start).unwrap_or(PAGE);
        let filled = read_at(file, start, buffer.get_mut(..len).unwrap_or_default())?;
        for (index, byte) in buffer.iter().take(filled).enumerate().rev() {
            if *byte == b'\n' {
                if newlines_left == 0 {
                    return Ok(start + index as u64 + 1);
                }
                newlines_left -= 1;
            }
        }
        end = start;
    }
    Ok(0)
}

/// Where the first newline lies from `from` on, below `until`.
pub(super) fn newline_after(file: &File, from: u64, until: u64) -> io::Result<Option<u64>> {
    let mut found = None;
    pages(file, from, |offset, page| {
        found = line_len(page).map(|len| offset + len as u64 - 1).filter(|at| *at < until);
        found.is_none() && offset + (page.len() as u64) < until
    })?;
    Ok(found)
}

fn first_bytes<const N: usize>(digest: &[u8]) -> [u8; N] {
    digest.first_chunk().copied().unwrap_or([0; N])
}
