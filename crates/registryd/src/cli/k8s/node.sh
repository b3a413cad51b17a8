#!/bin/sh
# node.sh write|remove [once]: makes containerd on this node trust a registry, or takes that back.
#
# FILES holds ca.crt and hosts.toml as they shall be, each with a first line that says who wrote it and what.
# CERTS_D is containerd's certs.d. Files of somebody else, or that somebody changed, stay as they are.
set -eu
here=$CERTS_D/$REGISTRY

# Whether a file is as it was written: its first line ends with the beginning of the digest of the others.
ours() {
    read -r first <"$1" || return 1
    case $first in
    "# Written by registryd trust for "*) ;;
    *) return 1 ;;
    esac
    digest=$(tail -n +2 "$1" | sha256sum | cut -c 1-16)
    [ "${first##* }" = "$digest" ]
}

put() {
    if [ -e "$here/$1" ]; then
        if cmp -s "$FILES/$1" "$here/$1"; then
            return 0
        fi
        if ! ours "$here/$1"; then
            echo "$here/$1 is there, and registryd did not write it or somebody changed it since; move it away" >&2
            return 1
        fi
    fi
    # In one step: containerd reads it at any moment.
    cp "$FILES/$1" "$here/.$1.new"
    chmod 0644 "$here/.$1.new"
    mv -f "$here/.$1.new" "$here/$1"
    echo "wrote $here/$1"
}

drop() {
    if [ ! -e "$here/$1" ]; then
        return 0
    fi
    if ours "$here/$1"; then
        rm -f "$here/$1"
        echo "removed $here/$1"
    else
        echo "$here/$1 stays: registryd did not write it, or somebody changed it since" >&2
    fi
}

write() {
    mkdir -p "$here"
    put ca.crt
    # Last: it names the other.
    put hosts.toml
}

remove() {
    drop hosts.toml
    drop ca.crt
    rmdir "$here" 2>/dev/null || true
}

case ${1-} in
write | remove) ;;
*)
    echo "usage: node.sh write|remove [once]" >&2
    exit 2
    ;;
esac
trap 'exit 0' TERM INT
while :; do
    "$1"
    if [ "${2-}" = once ]; then
        exit 0
    fi
    # What it is mounted from may change.
    sleep 60 &
    wait $!
done
