//! `onward explain`: asks the running daemon what it would decide on a mail, and prints every rule.

use std::io;
use std::path::{Path, PathBuf};

use control::{Client, ClientError, Explanation, Mail};

use crate::cli::Explain;
use crate::message::Message;
use crate::print::Printer;
use crate::queue_cli::hint;

/// Why there is nothing to print.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0}{hint}", hint = hint(.0))]
    Client(#[from] ClientError),
    #[error("cannot read {path}: {source}")]
    Message { path: PathBuf, source: io::Error },
}

/// Runs the command. False: the mail would be refused.
pub(crate) async fn run(socket: &Path, args: &Explain, print: Printer) -> Result<bool, Error> {
    let mail = Mail {
        to: args.to.clone(),
        from: args
            .from
            .mailbox()
            .map_or_else(String::new, ToString::to_string),
        ip: args.ip,
        hello: args.helo.clone(),
    };
    let open = |path: &PathBuf| {
        let opened = Message::open(path);
        opened.map_err(|source| Error::Message {
            path: path.clone(),
            source,
        })
    };
    let mut message = args.file.as_ref().map(open).transpose()?;
    let mut daemon = Client::connect(socket).await?;
    let explanation = daemon.explain(mail, message.as_mut()).await?;
    print.value(&explanation, |print, explanation| {
        let head = format!(
            "{} from {} ({}), EHLO {}, to {}",
            args.from, args.ip, explanation.client, args.helo, args.to
        );
        print.line(head);
        lines(explanation).iter().for_each(|line| print.line(line));
    });
    Ok(explanation.refusal.is_none())
}

fn lines(explanation: &Explanation) -> Vec<String> {
    let mut lines = Vec::new();
    for stage in &explanation.stages {
        lines.push(String::new());
        lines.push(stage.stage.clone());
        let asked = stage.asked.iter();
        lines.extend(asked.map(|asked| format!("  {} → {}", asked.question, asked.answer)));
        let rules = stage.rules.iter();
        lines.extend(rules.map(|ruled| format!("  {:22} {}", ruled.rule, ruled.opinion)));
    }
    lines.push(String::new());
    match &explanation.refusal {
        Some(refusal) => lines.push(format!(
            "refused at {} by rule {}: {}",
            refusal.stage, refusal.rule, refusal.reply
        )),
        None if explanation.ways.is_empty() => lines.push("accepted and discarded".to_owned()),
        None => {
            let held = match explanation.is_held {
                true => ", on hold until an operator releases it,",
                false => "",
            };
            lines.push(format!("accepted, and queued{held} for"));
            let ways = explanation.ways.iter();
            lines.extend(
                ways.map(|way| format!("  {} from {} {}", way.target, way.sender, way.options)),
            );
        }
    }
    if explanation.refusal.is_none() && !explanation.has_message {
        lines.push(
            "the rules at the end of the message were not asked: --file names one".to_owned(),
        );
    }
    lines
}
