#!/bin/sh
# The life of the package on this Debian: installed, checked, run, upgraded, removed, purged. All of it
# in a copy of this machine's file system that takes the changes (overlay) and in a network of its own;
# nothing outside is touched. Called by package.rs as: package.sh DIR OLD.deb NEW.deb, under unshare.
set -eu

dir=$1
old=$2
new=$3
mount -t tmpfs -o size=2g tmpfs "$dir"
mkdir "$dir/upper" "$dir/work" "$dir/all"
mount -t overlay overlay -o "lowerdir=/,upperdir=$dir/upper,workdir=$dir/work" "$dir/all"
mount -t proc proc "$dir/all/proc"
mount --rbind /dev "$dir/all/dev"
mkdir -p "$dir/all/run" "$dir/all/tmp/package"
cp "$old" "$dir/all/tmp/package/old.deb"
cp "$new" "$dir/all/tmp/package/new.deb"
# Neither a disk nor an index of manual pages is worth waiting for here.
echo force-unsafe-io >"$dir/all/etc/dpkg/dpkg.cfg.d/fast"
rm -f "$dir/all/var/lib/man-db/auto-update"
ip link set lo up
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8

in_copy() { chroot "$dir/all" "$@"; }
said() { echo "== $*"; }
ours() { # what is named after us, but for the documents of the source tree
    in_copy find /etc /usr /var /lib /run -xdev -name '*mainstay*' -not -path '*/info/*' 2>/dev/null | sort
}

test -z "$(ours)" || { echo "there is a mainstay on this machine already"; exit 1; }

said install
in_copy apt-get install -y -qq --no-install-recommends /tmp/package/old.deb 2>&1 | tail -n 5
test "$(in_copy mainstay --version | cut -d' ' -f1)" = mainstay
in_copy mainstay check >/dev/null
in_copy dpkg --verify mainstay
in_copy getent passwd mainstay
in_copy man --path >/dev/null 2>&1 || true
test -s "$dir/all/usr/share/man/man1/mainstay-serve.1.gz"
test -s "$dir/all/usr/share/man/man5/mainstay.toml.5.gz"
in_copy bash -n /usr/share/bash-completion/completions/mainstay
test ! -e "$dir/all/etc/systemd/system/multi-user.target.wants/mainstay.service"

said configure
printf '\nbackends = ["master-0=127.0.0.1:1"]\n' >"$dir/added"
sed -i '3r '"$dir/added" "$dir/all/etc/mainstay/mainstay.toml"
in_copy mainstay check | grep '^backends = .*mainstay.toml:'

said run
# Not by in_copy: the process must be the program itself, so that signals reach it.
# systemd is not here to read the unit, so its lines are followed by hand: program, user, directories.
unit="$dir/all/usr/lib/systemd/system/mainstay.service"
start=$(sed -n 's/^ExecStart=//p' "$unit")
for place in StateDirectory:lib LogsDirectory:log; do
    name=$(sed -n "s/^${place%%:*}=//p" "$unit")
    in_copy install -d -m 0700 -o mainstay -g mainstay "/var/${place##*:}/$name"
done
# shellcheck disable=SC2086 # a command line
chroot "$dir/all" setpriv --reuid mainstay --regid mainstay --clear-groups --bounding-set -all $start 2>"$dir/log" &
pid=$!
tries=0
until in_copy mainstay status >"$dir/status" 2>/dev/null; do
    tries=$((tries + 1))
    test $tries -lt 300 || { cat "$dir/log"; exit 1; }
    sleep 0.1
done
grep master-0 "$dir/status"

said upgrade
in_copy dpkg --force-confdef -i /tmp/package/new.deb 2>&1 | tail -n 3
in_copy dpkg-query -W -f '${Version} ${Status}\n' mainstay
in_copy mainstay check | grep '^backends = .*mainstay.toml:'
kill -0 $pid
# What postinst does where systemd runs.
in_copy mainstay upgrade
new_pid=$(in_copy mainstay status -o json | sed -n 's/.*"pid": *\([0-9]*\).*/\1/p')
test "$new_pid" -ne $pid
wait $pid
kill -TERM "$new_pid"
tries=0
while kill -0 "$new_pid" 2>/dev/null; do
    tries=$((tries + 1))
    test $tries -lt 300 || exit 1
    sleep 0.1
done
in_copy ls -A /var/lib/mainstay

said remove
in_copy apt-get remove -y -qq mainstay 2>&1 | tail -n 2
test ! -e "$dir/all/usr/bin/mainstay"
test -e "$dir/all/etc/mainstay/mainstay.toml"
test -d "$dir/all/var/lib/mainstay"

said reinstall
in_copy dpkg -i /tmp/package/new.deb 2>&1 | tail -n 2
in_copy mainstay check | grep '^backends = .*mainstay.toml:'

said purge
in_copy apt-get purge -y -qq mainstay 2>&1 | tail -n 2
left=$(ours)
test -z "$left" || { echo "left behind: $left"; exit 1; }
said done
