//! The declarative reader: each key is declared once, with its meaning, default and limits, and from that come the
//! typed value, the problems, the list of known keys and the printed configuration.

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tonic::transport::Uri;

use super::keys::CacheBytes;
use super::problem::{Origin, Problem};
use super::schema::{ADDRESS, DURATION, SERVERS, SIZE, Shape};
use super::sources::{Raw, Setting, Settings, variable};
use super::units::{format_duration, format_size, parse_duration, parse_size};
use crate::ext_authz::{Field, Sources};
use crate::nats::Servers;

/// The port of a collector that is not told otherwise. Source: OTLP specification, "OTLP/gRPC default port".
const COLLECTOR_PORT: u16 = 4317;
/// The word that turns a listener off.
pub(super) const OFF: &str = "off";
/// The word for what the machine suggests.
pub(super) const AUTO: &str = "auto";

/// What a value may be: for people, and for programs.
pub(super) type Form<'f> = (&'f str, Shape);

/// A declared key and the value in effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: &'static str,
    /// What it does, for people.
    pub(super) meaning: &'static str,
    /// What it may be, and its default, for people.
    pub(super) limits: String,
    /// What it looks like in a file, for programs.
    pub(super) shape: Shape,
    /// The value as TOML; `None` where it is missing or wrong.
    pub(super) value: Option<String>,
    /// What the value comes to here, for people, where it does not say so itself.
    pub(super) here: Option<String>,
    pub(super) origin: Origin,
}

/// Reads keys from the settings, and remembers what it read.
#[derive(Debug)]
pub(super) struct Reader {
    settings: Settings,
    entries: Vec<Entry>,
    problems: Vec<Problem>,
}

impl Reader {
    /// A reader of these settings, with the problems found so far.
    pub(super) const fn new(settings: Settings, problems: Vec<Problem>) -> Self {
        Self { settings, entries: Vec::new(), problems }
    }

    /// A span of time.
    pub(super) fn duration(
        &mut self,
        key: &'static str,
        meaning: &'static str,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Duration {
        let limits = format!("{} to {}", format_duration(*range.start()), format_duration(*range.end()));
        let parse = |raw: &Raw| {
            let text = quoted(raw, "a duration in quotes, such as \"250ms\"", parse_duration)?;
            within(parse_duration(text)?, &range, format_duration)
        };
        self.value(key, meaning, (&limits, DURATION), default, parse, |span| quote(&format_duration(*span)))
    }

    /// An amount of bytes.
    pub(super) fn size(
        &mut self,
        key: &'static str,
        meaning: &'static str,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> u64 {
        let limits = format!("{} to {}", format_size(*range.start()), format_size(*range.end()));
        let parse = |raw: &Raw| {
            let text = quoted(raw, "a size in quotes, such as \"64MiB\"", parse_size)?;
            within(parse_size(text)?, &range, format_size)
        };
        self.value(key, meaning, (&limits, SIZE), default, parse, |size| quote(&format_size(*size)))
    }

    /// An amount of bytes, or "auto".
    pub(super) fn size_or_auto(
        &mut self,
        key: &'static str,
        meaning: &'static str,
        default: CacheBytes,
        range: RangeInclusive<u64>,
    ) -> CacheBytes {
        let limits = format!("\"{AUTO}\", or {} to {}", format_size(*range.start()), format_size(*range.end()));
        let parse = |raw: &Raw| {
            if *raw == Raw::Text(AUTO.to_owned()) {
                return Ok(CacheBytes::Auto);
            }
            let text = quoted(raw, "a size in quotes, such as \"64MiB\", or \"auto\"", parse_size)?;
            within(parse_size(text)?, &range, format_size).map(CacheBytes::Fixed)
        };
        let shape = Shape::Either(vec![Shape::Words(vec![AUTO]), SIZE]);
        self.value(key, meaning, (&limits, shape), default, parse, |size| match size {
            CacheBytes::Auto => quote(AUTO),
            CacheBytes::Fixed(bytes) => quote(&format_size(*bytes)),
        })
    }

    /// An amount of bytes, or "off".
    pub(super) fn size_or_off(
        &mut self,
        key: &'static str,
        meaning: &'static str,
        range: RangeInclusive<u64>,
    ) -> Option<u64> {
        let limits = format!("{} to {}, or \"off\"", format_size(*range.start()), format_size(*range.end()));
        let parse = |raw: &Raw| {
            let text = quoted(raw, "a size in quotes, such as \"64MiB\", or \"off\"", parse_size)?;
            within(parse_size(text)?, &range, format_size)
        };
        self.optional(key, meaning, (&limits, SIZE), None, parse, |size| quote(&format_size(*size)))
    }

    /// A whole number.
    pub(super) fn count(
        &mut self,
        key: &'static str,
        meaning: &'static str,
        default: usize,
        range: RangeInclusive<usize>,
    ) -> usize {
        let limits = format!("{} to {}", range.start(), range.end());
        let parse = |raw: &Raw| within(number(raw)?, &range, |number| number.to_string());
        let shape = Shape::Whole { least: *range.start(), most: *range.end() };
        self.value(key, meaning, (&limits, shape), default, parse, ToString::to_string)
    }

    /// A switch.
    pub(super) fn switch(&mut self, key: &'static str, meaning: &'static str, default: bool) -> bool {
        self.value(key, meaning, ("true or false", Shape::Truth), default, boolean, ToString::to_string)
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy + PartialEq>(
        &mut self,
        key: &'static str,
        meaning: &'static str,
        default: T,
        words: &[(&'static str, T)],
    ) -> T {
        let list = words.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(" or ");
        let parse = |raw: &Raw| {
            let text = text(raw)?;
            let found = words.iter().find(|(word, _)| *word == text);
            found.map(|(_, value)| *value).ok_or_else(|| format!("`{text}` is not {list}"))
        };
        let show = |value: &T| {
            let found = words.iter().find(|(_, other)| other == value);
            quote(found.map_or("", |(word, _)| *word))
        };
        let shape = Shape::Words(words.iter().map(|(word, _)| *word).collect());
        self.value(key, meaning, (&list, shape), default, parse, show)
    }

    /// A path.
    pub(super) fn path(&mut self, key: &'static str, meaning: &'static str, default: PathBuf) -> PathBuf {
        self.value(key, meaning, ("a path", Shape::Text), default, path, show_path)
    }

    /// A path without which nothing works. Where it is missing the result is empty, and there is a problem.
    pub(super) fn required_path(&mut self, key: &'static str, meaning: &'static str) -> PathBuf {
        let parse = |raw: &Raw| path(raw).map(Some);
        let show = |path: &Option<PathBuf>| path.as_ref().map(show_path).unwrap_or_default();
        let found = self.value(key, meaning, ("a path; required", Shape::Text), None, parse, show);
        if found.is_none() && self.is_sound(key) {
            let what = format!("must be set, in the file, by {} or by a flag", variable(key));
            self.problem(key, what);
        }
        found.unwrap_or_default()
    }

    /// A path, or "off".
    pub(super) fn path_or_off(
        &mut self,
        key: &'static str,
        meaning: &'static str,
        bytes_max: usize,
        default: Option<PathBuf>,
    ) -> Option<PathBuf> {
        let limits = format!("a path of at most {bytes_max} bytes, or \"off\"");
        let parse = |raw: &Raw| {
            let path = path(raw)?;
            if path.as_os_str().len() > bytes_max {
                return Err(format!("`{}` is longer than {bytes_max} bytes", path.display()));
            }
            Ok(path)
        };
        self.optional(key, meaning, (&limits, Shape::Text), default, parse, show_path)
    }

    /// A socket address, or "off".
    pub(super) fn address_or_off(
        &mut self,
        key: &'static str,
        meaning: &'static str,
        default: Option<SocketAddr>,
    ) -> Option<SocketAddr> {
        let parse = |raw: &Raw| {
            let text = text(raw)?;
            text.parse().map_err(|_| {
                format!("`{text}` is not an address and port such as `127.0.0.1:7311` or `[::1]:7311`, nor `off`")
            })
        };
        let show = |address: &SocketAddr| quote(&address.to_string());
        self.optional(key, meaning, ("an address and port, or \"off\"", ADDRESS), default, parse, show)
    }

    /// A span of time, or "off".
    pub(super) fn duration_or_off(
        &mut self,
        key: &'static str,
        meaning: &'static str,
        default: Option<Duration>,
        range: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let limits = format!("{} to {}, or \"off\"", format_duration(*range.start()), format_duration(*range.end()));
        let parse = |raw: &Raw| {
            let text = quoted(raw, "a duration in quotes, such as \"50ms\", or \"off\"", parse_duration)?;
            within(parse_duration(text)?, &range, format_duration)
        };
        self.optional(key, meaning, (&limits, DURATION), default, parse, |span| quote(&format_duration(*span)))
    }

    /// A share between 0 and 1, or "off".
    pub(super) fn share_or_off(
        &mut self,
        key: &'static str,
        meaning: &'static str,
        default: Option<f64>,
    ) -> Option<f64> {
        let parse = |raw: &Raw| {
            let text = match raw {
                Raw::Text(text) | Raw::Fraction(text) => text.clone(),
                Raw::Integer(number) => number.to_string(),
                other => return Err(format!("must be a number between 0 and 1, not {}", other.kind())),
            };
            let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
            share.ok_or_else(|| format!("`{text}` is not a number between 0 and 1, nor `off`"))
        };
        let limits = "a number between 0 and 1, or \"off\"";
        self.optional(key, meaning, (limits, Shape::Share), default, parse, |share: &f64| {
            // With a point, as TOML wants a fraction.
            format!("{share:?}")
        })
    }

    /// The address of a collector, or "off".
    pub(super) fn collector_or_off(&mut self, key: &'static str, meaning: &'static str) -> Option<String> {
        let limits = "http://host:4317 or https://host:4317, or \"off\"";
        let shape = Shape::Pattern("https?://.+");
        self.optional(key, meaning, (limits, shape), None, |raw| collector(text(raw)?), |address| quote(address))
    }

    /// The addresses of NATS servers, or "off".
    pub(super) fn servers_or_off(&mut self, key: &'static str, meaning: &'static str) -> Option<Servers> {
        // A text that is malformed may hold a password: the error says what may be said of it.
        let parse = |raw: &Raw| text(raw)?.parse::<Servers>().map_err(|error| error.to_string());
        let limits = "nats://host:4222 or tls://host:4222, several with commas between them, or \"off\"";
        self.optional(key, meaning, (limits, SERVERS), None, parse, |servers| quote(&servers.to_string()))
    }

    /// Where others reach us over HTTPS, or "off".
    pub(super) fn url_or_off(&mut self, key: &'static str, meaning: &'static str) -> Option<String> {
        let parse = |raw: &Raw| {
            let text = text(raw)?;
            let wrong = |what: &str| Err(format!("`{text}` {what}"));
            let Some(rest) = text.strip_prefix("https://") else {
                return wrong("does not begin with `https://`, as AuthZEN demands of it");
            };
            let authority = rest.split('/').next().unwrap_or_default();
            if authority.is_empty() || authority.contains('@') {
                return wrong("names no host, or a user");
            }
            if !text.bytes().all(|b| b.is_ascii_graphic()) || text.contains(['?', '#', '"', '\\', '{', '}']) {
                return wrong("has a query, a fragment, or characters that a URL has not");
            }
            if text.ends_with('/') {
                return wrong("ends with a slash, which would stand twice in the addresses made of it");
            }
            Ok(text.to_owned())
        };
        let limits = "https://host or https://host/path, or \"off\"";
        self.optional(key, meaning, (limits, Shape::Pattern("https://.+")), None, parse, |url| quote(url))
    }

    /// Where a part of the question of a check comes from, or "off".
    pub(super) fn sources(&mut self, field: Field, key: &'static str, meaning: &'static str, default: &str) -> Sources {
        let parse = |text: &str| if text == OFF { Ok(Sources::default()) } else { Sources::parse(text, field) };
        let show = |sources: &Sources| quote(&if sources.is_empty() { OFF.to_owned() } else { sources.to_string() });
        let default = parse(default).unwrap_or_default();
        let limits = "sources with commas between them, or \"off\"";
        self.value(key, meaning, (limits, Shape::Text), default, |raw| parse(text(raw)?), show)
    }

    /// The name of a stream of NATS. Source: nats-server 2.15, names of streams: they stand in subjects and are folders.
    pub(super) fn stream(&mut self, key: &'static str, meaning: &'static str, default: &str) -> String {
        let parse = |raw: &Raw| {
            let text = text(raw)?;
            let is_name = (1..=255).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
            if is_name {
                Ok(text.to_owned())
            } else {
                Err(format!("`{text}` is not a stream's name: letters, digits, `-` and `_`"))
            }
        };
        let limits = "a name of letters, digits, - and _";
        let shape = Shape::Pattern("[A-Za-z0-9_-]{1,255}");
        self.value(key, meaning, (limits, shape), default.to_owned(), parse, |name| quote(name))
    }

    /// A value that its own functions read and show (as TOML; nothing where there is no value).
    pub(super) fn value<T>(
        &mut self,
        key: &'static str,
        meaning: &'static str,
        form: Form<'_>,
        default: T,
        parse: impl Fn(&Raw) -> Result<T, String>,
        show: impl Fn(&T) -> String,
    ) -> T {
        self.whole(key, meaning, form, default, |raw| parse(raw).map_err(|what| vec![what]), show)
    }

    /// Like [`value`](Self::value), for one with parts, of which several may be wrong.
    pub(super) fn whole<T>(
        &mut self,
        key: &'static str,
        meaning: &'static str,
        form: Form<'_>,
        default: T,
        parse: impl Fn(&Raw) -> Result<T, Vec<String>>,
        show: impl Fn(&T) -> String,
    ) -> T {
        let (limits, shape) = form;
        let limits = match show(&default) {
            none if none.is_empty() => limits.to_owned(),
            default => format!("{limits}; default {default}"),
        };
        let mut value = default;
        let mut origin = Origin::Default;
        let mut sound = true;
        for setting in self.settings_of(key) {
            match parse(&setting.raw) {
                Ok(parsed) => value = parsed,
                // Also where a later source overrides it: a source that is wrong is wrong.
                Err(wrong) => {
                    sound = false;
                    let problem = |what| Problem { key: Some(key.to_owned()), origin: setting.origin.clone(), what };
                    self.problems.extend(wrong.into_iter().map(problem));
                }
            }
            origin = setting.origin;
        }
        let shown = sound.then(|| show(&value)).filter(|shown| !shown.is_empty());
        self.entries.push(Entry { key, meaning, limits, shape, value: shown, here: None, origin });
        value
    }

    /// A problem with a key that was read, found by looking at several.
    pub(super) fn problem(&mut self, key: &'static str, what: impl Display) {
        let entry = self.entries.iter().find(|entry| entry.key == key);
        let origin = entry.map_or(Origin::Default, |entry| entry.origin.clone());
        self.problems.push(Problem { key: Some(key.to_owned()), origin, what: what.to_string() });
    }

    /// Whether nothing is known to be wrong with a key that was read.
    pub(super) fn is_sound(&self, key: &str) -> bool {
        self.problems.iter().all(|problem| problem.key.as_deref() != Some(key))
    }

    /// Ends the reading: whatever was set and not read is unknown.
    pub(super) fn finish(mut self) -> (Vec<Entry>, Vec<Problem>) {
        let keys: Vec<&'static str> = self.entries.iter().map(|entry| entry.key).collect();
        let settings = std::mem::take(&mut self.settings);
        for (key, setting) in settings.file.into_iter().chain(settings.flags) {
            if !keys.contains(&&*key) {
                let what = unknown_key(&key, &keys);
                self.problems.push(Problem { key: Some(key), origin: setting.origin, what });
            }
        }
        let variables: Vec<String> = keys.iter().map(|key| variable(key)).collect();
        for (name, setting) in settings.environment {
            if !variables.contains(&name) {
                let nearest = nearest(&name, variables.iter().map(|variable| &**variable));
                let what = format!("sets no key that exists{}", did_you_mean(nearest));
                self.problems.push(Problem { key: Some(name), origin: setting.origin, what });
            }
        }
        (self.entries, self.problems)
    }

    fn optional<T>(
        &mut self,
        key: &'static str,
        meaning: &'static str,
        form: Form<'_>,
        default: Option<T>,
        parse: impl Fn(&Raw) -> Result<T, String>,
        show: impl Fn(&T) -> String,
    ) -> Option<T> {
        let parse = |raw: &Raw| if *raw == Raw::Text(OFF.to_owned()) { Ok(None) } else { parse(raw).map(Some) };
        let show = |value: &Option<T>| value.as_ref().map_or_else(|| quote(OFF), &show);
        self.value(key, meaning, (form.0, form.1.or_off()), default, parse, show)
    }

    /// What the sources say about a key, the weakest first.
    fn settings_of(&self, key: &str) -> Vec<Setting> {
        let Settings { file, environment, flags } = &self.settings;
        [file.get(key), environment.get(&variable(key)), flags.get(key)].into_iter().flatten().cloned().collect()
    }
}

/// A text as a TOML string on one line. The `toml` crate's own display spreads a text with line breaks over several,
/// and the value stands in comments too.
pub(super) fn quote(text: &str) -> String {
    let escape = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        c if c.is_control() => format!("\\U{:08X}", u32::from(c)),
        c => c.to_string(),
    };
    format!("\"{}\"", text.chars().map(escape).collect::<String>())
}

/// The text that a source gives.
pub(super) fn text(raw: &Raw) -> Result<&str, String> {
    match raw {
        Raw::Text(text) => Ok(text),
        Raw::Integer(number) => Err(format!("`{number}` is a number and must be a text in quotes")),
        other => Err(format!("must be a text in quotes, not {}", other.kind())),
    }
}

/// The whole number that a source gives.
pub(super) fn number(raw: &Raw) -> Result<usize, String> {
    let wrong = |shown: &dyn Display| format!("`{shown}` is not a whole number");
    match raw {
        Raw::Text(text) if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().map_err(|_| wrong(text)),
        Raw::Text(text) => Err(wrong(text)),
        Raw::Integer(number) => usize::try_from(*number).map_err(|_| wrong(number)),
        other => Err(format!("must be a whole number, not {}", other.kind())),
    }
}

/// The `true` or `false` that a source gives.
pub(super) fn boolean(raw: &Raw) -> Result<bool, String> {
    match raw {
        Raw::Boolean(is) => Ok(*is),
        Raw::Text(text) => text.parse().map_err(|_| format!("`{text}` is not true or false")),
        other => Err(format!("must be true or false, not {}", other.kind())),
    }
}

/// The address of a collector, with its port. What is malformed is not repeated: it may hold a password.
fn collector(text: &str) -> Result<String, String> {
    let uri: Uri = text.parse().map_err(|_| "is not an address such as `http://127.0.0.1:4317`".to_owned())?;
    let scheme = uri.scheme_str().filter(|scheme| ["http", "https"].contains(scheme));
    let authority = uri.authority().filter(|authority| !authority.host().is_empty());
    let (Some(scheme), Some(authority)) = (scheme, authority) else {
        return Err("must begin with `http://` or `https://`, and name a host".to_owned());
    };
    if authority.as_str().contains('@') {
        return Err("must not hold a password; telemetry.otlp_headers_file is for that".to_owned());
    }
    if uri.path_and_query().is_some_and(|path| path != "/") {
        return Err("has a path, which OTLP over gRPC has not; is it the address for HTTP?".to_owned());
    }
    let port = authority.port_u16().unwrap_or(COLLECTOR_PORT);
    Ok(format!("{scheme}://{}:{port}", authority.host()))
}

fn path(raw: &Raw) -> Result<PathBuf, String> {
    match text(raw)? {
        "" => Err("must not be empty".to_owned()),
        text if text.contains('\0') => Err("must not contain a zero byte".to_owned()),
        text => Ok(PathBuf::from(text)),
    }
}

/// A path as TOML. Every source gives UTF-8, so that nothing is lost.
#[expect(clippy::ptr_arg, reason = "it stands where a function of `&T` is asked for")]
fn show_path(path: &PathBuf) -> String {
    quote(&Path::to_string_lossy(path))
}

/// The text of a value with a unit. A bare number gets the sentence that its text would get.
fn quoted<'r, T>(raw: &'r Raw, wanted: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<&'r str, String> {
    match raw {
        Raw::Text(text) => Ok(text),
        Raw::Integer(number) => Err(parse(&number.to_string()).err().unwrap_or_else(|| format!("must be {wanted}"))),
        other => Err(format!("must be {wanted}, not {}", other.kind())),
    }
}

fn within<T: PartialOrd + Copy>(value: T, range: &RangeInclusive<T>, show: impl Fn(T) -> String) -> Result<T, String> {
    if range.contains(&value) {
        return Ok(value);
    }
    Err(format!("`{}` is outside {} to {}", show(value), show(*range.start()), show(*range.end())))
}

fn unknown_key(key: &str, keys: &[&'static str]) -> String {
    let section = format!("{key}.");
    if keys.iter().any(|known| known.starts_with(&section)) {
        return "is a section with keys of its own, and takes no value".to_owned();
    }
    // A key that was put in the wrong section, or in none.
    let name = key.rsplit('.').next().unwrap_or(key);
    let mut same_name = keys.iter().filter(|known| known.rsplit('.').next() == Some(name));
    let moved = match (same_name.next(), same_name.next()) {
        (Some(only), None) => Some(*only),
        _ => None,
    };
    let near = nearest(key, keys.iter().copied());
    format!("is not a key{}", did_you_mean(moved.or(near)))
}

pub(super) fn did_you_mean(name: Option<&str>) -> String {
    name.map_or_else(String::new, |name| format!(", did you mean `{name}`?"))
}

/// The name that takes the fewest edits, if these are few for its length.
pub(super) fn nearest<'n>(name: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let (edits, found) = names.map(|other| (strsim::damerau_levenshtein(name, other), other)).min()?;
    (edits <= (found.len() / 3).min(5)).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggestions_are_near_or_absent() {
        let keys = ["evidence.flush_interval", "server.tcp", "admin.tcp", "log.level"];
        let unknown = |key| unknown_key(key, &keys);
        assert_eq!(unknown("evidence.flush_intervall"), "is not a key, did you mean `evidence.flush_interval`?");
        assert_eq!(unknown("flush_interval"), "is not a key, did you mean `evidence.flush_interval`?");
        assert_eq!(unknown("servr.tcp"), "is not a key, did you mean `server.tcp`?");
        assert_eq!(unknown("grpc.tls.certificate"), "is not a key");
        assert_eq!(unknown("server"), "is a section with keys of its own, and takes no value");
    }
}
