//! What the campaign reads out of trace headers and of the relay's DSNs (RFC 3464): names, and who failed.

/// A DSN, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Report {
    /// Its Message-ID: the same in each copy of one DSN, another in another DSN.
    pub(super) name: String,
    /// The relay's name for the message it is about.
    pub(super) origin: String,
    /// The recipients that failed, as the sender wrote them.
    pub(super) failed: Vec<String>,
}

/// The relay's name for a message, from the topmost Received field that has one.
pub(super) fn relay_id(trace: &str) -> Option<String> {
    let unfolded = trace.replace("\r\n\t", " ").replace("\r\n ", " ");
    let mut fields = unfolded
        .lines()
        .filter(|line| line.starts_with("Received: "));
    let words = fields.next()?.split_whitespace();
    let id = words.skip_while(|&word| word != "id").nth(1)?;
    Some(id.trim_end_matches(';').to_owned())
}

/// Reads a DSN; none when it is not one about a failure.
pub(super) fn read(text: &str) -> Option<Report> {
    let field = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.strip_prefix(name));
        Some(lines.next()?.trim().to_owned())
    };
    let mut failed = Vec::new();
    let mut recipient = None;
    for line in text.lines() {
        if let Some(address) = line.strip_prefix("Final-Recipient: rfc822;") {
            recipient = Some(address.trim().to_owned());
        }
        if line.trim_end() == "Action: failed" {
            failed.push(recipient.take()?);
        }
    }
    Some(Report {
        name: field("Message-ID:")?,
        origin: field("X-Onward-Id:")?,
        failed,
    })
    .filter(|report| !report.failed.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let trace = "Delivered-To: a@b.test\r\nReceived: from c.test ([127.0.0.1])\r\n\tby mx\r\n\twith ESMTP id 01ABC\r\n\tfor <a@b.test>; Sat\r\n";
        assert_eq!(relay_id(trace).as_deref(), Some("01ABC"));
        assert_eq!(relay_id("Received: from a by b; c\r\n"), None);
    }

    #[test]
    fn failures() {
        let text = "Message-ID: <1@mx>\r\n\r\nX-Onward-Id: 01ABC\r\n\r\n\
            Final-Recipient: rfc822; a@b.test\r\nAction: failed\r\n";
        let report = Report {
            name: "<1@mx>".to_owned(),
            origin: "01ABC".to_owned(),
            failed: vec!["a@b.test".to_owned()],
        };
        assert_eq!(read(text), Some(report));
        assert_eq!(read(&text.replace("failed", "delayed")), None);
    }
}
