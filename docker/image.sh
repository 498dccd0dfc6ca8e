#!/bin/bash
# Lays out the image in build/image, which is the context of the Dockerfile, and builds it with the engine or the builder
# that is there: docker, podman or buildah. --layout: lays it out only. DBOBS_IMAGE names it (default: dbobs:local).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
name=${DBOBS_IMAGE:-dbobs:local}
context=build/image

for file in /etc/ssl/certs/ca-certificates.crt /usr/share/zoneinfo/UTC; do
    if [ ! -e "$file" ]; then
        echo "docker/image.sh: $file is not here: install ca-certificates and tzdata" >&2
        exit 1
    fi
done
rm -rf "$context"
mkdir -p "$context"/root/etc/ssl/certs "$context"/root/usr/share "$context"/home/pipelines
cp build/dbobs "$context/root/dbobs"
# cert.pem is where OpenSSL, and with it libpq and librdkafka, looks of its own accord.
cp -L /etc/ssl/certs/ca-certificates.crt "$context/root/etc/ssl/certs/"
ln -s certs/ca-certificates.crt "$context/root/etc/ssl/cert.pem"
cp -rL /usr/share/zoneinfo "$context/root/usr/share/"
rm -rf "$context"/root/usr/share/zoneinfo/{posix,right}
echo 'dbobs:x:65532:65532:dbobs:/var/lib/dbobs:' >"$context/root/etc/passwd"
echo 'dbobs:x:65532:' >"$context/root/etc/group"
cp docker/Dockerfile "$context/"
[ "${1:-}" != --layout ] || exit 0

if docker info >/dev/null 2>&1; then
    docker build -t "$name" "$context"
elif command -v podman >/dev/null; then
    podman build --format docker -t "$name" "$context"
elif command -v buildah >/dev/null; then
    # In a root's own chroot and plain folders: that works where containers may not be nested, too.
    buildah --storage-driver vfs build --isolation chroot --format docker -t "$name" "$context"
else
    echo "docker/image.sh: neither docker, podman nor buildah is here; the image is laid out in $context" >&2
    exit 1
fi
