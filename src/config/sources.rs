//! The three places that settings come from, and what they say before anybody knows which keys exist.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::problem::{Origin, Problem};

/// What environment variables of ours begin with.
pub const ENVIRONMENT_PREFIX: &str = "CONSENTD_";
/// The environment variable that names the configuration file where `--config` does not.
pub const CONFIG_VARIABLE: &str = "CONSENTD_CONFIG";
/// Tells those who ask where a sidecar is, a target of gRPC. It is no key: it stands in the environment of a pod's containers,
/// where commands of ours may be run as well.
pub const TARGET_VARIABLE: &str = "CONSENTD_TARGET";
/// The largest configuration file: a whole one takes 4 KiB, and another file given by mistake may be endless.
pub const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// One flag of the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// The flag as typed, such as `--listen` or `--set`.
    pub name: String,
    /// The key that it sets.
    pub key: String,
    /// The value.
    pub value: String,
}

/// The three places that settings come from; the later wins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sources {
    /// The configuration file. `None` takes the one that [`CONFIG_VARIABLE`] names, or none.
    pub file: Option<PathBuf>,
    /// The whole environment; variables of others are left alone.
    pub environment: Vec<(OsString, OsString)>,
    /// Flags, in any order.
    pub flags: Vec<Flag>,
}

impl Sources {
    /// A file, this process's environment, and flags.
    #[must_use]
    pub fn of_process(file: Option<PathBuf>, flags: Vec<Flag>) -> Self {
        Self { file, environment: std::env::vars_os().collect(), flags }
    }
}

/// A value as its source spells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Raw {
    /// A text: from TOML in quotes, from elsewhere as it is.
    Text(String),
    /// A number in TOML.
    Integer(i64),
    /// A number with a fraction in TOML, as it is spelt.
    Fraction(String),
    /// `true` or `false` in TOML.
    Boolean(bool),
    /// A list in TOML.
    List(Vec<Raw>),
    /// A table inside of a list, with its keys as they are written.
    Table(Vec<(String, Raw)>),
    /// Something in TOML that no key takes, by the name of its type.
    Other(&'static str),
}

impl Raw {
    /// A value as TOML has it.
    pub(super) fn of(value: &DeValue<'_>) -> Self {
        match value {
            DeValue::String(text) => Self::Text(text.clone().into_owned()),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_or(Self::Other("a number that is too large"), Self::Integer),
            DeValue::Float(number) => Self::Fraction(number.as_str().to_owned()),
            DeValue::Boolean(is) => Self::Boolean(*is),
            DeValue::Datetime(_) => Self::Other("a date"),
            DeValue::Array(values) => Self::List(values.iter().map(|value| Self::of(value.get_ref())).collect()),
            DeValue::Table(table) => Self::Table(
                table.iter().map(|(key, value)| (key.get_ref().to_string(), Self::of(value.get_ref()))).collect(),
            ),
        }
    }

    /// What it is, for a sentence about what it should be.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Integer(_) => "a number",
            Self::Fraction(_) => "a number with a fraction",
            Self::Boolean(_) => "true or false",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Other(kind) => kind,
        }
    }
}

/// A value and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) raw: Raw,
    pub(super) origin: Origin,
}

/// All that the sources say.
#[derive(Debug, Default)]
pub(super) struct Settings {
    /// By key.
    pub(super) file: BTreeMap<String, Setting>,
    /// By the variable's name: which key it stands for depends on the keys that exist.
    pub(super) environment: BTreeMap<String, Setting>,
    /// By key.
    pub(super) flags: BTreeMap<String, Setting>,
}

impl Settings {
    /// Reads the sources. What cannot be read is a problem, and the rest is read nevertheless.
    pub(super) fn gather(sources: &Sources, problems: &mut Vec<Problem>) -> Self {
        let mut settings = Self::default();
        settings.read_environment(&sources.environment, problems);
        let named = sources.environment.iter().find(|(name, _)| name == CONFIG_VARIABLE);
        if let Some(path) = sources.file.as_deref().or(named.map(|(_, path)| Path::new(path))) {
            settings.read_file(path, problems);
        }
        settings.read_flags(&sources.flags, problems);
        settings
    }

    fn read_environment(&mut self, environment: &[(OsString, OsString)], problems: &mut Vec<Problem>) {
        for (name, value) in environment {
            let name = name.to_string_lossy().into_owned();
            let is_no_key = [CONFIG_VARIABLE, TARGET_VARIABLE].contains(&&*name) || is_service_link(&name, value);
            if !name.starts_with(ENVIRONMENT_PREFIX) || is_no_key {
                continue;
            }
            let origin = Origin::Environment(name.clone());
            match value.to_str() {
                Some(text) => {
                    self.environment.insert(name, Setting { raw: Raw::Text(text.to_owned()), origin });
                }
                None => problems.push(Problem { key: None, origin, what: "is not UTF-8".to_owned() }),
            }
        }
    }

    fn read_file(&mut self, path: &Path, problems: &mut Vec<Problem>) {
        let origin = |line| Origin::File { path: path.to_owned(), line };
        let text = match read_bounded(path) {
            Ok(text) => text,
            Err(what) => return problems.push(Problem { key: None, origin: origin(None), what }),
        };
        let line_of = |place: usize| {
            let before = text.get(..place).unwrap_or_default();
            before.matches('\n').count() + 1
        };
        let (table, errors) = DeTable::parse_recoverable(&text);
        for error in errors {
            // Not the error's own display, which repeats the line: it may hold a secret.
            let line = error.span().map(|span| line_of(span.start));
            problems.push(Problem { key: None, origin: origin(line), what: error.message().to_owned() });
        }
        self.add_table("", table.get_ref(), &|place| origin(Some(line_of(place))));
    }

    /// Adds a table's values under their full keys.
    fn add_table(&mut self, prefix: &str, table: &DeTable<'_>, origin: &dyn Fn(usize) -> Origin) {
        for (name, value) in table {
            // A dot inside of quotes does not separate: `"server.tcp"` must not pass for `server.tcp`, nor hide it.
            let own = name.get_ref();
            let key = if own.contains('.') { format!("{prefix}\"{own}\"") } else { format!("{prefix}{own}") };
            match value.get_ref() {
                DeValue::Table(table) if !table.is_empty() => self.add_table(&format!("{key}."), table, origin),
                value => {
                    let setting = Setting { raw: Raw::of(value), origin: origin(name.span().start) };
                    self.file.insert(key, setting);
                }
            }
        }
    }

    fn read_flags(&mut self, flags: &[Flag], problems: &mut Vec<Problem>) {
        for flag in flags {
            let origin = Origin::Flag(flag.name.clone());
            let setting = Setting { raw: Raw::Text(flag.value.clone()), origin: origin.clone() };
            if let Some(before) = self.flags.insert(flag.key.clone(), setting) {
                let what = format!("is set twice on the command line, by `{}` as well", before.origin);
                problems.push(Problem { key: Some(flag.key.clone()), origin, what });
            }
        }
    }
}

/// The environment variable that sets a key.
#[must_use]
pub fn variable(key: &str) -> String {
    format!("{ENVIRONMENT_PREFIX}{}", key.to_ascii_uppercase().replace('.', "_"))
}

fn read_bounded(path: &Path) -> Result<String, String> {
    use std::io::Read as _;
    let file = std::fs::File::open(path).map_err(|error| format!("cannot be opened: {error}"))?;
    let mut bytes = Vec::new();
    file.take(CONFIG_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| format!("cannot be read: {error}"))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > CONFIG_BYTES_MAX {
        return Err("is larger than 1MiB, which no configuration is".to_owned());
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())
}

/// Whether a variable is one that Kubernetes or Docker sets in every container beside a service named `consentd` or
/// `consentd-…`: those are not ours, and refusing them would stop the sidecar wherever such a service exists.
/// Source: Kubernetes, "Discovering services"; Docker's legacy container links.
fn is_service_link(name: &str, value: &OsStr) -> bool {
    let is_port = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if name.ends_with("_SERVICE_HOST") || name.ends_with("_SERVICE_PORT") || name.contains("_SERVICE_PORT_") {
        return true;
    }
    if name.ends_with("_PORT") && value.to_str().is_some_and(|value| value.contains("://")) {
        return true;
    }
    let Some((_, rest)) = name.split_once("_PORT_") else { return false };
    let mut parts = rest.split('_');
    parts.next().is_some_and(is_port)
        && parts.next().is_some_and(|protocol| ["TCP", "UDP", "SCTP"].contains(&protocol))
        && parts.next().is_none_or(|part| ["PROTO", "PORT", "ADDR"].contains(&part))
        && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_links_are_told_from_our_variables() {
        for (name, value) in [
            ("CONSENTD_SERVICE_HOST", "10.0.0.11"),
            ("CONSENTD_SERVICE_PORT", "7311"),
            ("CONSENTD_SERVICE_PORT_GRPC", "7311"),
            ("CONSENTD_PORT", "tcp://10.0.0.11:7311"),
            ("CONSENTD_PORT_7311_TCP", "tcp://10.0.0.11:7311"),
            ("CONSENTD_PORT_7311_TCP_PROTO", "tcp"),
            ("CONSENTD_PORT_7311_TCP_PORT", "7311"),
            ("CONSENTD_PORT_7311_TCP_ADDR", "10.0.0.11"),
            ("CONSENTD_EAST_SERVICE_HOST", "10.0.0.12"),
        ] {
            assert!(is_service_link(name, OsStr::new(value)), "{name}");
        }
        for (name, value) in [
            ("CONSENTD_SERVER_TCP", "127.0.0.1:1"),
            ("CONSENTD_PORT", "7311"),
            ("CONSENTD_PORT_X_TCP", ""),
            ("CONSENTD_PORT_7311_TCP_KEY", ""),
            ("CONSENTD_PORT_7311_TCP_ADDR_X", ""),
        ] {
            assert!(!is_service_link(name, OsStr::new(value)), "{name}");
        }
    }

    #[test]
    fn a_file_becomes_full_keys_with_their_lines() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let text = "data_dir = 'd'\n[server]\ntcp = \"off\"\nmax_batch = 1_0\n[a]\nb.c = [1]\ne = {}\nf = 0xfg\n";
        std::fs::write(file.path(), text).expect("written");
        let mut problems = Vec::new();
        let sources = Sources { file: Some(file.path().to_owned()), ..Sources::default() };
        let settings = Settings::gather(&sources, &mut problems);
        let line = |setting: &Setting| match &setting.origin {
            Origin::File { line, .. } => *line,
            other => panic!("{other:?}"),
        };
        let read: Vec<_> = settings.file.iter().map(|(key, s)| (&**key, s.raw.clone(), line(s))).collect();
        assert_eq!(
            read.get(..5).unwrap_or_default(),
            [
                ("a.b.c", Raw::List(vec![Raw::Integer(1)]), Some(6)),
                ("a.e", Raw::Table(Vec::new()), Some(7)),
                ("a.f", read[2].1.clone(), Some(8)),
                ("data_dir", Raw::Text("d".to_owned()), Some(1)),
                ("server.max_batch", Raw::Integer(10), Some(4)),
            ]
        );
        assert!(problems.iter().any(|problem| problem.to_string().ends_with(":8)")), "{problems:?}");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_a_problem() {
        let mut problems = Vec::new();
        let environment = vec![(CONFIG_VARIABLE.into(), "/nonexistent/consentd.toml".into())];
        Settings::gather(&Sources { environment, ..Sources::default() }, &mut problems);
        Settings::gather(&Sources { file: Some("/dev/zero".into()), ..Sources::default() }, &mut problems);
        let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "cannot be opened: No such file or directory (os error 2) (/nonexistent/consentd.toml)",
                "is larger than 1MiB, which no configuration is (/dev/zero)",
            ]
        );
    }
}
