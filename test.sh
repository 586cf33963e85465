#!/bin/sh
# The second command of the README: every check of this project, in the order in which they are cheapest.
#
#   ./test.sh            installs the foreign mail programs if they are missing (Debian), then checks everything
#   ./test.sh ARG...     the same, and passes ARG... on to the test programs (`./test.sh flow::forward`)
#
# The exit code is that of the first check that fails.
set -eu
cd "$(dirname "$0")"

# Each step's limit in seconds: a test that hangs is a failure, not a wait.
INSTALL_MAX=600
STEP_MAX=3600

# The public test suite of SPF, which is part of a package of PyPI; kept in target/.
PYSPF=2.0.14
PYSPF_SHA256=57a7ef01bda090173aafb6af0106251686ed73f03db4e911fcd34c57fc347186
SUITES=target/suites

# What the tests in tests/foreign need: command or file, Debian package.
needed() {
    for program in swaks msmtp curl; do
        command -v $program >/dev/null || echo $program
    done
    # swaks speaks TLS through this Perl module only.
    perl -MNet::SSLeay -e1 2>/dev/null || echo libnet-ssleay-perl
    [ -x /usr/sbin/smtp-source ] && [ -x /usr/sbin/smtp-sink ] || echo postfix
    [ -x /usr/sbin/postsrsd ] || echo postsrsd
    command -v python3 >/dev/null || echo python3
    command -v pebble >/dev/null || echo pebble
    [ -x /usr/sbin/rbldnsd ] || echo rbldnsd
    [ -x /usr/sbin/knotd ] || echo knot
    [ -x /usr/sbin/unbound ] || echo unbound
    [ -x /usr/sbin/opendkim ] || echo opendkim
    [ -x /usr/bin/rspamd ] || echo rspamd
    ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || echo postgresql
    command -v patroni >/dev/null || echo patroni
    command -v etcd >/dev/null || echo etcd-server
    [ -x /usr/sbin/mariadbd ] || echo mariadb-server-core
    [ -x /usr/bin/mariadb ] || echo mariadb-client-core
    [ -x /usr/sbin/clamd ] || echo clamav-daemon
    [ -x /usr/sbin/dovecot ] || echo dovecot-core
    [ -x /usr/lib/dovecot/lmtp ] || echo dovecot-lmtpd
    # For the pages of the dashboard; 300 MB, the largest of these.
    command -v chromium-headless-shell >/dev/null || echo chromium-headless-shell
    # Debian's own Python, which is the one that Debian's dkimpy is for.
    /usr/bin/python3 -c 'import dkim, nacl, authres' 2>/dev/null || echo python3-dkim python3-nacl python3-authres
    # The SPF suite is YAML, and comes by pip.
    /usr/bin/python3 -c 'import yaml' 2>/dev/null || echo python3-yaml
    /usr/bin/python3 -m pip --version >/dev/null 2>&1 || echo python3-pip python3-setuptools python3-wheel
}

# The suites that no package of Debian has. pip compares the checksum.
fetch_suites() {
    [ ! -e $SUITES/pyspf-$PYSPF.tar.gz ] || return 0
    echo "== fetch pyspf $PYSPF"
    mkdir -p $SUITES
    echo "pyspf==$PYSPF --hash=sha256:$PYSPF_SHA256" >$SUITES/pyspf.txt
    timeout $INSTALL_MAX /usr/bin/python3 -m pip download -q --no-deps --no-binary :all: \
        --require-hashes -r $SUITES/pyspf.txt -d $SUITES && return 0
    echo "error: cannot fetch pyspf $PYSPF from PyPI" >&2
    echo >&2
    echo "hint: put pyspf-$PYSPF.tar.gz into $SUITES by hand" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        return 1
    fi
}

cannot_install() {
    echo "error: cannot install $missing: $1" >&2
    echo >&2
    echo "hint: install $missing by hand (they are Debian's names), or run the tests that need" >&2
    echo "      none of them: cargo test --workspace --locked" >&2
    exit 1
}

install_missing() {
    command -v apt-get >/dev/null || cannot_install "this is no Debian"
    as_root true || cannot_install "neither root nor sudo"
    echo "== install $missing"
    # Postfix is here for its test tools. "No configuration" starts no mail server; policy-rc.d keeps any other
    # package from starting one, and is taken away again.
    echo "postfix postfix/main_mailer_type select No configuration" | as_root debconf-set-selections
    guard=/usr/sbin/policy-rc.d
    if [ ! -e $guard ]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee $guard >/dev/null
        as_root chmod 755 $guard
        trap 'as_root rm -f $guard' EXIT
        trap 'exit 130' INT TERM
    fi
    as_root timeout $INSTALL_MAX apt-get update -qq || cannot_install "apt-get update failed"
    # shellcheck disable=SC2086 # a list of package names
    as_root timeout $INSTALL_MAX env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends $missing || cannot_install "apt-get install failed"
}

step() {
    echo "== $*"
    timeout $STEP_MAX "$@"
}

missing=$(needed | paste -sd ' ' -)
if [ -n "$missing" ]; then
    install_missing
    missing=$(needed | paste -sd ' ' -)
    [ -z "$missing" ] || cannot_install "still missing after the installation"
fi

fetch_suites

# The integration tests wait more than they compute: for timers, for the disk, for each other's processes.
export RUST_TEST_THREADS="${RUST_TEST_THREADS:-$((2 * $(nproc)))}"

step cargo fmt --all --check
# With the databases, as the packages have them; without them, it need only compile.
step cargo check --workspace --locked
step cargo clippy --workspace --all-targets --features sql,postgres --locked -- -D warnings
step cargo test --workspace --features sql,postgres --locked -- --include-ignored "$@"
# Alone: it has a dozen ports of its own, for a minute.
export ONWARD_PATRONI=kill
step cargo test --workspace --features sql,postgres --locked --test onward -- --include-ignored foreign::patroni
