//! Headers that go with each request, such as the token that a collector asks for.

use std::fs;
use std::path::PathBuf;

use tonic::metadata::{Ascii, MetadataKey, MetadataMap, MetadataValue};

/// Why headers cannot be had from their file. Never repeats what is in it.
#[derive(Debug, thiserror::Error)]
pub enum HeadersError {
    /// It cannot be read.
    #[error("cannot read the headers file `{path}`")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line is no header.
    #[error("line {line} of the headers file `{path}` is not `name: value`")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
}

/// The headers, read anew for each request: tokens are replaced while the sidecar runs.
#[derive(Debug, Clone)]
pub(super) struct Headers {
    path: Option<PathBuf>,
    last: MetadataMap,
}

impl Headers {
    /// Reads them.
    pub(super) fn read(path: Option<PathBuf>) -> Result<Self, HeadersError> {
        let mut headers = Self { path, last: MetadataMap::new() };
        headers.renew()?;
        Ok(headers)
    }

    /// As they are now; where they cannot be read, as they were. Reads a small file, and may block for as long.
    pub(super) fn now(&mut self) -> MetadataMap {
        if let Err(error) = self.renew() {
            tracing::debug!(%error, "the headers are sent as they were");
        }
        self.last.clone()
    }

    fn renew(&mut self) -> Result<(), HeadersError> {
        let Some(path) = &self.path else { return Ok(()) };
        let unreadable = |source| HeadersError::Unreadable { path: path.clone(), source };
        let text = fs::read_to_string(path).map_err(unreadable)?;
        let mut read = MetadataMap::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, value) =
                header(line).ok_or_else(|| HeadersError::Malformed { path: path.clone(), line: index + 1 })?;
            read.append(name, value);
        }
        self.last = read;
        Ok(())
    }
}

fn header(line: &str) -> Option<(MetadataKey<Ascii>, MetadataValue<Ascii>)> {
    let (name, value) = line.split_once(':')?;
    let name = MetadataKey::from_bytes(name.trim().to_ascii_lowercase().as_bytes()).ok()?;
    let mut value: MetadataValue<Ascii> = value.trim().parse().ok()?;
    value.set_sensitive(true);
    Some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_a_line_each_and_anew() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), "# for the collector\nAuthorization: Bearer a:b\n\nx-tenant:shop\n").expect("written");
        let mut headers = Headers::read(Some(file.path().to_owned())).expect("headers");
        let now = headers.now();
        assert_eq!(now.get("authorization").expect("there"), "Bearer a:b");
        assert_eq!(now.get("x-tenant").expect("there"), "shop");
        assert!(!format!("{now:?}").contains("Bearer"), "a secret is not shown");
        fs::write(file.path(), "authorization: Bearer later\n").expect("written");
        assert_eq!(headers.now().get("authorization").expect("there"), "Bearer later");
        fs::write(file.path(), "no header").expect("written");
        assert_eq!(headers.now().get("authorization").expect("there"), "Bearer later", "as they were");
    }

    #[test]
    fn what_is_no_header_is_refused_and_not_repeated() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let path = file.path().to_owned();
        for malformed in ["secret", "na me: secret", "name: se\u{7}cret", "trace-bin: secret"] {
            fs::write(&path, format!("a: b\n{malformed}\n")).expect("written");
            let error = Headers::read(Some(path.clone())).expect_err("refused").to_string();
            assert_eq!(error, format!("line 2 of the headers file `{}` is not `name: value`", path.display()));
        }
        let error = Headers::read(Some("/nonexistent/headers".into())).expect_err("refused").to_string();
        assert_eq!(error, "cannot read the headers file `/nonexistent/headers`");
        assert!(Headers::read(None).expect("none").now().is_empty());
    }
}
