#!/bin/sh
# Three nodes of Onward on one PostgreSQL with a synchronous standby, on this machine alone, to try what happens when one dies.
#
#   etc/several-nodes/try.sh [FOLDER]      needs Debian's postgresql; everything is in FOLDER (a temporary one), on 127.0.0.1
#
# It prints what to try, and ends what it has started when it is interrupted.
set -eu
onward=${ONWARD:-onward}
folder=${1:-$(mktemp -d)}
bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -1)
first=54321 second=54322 smtp=25251
command -v "$onward" >/dev/null || { echo "error: no \`$onward\`; ONWARD=target/release/onward names one" >&2; exit 1; }
[ -x "$bin/postgres" ] || { echo "error: no PostgreSQL in /usr/lib/postgresql (apt install postgresql)" >&2; exit 1; }
mkdir -p "$folder"
chmod 755 "$folder"
# PostgreSQL refuses to be root.
as=""
if [ "$(id -u)" = 0 ]; then
    as="runuser -u postgres --"
    mkdir -p "$folder/db"
    chown postgres "$folder/db"
fi
mkdir -p "$folder/db"

pids=""
end() {
    trap - EXIT INT TERM
    # shellcheck disable=SC2086 # a list of numbers
    kill $pids 2>/dev/null || true
    wait
    echo "ended; everything is in $folder"
}
trap end EXIT
trap 'exit 130' INT TERM

answers() {
    n=0
    until "$bin/psql" -h 127.0.0.1 -p "$1" -U onward -d postgres -c 'SELECT 1' >/dev/null 2>&1; do
        n=$((n + 1))
        [ $n -lt 100 ] || { echo "error: PostgreSQL at port $1 does not answer; see $folder/db" >&2; exit 1; }
        sleep 0.1
    done
}

database() {
    $as "$bin/postgres" -D "$folder/db/$1" -h 127.0.0.1 -p "$2" -k "$folder/db" -c "cluster_name=$1" >>"$folder/db/$1.log" 2>&1 &
    pids="$pids $!"
    answers "$2"
}

say() {
    "$bin/psql" -q -h 127.0.0.1 -p $first -U onward -d postgres -c "$1"
}

$as "$bin/initdb" -D "$folder/db/one" -A trust -U onward -E UTF8 >/dev/null
database one $first
say 'CREATE DATABASE onward'
$as "$bin/pg_basebackup" -h 127.0.0.1 -p $first -U onward -D "$folder/db/two" -R -X stream -c fast
database two $second
say "ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (two)'"
say 'SELECT pg_reload_conf()' >/dev/null

store="postgres://onward@127.0.0.1:$first,127.0.0.1:$second/onward?target_session_attrs=read-write"
for n in 1 2 3; do
    node="$folder/mx$n"
    mkdir -p "$node"
    echo "a secret of this trial only" >"$node/srs.secrets"
    chmod 600 "$node/srs.secrets"
    echo "@example.org :discard:" >"$node/forwards"
    cat >"$node/onward.toml" <<END
hostname = "mx$n.example.net"
spool = "$node/spool"
srs.domain = "example.net"
srs.secrets = "$node/srs.secrets"
forwards.file = "$node/forwards"
control.socket = "$node/control"
queue.store = "$store"
[[listener]]
bind = "127.0.0.1:$((smtp + n - 1))"
END
    "$onward" --config "$node/onward.toml" serve >"$node/log" 2>&1 &
    pids="$pids $!"
    sleep 1
    kill -0 $! 2>/dev/null || { tail -5 "$node/log" >&2; exit 1; }
    echo "mx$n  process $!  127.0.0.1:$((smtp + n - 1))  $node/onward.toml"
done

cat <<END

Try:
  $onward --config $folder/mx1/onward.toml node list
  swaks --server 127.0.0.1:$smtp --from you@example.com --to someone@example.org
  kill -9 one of the processes above, and look at \`node list\` again after half a minute
  $bin/psql -h 127.0.0.1 -p $second -U onward -d postgres -c 'SELECT pg_promote()'    once the first database is killed
Ctrl-C ends it all.
END
wait
