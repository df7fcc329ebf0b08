//! The commands to try next, as they can be pasted: with the paths and addresses of this very demonstration.

use std::env;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::folder::Folder;
use super::page::Page;
use super::steps::Decided;
use crate::cli::{Failure, client};

/// What to do, and how; the program is left out.
struct Try {
    what: &'static str,
    arguments: String,
}

/// Says what to try, in another terminal or later.
pub(super) fn say(
    page: &mut Page,
    folder: &Folder,
    tcp: SocketAddr,
    admin: SocketAddr,
    decided: &Decided,
    exits: bool,
) -> Result<(), Failure> {
    let program = program();
    let at = tcp.to_string();
    let to = if at == client::DEFAULT_ADDRESS { String::new() } else { format!(" --address {at}") };
    let (ledger, evidence) = (quoted(&folder.ledger()), quoted(&folder.evidence()));
    let served = [
        ("ask about a prescription", format!("ask crm:1006 health.lens_prescription -c web{to}")),
        ("why a box ticked beforehand is void", format!("explain crm:1005 marketing.newsletter -c email{to}")),
        (
            "agree to the newsletter again, and ask",
            format!(
                "ledger grant crm:1001 marketing.newsletter --channel email --notice privacy@3/tr --ledger {ledger}"
            ),
        ),
        ("", format!("ask crm:1001 marketing.newsletter -c email{to}")),
        (
            "withdraw the prescription's consent",
            format!("ledger withdraw crm:1006 health.lens_prescription --basis explicit_consent --ledger {ledger}"),
        ),
    ];
    let kept = [
        ("the ledger's last events", format!("ledger tail -n 5 --ledger {ledger}")),
        (
            "what was answered about one customer",
            format!("evidence list --subject crm:1001 --limit 5 --dir {evidence}"),
        ),
        ("the record of the first DENY", format!("evidence show {} --proof --dir {evidence}", decided.evidence_id)),
        ("verify everything", format!("evidence verify --dir {evidence}")),
    ];
    let tries = |tries: Vec<(&'static str, String)>| tries.into_iter().map(|(what, arguments)| Try { what, arguments });
    page.step(if exits { "Try next; what was written is still there" } else { "Try next, in another terminal" })?;
    let served = if exits { Vec::new() } else { Vec::from(served) };
    for Try { what, arguments } in tries(served).chain(tries(Vec::from(kept))) {
        if !what.is_empty() {
            page.say(format_args!("# {what}"))?;
        }
        page.say(format_args!("{program} {arguments}"))?;
    }
    if !exits {
        page.say("# metrics, and whether it is ready")?;
        page.say(format_args!("curl -s http://{admin}/metrics | grep consentd_decisions_total"))?;
        page.say(format_args!("curl -s http://{admin}/readyz"))?;
        page.line(format_args!("\nServing on {tcp} until Ctrl-C."))?;
    }
    Ok(())
}

/// How this program is called from here: by its name where the search path leads to it, else by the shorter of its path
/// from the working directory and its whole path, as after `cargo run`.
fn program() -> String {
    let Ok(program) = env::current_exe() else { return "consentd".to_owned() };
    let name = program.file_name().map_or_else(PathBuf::new, PathBuf::from);
    let folders = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&folders).map(|folder| folder.join(&name)).find(|path| path.is_file());
    if found.and_then(|path| path.canonicalize().ok()).is_some_and(|path| path == program) {
        return quoted(&name);
    }
    let here = env::current_dir().ok();
    let relative = here.and_then(|here| program.strip_prefix(here).map(|path| Path::new(".").join(path)).ok());
    let shorter = relative.filter(|path| path.as_os_str().len() < program.as_os_str().len());
    quoted(&shorter.unwrap_or(program))
}

/// A path as a shell takes it for one word.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-+,:@%".contains(&byte));
    if plain { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_one_word_to_a_shell() {
        for (path, word) in [
            ("./target/debug/consentd", "./target/debug/consentd"),
            ("/tmp/a b/c", "'/tmp/a b/c'"),
            ("it's $HOME", r"'it'\''s $HOME'"),
            ("~", "'~'"),
        ] {
            assert_eq!(quoted(Path::new(path)), word);
        }
    }
}
