//! `consentd ledger init`: makes the streams of the central ledger, or checks those that are there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use async_nats::jetstream::Context;
use async_nats::jetstream::context::ContextBuilder;

use super::Common;
use super::place::Place;
use crate::cli::{Failure, Outcome, say};
use crate::evidence::central;
use crate::ledger::nats::{self, SUBJECT_KEY_CHECK, subject_key, subject_key_check};
use crate::ledger::{SubjectHasher, load_or_make_secret};
use crate::nats::{Config, Flush, KeptStream, Seen, StreamError, connect, flushes};

/// On how many servers streams lie, and what this command may do and ask.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// On how many servers each stream lies. Left out: 3 on a cluster, 1 on a server alone.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=5))]
    replicas: Option<u64>,
    /// Make the subject key if its file is not there. Once, for a new ledger: every writer and sidecar gets a copy.
    #[arg(long)]
    make_subject_key: bool,
    /// The credentials of the NATS system account, which alone may see whether servers flush before they acknowledge.
    #[arg(long, env = "CONSENTD_NATS_SYSTEM_CREDS_FILE", value_name = "FILE")]
    system_creds: Option<PathBuf>,
    /// The stream that evidence is shipped to.
    #[arg(long, default_value = central::DEFAULT_STREAM, value_name = "NAME")]
    evidence_stream: String,
}

/// A stream that was looked at or made.
struct Checked {
    name: String,
    made: bool,
    seen: Seen,
    /// What is wrong with it, each in a sentence.
    faults: Vec<String>,
}

pub(super) fn run(args: &Args, common: &Common) -> Outcome {
    let Place::Nats(config) = common.place.place()? else {
        return Err(Failure::new("a file ledger needs no `init`: the first event that is written makes it"));
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(init(args, &config, common.json))
}

async fn init(args: &Args, config: &nats::Config, json: bool) -> Outcome {
    let client = connect(&config.connection).await?;
    let in_cluster = client.server_info().cluster.is_some();
    let replicas = args.replicas.unwrap_or(if in_cluster { 3 } else { 1 });
    if in_cluster && replicas == 1 {
        return Err(Failure::new(
            "`--replicas 1` on a cluster: the ledger would be lost with the disk of one server; give 3",
        ));
    }
    let context = ContextBuilder::new().timeout(config.connection.request_timeout).build(client);

    let hasher = key(args, config, &context).await?;
    let ledger = KeptStream { replicas: args.replicas, ..nats::kept_stream(&config.stream, &hasher) };
    let evidence = KeptStream { replicas: args.replicas, ..central::kept_stream(&args.evidence_stream) };
    let mut streams = Vec::new();
    for kept in [&ledger, &evidence] {
        streams.push(check_or_make(kept, &context, replicas).await?);
    }
    if let Some(ledger) = streams.first_mut() {
        ledger.faults.extend(key_fault(&ledger.seen, &hasher, &config.subject_key_file));
    }
    let (flush_faults, mut notes) = flush(args, &config.connection, &streams).await?;
    let faults: Vec<String> = streams
        .iter()
        .flat_map(|stream| stream.faults.iter().map(|fault| format!("the stream `{}`: {fault}", stream.name)))
        .chain(flush_faults)
        .collect();
    if !faults.is_empty() {
        return Err(Failure::new(format!("acknowledged events could be lost:\n  - {}", faults.join("\n  - "))));
    }
    if !in_cluster {
        notes.push(
            "a server alone keeps the only copy: what its disk loses is lost; back it up, or use a cluster of three"
                .to_owned(),
        );
    }
    report(&streams, &notes, config, json);
    Ok(ExitCode::SUCCESS)
}

/// The subject key; made if that is asked for and the ledger is new.
async fn key(args: &Args, config: &nats::Config, context: &Context) -> Result<SubjectHasher, Failure> {
    let path = &config.subject_key_file;
    if path.exists() || !args.make_subject_key {
        return Ok(subject_key(path)?);
    }
    // A key made now would be another one than that of a ledger that is there.
    let nobody = SubjectHasher::new(&[0; crate::ledger::SECRET_BYTES]);
    match nats::kept_stream(&config.stream, &nobody).look(context).await {
        Err(StreamError::Missing(_)) => {}
        Err(error) => return Err(error.into()),
        Ok(_) => {
            return Err(Failure::new(format!(
                "the ledger `{}` is there already and has a subject key; copy it to `{}` from where the ledger was made",
                config.stream,
                path.display()
            )));
        }
    }
    let secret = load_or_make_secret(path)
        .map_err(|error| Failure::new(format!("the subject key `{}` cannot be made: {error}", path.display())))?;
    eprintln!(
        "made the subject key `{}`; every writer and sidecar needs a copy, and so does the backup",
        path.display()
    );
    Ok(SubjectHasher::new(&secret))
}

async fn check_or_make(kept: &KeptStream, context: &Context, replicas: u64) -> Result<Checked, Failure> {
    let (seen, made) = match kept.look(context).await {
        Ok(seen) => (seen, false),
        Err(StreamError::Missing(_)) => (kept.make(context, replicas).await?, true),
        Err(error) => return Err(error.into()),
    };
    let faults = seen.faults(kept).iter().map(ToString::to_string).collect();
    Ok(Checked { name: kept.name.clone(), made, seen, faults })
}

/// What is wrong with the subject key of a ledger that is there.
fn key_fault(seen: &Seen, hasher: &SubjectHasher, path: &Path) -> Option<String> {
    match seen.metadata(SUBJECT_KEY_CHECK) {
        None => Some("it does not say which subject key is its own; `consentd ledger init` must make it".to_owned()),
        Some(check) if check != subject_key_check(hasher) => {
            Some(format!("its subject key is another than `{}`; copy that from where it was made", path.display()))
        }
        Some(_) => None,
    }
}

/// What is wrong with how the streams' servers flush, and what cannot be told.
async fn flush(args: &Args, connection: &Config, streams: &[Checked]) -> Result<(Vec<String>, Vec<String>), Failure> {
    let Some(credentials) = args.system_creds.clone() else {
        let note = "not seen: whether the servers flush to their disks before they acknowledge, which only the system \
                    account may ask; give `--system-creds FILE`, or look for `jetstream { sync_interval: always }` in \
                    the configuration of every server";
        return Ok((Vec::new(), vec![note.to_owned()]));
    };
    let told = flushes(&Config { credentials: Some(credentials), ..connection.clone() }).await?;
    let late = |flush: &&Flush| !flush.always;
    let mut faults: Vec<String> = told
        .iter()
        .filter(late)
        .map(|Flush { server, interval, .. }| {
            format!(
                "the server `{server}` acknowledges what is not on its disk for up to {} s; set `jetstream {{ \
                 sync_interval: always }}` in its configuration",
                interval.as_secs_f64()
            )
        })
        .collect();
    let servers: BTreeSet<String> = streams.iter().flat_map(|stream| stream.seen.servers()).collect();
    let silent = servers.iter().filter(|name| told.iter().all(|flush| flush.server != **name));
    faults.extend(silent.map(|name| format!("the server `{name}` did not say how it flushes; is it up? try again")));
    Ok((faults, Vec::new()))
}

fn report(streams: &[Checked], notes: &[String], config: &nats::Config, json: bool) {
    if json {
        let streams: Vec<_> = streams
            .iter()
            .map(|Checked { name, made, seen, .. }| {
                serde_json::json!({"name": name, "made": made, "replicas": seen.info.config.num_replicas})
            })
            .collect();
        say(serde_json::json!({"streams": streams, "notes": notes}));
        return;
    }
    let servers = &config.connection.servers;
    for Checked { name, made, seen, .. } in streams {
        let did = if *made { "made" } else { "checked" };
        let replicas = seen.info.config.num_replicas;
        let copies = if replicas == 1 { "1 replica".to_owned() } else { format!("{replicas} replicas") };
        say(format_args!("{did} the stream `{name}` on `{servers}`: {copies}, keeps what it acknowledges"));
    }
    for note in notes {
        say(note);
    }
}
