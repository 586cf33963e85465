//! `onward explain`: asks the running daemon what it would decide on a mail, and prints every rule.

use std::path::{Path, PathBuf};

use control::{Client, Explanation, Mail, Ruled, Step, Way};

use crate::cli::Explain;
use crate::message::{Message, Unreadable};
use crate::print::Printer;
use crate::{Exit, Failure};

/// Runs the command. A problem: the mail would be refused.
pub(crate) async fn run(socket: &Path, args: &Explain, print: Printer) -> Result<Exit, Failure> {
    let mail = Mail {
        to: args.to.clone(),
        from: args
            .from
            .mailbox()
            .map_or_else(String::new, ToString::to_string),
        ip: args.ip,
        hello: args.helo.clone(),
        user: args.user.clone(),
    };
    let open = |path: &PathBuf| {
        let opened = Message::open(path);
        opened.map_err(|error| Unreadable(path.clone(), error))
    };
    let mut message = args.file.as_ref().map(open).transpose()?;
    let mut daemon = Client::connect(socket).await?;
    let explanation = daemon.explain(mail, message.as_mut()).await?;
    print.value(&explanation, |print, explanation| {
        let name = explanation.name.iter().map(|name| format!(", {name}"));
        let user = args.user.iter().map(|user| format!(" as {user}"));
        let (name, user) = (String::from_iter(name), String::from_iter(user));
        print.line(format_args!(
            "{} from {} ({}{name}){user}, EHLO {}, to {}",
            args.from, args.ip, explanation.client, args.helo, args.to
        ));
        print.lines(lines(explanation));
    });
    Ok(Exit::problem_unless(explanation.refusal.is_none()))
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
    if !explanation.expansion.is_empty() {
        lines.push("\nthe lines that it goes through".to_owned());
        lines.extend(explanation.expansion.iter().flat_map(expanded));
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
            lines.extend(explanation.ways.iter().flat_map(sent));
            let answer = explanation.answer.iter();
            lines.extend(answer.map(|answer| format!("answer: {answer}")));
        }
    }
    if explanation.refusal.is_none() && !explanation.has_message {
        lines.push("without a message (--file), the rules at its end were not asked".to_owned());
    }
    lines
}

/// An address, and where it says what is done with its mail.
fn expanded(step: &Step) -> Vec<String> {
    let indent = " ".repeat(2 * step.depth + 2);
    let fault = step.fault.iter().map(|fault| format!(": {fault}"));
    let fault = String::from_iter(fault);
    let mut lines = vec![format!("{indent}{}{fault}", step.address)];
    let line = step.line.iter();
    lines.extend(line.map(|line| format!("{indent}  {line}")));
    let line = step.domain_line.iter();
    lines.extend(line.map(|line| format!("{indent}  its domain: {line}")));
    lines
}

/// A target, and what delivery would do.
fn sent(way: &Way) -> Vec<String> {
    let line = format!("  {} from {} {}", way.target, way.sender, way.options);
    let mut lines = vec![line.trim_end().to_owned()];
    let back = way.back.iter();
    lines.extend(back.map(|sender| format!("    a bounce comes back to {sender}")));
    if let (Some(site), Some(tls)) = (&way.site, &way.tls) {
        let login = way.login.iter().map(|file| format!(", login by {file}"));
        let egress = way.egress.iter().map(|egress| format!(", egress {egress}"));
        let more = String::from_iter(login.chain(egress));
        lines.push(format!("    site {site}, TLS {tls}{more}"));
    }
    let sts = way.sts.iter();
    lines.extend(sts.map(|policy| format!("    MTA-STS policy: {policy}")));
    lines.extend(way.hops.iter().map(|hop| {
        let host = hop.host.iter().map(|host| format!("{host} "));
        let from = hop.from.iter().map(|from| format!(" from {from}"));
        let (host, from) = (String::from_iter(host), String::from_iter(from));
        let tls = (way.tls.as_ref() != Some(&hop.tls)).then(|| format!(", TLS {}", hop.tls));
        format!("      {host}{}{from}{}", hop.to, tls.unwrap_or_default())
    }));
    let trouble = way.trouble.iter();
    lines.extend(trouble.map(|trouble| format!("    cannot be sent now: {trouble}")));
    lines
}
