//! The folder of collected evidence: its instances, the keys that are trusted, and the problems found.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::assembly::{Early, Waiting};
use super::month::{Month, Taken};
use super::place::ReadUpTo;
use super::{Collected, Origin};
use crate::evidence::batch::Incoming;
use crate::evidence::checkpoint::origin;
use crate::evidence::files::{At, Cause, Layout, make_dir, replace};
use crate::evidence::id::{Instance, YearMonth};
use crate::evidence::keys::{self, Salt};

/// The folder, locked.
#[derive(Debug)]
pub(super) struct Folder {
    dir: PathBuf,
    /// Where public keys are given.
    given: Option<PathBuf>,
    instances: BTreeMap<Instance, Log>,
    waiting: Waiting,
    problems: Vec<String>,
    added: u64,
    messages: u64,
    /// The kernel lets go of it with the process.
    _lock: File,
}

/// What was collected of one instance.
#[derive(Debug)]
struct Log {
    layout: Layout,
    public: [u8; 32],
    months: BTreeMap<YearMonth, Month>,
    /// The salts that were seen since the folder was opened.
    salts: BTreeMap<YearMonth, Salt>,
}

impl Folder {
    /// Opens the folder, made if need be, with everything that is in it.
    pub(super) fn open(dir: &Path, given: Option<&Path>) -> Result<Self, Cause> {
        make_dir(dir).at("make", dir)?;
        let path = dir.join("lock");
        let lock = OpenOptions::new().write(true).create(true).truncate(false).open(&path).at("open", &path)?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| Cause::new(format!("another process collects into `{}`", dir.display())))?;
        let path = dir.join("problems");
        let problems = match fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            read => read.at("read", &path)?,
        };
        let mut folder = Self {
            dir: dir.to_owned(),
            given: given.map(Path::to_owned),
            instances: BTreeMap::new(),
            waiting: Waiting::default(),
            problems: problems.lines().map(str::to_owned).collect(),
            added: 0,
            messages: 0,
            _lock: lock,
        };
        for entry in fs::read_dir(dir).at("list", dir)? {
            let name = entry.at("list", dir)?.file_name();
            if let Some(instance) = name.to_str().and_then(|name| name.parse().ok()) {
                folder.open_instance(instance)?;
            }
        }
        Ok(folder)
    }

    /// Takes in a message of the stream.
    pub(super) fn take(&mut self, sequence: u64, payload: &[u8]) -> Result<(), Cause> {
        self.messages += 1;
        let message = match Incoming::read(payload) {
            Ok(message) => message,
            Err(why) => return self.set_aside(sequence, payload, &format!("message {sequence} of the stream: {why}")),
        };
        match self.waiting.assemble(sequence, message) {
            Some(batch) => self.take_batch(sequence, batch, false),
            None => Ok(()),
        }
    }

    /// Takes what waited in vain for what it follows: with `all`, everything.
    pub(super) fn give_up_waiting(&mut self, all: bool) -> Result<(), Cause> {
        while let Some(Early { sequence, batch, .. }) = self.waiting.overdue(all) {
            self.take_batch(sequence, batch, true)?;
        }
        Ok(())
    }

    /// Puts everything on the device, and after it how far the stream was read.
    pub(super) fn persist(&self, mut read: ReadUpTo) -> Result<(), Cause> {
        read.next = self.waiting.first_sequence().map_or(read.next, |first| first.min(read.next));
        // Everything at once: segments, tiles and folders of hundreds of instances.
        #[cfg(target_os = "linux")]
        File::open(&self.dir).and_then(|dir| Ok(rustix::fs::syncfs(&dir)?)).at("flush", &self.dir)?;
        #[cfg(not(target_os = "linux"))]
        rustix::fs::sync();
        read.store(&self.dir)
    }

    /// What is here.
    pub(super) fn collected(&self) -> Collected {
        let mut origins = Vec::new();
        for (instance, log) in &self.instances {
            origins.extend(log.months.iter().map(|(month, held)| Origin {
                name: origin(*instance, *month),
                records: held.records(),
                signed: held.signed(),
                missing: held.missing(),
            }));
        }
        Collected { messages: self.messages, added: self.added, origins, problems: self.problems.clone() }
    }

    /// Takes a batch, and those that have waited for it.
    fn take_batch(&mut self, sequence: u64, batch: Incoming, over_a_gap: bool) -> Result<(), Cause> {
        let (instance, month) = (batch.instance, batch.from.month);
        self.take_one(sequence, batch, over_a_gap)?;
        loop {
            let held = self.instances.get(&instance).and_then(|log| log.months.get(&month));
            let Some(next) = held.map(Month::next) else { return Ok(()) };
            let Some(Early { sequence, batch, .. }) = self.waiting.ready(instance, month, next) else { return Ok(()) };
            // Nothing is in its way any more: an early batch that is still early would come back for ever.
            self.take_one(sequence, batch, true)?;
        }
    }

    fn take_one(&mut self, sequence: u64, batch: Incoming, over_a_gap: bool) -> Result<(), Cause> {
        let (instance, month) = (batch.instance, batch.from.month);
        let refused = |why: &str| format!("message {sequence} of the stream, {}: {why}", batch.what());
        let records = match batch.unpack() {
            Ok(records) => records,
            Err(why) => return self.set_aside(sequence, &batch.payload(), &refused(&why)),
        };
        if self.trust(instance, &batch.public)? != batch.public {
            let why = "it names another public key than the one that is trusted";
            return self.set_aside(sequence, &batch.payload(), &refused(why));
        }
        if let Some(note) = &batch.salt
            && let Some(why) = self.take_salt(instance, month, note)?
        {
            // Its records hold all the same: the chain proves them.
            self.set_aside(sequence, &batch.payload(), &refused(&why))?;
        }
        let held = self.month(instance, month)?;
        if let Some(note) = &batch.checkpoint
            && let Some(why) = held.sign(note)?
        {
            return self.set_aside(sequence, &batch.payload(), &refused(&why));
        }
        if records.is_empty() {
            return Ok(());
        }
        match held.take(&batch, &records, over_a_gap)? {
            Taken::Early => self.waiting.keep(sequence, batch),
            Taken::Conflict(why) => return self.set_aside(sequence, &batch.payload(), &refused(&why)),
            Taken::Added(added) => {
                let waited = held.sign_waiting()?;
                self.added += added;
                if let Some(why) = waited {
                    self.note(&why)?;
                }
                self.check_months(instance, month)?;
            }
        }
        Ok(())
    }

    /// Keeps the salt of a month's key; gives why it is none.
    fn take_salt(&mut self, instance: Instance, month: YearMonth, note: &str) -> Result<Option<String>, Cause> {
        let Some(log) = self.instances.get_mut(&instance) else { return Ok(None) };
        if log.salts.get(&month).is_some_and(|known| known.note() == note) {
            return Ok(None);
        }
        let Some(salt) = Salt::read(note, instance, month, &log.public) else {
            return Ok(Some("the salt that it brings is not signed by the key that is trusted".to_owned()));
        };
        match Salt::load(&log.layout, instance, month, &log.public)? {
            Some(kept) if kept != salt => {
                let name = origin(instance, month);
                // Once for all messages that bring it.
                self.note(&format!(
                    "{name} has two salts; the first is kept, and who was asked about under the second cannot be found"
                ))?;
            }
            Some(_) => {
                log.salts.insert(month, salt);
            }
            None => {
                salt.store(&log.layout)?;
                log.salts.insert(month, salt);
            }
        }
        Ok(None)
    }

    /// Whether a month continues the one before it, where both are whole.
    fn check_months(&mut self, instance: Instance, month: YearMonth) -> Result<(), Cause> {
        let Some(log) = self.instances.get(&instance) else { return Ok(()) };
        let before = log.months.range(..month).next_back().and_then(|(_, held)| held.chain());
        let begins = log.months.get(&month).and_then(Month::chain_before);
        match before.zip(begins) {
            Some((before, begins)) if before != begins => {
                self.note(&format!("{} does not continue the month before it, as it is here", origin(instance, month)))
            }
            _ => Ok(()),
        }
    }

    fn month(&mut self, instance: Instance, month: YearMonth) -> Result<&mut Month, Cause> {
        let gone = || Cause::new(format!("the folder of {instance} is not open"));
        let log = self.instances.get_mut(&instance).ok_or_else(gone)?;
        if !log.months.contains_key(&month) {
            let held = Month::open(&log.layout, instance, month, log.public)?;
            log.months.insert(month, held);
        }
        log.months.get_mut(&month).ok_or_else(gone)
    }

    /// The key that is trusted for an instance: the one given, or the first that is seen.
    fn trust(&mut self, instance: Instance, seen: &[u8; 32]) -> Result<[u8; 32], Cause> {
        if let Some(log) = self.instances.get(&instance) {
            return Ok(log.public);
        }
        let layout = Layout::new(&self.dir.join(instance.to_string()));
        let log = layout.log();
        make_dir(&log).at("make", &log)?;
        let given = self.given.as_ref().map(|given| given.join(format!("{instance}.pub")));
        let public = match given.filter(|path| path.exists()) {
            Some(path) => keys::read_public_file(&path)?,
            None => *seen,
        };
        let path = layout.signing_pub();
        replace(&path, keys::public_pem(&public).as_bytes(), 0o644).at("write", &path)?;
        // Last: a folder with a name has its key.
        let path = layout.instance();
        replace(&path, format!("{instance}\n").as_bytes(), 0o644).at("write", &path)?;
        self.open_instance(instance)?;
        Ok(public)
    }

    fn open_instance(&mut self, instance: Instance) -> Result<(), Cause> {
        let layout = Layout::new(&self.dir.join(instance.to_string()));
        // A kill may have left it without its name: it is made again with the next message.
        if keys::load_instance(&layout)? != Some(instance) {
            return Ok(());
        }
        let Some(public) = keys::load_public(&layout)? else {
            return Err(Cause::new(format!("there is no public key `{}`", layout.signing_pub().display())));
        };
        let mut months = BTreeMap::new();
        for month in layout.months()? {
            months.insert(month, Month::open(&layout, instance, month, public)?);
        }
        self.instances.insert(instance, Log { layout, public, months, salts: BTreeMap::new() });
        Ok(())
    }

    /// Keeps a message that does not hold, and says why.
    fn set_aside(&mut self, sequence: u64, payload: &[u8], problem: &str) -> Result<(), Cause> {
        let folder = self.dir.join("set-aside");
        make_dir(&folder).at("make", &folder)?;
        let path = folder.join(format!("{sequence}.message"));
        replace(&path, payload, 0o600).at("write", &path)?;
        self.note(problem)
    }

    /// Notes a problem, unless it is known.
    fn note(&mut self, problem: &str) -> Result<(), Cause> {
        let problem = problem.replace('\n', " ");
        if self.problems.contains(&problem) {
            return Ok(());
        }
        tracing::error!(problem, "collected evidence does not hold");
        let path = self.dir.join("problems");
        let file = OpenOptions::new().append(true).create(true).open(&path);
        file.and_then(|mut file| writeln!(file, "{problem}")).at("write", &path)?;
        self.problems.push(problem);
        Ok(())
    }
}
