//! Tests of loading and looking up.

use envelope::{Domain, Mailbox, Timestamp};

use super::*;

const NOW: Timestamp = Timestamp::from_unix_millis(1_795_266_072_000);

#[track_caller]
fn table(text: &str) -> Table {
    Table::parse("forwards", text.into()).unwrap_or_else(|errors| panic!("{errors}"))
}

fn address(text: &str) -> Mailbox {
    text.parse().unwrap()
}

fn domain(text: &str) -> Domain {
    text.parse().unwrap()
}

/// `a, b` for targets, `!` and the fault for broken ones, or the resolution's name.
fn shown(resolution: Resolution) -> String {
    match resolution {
        Resolution::NotHosted => "not hosted".into(),
        Resolution::Unknown => "unknown".into(),
        Resolution::Discard(_) => "discard".into(),
        Resolution::Refused(reply) => reply.to_string(),
        Resolution::Targets(expansion) => {
            let targets = expansion.targets.iter().map(|t| t.mailbox.to_string());
            let broken = expansion
                .broken
                .iter()
                .map(|b| format!("!{} {:?}", b.address, b.fault));
            targets.chain(broken).collect::<Vec<_>>().join(", ")
        }
    }
}

#[track_caller]
fn check(table: &Table, recipient: &str, expected: &str) {
    assert_eq!(
        shown(table.resolve(&address(recipient), NOW)),
        expected,
        "{recipient}"
    );
}

const EXAMPLE: &str = "\
# address            targets                         options
alice@example.org    alice@mail.example.com
sales@example.org    bob@a.example, carol@b.example,dave@c.example
@example.org         catchall@c.example              # catch-all
paul-*@example.org   paul@d.example                  # disposable addresses
shop@example.org\tx@e.example                     srs=off
junk@example.org     :discard:
old@example.org      :reject: 550 5.1.6 moved, write to new@example.org
example.net          :domain:                         srs_domain=srs.example.net
";

#[test]
fn the_documented_example() {
    let table = table(EXAMPLE);
    check(&table, "alice@example.org", "alice@mail.example.com");
    check(&table, "ALICE@EXAMPLE.ORG", "alice@mail.example.com");
    check(
        &table,
        "sales@example.org",
        "bob@a.example, carol@b.example, dave@c.example",
    );
    check(&table, "anybody@example.org", "catchall@c.example");
    check(&table, "paul-ebay@example.org", "paul@d.example");
    check(&table, "paul-@example.org", "paul@d.example");
    check(&table, "paul@example.org", "catchall@c.example");
    check(&table, "junk@example.org", "discard");
    check(
        &table,
        "old@example.org",
        "550 5.1.6 moved, write to new@example.org",
    );
    check(&table, "a@example.net", "unknown");
    check(&table, "a@sub.example.org", "not hosted");
    check(&table, "a@[192.0.2.1]", "not hosted");
    let stats = Stats {
        memory_octets: 0,
        ..table.stats()
    };
    let expected = Stats {
        lines: 8,
        addresses: 5,
        patterns: 1,
        catch_alls: 1,
        domain_lines: 1,
        domains: 2,
        memory_octets: 0,
    };
    assert_eq!(stats, expected);
    assert!(table.stats().memory_octets >= EXAMPLE.len());
    assert!(table.hosts(&domain("example.net")) && !table.hosts(&domain("srs.example.net")));
    assert!(table.names_srs_domain(&domain("srs.example.net")));
    assert!(!table.names_srs_domain(&domain("example.net")));
}

/// A line does not ask for less than its domain.
#[test]
fn the_stricter_tls_counts() {
    let table = table(
        "example.net :domain: tls=required\n\
         a@example.net x@y.example tls=opportunistic\n\
         b@example.net x@y.example tls=verified\n",
    );
    for (recipient, expected) in [("a@example.net", "required"), ("b@example.net", "verified")] {
        let Resolution::Targets(expansion) = table.resolve(&address(recipient), NOW) else {
            panic!("{recipient} has a target");
        };
        let noun = expansion.targets[0].options.noun();
        assert_eq!(noun.as_str(), format!("tls={expected}"));
        assert_eq!(noun.way(), noun);
    }
}

#[test]
fn options_of_line_and_domain() {
    let table = table(
        "example.net :domain: srs_domain=srs.example.net srs=off answer=destination\n\
         a@example.net x@y.example\n\
         b@example.net x@y.example srs=on answer=queue\n\
         c@example.net d@example.org\n\
         d@example.org x@y.example\n",
    );
    let options = |recipient| match table.resolve(&address(recipient), NOW) {
        Resolution::Targets(expansion) => (
            expansion.options.clone(),
            expansion.targets[0].options.clone(),
        ),
        other => panic!("{other:?}"),
    };
    let whole = Options {
        srs: Some(false),
        srs_domain: Some(domain("srs.example.net")),
        online: Some(true),
        ..Options::default()
    };
    assert_eq!(
        table.domain_options(&domain("example.net")),
        Some(whole.clone())
    );
    assert_eq!(
        table.domain_options(&domain("example.org")),
        Some(Options::default())
    );
    assert_eq!(table.domain_options(&domain("example.com")), None);
    assert_eq!(options("a@example.net"), (whole.clone(), whole.clone()));
    let own = Options {
        srs: Some(true),
        online: Some(false),
        ..whole.clone()
    };
    assert_eq!(options("b@example.net"), (own.clone(), own));
    // For the leg the line that names the target decides.
    assert_eq!(options("c@example.net"), (whole, Options::default()));
}

#[test]
fn the_nearest_line_wins() {
    let table = table(
        "@example.org catchall@x.example\n\
         al*@example.org al@x.example\n\
         ali*@example.org ali@x.example\n\
         ali*-news@example.org ali-news@x.example\n\
         *-news@example.org news@x.example\n\
         alice@example.org alice@x.example\n\
         alice+exact@example.org exact@x.example\n",
    );
    check(&table, "alice@example.org", "alice@x.example");
    check(&table, "alice+exact@example.org", "exact@x.example");
    // Before any pattern; the suffix is dropped.
    check(&table, "Alice+tag+more@example.org", "alice@x.example");
    check(&table, "alicia@example.org", "ali@x.example");
    check(&table, "ali-news@example.org", "ali-news@x.example");
    check(&table, "alba@example.org", "al@x.example");
    check(&table, "bob-news@example.org", "news@x.example");
    check(&table, "-news@example.org", "news@x.example");
    check(&table, "bob+tag@example.org", "catchall@x.example");
    check(&table, "+tag@example.org", "catchall@x.example");
}

#[test]
fn pattern_ends_do_not_overlap() {
    let table = table("aba*aba@example.org x@x.example\n");
    check(&table, "abaaba@example.org", "x@x.example");
    check(&table, "ababa@example.org", "unknown");
}

#[test]
fn quoted_and_international() {
    let table = table(
        "\"John Doe\"@example.org \"a, b\"@x.example,c@x.example\n\
         \"star*\"@example.org star@x.example\n\
         \"plain\"@example.org plain@x.example\n\
         jürgen@bücher.example j@x.example\n\
         Ä*@xn--bcher-kva.example a@x.example\n",
    );
    check(
        &table,
        "\"john doe\"@example.org",
        "\"a, b\"@x.example, c@x.example",
    );
    check(&table, "\"star*\"@example.org", "star@x.example");
    check(&table, "starlight@example.org", "unknown");
    check(&table, "PLAIN@example.org", "plain@x.example");
    check(&table, "JÜRGEN@xn--bcher-kva.example", "j@x.example");
    check(&table, "ärger@bücher.example", "a@x.example");
    assert_eq!(table.stats().domains, 2);
}

/// What looks the same is the same, however it is composed, on both sides.
#[test]
fn composed_or_not() {
    for (key, recipient) in [
        ("bücher", "bu\u{308}cher"),
        ("bu\u{308}cher", "BÜCHER"),
        ("bü*", "bu\u{308}cher"),
        ("*u\u{308}r", "Für"),
        ("ü", "U\u{308}+tag"),
    ] {
        let table = table(&format!("{key}@example.org x@x.example\n"));
        check(&table, &format!("{recipient}@example.org"), "x@x.example");
    }
    let loops =
        table("ü@example.org a@example.org\na@example.org u\u{308}@example.org, b@x.example\n");
    check(
        &loops,
        "ü@example.org",
        "b@x.example, !u\u{308}@example.org Loop",
    );
}

#[test]
fn dots_anywhere() {
    let table = table(
        "try..this@example.org \"name.\"@x.example, .x@y.example\n\
         \".b\"@example.org b@x.example.\n\
         a@final.example. a@x.example\n",
    );
    let targets = "\"name.\"@x.example, \".x\"@y.example";
    check(&table, "\"try..this\"@example.org", targets);
    check(&table, "Try..This@example.org.", targets);
    check(&table, ".b@example.org", "b@x.example");
    check(&table, "a@final.example", "a@x.example");
    assert!(table.hosts(&domain("final.example")));
}

#[test]
fn addresses_of_any_length() {
    let long = "l".repeat(500);
    let table = table(&format!(
        "{long}@example.org {long}@x.example\n@catch.example c@x.example\n"
    ));
    check(
        &table,
        &format!("{long}@example.org"),
        &format!("{long}@x.example"),
    );
    check(&table, &format!("{long}@catch.example"), "c@x.example");
}

#[test]
fn chains() {
    let table = table(
        "a@one.example b@two.example, out@x.example\n\
         b@two.example c@one.example, out@x.example, gone@two.example\n\
         c@one.example deep@x.example, a@one.example\n\
         self@one.example self@one.example\n\
         ring1@one.example ring2@one.example\n\
         ring2@one.example ring1@one.example\n\
         dead@one.example nobody@one.example\n\
         no@one.example no2@one.example\n\
         no2@one.example :reject: 550 5.7.1 not for you\n\
         drop@one.example drop2@one.example, nobody@one.example\n\
         drop2@one.example :discard:\n\
         twice@one.example end@one.example, end@one.example, END@one.example\n\
         end@one.example out@x.example\n",
    );
    check(
        &table,
        "a@one.example",
        "deep@x.example, out@x.example, !a@one.example Loop, !gone@two.example Unknown",
    );
    check(
        &table,
        "self@one.example",
        "550 5.4.6 forwarding of this address leads back to itself",
    );
    check(
        &table,
        "ring1@one.example",
        "550 5.4.6 forwarding of this address leads back to itself",
    );
    check(
        &table,
        "dead@one.example",
        "550 5.1.1 forwarded to an address that does not exist",
    );
    check(&table, "no@one.example", "550 5.7.1 not for you");
    check(&table, "drop@one.example", "discard");
    check(&table, "twice@one.example", "out@x.example");
    let Resolution::Targets(expansion) = table.resolve(&address("a@one.example"), NOW) else {
        panic!("no targets");
    };
    let via: Vec<String> = expansion.targets[0]
        .via
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(via, ["a@one.example", "b@two.example", "c@one.example"]);
    let dead = table.dead_ends(NOW);
    let lines: Vec<usize> = dead.errors.iter().map(|error| error.line).collect();
    assert_eq!(lines, [1, 2, 3, 4, 5, 6, 7, 8, 10], "{dead}");
}

#[test]
fn a_catch_all_that_leads_to_itself() {
    let table = table("@one.example info@one.example\n");
    check(
        &table,
        "x@one.example",
        "550 5.4.6 forwarding of this address leads back to itself",
    );
}

#[test]
fn a_domain_in_another_keeps_the_local_part() {
    let table = table(
        "@old.example @new.example srs=off\n\
         boss@old.example boss@x.example\n\
         @hosted.example @box.example\n\
         ann@box.example ann@x.example\n\
         copies-*@old.example @a.example, @b.example, c@c.example\n\
         @ring1.example @ring2.example\n\
         @ring2.example @ring1.example\n\
         @self.example @self.example, copy@x.example\n",
    );
    check(&table, "Ann+Tag@OLD.example", "Ann+Tag@new.example");
    check(&table, "\"a b\"@old.example", "\"a b\"@new.example");
    check(&table, "boss@old.example", "boss@x.example");
    check(&table, "ann@hosted.example", "ann@x.example");
    check(
        &table,
        "ben@hosted.example",
        "550 5.1.1 forwarded to an address that does not exist",
    );
    check(
        &table,
        "copies-1@old.example",
        "copies-1@a.example, copies-1@b.example, c@c.example",
    );
    check(
        &table,
        "x@ring1.example",
        "550 5.4.6 forwarding of this address leads back to itself",
    );
    check(
        &table,
        "x@self.example",
        "copy@x.example, !x@self.example Loop",
    );
    let Resolution::Targets(expansion) = table.resolve(&address("ann@old.example"), NOW) else {
        panic!("no targets");
    };
    assert_eq!(expansion.targets[0].options.srs, Some(false));
    let dead = table.dead_ends(NOW);
    let lines: Vec<usize> = dead.errors.iter().map(|error| error.line).collect();
    assert_eq!(lines, [6, 7, 8], "{dead}");
}

#[test]
fn what_a_new_table_changes() {
    let old = table(
        "a@one.example x@y.example\nb@one.example x@y.example\n@two.example x@y.example\n\
         two.example :domain: srs=off\nc@three.example x@y.example\n",
    );
    let new = table(
        "b@ONE.example x@y.example\nA@one.example x@y.example, z@y.example\n\
         two.example :domain:\nd@four.example x@y.example\ne@four.example x@y.example",
    );
    let expected = Difference {
        added: 2,
        removed: 2,
        // One by its targets, one by its spelling: that is told, too.
        changed: 2,
        domains_added: 1,
        domains_removed: 1,
    };
    assert_eq!(new.difference(&old), expected);
    assert_eq!(old.difference(&old), Difference::default());
    let all_gone = Table::parse("f", Vec::new()).unwrap().difference(&old);
    assert_eq!((all_gone.removed, all_gone.domains_removed), (4, 3));
    assert_eq!(old.open_ends().count(), 0);
    let open_ends: Vec<_> = new.open_ends().collect();
    assert_eq!(open_ends, [("forwards", "e@four.example x@y.example")]);
    assert!(!old.has_line("e@four.example x@y.example"));
    assert!(new.has_line("e@four.example x@y.example"));
    assert!(!new.has_line("e@four.example x@y.exampl"));
    let comment = table("a@b.example c@d.example\n# no line");
    assert_eq!(comment.open_ends().count(), 0);
}

#[test]
fn chains_end_at_the_limit() {
    let mut text = String::new();
    for n in 0..CHAIN_MAX + 1 {
        text += &format!("a{n}@one.example a{}@one.example\n", n + 1);
    }
    text += &format!("a{}@one.example out@x.example\n", CHAIN_MAX + 1);
    let table = table(&text);
    check(&table, "a2@one.example", "out@x.example");
    check(
        &table,
        "a1@one.example",
        "550 5.4.6 too many forwards one behind the other",
    );
}

#[test]
fn targets_end_at_the_limit() {
    let targets = |n: usize| -> String {
        let all: Vec<String> = (0..600).map(|t| format!("t{n}-{t}@x.example")).collect();
        all.join(",")
    };
    let text = format!(
        "a@one.example b@one.example, c@one.example\nb@one.example {}\nc@one.example {}\n",
        targets(0),
        targets(1)
    );
    let Resolution::Targets(expansion) = table(&text).resolve(&address("a@one.example"), NOW)
    else {
        panic!("no targets");
    };
    assert_eq!(expansion.targets.len(), TARGETS_MAX);
    assert_eq!(expansion.broken.len(), 200);
    assert_eq!(expansion.broken[0].fault, Fault::TooMany);
}

/// Each step of the way, with the lines that say so.
#[test]
fn the_way_is_traced() {
    let table = table(
        "a.test :domain: srs=off\n\
         team@a.test ann@a.test, bob@x.test, no@a.test\n\
         ann@a.test team@a.test, ann@y.test # home\n\
         @b.test @a.test\n\
         out@b.test :reject:\n",
    );
    for (recipient, expected) in [
        ("x@x.test", ""),
        ("no@a.test", "0 no@a.test - Unknown"),
        (
            "out@b.test",
            "0 out@b.test forwards:5: out@b.test :reject: -",
        ),
        (
            "team@b.test",
            "0 team@b.test forwards:4: @b.test @a.test -
             1 team@a.test forwards:2: team@a.test ann@a.test, bob@x.test, no@a.test -
             2 ann@a.test forwards:3: ann@a.test team@a.test, ann@y.test # home -
             3 team@a.test - Loop
             3 ann@y.test - -
             2 bob@x.test - -
             2 no@a.test - Unknown",
        ),
    ] {
        let steps = table.trace(&address(recipient), NOW);
        let of_domain = |step: &Step| {
            step.domain_line.as_deref() == Some("forwards:1: a.test :domain: srs=off")
        };
        assert!(
            steps
                .iter()
                .all(|step| of_domain(step) == step.address.to_string().ends_with("@a.test"))
        );
        let shown = steps.iter().map(|step| {
            let fault = step.fault.as_ref().map(|fault| format!("{fault:?}"));
            let (line, fault) = (
                step.line.as_deref().unwrap_or("-"),
                fault.as_deref().unwrap_or("-"),
            );
            format!("{} {} {line} {fault}", step.depth, step.address)
        });
        let shown: Vec<String> = shown.collect();
        let expected: Vec<&str> = expected.lines().map(str::trim).collect();
        assert_eq!(shown, expected, "{recipient}");
    }
}

#[track_caller]
fn check_error(text: &str, expected: &str) {
    let errors = Table::parse("f", text.into()).expect_err(text);
    let got: Vec<String> = errors
        .errors
        .iter()
        .map(|error| format!("{error}").replace("\n\nhint: ", " | "))
        .collect();
    assert_eq!(got.join("\n"), expected, "{text}");
}

#[test]
fn mistakes_in_addresses() {
    check_error(
        "alice@example.org\n",
        "f:1:18: nothing said about `alice@example.org` | write a target, `:discard:` or `:reject:`",
    );
    check_error(
        "\n  alice@@example.org x@y.example",
        "f:2:3: `alice@@example.org`: local part is neither a dot-string nor a quoted-string | an address is written `local-part@domain`",
    );
    check_error(
        "a@x.example b@y.example c@z.example",
        "f:1:25: expected an option, found `c@z.example` | targets are separated by commas",
    );
    check_error(
        "a@x.example b@y.example,",
        "f:1:25: target missing | one comma between two targets, none at the end",
    );
    check_error(
        "a@x.example b@y.example,,c@z.example",
        "f:1:25: target missing | one comma between two targets, none at the end",
    );
    check_error(
        "a@x.example b",
        "f:1:13: `b`: not of the form local-part@domain | an address is written `local-part@domain`",
    );
    check_error(
        "a@x.example b@y",
        "f:1:13: `b@y`: domain without a dot | write the full domain",
    );
}

#[test]
fn mistakes_in_actions_and_options() {
    check_error(
        "a@x.example :discrad:",
        "f:1:13: unknown action `:discrad:` | actions are `:discard:`, `:reject:` and `:domain:`",
    );
    check_error(
        "a@x.example b@y.example, :discard:",
        "f:1:26: `:discard:` among targets | `:discard:` and `:reject:` stand alone",
    );
    check_error(
        "ä@x.example b@y.example sr=on",
        "f:1:25: unknown option `sr` | options are `srs`, `srs_domain`, `answer`, `tls`, `profile`, the measures of a profile, `enabled`, `expires`, and `note`",
    );
    check_error(
        "a@x.example b@y.example srs=of",
        "f:1:29: unknown value `of` | write `on` or `off`",
    );
    check_error(
        "a@x.example b@y.example tls=off",
        "f:1:29: unknown value `off` | write `opportunistic`, `required` or `verified`",
    );
    check_error(
        "a@x.example b@y.example srs=on srs=on",
        "f:1:32: option `srs` given twice | remove one",
    );
    check_error(
        "a@x.example b@y.example answer=later",
        "f:1:32: unknown value `later` | write `destination` or `queue`",
    );
    check_error(
        "@x.example @y",
        "f:1:13: `y`: domain without a dot | a line begins with an address, `@domain`, or `domain :domain:`",
    );
    check_error(
        "x.example :domain: srs_domain=a..b",
        "f:1:31: `a..b`: empty domain or label",
    );
    check_error(
        "x.example y@z.example",
        "f:1:1: not an address | `@x.example` is its catch-all; options of a domain are written `x.example :domain: …`",
    );
    check_error(
        "a@x.example :domain:",
        "f:1:1: `:domain:` after an address | write `x.example :domain: …`",
    );
}

#[test]
fn mistakes_in_keys() {
    check_error(
        "*@x.example a@y.example",
        "f:1:1: pattern that fits everything | a catch-all is written `@x.example`",
    );
    check_error(
        "a*b*@x.example a@y.example",
        "f:1:1: more than one `*` in a pattern | one `*` stands for any text, even an empty one",
    );
    check_error(
        "a b*@x.example a@y.example",
        "f:1:1: `a`: domain without a dot | a line begins with an address, `@domain`, or `domain :domain:`",
    );
    check_error(
        "a@x.example :reject: 250 fine",
        "f:1:22: reply code 250 does not refuse | use 550, or 450 for the time being",
    );
    check_error(
        "a@x.example :reject: 450 5.1.1 x",
        "f:1:22: status 5.1.1 contradicts the code 450 | both begin with the same digit",
    );
    check_error("a@x.example b@y.example\u{7}", "f:1:24: control character");
    check_error(
        "a@x.example b@y.example\n\nA@X.example c@y.example",
        "f:3:1: a@x.example has a line already | the first is line 1; put all targets on one",
    );
    check_error(
        "x.example :domain:\n X.EXAMPLE :domain: srs=on",
        "f:2:2: x.example has a line already | the first is line 1; put all targets on one",
    );
    check_error(
        "@x.example a@y.example\n@x.example a@y.example",
        "f:2:1: @x.example has a line already | the first is line 1; put all targets on one",
    );
    check_error(
        "p*@x.example a@y.example\nP*@x.example a@y.example",
        "f:2:1: p*@x.example has a line already | the first is line 1; put all targets on one",
    );
}

#[test]
fn not_utf8() {
    let errors = Table::parse(
        "f",
        b"a@x.example b@y.example\nb@x.example \xfc@y.example\n".to_vec(),
    );
    let error = &errors.expect_err("no UTF-8").errors[0];
    assert_eq!((error.line, error.column), (2, 13));
}

#[test]
fn all_mistakes_are_counted_and_twenty_told() {
    let errors = Table::parse("f", "x\n".repeat(25).into()).expect_err("no address");
    assert_eq!((errors.errors.len(), errors.count), (20, 25));
    assert!(errors.to_string().ends_with("\nand 5 more"), "{errors}");
    assert_eq!(errors.errors[19].line, 20);
}

#[test]
fn rejections() {
    let table = table(
        "a@x.example :reject:\n\
         b@x.example :reject: gone\n\
         c@x.example :reject: 450 later\n\
         d@x.example :reject: 550   5.1.6   moved # to Rome \n\
         e@x.example :reject: 550\n",
    );
    check(
        &table,
        "a@x.example",
        "550 5.1.1 this address takes no mail",
    );
    check(&table, "b@x.example", "550 5.1.1 gone");
    check(&table, "c@x.example", "450 4.1.1 later");
    check(&table, "d@x.example", "550 5.1.6 moved # to Rome");
    check(
        &table,
        "e@x.example",
        "550 5.1.1 this address takes no mail",
    );
}

#[test]
fn line_ends_blanks_and_byte_order_mark() {
    let table = table(
        "\u{feff}a@x.example b@y.example\r\n\r\n \t\r\n#c@x.example d@y.example\r\ne@x.example\tf@y.example , g@y.example\t# x",
    );
    check(&table, "a@x.example", "b@y.example");
    check(&table, "e@x.example", "f@y.example, g@y.example");
    assert_eq!(table.stats().lines, 2);
    check(
        &Table::parse("f", Vec::new()).unwrap(),
        "a@x.example",
        "not hosted",
    );
    assert_eq!(
        Table::parse("f", Vec::new()).map(|table| table.stats().lines),
        Ok(0)
    );
}

#[test]
fn own_lines_only() {
    let table = table("@x.example a@y.example\npostmaster@x.example p@y.example\n");
    assert!(
        table
            .resolve_own_line(&address("Postmaster@x.example"), NOW)
            .is_some()
    );
    assert!(
        table
            .resolve_own_line(&address("b@x.example"), NOW)
            .is_none()
    );
}

#[test]
fn many_lines_are_all_found() {
    let text: String = (0..20_000)
        .map(|n| format!("u{n}@d{}.example t{n}@x.example\n", n % 5000))
        .collect();
    let table = table(&text);
    for n in 0..20_000 {
        check(
            &table,
            &format!("u{n}@d{}.example", n % 5000),
            &format!("t{n}@x.example"),
        );
    }
    check(&table, "u1@d2.example", "unknown");
    assert_eq!(table.stats().domains, 5000);
}

#[test]
fn the_example_file_is_right() {
    let table = table(include_str!("../../../../etc/forwards.example"));
    check(
        &table,
        "team@example.org",
        "alice@mail.example.com, bob@a.example, carol@b.example",
    );
    check(&table, "alice+bank@example.org", "vault@mail.example.com");
    check(&table, "\"john doe\"@example.org", "john@mail.example.com");
    check(
        &table,
        "closed@example.org",
        "550 5.1.1 this mailbox has been closed",
    );
    check(&table, "x@example.net", "catchall@c.example");
    check(&table, "Ann+x@old.example", "Ann+x@new.example");
    assert_eq!(table.dead_ends(NOW).count, 0);
}

/// A file twice over has as many mistakes as lines; finding them is not to take the square of that.
#[test]
fn many_mistakes_take_no_longer_than_few() {
    let text: String = (0..20_000)
        .map(|n| format!("u{n}@d.example t@x.example\n"))
        .collect();
    let errors = Table::parse("f", text.repeat(2).into()).expect_err("twice");
    assert_eq!(errors.count, 20_000);
    assert_eq!(
        errors.errors[1].hint.as_deref(),
        Some("the first is line 2; put all targets on one")
    );
}

#[test]
fn patterns_that_begin_alike_are_limited() {
    let patterns = |n: usize| -> String {
        let all = (0..n).map(|n| format!("*-{n}@d.example t{n}@x.example\n"));
        all.collect()
    };
    check(&table(&patterns(100)), "a-99@d.example", "t99@x.example");
    let errors = Table::parse("f", patterns(10_000).into()).expect_err("too many");
    assert_eq!((errors.errors[0].line, errors.count), (101, 9900));
}

/// Whatever a file holds, loading it ends in a table or in mistakes.
#[test]
fn damaged_files() {
    let mut seed = 1u64;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(seed >> 33).unwrap() % below
    };
    let sample = include_str!("../../../../etc/forwards.example").as_bytes();
    let odd = b"@*\"\\,:# \t\r\n=.[]\x00\xc3\xbc\xff";
    let mut loaded = 0;
    for _ in 0..3000 {
        let start = random(sample.len());
        let line_end = sample[start..].iter().position(|b| *b == b'\n');
        let start = start + line_end.map_or(0, |end| end + 1);
        let end = (start + random(300)).min(sample.len());
        let mut content = sample[start..end].to_vec();
        for _ in 0..random(4) {
            let at = random(content.len() + 1);
            content.insert(at, odd[random(odd.len())]);
        }
        match Table::parse("f", content) {
            Ok(table) => {
                loaded += 1;
                let _ = (
                    table.dead_ends(NOW),
                    table.resolve(&address("paul-x@example.org"), NOW),
                );
            }
            Err(errors) => assert!(errors.count > 0 && !errors.to_string().is_empty()),
        }
    }
    assert!((100..2900).contains(&loaded), "{loaded}");
}

/// A check that knows two measures.
fn measures(name: &str, value: &str) -> Result<(), Objection> {
    match (name, value) {
        ("profile" | "spf", "x") => Err(Objection::Value("no `x`".into(), "write `y`".into())),
        ("profile" | "spf", _) => Ok(()),
        _ => Err(Objection::Unknown),
    }
}

#[test]
fn measures_of_line_and_domain() {
    let text = "example.net :domain: profile=strict spf=off\n\
         a@example.net x@y.example\n\
         b@example.net x@y.example spf=mark srs=off\n\
         c@example.net x@y.example profile=lax\n\
         d@example.net :discard: spf=mark\n";
    let table = Table::parse_with("f", text.into(), &measures).unwrap();
    let chosen = |recipient| match table.resolve(&address(recipient), NOW) {
        Resolution::Targets(Expansion { options, .. }) | Resolution::Discard(options) => {
            let measures = options.measures.into_iter();
            let words = measures.map(|(name, value)| format!("{name}={value}"));
            words.collect::<Vec<_>>().join(" ")
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(chosen("a@example.net"), "profile=strict spf=off");
    assert_eq!(chosen("b@example.net"), "spf=mark profile=strict");
    assert_eq!(chosen("c@example.net"), "profile=lax");
    assert_eq!(chosen("d@example.net"), "spf=mark profile=strict");
}

#[test]
fn mistakes_in_measures() {
    let error = |line: &str| {
        let errors = Table::parse_with("f", line.into(), &measures).unwrap_err();
        errors.to_string().replace("\n\nhint: ", " | ")
    };
    let line = "example.net :domain: spf=";
    assert_eq!(error(&format!("{line}x")), "f:1:26: no `x` | write `y`");
    assert_eq!(
        error(&format!("{line}on spf=on")),
        "f:1:29: option `spf` given twice | remove one"
    );
}

fn file(name: &str, text: &str) -> File {
    File {
        name: name.to_owned(),
        content: text.into(),
    }
}

#[test]
fn the_lines_of_a_domain_are_found_wherever_they_stand() {
    let file = |name: &str, text: &str| File {
        name: name.to_owned(),
        content: text.into(),
    };
    let one =
        "a@x.example t@z.example\n# a@y.example\nb@y.example t@z.example\nX.Example. :domain:\n";
    let two = "c@x.example t@z.example\nA@X.example hidden@z.example\n@y.example t@z.example\n";
    let files = vec![file("one", one), file("none", ""), file("two", two)];
    let table = Table::join(files, &|_, _| Ok(())).unwrap();
    let lines = |domain: &str| {
        let lines = table.lines_of(&domain.parse().unwrap()).into_iter();
        let lines =
            lines.map(|(place, line)| format!("{place} {}", line.split(' ').next().unwrap()));
        lines.collect::<Vec<_>>().join(", ")
    };
    assert_eq!(
        lines("x.example"),
        "one:1 a@x.example, one:4 X.Example., two:1 c@x.example"
    );
    assert_eq!(lines("y.example"), "one:3 b@y.example, two:3 @y.example");
    assert_eq!(lines("z.example"), "");
}

#[test]
fn of_several_files_the_first_line_counts() {
    let files = vec![
        file("one", "ann@a.example 1@t.example"),
        file("none", ""),
        file(
            "two",
            "x*@a.example 2@t.example\nann@a.example 3@t.example\na.example :domain: srs=off",
        ),
        file(
            "three",
            "@a.example 4@t.example\nX*@a.example 5@t.example\nb@b.example ann@a.example",
        ),
    ];
    let table = Table::join(files, &|_, _| Ok(())).unwrap();
    check(&table, "ann@a.example", "1@t.example");
    check(&table, "xyz@a.example", "2@t.example");
    check(&table, "zyx@a.example", "4@t.example");
    check(&table, "b@b.example", "1@t.example");
    assert_eq!(table.stats().lines, 5);
    assert_eq!(table.left_out().count, 2);
    let ends: Vec<_> = table.open_ends().map(|(name, _)| name).collect();
    assert_eq!(ends, ["one", "two", "three"]);
    let trace = table.trace(&address("b@b.example"), NOW);
    let lines: Vec<_> = trace
        .iter()
        .filter_map(|step| step.line.as_deref())
        .collect();
    assert_eq!(
        lines,
        [
            "three:3: b@b.example ann@a.example",
            "one:1: ann@a.example 1@t.example"
        ]
    );
    let files: Vec<_> = table.files().map(|(_, text)| text.len()).collect();
    assert_eq!(files, [25, 0, 77, 73]);
}

#[test]
fn what_is_over_is_refused_and_not_caught() {
    let table = table(
        "@a.example all@t.example\n\
         new@a.example 1@t.example expires=2026-11-21T13:01:12.001Z note=\"for \\\"the\\\" #shop\"\n\
         old@a.example 1@t.example expires=2026-11-21T14:01:12+01:00\n\
         off@a.example 1@t.example enabled=no note=x\n\
         on@a.example 1@t.example enabled=yes\n\
         tmp-*@a.example 1@t.example enabled=no\n\
         two@a.example off@a.example, 2@t.example\n\
         a.example :domain: note=\"a customer\"",
    );
    for (recipient, expected) in [
        ("new@a.example", "1@t.example"),
        ("new+x@a.example", "1@t.example"),
        ("old@a.example", "unknown"),
        ("old+x@a.example", "unknown"),
        ("off@a.example", "unknown"),
        ("on@a.example", "1@t.example"),
        ("tmp-x@a.example", "unknown"),
        ("other@a.example", "all@t.example"),
        ("two@a.example", "2@t.example, !off@a.example Unknown"),
    ] {
        check(&table, recipient, expected);
    }
    assert!(
        table
            .resolve_own_line(&address("off@a.example"), NOW)
            .is_none()
    );
    let trace = table.trace(&address("off@a.example"), NOW);
    assert!(trace[0].line.is_some() && trace[0].fault == Some(Fault::Unknown));
    for (line, expected) in [
        (
            "a.example :domain: enabled=no",
            "1:1: `enabled` and `expires`",
        ),
        (
            "a@a.example b@t.example expires=tomorrow",
            "1:33: `tomorrow`: not an RFC 3339 time",
        ),
        (
            "a@a.example b@t.example note=\"open",
            "1:30: quotes that do not end",
        ),
        (
            "a@a.example b@t.example note=\"a\"b",
            "1:30: quotes that do not end",
        ),
        (
            "a@a.example b@t.example note=a note=b",
            "1:32: option `note` given twice",
        ),
    ] {
        let error = Table::parse("f", line.into()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

/// What is captured of a table, by itself and since one with only its first lines.
#[track_caller]
fn check_captured(before: usize, text: &str, now: &str, since: &str) {
    let old: String = text.split_inclusive('\n').take(before).collect();
    let [old, new] = [&*old, text].map(|text| Table::parse("f", text.into()).unwrap());
    let said = |all: Vec<Captured>| {
        let said = all
            .iter()
            .map(|one| format!("{} {}", one.domain, one.lines));
        said.collect::<Vec<_>>().join(", ")
    };
    assert_eq!(said(new.captured()), now, "{text}");
    assert_eq!(said(new.captured_since(&old)), since, "{text}");
}

#[test]
fn domains_that_take_what_others_forward_there() {
    let customers = "a@a.test 1@gmail.test, 2@gmail.test\nb@b.test 3@Gmail.test, x@b.test, y@other.test\n@c.test @gmail.test\n";
    let with = |line: &str| format!("{customers}{line}\n");
    check_captured(3, customers, "", "");
    check_captured(
        3,
        &with("me@gmail.test me@d.test"),
        "gmail.test 2",
        "gmail.test 3",
    );
    check_captured(
        3,
        &with("@gmail.test me@d.test"),
        "gmail.test 2",
        "gmail.test 3",
    );
    check_captured(
        3,
        &with("gmail.test :domain:"),
        "gmail.test 2",
        "gmail.test 3",
    );
    // Who leads to lines that are there means them; and who leads to them from the beginning.
    let meant = with("1@gmail.test m@d.test\n2@gmail.test m@d.test\n3@gmail.test m@d.test");
    check_captured(3, &meant, "", "gmail.test 3");
    check_captured(4, &meant, "", "");
    check_captured(0, &meant, "", "");
    check_captured(
        3,
        &with("e@e.test m+x@f.test\nm@f.test z@g.test\n@also.test @f.test"),
        "",
        "",
    );
}
