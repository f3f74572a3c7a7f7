#!/bin/sh
# Builds the last stage of deploy/Containerfile and starts what is in it, in namespaces of its own.
# The program under test is not the static one, so that the libraries it names go with it.
set -eu

place=$1 program=$2 containerfile=$3

mount -t tmpfs image "$place"
ip link set lo up
mount -t proc proc /proc
cd "$place"
mkdir -p context/libraries
strip --strip-debug -o context/mainstay "$program"
for library in $(ldd "$program" | grep -o '/[^ ]*'); do
    mkdir -p "context/libraries$(dirname "$library")"
    cp -L "$library" "context/libraries$library"
done
sed -n '/^FROM scratch/,$p' "$containerfile" |
    sed 's#^COPY --from=build .* /mainstay$#COPY libraries /\nCOPY mainstay /mainstay#' \
        >context/Containerfile
grep -q '^COPY mainstay' context/Containerfile

export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot TMPDIR="$place"
tool() { buildah --root "$place/store" --runroot "$place/run" "$@"; }
echo "== build"
tool bud --quiet --tag mainstay:test context
tool inspect --type image --format 'user {{.OCIv1.Config.User}}, runs {{.OCIv1.Config.Entrypoint}} {{.OCIv1.Config.Cmd}}' mainstay:test
echo
tool from --quiet --pull-never --name trial mainstay:test

echo "== run"
tool run trial -- /mainstay --version
tool run trial -- /mainstay serve >log 2>&1 &
tries=0
until curl -sf http://127.0.0.1:6446/livez >answer; do
    tries=$((tries + 1))
    [ $tries -lt 100 ] || { cat log; exit 1; }
    sleep 0.1
done
echo "livez: $(cat answer)"
pid=$(sed -n 's/.*"pid":\([0-9]*\).*/\1/p' log | head -1)
echo "uid $(sed -n 's/^Uid:[[:space:]]*\([0-9]*\).*/\1/p' "/proc/$pid/status")"
kill -TERM "$pid"
wait $!
echo "== done"
