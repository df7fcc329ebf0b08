//! `consentd ledger import`: shows how far it is, names bad rows, keeps them.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use data_encoding::BASE64;

use super::{Common, rfc3339};
use crate::cli::{Failure, Outcome, say};
use crate::clock::{BootTime, Clock};
use crate::ledger::import::{Counts, Format, Observer, Options, RawRow, Rejection, import};

/// How many bad rows are named on the terminal; the file has all.
const SHOWN_MAX: u64 = 20;
/// Between two lines of progress where nobody watches.
const LOGGED_EVERY: Duration = Duration::from_secs(10);
/// Between two updates of the line where somebody does.
const SHOWN_EVERY: Duration = Duration::from_millis(200);

/// Which records.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The file, or `-` for standard input.
    file: PathBuf,
    /// What it holds. Left out: told by the file's name.
    #[arg(long, value_enum)]
    format: Option<FormatArg>,
    /// Where rejected rows are kept, with the reason; a line of JSON each. Left out: `FILE.rejects.jsonl`.
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum FormatArg {
    Jsonl,
    Csv,
}

pub(super) fn run(args: Args, common: &Common, clock: &Clock) -> Outcome {
    let is_stdin = args.file == Path::new("-");
    let format = match (args.format, args.file.extension().and_then(|name| name.to_str())) {
        (Some(FormatArg::Jsonl), _) | (None, Some("jsonl" | "ndjson" | "json")) => Format::Jsonl,
        (Some(FormatArg::Csv), _) | (None, Some("csv" | "tsv")) => Format::Csv,
        (None, _) => return Err(Failure::new("is it CSV or JSON Lines? give `--format`")),
    };
    let rejects = args.rejects.unwrap_or_else(|| {
        let mut name = if is_stdin { "stdin".into() } else { args.file.clone().into_os_string() };
        name.push(".rejects.jsonl");
        name.into()
    });
    // Rejected rows at the end of the ledger would be unreadable events there.
    let same = |other: &Path| rejects.canonicalize().is_ok_and(|path| other.canonicalize().is_ok_and(|o| o == path));
    let place = common.place.place()?;
    if same(&args.file) || place.file().is_some_and(same) {
        return Err(Failure::new("`--rejects` must be another file than the ledger and the input"));
    }
    let (input, size): (Box<dyn io::Read>, Option<u64>) = if is_stdin {
        (Box::new(io::stdin()), None)
    } else {
        let unreadable = |error| Failure::new(format!("`{}` cannot be read: {error}", args.file.display()));
        let file = File::open(&args.file).map_err(unreadable)?;
        let size = file.metadata().map_err(unreadable)?.len();
        (Box::new(file), Some(size))
    };
    let options = Options { format, latest_event_time: common.latest_event_time(clock) };
    let mut ledger = place.open()?;
    let mut console = Console::new(rejects, size, clock.clone());
    let imported = import(BufReader::with_capacity(64 * 1024, input), options, ledger.writer(), &mut console);
    console.clear_line();
    ledger.warn_if_healed();
    let counts = match imported {
        Ok(counts) => counts,
        Err(error) => {
            let Counts { written, .. } = console.counts;
            eprintln!("{written} events were written before the error; importing the same file again is safe");
            return Err(error.into());
        }
    };
    let rejects = console.finish()?;
    print_counts(common, counts, rejects.as_deref());
    Ok(if counts.rejected == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn print_counts(common: &Common, counts: Counts, rejects: Option<&Path>) {
    let Counts { rows, written, rejected, .. } = counts;
    if common.json {
        let rejects = rejects.map(|path| path.display().to_string());
        say(serde_json::json!({"rows": rows, "written": written, "rejected": rejected, "rejects": rejects}));
        return;
    }
    say(format_args!("{rows} rows: {written} written, {rejected} rejected"));
    if let Some(rejects) = rejects {
        say(format_args!("rejected rows with their reasons: {}", rejects.display()));
    }
}

/// The terminal and the file of rejected rows.
struct Console {
    path: PathBuf,
    /// Made with the first rejected row.
    rejects: Option<BufWriter<File>>,
    size: Option<u64>,
    clock: Clock,
    /// When the import began, for those who find rejected rows of several in one file.
    import: String,
    started: BootTime,
    shown: BootTime,
    is_terminal: bool,
    counts: Counts,
    rejected: u64,
}

impl Console {
    fn new(path: PathBuf, size: Option<u64>, clock: Clock) -> Self {
        let now = clock.boot();
        Self {
            path,
            rejects: None,
            size,
            import: rfc3339(clock.now()),
            clock,
            started: now,
            shown: now,
            is_terminal: io::stderr().is_terminal(),
            counts: Counts::default(),
            rejected: 0,
        }
    }

    fn clear_line(&self) {
        if self.is_terminal {
            eprint!("\r\x1b[K");
        }
    }

    /// Ends the file of rejected rows and gives its path, if there is one.
    fn finish(self) -> Result<Option<PathBuf>, Failure> {
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

    fn progress(&mut self, counts: Counts) {
        self.counts = counts;
        let now = self.clock.boot();
        if now.since(self.shown) < if self.is_terminal { SHOWN_EVERY } else { LOGGED_EVERY } {
            return;
        }
        self.shown = now;
        let millis = now.since(self.started).as_millis().max(1);
        let rate = u128::from(counts.rows) * 1000 / millis;
        let share = self.size.map_or_else(String::new, |size| format!("{} %, ", counts.bytes * 100 / size.max(1)));
        let line = format!("{share}{} rows, {} rejected, {rate} rows/s", counts.rows, counts.rejected);
        if self.is_terminal {
            eprint!("\r\x1b[K{line}");
        } else {
            eprintln!("{line}");
        }
    }
}
