//! `onward spool export`: every queued message as `ID.eml` and `ID.json`, and the tokens of the spool, while no daemon runs.
//!
//! `spool import` (`spool_import.rs`) reads them again. Nothing in the spool is changed, and nothing in the folder is overwritten. A message with a damaged body is written as it
//! is to `ID.damaged.eml`; its JSON says what is wrong with it.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use control::{LegState, QueueAction};
use envelope::MessageId;
use queue::verify::{Exported, export};
use relay::operator;
use serde::{Deserialize, Serialize};
use spool::{Clock, Entry};

use crate::Failure;
use crate::print::{Printer, plural};
use crate::spool_cli::{Finding, print_findings, progress};

/// What ended the export.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot write {path}: {source}\n\nhint: `spool export` overwrites nothing; name a folder that is empty or not there yet"
)]
struct Unwritten {
    path: PathBuf,
    source: io::Error,
}

/// An export, and what came of it.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Export {
    folder: PathBuf,
    messages: u64,
    damaged: u64,
    damage: Vec<Finding>,
}

/// A message on its way into its two files.
pub(crate) struct Written {
    folder: PathBuf,
    id: String,
    envelope: fs::File,
    body: fs::File,
}

/// `ID.json`: what is known of a message beside its bytes.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Envelope {
    pub(crate) id: String,
    pub(crate) arrived: String,
    /// When its sender is told of the delay, and when it is given up.
    pub(crate) warned_at: Option<String>,
    pub(crate) expires: Option<String>,
    pub(crate) reverse_path: String,
    pub(crate) origin: String,
    pub(crate) user: Option<String>,
    /// The client, while nobody has looked whether it proves the sender.
    pub(crate) client: Option<String>,
    pub(crate) hello: Option<String>,
    pub(crate) size: u64,
    pub(crate) eight_bit: bool,
    pub(crate) smtputf8: bool,
    pub(crate) ret: Option<String>,
    pub(crate) envid: Option<String>,
    pub(crate) legs: Vec<Leg>,
    /// What is wrong with the body; the file is then called `ID.damaged.eml`.
    pub(crate) damage: Vec<Finding>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Leg {
    pub(crate) leg: String,
    pub(crate) state: LegState,
    pub(crate) reverse_path: String,
    pub(crate) recipient: String,
    /// Further recipients that share the leg, and how many are not named.
    pub(crate) merged: Vec<String>,
    pub(crate) merged_more: u32,
    pub(crate) target: String,
    #[serde(default)]
    pub(crate) options: String,
    pub(crate) original_recipient: Option<String>,
    pub(crate) notify: Option<String>,
    pub(crate) trace: String,
    pub(crate) next_try: String,
    pub(crate) attempts: u32,
    /// Whether the sender was told of the delay.
    #[serde(default)]
    pub(crate) warned: bool,
    pub(crate) last: String,
    pub(crate) diagnosis: Option<control::Diagnosis>,
    /// What an operator asked for that is still to be done.
    pub(crate) pending: Option<QueueAction>,
}

/// Writes every message; false when anything in the spool is damaged.
pub(crate) fn run(spool: &Path, folder: &Path, print: Printer) -> Result<bool, Failure> {
    let mut to = Export::begin(folder)?;
    let visit = |found: &Exported<'_>| {
        let (mut written, mut damage) = (Written::begin(folder, found.message.id)?, Vec::new());
        for piece in found.body() {
            damage.extend(piece.damage.as_ref().map(Finding::from));
            written.write(&piece.octets)?;
        }
        written.finish(&mut to, &found.legs, damage)?;
        Ok::<_, Failure>(())
    };
    let (now, progress) = (Clock::real().now(), &mut progress("reading the spool"));
    let report = export(spool, now, Some(folder), progress, visit)?;
    to.damage = report.damage.iter().map(Finding::from).collect();
    Ok(to.print(print))
}

impl Export {
    pub(crate) fn begin(folder: &Path) -> Result<Self, Failure> {
        // Other people's mail: only the operator may read it.
        let mut builder = fs::DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(folder);
        made.map_err(unwritten(folder))?;
        Ok(Self {
            folder: folder.to_owned(),
            ..Self::default()
        })
    }

    /// Says what came of it; false when anything is damaged.
    pub(crate) fn print(&self, print: Printer) -> bool {
        print.value(self, |print, export| {
            let messages = plural(export.messages, "message");
            let (to, damaged) = (export.folder.display(), export.damaged);
            print.line(format_args!(
                "{messages} written to {to}, {damaged} of them damaged"
            ));
            print_findings(print, &export.damage);
        });
        self.damage.is_empty()
    }
}

impl Written {
    pub(crate) fn begin(folder: &Path, id: MessageId) -> Result<Self, Failure> {
        let open = |extension| {
            let path = folder.join(format!("{id}.{extension}"));
            create(&path).map_err(unwritten(&path))
        };
        Ok(Self {
            folder: folder.to_owned(),
            id: id.to_string(),
            envelope: open("json")?,
            body: open("partial")?,
        })
    }

    pub(crate) fn write(&mut self, octets: &[u8]) -> Result<(), Failure> {
        let written = self.body.write_all(octets);
        Ok(written.map_err(unwritten(&self.path("partial")))?)
    }

    /// All of the body that there is was written.
    pub(crate) fn finish(
        mut self,
        export: &mut Export,
        legs: &[Entry],
        damage: Vec<Finding>,
    ) -> Result<(), Failure> {
        let intact = damage.is_empty();
        let path = self.path(if intact { "eml" } else { "damaged.eml" });
        if path.exists() {
            return Err(unwritten(&path)(io::ErrorKind::AlreadyExists.into()).into());
        }
        fs::rename(self.path("partial"), &path).map_err(unwritten(&path))?;
        export.messages += 1;
        export.damaged += u64::from(!intact);
        let Some(first) = legs.first() else {
            return Ok(());
        };
        let mut envelope = Envelope::new(first, legs, damage);
        let text = serde_json::to_string_pretty(&envelope).map_err(io::Error::from);
        let written = text.and_then(|text| writeln!(self.envelope, "{text}"));
        written.map_err(unwritten(&self.path("json")))?;
        export.damage.append(&mut envelope.damage);
        Ok(())
    }

    fn path(&self, extension: &str) -> PathBuf {
        self.folder.join(format!("{}.{extension}", self.id))
    }
}

fn unwritten(path: &Path) -> impl FnOnce(io::Error) -> Unwritten {
    let path = path.to_owned();
    move |source| Unwritten { path, source }
}

fn create(path: &Path) -> io::Result<fs::File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

impl Envelope {
    fn new(first: &Entry, legs: &[Entry], damage: Vec<Finding>) -> Self {
        let (message, deadlines) = (&first.message, first.deadlines);
        Self {
            id: message.id.to_string(),
            arrived: message.arrived.to_string(),
            reverse_path: message.reverse_path.to_string(),
            warned_at: deadlines.map(|at| at.warn.to_string()),
            expires: deadlines.map(|at| at.expire.to_string()),
            origin: message.origin.name().to_owned(),
            user: message.user.as_deref().map(str::to_owned),
            client: message.peer.as_ref().map(|peer| peer.address.to_string()),
            hello: message.peer.as_ref().map(|peer| peer.hello.to_string()),
            size: message.size,
            eight_bit: message.body == envelope::BodyKind::EightBitMime,
            smtputf8: message.smtputf8,
            ret: message.ret.map(|ret| match ret {
                envelope::Return::Full => "FULL".to_owned(),
                envelope::Return::Headers => "HDRS".to_owned(),
            }),
            envid: message.envid.as_deref().map(str::to_owned),
            legs: legs.iter().map(Leg::new).collect(),
            damage,
        }
    }
}

impl Leg {
    fn new(entry: &Entry) -> Self {
        let leg = &entry.leg;
        Self {
            leg: entry.id.to_string(),
            state: operator::leg_state(entry.state),
            reverse_path: leg.reverse_path.to_string(),
            recipient: leg.recipient.to_string(),
            merged: leg.merged.named.iter().map(ToString::to_string).collect(),
            merged_more: leg.merged.more,
            target: leg.target.to_string(),
            options: leg.options.as_str().to_owned(),
            warned: entry.warned,
            original_recipient: leg
                .original
                .as_ref()
                .map(|original| format!("{};{}", original.kind, original.address)),
            notify: leg.notify.map(|notify| notify.to_string()),
            trace: leg.trace.to_string(),
            next_try: entry.due.to_string(),
            attempts: entry.attempts,
            last: entry.last_words(),
            diagnosis: entry.last.as_ref().map(Into::into),
            pending: entry.pending.and_then(operator::pending),
        }
    }
}
