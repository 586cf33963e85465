#!/bin/sh
# Three nodes of Onward on a PostgreSQL that Patroni keeps, as in compose.yml, but as processes of this machine: to try what happens when
# the primary dies. It uses patroni.yml and onward.toml from beside it.
#
#   etc/several-nodes/patroni.sh [FOLDER]      needs Debian's patroni, etcd-server and postgresql; everything is in FOLDER (a new one),
#                                              on 127.0.0.1, at ports that are free
#
# Mail to example.org goes to a fourth Onward, which throws it away; with SINK=127.0.0.1:2525 it goes there. It prints what to try, and
# ends what it has started when it is interrupted.
set -eu
onward=${ONWARD:-onward}
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-$(mktemp -d)}
bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -1)
command -v "$onward" >/dev/null || { echo "error: no \`$onward\`; ONWARD=target/release/onward names one" >&2; exit 1; }
for program in patroni etcd "$bin/postgres"; do
    command -v "$program" >/dev/null || { echo "error: no \`$program\` (apt install patroni etcd-server postgresql)" >&2; exit 1; }
done
mkdir -p "$folder/run" "$folder/db" "$folder/etcd"
folder=$(cd "$folder" && pwd)
chmod 755 "$folder"
install -m 644 "$here/patroni.yml" "$folder"
# PostgreSQL refuses to be root.
as=""
if [ "$(id -u)" = 0 ]; then
    as="setpriv --reuid postgres --regid postgres --init-groups --"
    chown postgres "$folder/db" "$folder/etcd"
fi

# The processes of this trial whose numbers are in these files; by now a number may be somebody else's.
ours() {
    for file in "$@"; do
        pid=$(head -1 "$file" 2>/dev/null) || continue
        if tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF "$folder"; then echo "$pid"; fi
    done
}

# shellcheck disable=SC2046 # lists of numbers
end() {
    trap - EXIT INT TERM
    kill $(ours "$folder"/run/mx*.pid) 2>/dev/null || true
    # One that is asked to end hands over first, which is of no use here.
    kill -9 $(ours "$folder"/run/db*.pid) 2>/dev/null || true
    kill -QUIT $(ours "$folder"/db/*/postmaster.pid) 2>/dev/null || true
    kill $(ours "$folder"/run/etcd*.pid) 2>/dev/null || true
    wait
    echo "ended; everything is in $folder"
}
trap end EXIT
trap 'exit 130' INT TERM

# Writes what starts a process, so that it can be started again by hand.
script() {
    { printf '#!/bin/sh\nexec >>%s.log 2>&1\necho $$ >%s.pid\n' "$folder/run/$1" "$folder/run/$1"; cat; } >"$folder/run/$1.sh"
    chmod 755 "$folder/run/$1.sh"
}

# In a session of its own: Ctrl-C is for this script alone.
start() {
    setsid "$folder/run/$1.sh" &
}

nth() {
    shift "$1"
    echo "$1"
}

# shellcheck disable=SC2046 # a list of numbers
set -- $(python3 -c '
import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(16)]
print(*(it.getsockname()[1] for it in sockets))')
etcds=127.0.0.1:$1,127.0.0.1:$2,127.0.0.1:$3
peers=etcd1=http://127.0.0.1:$4,etcd2=http://127.0.0.1:$5,etcd3=http://127.0.0.1:$6
members=127.0.0.1:$7,127.0.0.1:$8,127.0.0.1:$9
sink=${SINK:-127.0.0.1:${16}}
for n in 1 2 3; do
    client=$(nth "$n" "$@") peer=$(nth $((n + 3)) "$@") db=$(nth $((n + 6)) "$@")
    rest=$(nth $((n + 9)) "$@") smtp=$(nth $((n + 12)) "$@")
    script "etcd$n" <<END
exec $as etcd --name etcd$n --data-dir $folder/etcd/etcd$n --log-level warn \\
    --listen-client-urls http://127.0.0.1:$client --advertise-client-urls http://127.0.0.1:$client \\
    --listen-peer-urls http://127.0.0.1:$peer --initial-advertise-peer-urls http://127.0.0.1:$peer --initial-cluster $peers
END
    script "db$n" <<END
export PATRONI_NAME=db$n PATRONI_ETCD3_HOSTS=$etcds
export PATRONI_RESTAPI_LISTEN=127.0.0.1:$rest PATRONI_RESTAPI_CONNECT_ADDRESS=127.0.0.1:$rest
export PATRONI_POSTGRESQL_LISTEN=127.0.0.1:$db PATRONI_POSTGRESQL_CONNECT_ADDRESS=127.0.0.1:$db
export PATRONI_POSTGRESQL_DATA_DIR=$folder/db/db$n PATRONI_POSTGRESQL_BIN_DIR=$bin PATRONI_POSTGRESQL_PGPASS=$folder/db/pass$n
export PATRONI_SUPERUSER_PASSWORD=password PATRONI_REPLICATION_PASSWORD=password ONWARD_PASSWORD=password
exec $as patroni $folder/patroni.yml
END
    node=$folder/mx$n
    mkdir -p "$node"
    echo "a secret of this trial only" >"$node/srs.secrets"
    chmod 600 "$node/srs.secrets"
    sed "s/mx1/mx$n/; s/db1,db2,db3/$members/; s|/var/spool/onward|$node/spool|; s/\[::\]:25/127.0.0.1:$smtp/" \
        "$here/onward.toml" >"$node/onward.toml"
    sed -i '/^store/a retry = ["5s"]' "$node/onward.toml"
    printf '\n[[delivery.route]]\ndomain = "sink.example"\nhost = "%s"\n' "$sink" >>"$node/onward.toml"
    echo "@example.org @sink.example" >"$node/forwards"
    script "mx$n" <<END
exec $onward --config $node/onward.toml serve
END
    echo "127.0.0.1:$rest" >"$folder/run/db$n.address"
    echo "127.0.0.1:$smtp" >"$folder/run/mx$n.address"
done

mkdir -p "$folder/sink"
cp -p "$folder/mx1/srs.secrets" "$folder/sink"
echo "@sink.example :discard:" >"$folder/sink/forwards"
cat >"$folder/sink/onward.toml" <<END
hostname = "mx.sink.example"
spool = "$folder/sink/spool"
srs.domain = "fwd.sink.example"
srs.secrets = "srs.secrets"
forwards.file = "forwards"
[[listener]]
bind = "$sink"
END
script mx-sink <<END
exec $onward --config $folder/sink/onward.toml serve
END

for n in 1 2 3; do start "etcd$n"; done
for n in 1 2 3; do start "db$n"; done
# Until both standbys follow, and Patroni has named the one that may take over.
cat >"$folder/run/whole.sh" <<END
#!/bin/sh
PGPASSWORD=password exec "$bin/psql" -tA "postgres://postgres@$members/postgres?target_session_attrs=read-write&connect_timeout=3" \\
    -c "SELECT count(*) > 1 AND current_setting('synchronous_standby_names') ~ 'db' FROM pg_stat_replication WHERE state = 'streaming'"
END
chmod 755 "$folder/run/whole.sh"
n=0
until [ "$("$folder/run/whole.sh" 2>/dev/null)" = t ]; do
    n=$((n + 1))
    [ $n -lt 240 ] || { echo "error: no primary with two standbys within two minutes; see $folder/run" >&2; exit 1; }
    sleep 0.5
done
for n in 1 2 3; do
    start "mx$n"
    sleep 1
    [ -n "$(ours "$folder/run/mx$n.pid")" ] || { tail -5 "$folder/run/mx$n.log" >&2; exit 1; }
    echo "mx$n  $(cat "$folder/run/mx$n.address")  $folder/mx$n/onward.toml"
done

[ -n "${SINK:-}" ] || start mx-sink

cat <<END

Try:
  $onward --config $folder/mx1/onward.toml node list
  swaks --server $(cat "$folder/run/mx1.address") --from you@example.com --to someone@example.org
  PATRONI_ETCD3_HOSTS=$etcds patronictl -c $folder/patroni.yml list
  kill -9 \$(cat $folder/run/db1.pid) \$(head -1 $folder/db/db1/postmaster.pid)      as if the host of db1 had died
  setsid $folder/run/db1.sh &      brings it back
Ctrl-C ends it all.
END
touch "$folder/run/ready"
wait
