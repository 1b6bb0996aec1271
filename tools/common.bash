# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034,SC2154
# What quickstart and check share: what is built from, and how Debian packages get installed.

# Debian's own tools, whatever else the caller has on the path.
export PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL=C.UTF-8

BUILD_PACKAGES=(
	gcc libc6-dev meson ninja-build pkg-config python3 scdoc fuse3 ca-certificates
	libcurl4-openssl-dev libfuse3-dev libisal-dev libjansson-dev libseccomp-dev libssl-dev
	libyaml-dev libzstd-dev zlib1g-dev
)

say() {
	printf '%s\n' "$*" >&2
}

die() {
	say "${0##*/}: $*"
	exit 1
}

is_installed() {
	[ "$(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# Installs packages without their services: a policy that forbids starting them is put in place
# where there is none, and taken away again however this ends.
install_packages() (
	policy=/usr/sbin/policy-rc.d
	if [ ! -e "$policy" ]; then
		trap 'rm -f "$policy"' EXIT
		printf '#!/bin/sh\nexit 101\n' >"$policy"
		chmod 755 "$policy"
	fi
	export DEBIAN_FRONTEND=noninteractive
	apt-get -qq update || say "apt-get update failed; trying with the lists at hand"
	apt-get -qq -y -o Dpkg::Use-Pty=0 install --no-install-recommends "$@" >&2
)

# Installs those of the packages that are missing; nothing else is touched.
need_packages() {
	local package missing=()
	for package in "$@"; do
		is_installed "$package" || missing+=("$package")
	done
	((${#missing[@]})) || return 0
	[ "$(id -u)" -eq 0 ] || die "not root, and these packages are missing: ${missing[*]}"
	say "installing ${missing[*]}"
	install_packages "${missing[@]}" || die "apt-get could not install ${missing[*]}"
}

# build DIRECTORY [meson option…]: configures it, anew where it was configured before, and builds.
build() {
	local directory=$1
	shift
	if [ -e "$directory/build.ninja" ]; then
		meson setup --reconfigure "$@" "$directory" "$root"
	else
		meson setup "$@" "$directory" "$root"
	fi
	ninja -C "$directory"
}
