//! Just enough of ELF to tell what a program asks of the machine that it is started on.
//!
//! Source: System V ABI, "Object Files" and "Program Loading"; of 64 bits, little-endian.

#![allow(dead_code, reason = "each test file takes what it needs")]

/// The kinds of segments that are looked at.
const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const PT_GNU_STACK: u32 = 0x6474_e551;
/// What a segment may be used for.
const EXECUTE: u32 = 1;
const WRITE: u32 = 2;
/// An entry that names a library.
const DT_NEEDED: u64 = 1;
/// A file that can be loaded anywhere.
const ET_DYN: u16 = 3;

/// What a program asks for.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) interpreter: Option<String>,
    /// How many libraries it names.
    pub(crate) needed: usize,
    pub(crate) position_independent: bool,
    pub(crate) executable_stack: bool,
    /// Whether anything is both written to and executed.
    pub(crate) writable_code: bool,
}

/// Reads a file; `None` where it is no such.
pub(crate) fn read(bytes: &[u8]) -> Option<Program> {
    if !bytes.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let mut program = Program {
        interpreter: None,
        needed: 0,
        position_independent: u16::try_from(number(bytes, 16, 2)?).ok()? == ET_DYN,
        // Without the segment a stack is executable.
        executable_stack: true,
        writable_code: false,
    };
    let (table, size, count) = (number(bytes, 32, 8)?, number(bytes, 54, 2)?, number(bytes, 56, 2)?);
    for entry in (0..count).map(|index| table + index * size) {
        let kind = u32::try_from(number(bytes, entry, 4)?).ok()?;
        let flags = u32::try_from(number(bytes, entry + 4, 4)?).ok()?;
        let (offset, length) = (number(bytes, entry + 8, 8)?, number(bytes, entry + 32, 8)?);
        let content = bytes.get(usize::try_from(offset).ok()?..usize::try_from(offset + length).ok()?)?;
        match kind {
            PT_INTERP => program.interpreter = Some(String::from_utf8_lossy(content).into_owned()),
            PT_DYNAMIC => {
                let tags = content.chunks_exact(16).filter_map(|entry| number(entry, 0, 8));
                program.needed = tags.filter(|tag| *tag == DT_NEEDED).count();
            }
            PT_GNU_STACK => program.executable_stack = flags & EXECUTE != 0,
            PT_LOAD => program.writable_code |= flags & (EXECUTE | WRITE) == EXECUTE | WRITE,
            _ => {}
        }
    }
    Some(program)
}

fn number(bytes: &[u8], at: u64, length: u64) -> Option<u64> {
    let at = usize::try_from(at).ok()?;
    let part = bytes.get(at..at + usize::try_from(length).ok()?)?;
    Some(part.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}
