#!/bin/sh
# Builds the Debian package: target/debian/onward_VERSION_ARCH.deb. It needs cargo-deb: cargo install cargo-deb --locked
set -eu
cd "$(dirname "$0")/../.."
cargo build --release --locked --features sql,postgres --bin onward
# Pages of commands that are gone must not stay.
rm -rf target/papers
target/release/onward papers target/papers
cargo deb --no-build "$@"
