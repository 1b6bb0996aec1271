# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# bash completion for sluice

_sluice_verbs="mount umount mounts pull images stat ls cat index gc fsck spec"
_sluice_common="--store --budget --platform --plain-http --offline --no-index --authfile --creds
	--hosts-dir --cert-dir --timeout --read-timeout --format --log-level --help"

# Mount points of ours, by the mount table.
_sluice_mounted() {
	local point type
	while read -r _ point type _; do
		case $type in
		fuse.sluice*) printf '%b\n' "$point" ;;
		esac
	done </proc/self/mounts
}

_sluice_options() {
	case $1 in
	mount) printf '%s' "--rw --upper --foreground --options --crashes --fs" ;;
	umount | pull) printf '%s' "--lazy" ;;
	ls) printf '%s' "--long --recursive" ;;
	gc) printf '%s' "--all --dry-run --min-age" ;;
	fsck) printf '%s' "--repair --deep" ;;
	spec) printf '%s' "--kind --runtime" ;;
	esac
}

# The words that are not options: fills `plain`.
_sluice_plain() {
	local i
	plain=()
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		--store | --budget | --platform | --authfile | --creds | --hosts-dir | --cert-dir | --timeout | \
			--read-timeout | --format | --log-level | --fs | --upper | --options | -o | --crashes | \
			--min-age | --kind | --runtime) i=$((i + 1)) ;;
		-*) ;;
		*) plain+=("${COMP_WORDS[i]}") ;;
		esac
	done
}

_sluice_value() {
	case $1 in
	--store | --upper | --hosts-dir | --cert-dir) compopt -o dirnames ;;
	--authfile) compopt -o default ;;
	--platform) words="linux/amd64 linux/arm64 linux/arm/v7 linux/386 linux/riscv64" ;;
	--format) words="json" ;;
	--log-level) words="error warn info debug" ;;
	--fs) words="auto fuse erofs" ;;
	--kind) words="config state features" ;;
	--runtime) words="crun runc" && compopt -o default ;;
	-o | --options) words="nosuid suid noexec exec noatime relatime allow_other" ;;
	--budget | --creds | --timeout | --read-timeout | --crashes | --min-age) ;;
	*) return 1 ;;
	esac
}

_sluice() {
	local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
	local words="" plain
	COMPREPLY=()
	_sluice_plain
	if ! _sluice_value "$previous"; then
		if [ ${#plain[@]} -eq 0 ]; then
			words="$_sluice_verbs $_sluice_common"
		elif [[ $word == -* ]]; then
			words="$_sluice_common $(_sluice_options "${plain[0]}")"
		else
			case ${plain[0]}:${#plain[@]} in
			mount:1) ;;
			mount:*) compopt -o dirnames ;;
			umount:1) words=$(_sluice_mounted) ;;
			stat:1) words=$(_sluice_mounted) && compopt -o dirnames ;;
			index:1) words="build push show" ;;
			spec:1) words="convert features new validate" ;;
			spec:2) [ "${plain[1]}" != validate ] || compopt -o default ;;
			esac
		fi
	fi
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}

complete -F _sluice sluice
