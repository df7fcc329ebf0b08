//! What a person sees of an import, and the file of rejected rows.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use data_encoding::BASE64;

use crate::cli::ledger::record::sentence;
use crate::cli::ledger::rfc3339;
use crate::cli::{Failure, say};
use crate::clock::{BootTime, Clock};
use crate::ledger::import::{Counts, Observer, Phase, RawRow, Rejection};
use crate::proto::v1;

/// How many bad rows are named on the terminal; the file has all.
const SHOWN_MAX: u64 = 20;
/// Between two lines of progress where nobody watches.
const LOGGED_EVERY: Duration = Duration::from_secs(10);
/// Between two updates of the line where somebody does.
const SHOWN_EVERY: Duration = Duration::from_millis(200);

/// The terminal and the file of rejected rows.
pub(super) struct Console {
    path: PathBuf,
    /// Made with the first rejected row.
    rejects: Option<BufWriter<File>>,
    size: u64,
    clock: Clock,
    /// How many rows are shown with what they become.
    shown_rows: u64,
    json: bool,
    /// When the import began, for those who find rejected rows of several in one file.
    import: String,
    shown: BootTime,
    is_terminal: bool,
    counts: Counts,
    rejected: u64,
}

impl Console {
    pub(super) fn new(path: PathBuf, size: u64, clock: Clock, shown_rows: u64, json: bool) -> Self {
        let now = clock.boot();
        Self {
            path,
            rejects: None,
            size,
            shown_rows,
            json,
            import: rfc3339(clock.now()),
            clock,
            shown: now,
            is_terminal: io::stderr().is_terminal(),
            counts: Counts::default(),
            rejected: 0,
        }
    }

    /// How far the import has come.
    pub(super) const fn counts(&self) -> Counts {
        self.counts
    }

    pub(super) fn clear_line(&self) {
        if self.is_terminal {
            eprint!("\r\x1b[K");
        }
    }

    /// Ends the file of rejected rows and gives its path, if there is one.
    pub(super) fn finish(self) -> Result<Option<PathBuf>, Failure> {
        if self.rejected > SHOWN_MAX {
            eprintln!("and {} more", self.rejected - SHOWN_MAX);
        }
        let Some(rejects) = self.rejects else { return Ok(None) };
        let file = rejects.into_inner().map_err(io::IntoInnerError::into_error);
        let kept = file.and_then(|file| file.sync_all());
        kept.map_err(|error| Failure::new(format!("`{}` cannot be written: {error}", self.path.display())))?;
        Ok(Some(self.path))
    }
}

impl Observer for Console {
    fn rejected(&mut self, row: &RawRow, rejection: &Rejection) -> io::Result<()> {
        self.rejected += 1;
        if self.rejected <= SHOWN_MAX {
            self.clear_line();
            // Without the row's own text: what a terminal shows is often kept.
            eprintln!("row {} (line {}): {}", row.number, row.line, rejection.without_values);
        }
        let file = match &mut self.rejects {
            Some(file) => file,
            none => {
                // Rows are personal data. Those of an earlier import are not lost by this one.
                let mut options = OpenOptions::new();
                none.insert(BufWriter::new(options.create(true).append(true).mode(0o600).open(&self.path)?))
            }
        };
        let mut line = serde_json::json!({
            "import": self.import,
            "row": row.number,
            "line": row.line,
            "offset": row.offset,
            "bytes": row.bytes,
            "reason": rejection.reason,
        });
        let (name, text) = match std::str::from_utf8(&row.text) {
            Ok(text) => ("text", text.to_owned()),
            Err(_) => ("base64", BASE64.encode(&row.text)),
        };
        if let Some(members) = line.as_object_mut() {
            members.insert(name.to_owned(), text.into());
            if row.is_cut() {
                members.insert("cut".to_owned(), true.into());
            }
        }
        writeln!(file, "{line}")
    }

    fn made(&mut self, row: &RawRow, events: &[v1::LedgerEvent]) {
        if self.shown_rows == 0 {
            return;
        }
        self.shown_rows -= 1;
        self.clear_line();
        if self.json {
            say(serde_json::json!({ "row": row.number, "line": row.line, "events": events }));
            return;
        }
        say(format_args!("row {} (line {}):{}", row.number, row.line, if events.is_empty() { " nothing" } else { "" }));
        for event in events {
            let at = event
                .event_time
                .as_ref()
                .and_then(|at| chrono::DateTime::from_timestamp(at.seconds, u32::try_from(at.nanos).ok()?));
            let at = at.map_or_else(String::new, |at| at.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true));
            say(format_args!("  {at}  {}", sentence(event)));
        }
    }

    fn progress(&mut self, phase: Phase, counts: Counts) {
        self.counts = counts;
        let now = self.clock.boot();
        if now.since(self.shown) < if self.is_terminal { SHOWN_EVERY } else { LOGGED_EVERY } {
            return;
        }
        self.shown = now;
        let Counts { rows, rejected, bytes, .. } = counts;
        let share = bytes * 100 / self.size.max(1);
        let line = match phase {
            Phase::Checking => format!("checking: {share} %, {rows} rows, {rejected} rejected"),
            Phase::Comparing => format!("comparing with the ledger: {share} % are done, {rows} rows"),
            Phase::Writing => format!("writing: {share} %, {rows} rows, {} events written", counts.written),
        };
        if self.is_terminal {
            eprint!("\r\x1b[K{line}");
        } else {
            eprintln!("{line}");
        }
    }
}
