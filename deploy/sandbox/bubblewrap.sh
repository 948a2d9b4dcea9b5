#!/bin/sh
# A sandbox for tools that touch a machine, over bubblewrap (bwrap), which every
# distribution has: HOLDFAST_SANDBOX=/path/to/bubblewrap.sh
#
# The command sees the system's programs, read-only, an empty /tmp, the session's folder
# under its own path, and nothing else: no network, no process, file or variable of the
# worker. Change it to what your tools need; a program that starts a micro VM or a
# container does as well, as long as it keeps the rules of docs/operations.md.
set -eu

ulimit -c 0           # no core files
ulimit -f 2097152     # 1 GiB for a file, in blocks of 512 bytes
ulimit -v 4194304     # 4 GiB of addresses for a process, in KiB
ulimit -t 600         # seconds of processor time for a process

set -- --ro-bind /usr /usr --proc /proc --dev /dev --tmpfs /tmp \
	--bind "$HOLDFAST_WORKSPACE" "$HOLDFAST_WORKSPACE" --chdir "$HOLDFAST_WORKSPACE" \
	--unshare-all --cap-drop ALL --die-with-parent --new-session --hostname sandbox -- "$@"
for dir in bin sbin lib lib32 lib64; do
	if [ -L "/$dir" ]; then
		set -- --symlink "usr/$dir" "/$dir" "$@"
	elif [ -d "/$dir" ]; then
		set -- --ro-bind "/$dir" "/$dir" "$@"
	fi
done
for file in /etc/passwd /etc/group /etc/nsswitch.conf /etc/ssl /etc/alternatives /etc/ld.so.cache /etc/localtime; do
	set -- --ro-bind-try "$file" "$file" "$@"
done
exec bwrap "$@"
