//! The flags that set configuration keys, shared by every command that reads the configuration.

use std::path::PathBuf;

use clap::Args;

use crate::config::{Flag, Sources};

/// Where the configuration comes from, beside the environment (`CONSENTD_` and the key, `CONSENTD_SERVER_TCP`).
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Configuration")]
pub(crate) struct ConfigFlags {
    /// The configuration file, TOML [also: `CONSENTD_CONFIG`].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder of everything that is written (`data_dir`).
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<String>,
    /// The file of the ledger (`ledger.file`).
    #[arg(long, value_name = "FILE")]
    ledger: Option<String>,
    /// Where to answer over TCP, or "off" (`server.tcp`).
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// The Unix socket to answer on, or "off" (`server.uds`).
    #[arg(long, value_name = "PATH")]
    uds: Option<String>,
    /// Where to show metrics and readiness, or "off" (`admin.tcp`).
    #[arg(long, value_name = "ADDRESS:PORT")]
    admin: Option<String>,
    /// What to log, such as `info` (`log.level`).
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// How to log, text or json (`log.format`).
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// Any other key, such as `evidence.stage=synced`; may be repeated. `config print` lists them.
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_set)]
    set: Vec<(String, String)>,
}

impl ConfigFlags {
    /// The sources of the configuration: these flags, this process's environment, and the file.
    pub(crate) fn into_sources(self) -> Sources {
        let (file, flags) = self.into_parts();
        Sources::of_process(file, flags)
    }

    fn into_parts(self) -> (Option<PathBuf>, Vec<Flag>) {
        let named = [
            ("--data-dir", "data_dir", self.data_dir),
            ("--ledger", "ledger.file", self.ledger),
            ("--listen", "server.tcp", self.listen),
            ("--uds", "server.uds", self.uds),
            ("--admin", "admin.tcp", self.admin),
            ("--log-level", "log.level", self.log_level),
            ("--log-format", "log.format", self.log_format),
        ];
        let named = named.into_iter().filter_map(|(name, key, value)| Some((name, key.to_owned(), value?)));
        let set = self.set.into_iter().map(|(key, value)| ("--set", key, value));
        let flag = |(name, key, value): (&str, String, String)| Flag { name: name.to_owned(), key, value };
        (self.config, named.chain(set).map(flag).collect())
    }
}

fn parse_set(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as `key=value`")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::config::Config;

    #[derive(Debug, Parser)]
    struct Arguments {
        #[command(flatten)]
        flags: ConfigFlags,
    }

    fn parse(arguments: &[&str]) -> Result<(Option<PathBuf>, Vec<Flag>), clap::Error> {
        Arguments::try_parse_from(["consentd"].iter().chain(arguments)).map(|arguments| arguments.flags.into_parts())
    }

    #[test]
    fn every_flag_sets_a_key_that_exists() {
        let (file, flags) = parse(&[
            "--config=c.toml",
            "--data-dir=d",
            "--ledger=l",
            "--listen=127.0.0.1:1",
            "--uds=u",
            "--admin=off",
            "--log-level=debug",
            "--log-format=json",
            "--set=evidence.stage=synced",
            "--set",
            "server.workers=2",
        ])
        .expect("flags");
        assert_eq!(file, Some(PathBuf::from("c.toml")));
        let loaded = Config::load(&Sources { flags, ..Sources::default() }).expect("valid");
        assert_eq!(loaded.effective().count_set(), 9);
        assert_eq!(loaded.config.ledger.file, PathBuf::from("l"));
    }

    #[test]
    fn set_needs_an_equals_sign() {
        let error = parse(&["--set", "evidence.stage"]).expect_err("refused");
        assert!(error.to_string().contains("write it as `key=value`"), "{error}");
    }
}
