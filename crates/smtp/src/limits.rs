//! Limits of the protocol that no site has a reason to change; the others are in the two `Settings`.

/// A command line with its CRLF, in octets. RFC 5321 §4.5.3.1.4 says 512, and each extension adds to it: MAIL grows by
/// SIZE (26), BODY (16), SMTPUTF8 (10), RET and ENVID (124), AUTH (500), RCPT by NOTIFY and ORCPT (529). 2048, as Postfix
/// has it, holds all of them behind the longest address that we take (900).
pub const COMMAND_OCTETS_MAX: usize = 2048;

/// A line of an AUTH exchange with its CRLF (RFC 4954 §4: so much holds what any mechanism in use sends).
pub const AUTH_LINE_OCTETS_MAX: usize = 12_288;

/// A user name (RFC 4616 §2).
pub const USER_OCTETS_MAX: usize = 255;

/// Octets that a server session holds back unread, behind an open question or in a pipelined group: when it has this
/// many it wants no more input. More than a group of 100 recipients needs.
pub const INPUT_OCTETS_MAX: usize = 64 * 1024;

/// The name in EHLO and HELO (RFC 5321 §4.5.3.1.2).
pub const HELLO_OCTETS_MAX: usize = 255;

/// ENVID, as written in xtext (RFC 3461 §4.4).
pub const ENVID_OCTETS_MAX: usize = 100;

/// ORCPT, as written, with its type (RFC 3461 §4.2).
pub const ORCPT_OCTETS_MAX: usize = 500;

/// Digits of a number in SIZE and BDAT (RFC 1870 §4).
pub const SIZE_DIGITS_MAX: usize = 20;

/// A reply line that we write, with its CRLF (RFC 5321 §4.5.3.1.5).
pub const REPLY_LINE_OCTETS_MAX: usize = 512;

/// Lines of a reply that we write; what is over is left out.
pub const REPLY_LINES_MAX: usize = 50;

/// Text of a peer's reply that is kept, in octets; the rest of it is read and dropped. EHLO replies and the stories
/// of large providers stay well below.
pub const PEER_REPLY_OCTETS_KEPT: usize = 8 * 1024;

/// Characters shown of what a peer said that is no reply.
pub const PEER_UNREAD_SHOWN: usize = 400;

/// Lines of a peer's reply; with more than this it breaks the protocol.
pub const PEER_REPLY_LINES_MAX: usize = 256;

/// Octets of a peer's reply in all; with more than this it breaks the protocol.
pub const PEER_REPLY_OCTETS_MAX: usize = 256 * 1024;
