//! `consentd ledger import`: looks at every row before it writes one, names bad rows and keeps them.

mod console;

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::{Common, new_event_id};
use crate::cli::{Failure, Outcome, say};
use crate::clock::Clock;
use crate::ledger::import::{self, Checked, Counts, Encoding, Format, Options, crm, iys};
use console::Console;

/// Which records.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The file, or `-` for standard input.
    file: PathBuf,
    /// What it holds. Left out: told by the file's name, or `crm` where there is a mapping.
    #[arg(long, value_enum)]
    format: Option<FormatArg>,
    /// How its text is encoded. Left out: as the mapping says, or UTF-8.
    #[arg(long, value_enum)]
    encoding: Option<EncodingArg>,
    /// With `crm`: what its columns mean, in TOML.
    #[arg(long, value_name = "FILE")]
    mapping: Option<PathBuf>,
    /// Write nothing; check every row, and show what the first become (5, or as many as are asked for).
    #[arg(long, value_name = "ROWS", num_args = 0..=1, require_equals = true, default_missing_value = "5")]
    dry_run: Option<u64>,
    /// Write the good rows also where there are bad ones. Left out: one bad row, and nothing is written.
    #[arg(long, conflicts_with = "dry_run")]
    accept_good_rows: bool,
    /// Where rejected rows are kept, with the reason; a line of JSON each. Left out: `FILE.rejects.jsonl`.
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
    #[command(flatten)]
    iys: IysArgs,
}

/// What permissions of the İYS become.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "With `--format iys`")]
struct IysArgs {
    /// The identity space of telephone numbers [default: `phone`, or `phone_sha256` with `--hash`]
    #[arg(long, value_name = "SPACE")]
    phone_space: Option<String>,
    /// The identity space of e-mail addresses [default: `email`, or `email_sha256` with `--hash`]
    #[arg(long, value_name = "SPACE")]
    email_space: Option<String>,
    /// Name subjects by the SHA-256 of their address.
    #[arg(long)]
    hash: bool,
    /// The purpose of what is said of persons, `BIREYSEL` [default: `iys.bireysel`]
    #[arg(long, value_name = "PURPOSE")]
    bireysel: Option<String>,
    /// The purpose of what is said of merchants, `TACIR` [default: `iys.tacir`]
    #[arg(long, value_name = "PURPOSE")]
    tacir: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum FormatArg {
    /// JSON of events, one a line.
    Jsonl,
    /// CSV with columns of its own.
    Csv,
    /// Permissions of the İYS, in JSON or CSV.
    Iys,
    /// CSV of a customer database, with a mapping.
    Crm,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum EncodingArg {
    /// With or without a byte order mark.
    #[value(name = "utf-8")]
    Utf8,
    /// What spreadsheets in Turkish often save.
    #[value(name = "windows-1254")]
    Windows1254,
}

/// What gives the rows their meaning, where that is not the format alone.
enum Meaning {
    Jsonl,
    Csv,
    Iys(iys::Options),
    Crm(Box<crm::Mapping>),
}

pub(super) fn run(args: &Args, common: &Common, clock: &Clock) -> Outcome {
    let meaning = args.meaning()?;
    let rejects = args.rejects();
    // Rejected rows at the end of the ledger would be unreadable events there.
    let same = |other: &Path| rejects.canonicalize().is_ok_and(|path| other.canonicalize().is_ok_and(|o| o == path));
    let place = if args.dry_run.is_some() { None } else { Some(common.place.place()?) };
    if same(&args.file) || place.as_ref().and_then(|place| place.file()).is_some_and(same) {
        return Err(Failure::new("`--rejects` must be another file than the ledger and the input"));
    }
    let mut input = args.input()?;
    let size = input.metadata().map_err(|error| args.unreadable(&error))?.len();
    let encoding = match (args.encoding, &meaning) {
        (Some(EncodingArg::Windows1254), _) => Encoding::Windows1254,
        (None, Meaning::Crm(mapping)) => mapping.encoding(),
        (Some(EncodingArg::Utf8) | None, _) => Encoding::Utf8,
    };
    let options = Options { format: meaning.format(), encoding, latest_event_time: common.latest_event_time(clock) };
    let mut console = Console::new(rejects, size, clock.clone(), args.dry_run.unwrap_or(0), common.json);
    let checked = import::check(&mut input, options, &mut console);
    console.clear_line();
    let checked = checked?;
    let is_good = checked.counts.rejected == 0;
    let counts = match place {
        Some(place) if is_good || args.accept_good_rows => {
            let mut ledger = place.open()?;
            let written = import::write(&mut input, options, checked, ledger.writer(), &mut console);
            console.clear_line();
            ledger.warn_if_healed();
            written.inspect_err(|_| {
                let Counts { written, .. } = console.counts();
                eprintln!("{written} events were written before the error; import again, and the rest is");
            })?
        }
        _ => checked.counts,
    };
    let rejects = console.finish()?;
    print_counts(common, args, checked, counts, rejects.as_deref());
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

impl Args {
    fn meaning(&self) -> Result<Meaning, Failure> {
        let format = match (self.format, self.file.extension().and_then(|name| name.to_str())) {
            (Some(format), _) => format,
            (None, _) if self.mapping.is_some() => FormatArg::Crm,
            (None, Some("jsonl" | "ndjson" | "json")) => FormatArg::Jsonl,
            (None, Some("csv" | "tsv")) => FormatArg::Csv,
            (None, _) => return Err(Failure::new("what does it hold? give `--format`")),
        };
        if self.mapping.is_some() && format != FormatArg::Crm {
            return Err(Failure::new("`--mapping` is for `--format crm`"));
        }
        if self.iys.is_given() && format != FormatArg::Iys {
            return Err(Failure::new(
                "`--hash`, `--phone-space`, `--email-space`, `--bireysel` and `--tacir` are for `--format iys`",
            ));
        }
        Ok(match format {
            FormatArg::Jsonl => Meaning::Jsonl,
            FormatArg::Csv => Meaning::Csv,
            FormatArg::Iys => Meaning::Iys(self.iys.options()),
            FormatArg::Crm => {
                let path = self
                    .mapping
                    .as_ref()
                    .ok_or_else(|| Failure::new("what do its columns mean? give `--mapping FILE`"))?;
                let text = std::fs::read_to_string(path);
                let text =
                    text.map_err(|error| Failure::new(format!("`{}` cannot be read: {error}", path.display())))?;
                Meaning::Crm(Box::new(crm::Mapping::parse(&text)?))
            }
        })
    }

    fn rejects(&self) -> PathBuf {
        self.rejects.clone().unwrap_or_else(|| {
            let mut name = if self.is_stdin() { "stdin".into() } else { self.file.clone().into_os_string() };
            name.push(".rejects.jsonl");
            name.into()
        })
    }

    fn is_stdin(&self) -> bool {
        self.file == Path::new("-")
    }

    fn unreadable(&self, error: &io::Error) -> Failure {
        Failure::new(format!("`{}` cannot be read: {error}", self.file.display()))
    }

    /// The input as a file that can be read more than once.
    fn input(&self) -> Result<File, Failure> {
        if self.is_stdin() {
            return spooled(io::stdin().lock()).map_err(|error| self.unreadable(&error));
        }
        let file = File::open(&self.file).map_err(|error| self.unreadable(&error))?;
        let is_file = file.metadata().map_err(|error| self.unreadable(&error))?.is_file();
        if is_file { Ok(file) } else { spooled(file).map_err(|error| self.unreadable(&error)) }
    }
}

impl IysArgs {
    fn is_given(&self) -> bool {
        let texts = [&self.phone_space, &self.email_space, &self.bireysel, &self.tacir];
        self.hash || texts.into_iter().any(Option::is_some)
    }

    fn options(&self) -> iys::Options {
        let default = iys::Options::default();
        let space = |given: &Option<String>, default: String| {
            given.clone().unwrap_or(if self.hash { format!("{default}_sha256") } else { default })
        };
        iys::Options {
            phone_space: space(&self.phone_space, default.phone_space),
            email_space: space(&self.email_space, default.email_space),
            hash: self.hash,
            person: self.bireysel.clone().unwrap_or(default.person),
            merchant: self.tacir.clone().unwrap_or(default.merchant),
        }
    }
}

impl Meaning {
    fn format(&self) -> Format<'_> {
        match self {
            Self::Jsonl => Format::Jsonl,
            Self::Csv => Format::Csv,
            Self::Iys(options) => Format::Iys(options),
            Self::Crm(mapping) => Format::Crm(mapping),
        }
    }
}

/// What can be read only once, in a file without a name: it is personal data, and is gone with this process.
fn spooled(mut input: impl io::Read) -> io::Result<File> {
    let id = new_event_id().map_err(|_| io::Error::other("the system gives no random numbers"))?;
    let path = std::env::temp_dir().join(format!("consentd-import-{id}"));
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    std::fs::remove_file(&path)?;
    io::copy(&mut input, &mut file)?;
    file.rewind()?;
    Ok(file)
}

fn print_counts(common: &Common, args: &Args, checked: Checked, counts: Counts, rejects: Option<&Path>) {
    let Counts { rows, events, silent, rejected, .. } = checked.counts;
    let Counts { written, known, .. } = counts;
    if common.json {
        let rejects = rejects.map(|path| path.display().to_string());
        say(serde_json::json!({
            "rows": rows,
            "events": events,
            "silent": silent,
            "written": written,
            "known": known,
            "rejected": rejected,
            "rejects": rejects,
            "shared": checked.shared,
        }));
        return;
    }
    let silent = if silent > 0 { format!(", {silent} rows say nothing") } else { String::new() };
    if args.dry_run.is_some() {
        say(format_args!("{rows} rows: {events} events, {rejected} rejected{silent}; nothing was written"));
    } else if rejected > 0 && !args.accept_good_rows {
        say(format_args!(
            "{rows} rows: {rejected} rejected, and nothing was written; mend them, or give `--accept-good-rows`"
        ));
    } else {
        say(format_args!("{rows} rows: {written} events written, {known} already there, {rejected} rejected{silent}"));
    }
    if checked.shared > 0 {
        say(format_args!(
            "{} identifiers stand in rows of several subjects, who are one person by them: is each of them one?",
            checked.shared
        ));
    }
    if let Some(rejects) = rejects {
        say(format_args!("rejected rows with their reasons: {}", rejects.display()));
    }
}
