#!/bin/sh
# Makes mainstay_VERSION_ARCH.deb out of a built program: deploy/deb/build.sh PROGRAM OUT-DIR [VERSION].
# `make deb` calls it. It needs dpkg-deb and gzip, which every Debian has; the program itself writes
# its manual pages and completions.
set -eu

program=$1
out=$2
here=$(cd "$(dirname "$0")" && pwd)
deploy=$(dirname "$here")
top=$(dirname "$deploy")
version=${3:-$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' "$top/Cargo.toml")}
arch=$(dpkg --print-architecture)
# The same tree gives the same package: dates come from the last commit, or from the environment.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$top" log -1 --format=%ct 2>/dev/null || echo 0)}
export SOURCE_DATE_EPOCH

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
umask 022
chmod 755 "$stage"

put() { # MODE FILE PLACE
    install -D -m "$1" "$2" "$stage/$3"
}
put 755 "$program" usr/bin/mainstay
# Line tables are for developers; function names stay, so a panic's backtrace still tells something.
if command -v strip >/dev/null 2>&1; then strip --strip-debug "$stage/usr/bin/mainstay"; fi
for unit in "$deploy"/*.service; do
    put 644 "$unit" "usr/lib/systemd/system/$(basename "$unit")"
done
put 644 "$deploy/mainstay.logrotate" etc/logrotate.d/mainstay
put 644 "$here/mainstay.toml" etc/mainstay/mainstay.toml
put 644 "$here/sysusers.conf" usr/lib/sysusers.d/mainstay.conf
put 644 "$here/tmpfiles.conf" usr/lib/tmpfiles.d/mainstay.conf
put 644 "$here/copyright" usr/share/doc/mainstay/copyright
put 644 "$top/CHANGELOG.md" usr/share/doc/mainstay/changelog
put 644 "$top/README.md" usr/share/doc/mainstay/README.md
(cd "$top/docs" && find . -name '*.md' -exec install -D -m 644 {} "$stage/usr/share/doc/mainstay/docs/{}" \;)

mkdir -p "$stage/usr/share/man"
"$program" man "$stage/usr/share/man"
find "$stage/usr/share/man" "$stage/usr/share/doc/mainstay/changelog" -type f -exec gzip -9n {} +
for shell in bash:bash-completion/completions/mainstay zsh:zsh/vendor-completions/_mainstay \
    fish:fish/vendor_completions.d/mainstay.fish; do
    place="$stage/usr/share/${shell#*:}"
    mkdir -p "$(dirname "$place")"
    "$program" completions "${shell%%:*}" >"$place"
done

# The oldest C library that has every symbol which the program asks for; none for a static program.
libc=$(objdump -T "$program" 2>/dev/null | sed -n 's/.*(\{0,1\}GLIBC_\([0-9.]*\).*/\1/p' | sort -uV | tail -n 1)
# As dpkg-gencontrol counts: whole KiB a file and one for anything else. `du` asks the file system,
# which tells another figure before it has written what it holds.
size=$(find "$stage" -printf '%y %s\n' | awk '{ kib += $1 == "f" ? int(($2 + 1023) / 1024) : 1 } END { print kib }')
mkdir "$stage/DEBIAN"
cat >"$stage/DEBIAN/control" <<CONTROL
Package: mainstay
Version: $version
Architecture: $arch
Maintainer: Mainstay maintainers <maintainers@users.noreply.r-seed-418acc14.example>
Section: net
Priority: optional
Installed-Size: $size
${libc:+Depends: libc6 (>= $libc)
}Recommends: ca-certificates
Suggests: keepalived, logrotate
Description: load balancer and bootstrap coordinator for kubeadm control planes
 Mainstay is a TCP load balancer for the kube-apiservers of a Kubernetes cluster.
 It gives each client connection to the master with the fewest, knows from
 /readyz which masters serve, and helps further masters to join.
CONTROL
printf '%s\n' /etc/mainstay/mainstay.toml /etc/logrotate.d/mainstay >"$stage/DEBIAN/conffiles"
for script in postinst prerm postrm; do
    install -m 755 "$here/$script" "$stage/DEBIAN/$script"
done
(cd "$stage" && find . -path ./DEBIAN -prune -o -type f -printf '%P\0' | sort -z | xargs -0 md5sum) \
    >"$stage/DEBIAN/md5sums"
find "$stage" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +

mkdir -p "$out"
package="$out/mainstay_${version}_$arch.deb"
dpkg-deb --root-owner-group -Z"${COMPRESS:-xz}" --build "$stage" "$package" >/dev/null
echo "$package"
