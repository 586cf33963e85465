//! `onward explain`: asks the running daemon what it would decide on a mail, and prints every rule.

use std::path::{Path, PathBuf};

use control::{Client, ClientError, Explanation, Mail, Ruled};

use crate::cli::Explain;
use crate::message::{Message, Unreadable};
use crate::print::Printer;
use crate::queue_cli::hint;

/// Why there is nothing to print.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0}{hint}", hint = hint(.0))]
    Client(#[from] ClientError),
    #[error(transparent)]
    Message(#[from] Unreadable),
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
        opened.map_err(|error| Unreadable(path.clone(), error))
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

/// What `policy` writes of a rule that is neither for nor against.
const SILENT: &str = "pass";

/// A rule and what it said, or those in a row that said nothing.
fn rules(rules: &[Ruled]) -> String {
    match rules {
        [one] if one.opinion != SILENT => format!("  {:22} {}", one.rule, one.opinion),
        silent => {
            let names: Vec<_> = silent.iter().map(|ruled| &*ruled.rule).collect();
            format!("  said nothing: {}", names.join(", "))
        }
    }
}

fn lines(explanation: &Explanation) -> Vec<String> {
    let mut lines = Vec::new();
    for stage in &explanation.stages {
        lines.push(String::new());
        lines.push(stage.stage.clone());
        let asked = stage.asked.iter();
        lines.extend(asked.map(|asked| format!("  {} → {}", asked.question, asked.answer)));
        let are_silent =
            |one: &Ruled, next: &Ruled| one.opinion == SILENT && next.opinion == SILENT;
        lines.extend(stage.rules.chunk_by(are_silent).map(rules));
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
            lines.extend(ways.map(|way| {
                let line = format!("  {} from {} {}", way.target, way.sender, way.options);
                line.trim_end().to_owned()
            }));
        }
    }
    if explanation.refusal.is_none() && !explanation.has_message {
        lines.push("without a message (--file), the rules at its end were not asked".to_owned());
    }
    lines
}
