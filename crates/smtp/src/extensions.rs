//! Service extensions as a peer's EHLO reply lists them (RFC 5321 §4.1.1.1).
//!
//! A keyword that we have no use for is skipped; a bad argument counts as no argument.

/// What a peer can do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// PIPELINING (RFC 2920).
    pub pipelining: bool,
    /// SIZE was listed, with or without a number: the `SIZE=` parameter is understood (RFC 1870).
    pub size_extension: bool,
    /// The peer's fixed maximum in octets; `None` when it told none (0 means none too, RFC 1870 §4).
    pub size: Option<u64>,
    /// 8BITMIME (RFC 6152).
    pub eight_bit_mime: bool,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// DSN (RFC 3461).
    pub dsn: bool,
    /// STARTTLS (RFC 3207).
    pub starttls: bool,
    /// AUTH PLAIN (RFC 4954, RFC 4616).
    pub auth_plain: bool,
    /// AUTH LOGIN, which some servers offer alone.
    pub auth_login: bool,
    /// REQUIRETLS (RFC 8689).
    pub require_tls: bool,
    /// LIMITS (RFC 9422).
    pub limits: PeerLimits,
}

/// The limits of a peer (RFC 9422 §4); `None` is unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PeerLimits {
    /// MAILMAX: transactions of one connection.
    pub mail_max: Option<u32>,
    /// RCPTMAX: recipients of one transaction.
    pub rcpt_max: Option<u32>,
    /// RCPTDOMAINMAX: different recipient domains of one transaction.
    pub rcpt_domain_max: Option<u32>,
}

impl Capabilities {
    /// Reads the text of a 250 reply to EHLO: lines separated by `\n`, the first being the peer's name.
    pub fn parse(text: &str) -> Self {
        let mut capabilities = Self::default();
        text.lines().skip(1).for_each(|line| capabilities.add(line));
        capabilities
    }

    fn add(&mut self, line: &str) {
        let mut words = line.split_ascii_whitespace();
        let Some(keyword) = words.next() else { return };
        match keyword.to_ascii_uppercase().as_str() {
            "PIPELINING" => self.pipelining = true,
            "SIZE" => {
                self.size_extension = true;
                self.size = words
                    .next()
                    .and_then(|number| number.parse().ok())
                    .filter(|octets| *octets > 0);
            }
            "8BITMIME" => self.eight_bit_mime = true,
            "SMTPUTF8" => self.smtputf8 = true,
            "DSN" => self.dsn = true,
            "REQUIRETLS" => self.require_tls = true,
            "STARTTLS" => self.starttls = true,
            "AUTH" => {
                for mechanism in words {
                    self.auth_plain |= mechanism.eq_ignore_ascii_case("PLAIN");
                    self.auth_login |= mechanism.eq_ignore_ascii_case("LOGIN");
                }
            }
            "LIMITS" => words.for_each(|word| self.limits.add(word)),
            _ => {}
        }
    }
}

impl PeerLimits {
    fn add(&mut self, word: &str) {
        let Some((name, value)) = word.split_once('=') else {
            return;
        };
        // RFC 9422 §3: one to six digits, not beginning with 0.
        let value = value.parse().ok().filter(|value| *value > 0);
        match name.to_ascii_uppercase().as_str() {
            "MAILMAX" => self.mail_max = value,
            "RCPTMAX" => self.rcpt_max = value,
            "RCPTDOMAINMAX" => self.rcpt_domain_max = value,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse() {
        let text = "mx.example says PIPELINING\npipelining\nSIZE 1000\n8BITMIME\nSMTPUTF8\nCHUNKING\nDSN\nSTARTTLS\nREQUIRETLS\n\
                    AUTH CRAM-MD5 plain LOGIN\n\
                    ENHANCEDSTATUSCODES\nLIMITS MAILMAX=5 rcptmax=20 RCPTDOMAINMAX=1 X=1\nX-THING a b\n\nAUTH=PLAIN";
        let expected = Capabilities {
            pipelining: true,
            size_extension: true,
            size: Some(1000),
            eight_bit_mime: true,
            smtputf8: true,
            dsn: true,
            starttls: true,
            auth_plain: true,
            auth_login: true,
            require_tls: true,
            limits: PeerLimits {
                mail_max: Some(5),
                rcpt_max: Some(20),
                rcpt_domain_max: Some(1),
            },
        };
        assert_eq!(Capabilities::parse(text), expected);
    }

    #[test]
    fn the_first_line_is_a_name_only() {
        assert_eq!(Capabilities::parse("PIPELINING"), Capabilities::default());
        assert_eq!(Capabilities::parse(""), Capabilities::default());
    }

    #[track_caller]
    fn check_size(line: &str, listed: bool, size: Option<u64>) {
        let got = Capabilities::parse(&format!("x\n{line}"));
        assert_eq!((got.size_extension, got.size), (listed, size), "{line:?}");
    }

    #[test]
    fn sizes() {
        check_size("SIZE", true, None);
        check_size("SIZE 0", true, None);
        check_size("size 7", true, Some(7));
        check_size("SIZE -1", true, None);
        check_size("SIZE 99999999999999999999999", true, None);
        check_size("SIZES 7", false, None);
        check_size("LIMITS RCPTMAX=0 MAILMAX= RCPTDOMAINMAX", false, None);
    }
}
