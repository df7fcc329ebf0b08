//! The file that says who we are, in the four forms that NATS knows.

use std::io;
use std::path::Path;

use async_nats::Auth;
use nkeys::KeyPair;

/// The longest file that is read: a JWT has some kilobytes.
const FILE_BYTES_MAX: usize = 64 * 1024;

/// Why a file gives no credentials.
#[derive(Debug, thiserror::Error)]
pub(super) enum CredentialsError {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Read(#[from] io::Error),
    /// It has a JWT and no seed, a seed that is damaged, or nothing.
    #[error("{0}")]
    Form(&'static str),
}

/// What a file holds. Never printed.
enum Credentials {
    /// A user's JWT, and the key pair that proves that it is ours.
    Jwt(String, KeyPair),
    Nkey(KeyPair),
    User(String, String),
    Token(String),
}

/// What the file says, for a server that gave this nonce to sign.
pub(super) fn answer(path: &Path, nonce: &[u8]) -> Result<Auth, CredentialsError> {
    let text = std::fs::read_to_string(path)?;
    let mut auth = Auth::new();
    match parse(&text)? {
        Credentials::Jwt(jwt, pair) => {
            auth.signature = Some(sign(&pair, nonce)?);
            auth.jwt = Some(jwt);
        }
        Credentials::Nkey(pair) => {
            auth.signature = Some(sign(&pair, nonce)?);
            auth.nkey = Some(pair.public_key());
        }
        Credentials::User(user, password) => {
            auth.username = Some(user);
            auth.password = Some(password);
        }
        Credentials::Token(token) => auth.token = Some(token),
    }
    Ok(auth)
}

fn sign(pair: &KeyPair, nonce: &[u8]) -> Result<Vec<u8>, CredentialsError> {
    pair.sign(nonce).map_err(|_| CredentialsError::Form("holds a seed that cannot sign"))
}

fn parse(text: &str) -> Result<Credentials, CredentialsError> {
    let text = text.trim();
    if text.is_empty() || text.len() > FILE_BYTES_MAX {
        return Err(CredentialsError::Form("is empty or longer than credentials are"));
    }
    if text.starts_with("---") {
        let jwt = block(text, "NATS USER JWT").ok_or(CredentialsError::Form("has no `NATS USER JWT`"))?;
        let seed = block(text, "USER NKEY SEED").ok_or(CredentialsError::Form("has no `USER NKEY SEED`"))?;
        return Ok(Credentials::Jwt(jwt.to_owned(), key_pair(seed)?));
    }
    if text.lines().count() != 1 {
        return Err(CredentialsError::Form(
            "is neither NATS credentials, nor a seed, `user:password` or a token alone",
        ));
    }
    if let Some((user, password)) = text.split_once(':') {
        return Ok(Credentials::User(user.to_owned(), password.to_owned()));
    }
    // A user's seed is known by its beginning and its length.
    if text.starts_with("SU") && text.len() == 58 {
        return Ok(Credentials::Nkey(key_pair(text)?));
    }
    Ok(Credentials::Token(text.to_owned()))
}

fn key_pair(seed: &str) -> Result<KeyPair, CredentialsError> {
    KeyPair::from_seed(seed).map_err(|_| CredentialsError::Form("holds a damaged nkey seed"))
}

/// The one line between `-----BEGIN <name>-----` and the next line of dashes.
fn block<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.find(|line| line.starts_with("---") && line.contains("BEGIN") && line.contains(name))?;
    lines.next().filter(|line| !line.starts_with("---"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auth(text: &str) -> Result<Auth, CredentialsError> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("written");
        answer(file.path(), b"nonce")
    }

    #[test]
    fn each_form_is_told_by_what_it_holds() {
        let pair = KeyPair::new_user();
        let seed = pair.seed().expect("a seed");
        let creds = format!(
            "-----BEGIN NATS USER JWT-----\neyJ0.e30.c2ln\n------END NATS USER JWT------\n\n*** IMPORTANT ***\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        );
        let with_jwt = auth(&creds).expect("credentials");
        assert_eq!((with_jwt.jwt.as_deref(), with_jwt.nkey), (Some("eyJ0.e30.c2ln"), None));
        pair.verify(b"nonce", &with_jwt.signature.expect("signed")).expect("our signature");

        let with_seed = auth(&format!("{seed}\n")).expect("a seed");
        assert_eq!(with_seed.nkey, Some(pair.public_key()));
        pair.verify(b"nonce", &with_seed.signature.expect("signed")).expect("our signature");

        let with_user = auth("consentd:a:b\n").expect("a user");
        assert_eq!((with_user.username.as_deref(), with_user.password.as_deref()), (Some("consentd"), Some("a:b")));
        assert_eq!(auth("s3cret\n").expect("a token").token.as_deref(), Some("s3cret"));
    }

    #[test]
    fn what_is_none_of_them_is_refused_without_repeating_it() {
        let mut seed = KeyPair::new_user().seed().expect("a seed");
        // Its check value no longer fits.
        let last = if seed.ends_with('A') { "B" } else { "A" };
        seed.replace_range(56..57, last);
        let half = "-----BEGIN NATS USER JWT-----\neyJ0.e30.c2ln\n------END NATS USER JWT------\n";
        for text in ["", "two\nlines", &seed, half] {
            let Err(error) = auth(text) else { panic!("`{text}` was taken") };
            assert!(text.is_empty() || !error.to_string().contains(text), "{error}");
        }
        assert!(answer(Path::new("/nonexistent"), b"").is_err());
    }
}
