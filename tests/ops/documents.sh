#!/bin/bash
# Types what the documents say into a copy of this machine: documents.sh DIR LIST PROGRAM FIXTURES,
# under unshare. LIST has a line `page NAME` for each page and `type COMMAND` for each command of it.
# Every page starts anew: with the old balancers' files, a balancer that runs with three masters (which
# are not there), and nothing in the way.
set -euo pipefail

dir=$1 list=$2 program=$3 fixtures=$4
mount -t tmpfs -o size=1g tmpfs "$dir"
mkdir "$dir/upper" "$dir/work" "$dir/all"
mount -t overlay overlay -o "lowerdir=/,upperdir=$dir/upper,workdir=$dir/work" "$dir/all"
mount -t proc proc "$dir/all/proc"
mount --rbind /dev "$dir/all/dev"
ip link set lo up
all=$dir/all
install -m 755 "$program" "$all/usr/bin/mainstay"
mkdir -p "$all/etc/nginx" "$all/etc/haproxy" "$all/etc/mainstay"
cp "$fixtures/walkthrough.nginx.conf" "$all/etc/nginx/nginx.conf"
cp "$fixtures/kubeadm-guide.haproxy.cfg" "$all/etc/haproxy/haproxy.cfg"
pid=
stop() {
    if [ -n "$pid" ]; then
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
        pid=
    fi
}
# A balancer on the default ports, until it answers.
start() { # the words behind `mainstay`
    stop
    chroot "$all" mainstay "$@" 2>"$dir/log" &
    pid=$!
    for _ in $(seq 300); do
        if chroot "$all" mainstay status >/dev/null 2>&1; then return; fi
        sleep 0.1
    done
    cat "$dir/log"
    return 1
}
page() {
    stop
    rm -rf "$all/etc/mainstay/mainstay.toml" "$all/var/lib/mainstay"
    # What import writes must find nothing; everything else finds the three masters of the pages.
    case $1 in
    *migration/nginx.md | *migration/haproxy-keepalived.md) ;;
    *)
        mkdir -p "$all/var/lib/mainstay"
        echo 'backends = ["master-0=192.168.122.11", "master-1=192.168.122.12", "master-2=192.168.122.13"]' \
            >"$all/etc/mainstay/mainstay.toml"
        start serve
        ;;
    esac
}
while read -r verb what <&3; do
    case $verb in
    page)
        page "$what"
        ;;
    type)
        words=${what%%  #*}
        code=0
        case $words in
        "mainstay serve"*)
            stop
            # shellcheck disable=SC2086 # a command line
            start ${words#mainstay }
            ;;
        *) chroot "$all" bash -c "$words" >"$dir/out" 2>&1 || code=$? ;;
        esac
        # The masters of the pages are not there, so doctor finds them missing.
        case "$words:$code" in
        *:0 | "mainstay doctor"*:1) echo "== typed $words" ;;
        *)
            echo "== failed with $code: $words"
            cat "$dir/out"
            exit 1
            ;;
        esac
        ;;
    esac
done 3<"$list"
stop
