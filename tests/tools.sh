#!/bin/sh
# Some tests compare with other programs or are driven by them. Where one is missing they say that
# they were skipped. As root on a Debian system this installs what is missing, by name, and says so.
set -eu

missing=""
need() { # program package...
    program=$1
    shift
    command -v "$program" >/dev/null 2>&1 || [ -x "/usr/sbin/$program" ] || missing="$missing $*"
}
need curl curl
need nginx nginx libnginx-mod-stream
need haproxy haproxy
need kubectl kubernetes-client
need chromium chromium
need chromedriver chromium-driver
need promtool prometheus
need jq jq
need objdump binutils
need buildah buildah
need ip iproute2
need nft nftables
need keepalived keepalived
ls /usr/lib/*/faketime/libfaketimeMT.so.1 >/dev/null 2>&1 || missing="$missing libfaketime"

[ -n "$missing" ] || exit 0
if [ "${INSTALL:-yes}" = no ] || [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "not installed:$missing; tests that need them are skipped"
    exit 0
fi
echo "installing for the tests:$missing"
export DEBIAN_FRONTEND=noninteractive
# Nothing that is installed here may start: the tests start what they need on free ports.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod +x $policy
    trap 'rm -f $policy' EXIT
fi
# A list that cannot be fetched is no reason to fail: the tests can do without.
# shellcheck disable=SC2086 # a list of names
if apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing >/dev/null; then
    echo "installed:$missing"
else
    echo "cannot install:$missing; tests that need them are skipped"
fi
