#!/bin/sh
# The least that `cargo xtask` itself needs: a linker. Everything else is installed by
# `cargo xtask setup`, with versions from xtask/src/pins.rs.
set -eu
command -v cc >/dev/null && [ -e /usr/include/stdio.h ] && exit 0
echo "setup: installing gcc and libc6-dev (the linker of Rust programs)"
run=
[ "$(id -u)" = 0 ] || run=sudo
$run apt-get update -qq
$run env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends gcc libc6-dev
