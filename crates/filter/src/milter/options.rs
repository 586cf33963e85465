//! What is agreed upon at the beginning (SMFIC_OPTNEG), and the stages of a message with their options.

use crate::opinion::Failed;

/// One thing that a milter is told of.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stage {
    /// Of its packet.
    pub(super) letter: u8,
    /// Which list of macros belongs to it.
    pub(super) symbols: Option<usize>,
    /// The option of a milter that does not want to be told.
    unwanted: u32,
    /// The option of a milter that does not answer.
    silent: u32,
}

/// What a milter and we have agreed upon.
#[derive(Debug, Default)]
pub(super) struct Options {
    protocol: u32,
    /// The macros that it asked for, by the number of their list (SMFIR_SETSYMLIST).
    symbols: [Option<String>; SYMBOLS.len()],
}

pub(super) const CONNECT: Stage = stage(b'C', Some(0), 1, 1 << 12);
pub(super) const HELO: Stage = stage(b'H', Some(1), 1 << 1, 1 << 13);
pub(super) const MAIL: Stage = stage(b'M', Some(2), 1 << 2, 1 << 14);
pub(super) const RCPT: Stage = stage(b'R', Some(3), 1 << 3, 1 << 15);
pub(super) const DATA: Stage = stage(b'T', Some(4), NO_DATA, 1 << 16);
pub(super) const HEADER: Stage = stage(b'L', None, 1 << 5, 1 << 7);
pub(super) const END_OF_HEADER: Stage = stage(b'N', Some(6), 1 << 6, 1 << 18);
pub(super) const BODY: Stage = stage(b'B', None, 1 << 4, 1 << 19);
/// The end of the message is always told and always answered.
pub(super) const END: Stage = stage(b'E', Some(5), 0, 0);

const fn stage(letter: u8, symbols: Option<usize>, unwanted: u32, silent: u32) -> Stage {
    Stage {
        letter,
        symbols,
        unwanted,
        silent,
    }
}

/// The data of our offer.
pub(super) fn offer() -> Vec<u8> {
    [VERSION, ACTIONS, PROTOCOL]
        .iter()
        .flat_map(|n| n.to_be_bytes())
        .collect()
}

impl Options {
    /// Reads the answer to our offer. Wishes for what we did not offer are passed over: rspamd always has them, and what it
    /// then wants changed is refused.
    pub(super) fn read(mut data: &[u8]) -> Result<Self, Failed> {
        let cut = || Failed("its options are cut short".to_owned());
        let number = |data: &mut &[u8]| -> Option<u32> {
            let (number, rest) = data.split_first_chunk()?;
            *data = rest;
            Some(u32::from_be_bytes(*number))
        };
        let [version, _, protocol] = [(); 3].map(|()| number(&mut data));
        let (version, protocol) = version.zip(protocol).ok_or_else(cut)?;
        if !(2..=VERSION).contains(&version) {
            return Err(Failed(format!(
                "it speaks version {version} of the milter protocol"
            )));
        }
        let mut options = Self {
            protocol: protocol & PROTOCOL,
            ..Self::default()
        };
        if version < 4 {
            options.protocol |= NO_DATA;
        }
        while !data.is_empty() {
            let list = number(&mut data).ok_or_else(cut)? as usize;
            let end = memchr::memchr(0, data).ok_or_else(cut)?;
            let names = String::from_utf8_lossy(&data[..end]).into_owned();
            data = &data[end + 1..];
            // A list that we do not know belongs to a stage that we do not know.
            if let Some(symbols) = options.symbols.get_mut(list) {
                *symbols = Some(names);
            }
        }
        Ok(options)
    }

    /// The names of the macros of a stage.
    pub(super) fn symbols(&self, stage: &Stage) -> impl Iterator<Item = &str> {
        let list = stage
            .symbols
            .map(|list| self.symbols[list].as_deref().unwrap_or(SYMBOLS[list]));
        let names = list.unwrap_or_default().split([' ', ',']);
        names.filter(|name| !name.is_empty()).take(SYMBOLS_MAX)
    }

    pub(super) fn wants(&self, stage: &Stage) -> bool {
        self.protocol & stage.unwanted == 0
    }

    pub(super) fn answers(&self, stage: &Stage) -> bool {
        self.protocol & stage.silent == 0
    }

    /// Whether the blank behind a field's colon is part of its value, ours and theirs.
    pub(super) fn keeps_blank(&self) -> bool {
        self.protocol & HEADER_BLANK != 0
    }
}

const VERSION: u32 = 6;
/// SMFIF_ADDHDRS, SMFIF_QUARANTINE, SMFIF_SETSYMLIST. All others change the envelope or what stands below our trace.
const ACTIONS: u32 = 1 | 1 << 5 | 1 << 8;
const NO_DATA: u32 = 1 << 9;
const HEADER_BLANK: u32 = 1 << 20;
/// All that a milter may leave out, SMFIP_SKIP, no answers, the blank. Not SMFIP_RCPT_REJ: a refused recipient is never told.
const PROTOCOL: u32 = 0x001f_f7ff;
/// What Postfix sends without being asked, and the client's macros, which rspamd likes. By the numbers of SMFIR_SETSYMLIST.
const SYMBOLS: [&str; 7] = [
    "j {daemon_name} v {client_addr} {client_name} {client_ptr} {client_port} _",
    "{tls_version} {cipher} {cipher_bits}",
    "i {auth_type} {auth_authen} {mail_addr} {mail_host} {mail_mailer}",
    "i {rcpt_addr} {rcpt_host} {rcpt_mailer}",
    "i",
    "i",
    "i",
];
const SYMBOLS_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(version: u32, protocol: u32, lists: &[u8]) -> Vec<u8> {
        let numbers = [version, 0x1ff, protocol];
        let mut data: Vec<u8> = numbers.iter().flat_map(|n| n.to_be_bytes()).collect();
        data.extend_from_slice(lists);
        data
    }

    #[test]
    fn what_a_milter_leaves_out() {
        let all = [
            &CONNECT,
            &HELO,
            &MAIL,
            &RCPT,
            &DATA,
            &HEADER,
            &END_OF_HEADER,
            &BODY,
            &END,
        ];
        let letters = |version, protocol| {
            let options = Options::read(&answer(version, protocol, b"")).unwrap();
            let of = |which: &dyn Fn(&Stage) -> bool| -> String {
                all.iter()
                    .filter(|stage| which(stage))
                    .map(|stage| char::from(stage.letter))
                    .collect()
            };
            (
                of(&|stage| options.wants(stage)),
                of(&|stage| options.answers(stage)),
            )
        };
        let check = |version, protocol, wanted: &str, answered: &str| {
            assert_eq!(
                letters(version, protocol),
                (wanted.to_owned(), answered.to_owned())
            );
        };
        check(6, 0, "CHMRTLNBE", "CHMRTLNBE");
        check(2, 0, "CHMRLNBE", "CHMRTLNBE");
        check(6, 0x7f, "TE", "CHMRTLNBE");
        check(6, 0x200 | 0x20, "CHMRNBE", "CHMRTLNBE");
        check(6, 0x80, "CHMRTLNBE", "CHMRTNBE");
        check(6, 0xf_f080, "CHMRTLNBE", "E");
        // Options that were not offered.
        check(6, 0xf000_0800, "CHMRTLNBE", "CHMRTLNBE");
    }

    #[test]
    fn macros_that_it_asks_for() {
        let lists = b"\0\0\0\x02i {mail_addr},{x}\0\0\0\0\x05\0\0\0\0\x63what\0";
        let options = Options::read(&answer(6, 0, lists)).unwrap();
        let names = |stage| options.symbols(stage).collect::<Vec<_>>();
        assert_eq!(names(&MAIL), ["i", "{mail_addr}", "{x}"]);
        assert!(names(&END).is_empty() && names(&HEADER).is_empty());
        assert_eq!(names(&DATA), ["i"]);
    }

    #[test]
    fn rubbish() {
        let whole = answer(6, 0, b"\0\0\0\x02i\0");
        for end in (0..whole.len()).filter(|end| *end != 12) {
            assert!(Options::read(&whole[..end]).is_err(), "{end}");
        }
        for version in [0, 1, 7, u32::MAX] {
            assert!(Options::read(&answer(version, 0, b"")).is_err());
        }
    }
}
