# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# bash completion for sluice

_sluice_verbs="run exec ps logs stop kill wait rm inspect mount umount mounts pull images stat ls cat index
	profile gc fsck volume spec seccomp"
_sluice_common="--store --budget --platform --plain-http --offline --no-index --authfile --creds
	--hosts-dir --cert-dir --timeout --read-timeout --format --log-level --help"

_sluice_run="--name --rm --detach --interactive --tty --detach-keys --init --pull --fs --rootfs --runtime
	--cidfile --pidfile --stop-signal --stop-timeout --timeout --dry-run --timing --entrypoint --workdir
	--user --group-add --env --env-file --label --annotation --preserve-fds --volume --mount
	--image-volume --tmpfs --read-only --shm-size --device --gpus --cdi-spec-dir --network --publish --add-host --dns --hostname
	--pid --ipc --uts --cgroupns --userns --uidmap --gidmap --cgroup-parent --cap-add --cap-drop
	--privileged --security-opt --sysctl --memory --memory-swap --cpus --cpu-shares --cpuset-cpus
	--pids-limit --ulimit --oom-score-adj"
_sluice_profile="--no-profile --profile-file --profile-quiet --profile-time --profile-bytes
	--fill --no-prefetch --prefetch-rate"

# What is mounted, as the program tells it: neither EROFS nor an overlay says whose it is.
_sluice_mounted() {
	local line
	while IFS= read -r line; do
		case $line in
		'  "dir": "'*'",')
			line=${line#*'": "'}
			line=${line%\",}
			printf '%b\n' "${line//\\\"/\"}"
			;;
		esac
	done < <("${COMP_WORDS[0]}" mounts --format json 2>/dev/null)
}

# Those of the paths on stdin that begin like the word, as the shell has to read them.
_sluice_paths() {
	local word=$1 path quoted
	while IFS= read -r path; do
		printf -v quoted '%q' "$path"
		[[ $path != "$word"* && $quoted != "$word"* ]] || COMPREPLY+=("$quoted")
	done
}

_sluice_options() {
	case $1 in
	run) printf '%s' "$_sluice_run $_sluice_profile" ;;
	exec) printf '%s' "--detach --interactive --tty --env --env-file --user --workdir --privileged" ;;
	ps) printf '%s' "--all --quiet" ;;
	logs) printf '%s' "--follow --tail --since --timestamps" ;;
	stop) printf '%s' "--time" ;;
	kill) printf '%s' "--signal" ;;
	rm) printf '%s' "--force" ;;
	mount) printf '%s' "--rw --upper --foreground --options --crashes --fs $_sluice_profile" ;;
	umount | pull) printf '%s' "--lazy" ;;
	ls) printf '%s' "--long --recursive" ;;
	profile) printf '%s' "--profile-quiet --profile-time --profile-bytes --soci" ;;
	gc) printf '%s' "--all --dry-run --min-age" ;;
	fsck) printf '%s' "--repair --deep" ;;
	spec) printf '%s' "--kind --runtime" ;;
	seccomp) printf '%s' "--profile --cap --arch --native-only --arg --output --runtime --strict" ;;
	esac
}

# The words that are not options: fills `plain`.
_sluice_plain() {
	local i
	plain=()
	for ((i = 1; i < COMP_CWORD; i++)); do
		# --option=value is three words.
		if [[ ${COMP_WORDS[i]} == --* && ${COMP_WORDS[i + 1]} == = ]]; then
			i=$((i + 2))
			continue
		fi
		case ${COMP_WORDS[i]} in
		--store | --budget | --platform | --authfile | --creds | --hosts-dir | --cert-dir | --timeout | \
			--read-timeout | --format | --log-level | --fs | --upper | --options | -o | --crashes | \
			--min-age | --kind | --profile | --cap | --arch | --arg | --output | \
			--name | --detach-keys | --pull | --runtime | --cidfile | --pidfile | \
			--stop-signal | --stop-timeout | --entrypoint | --workdir | -w | --user | -u | \
			--group-add | --env | -e | --env-file | --label | --annotation | --preserve-fds | \
			--volume | -v | --image-volume | --mount | --tmpfs | --shm-size | --device | --gpus | --cdi-spec-dir | --network | \
			--publish | -p | --add-host | --dns | --hostname | --pid | --ipc | --uts | \
			--cgroupns | --userns | --uidmap | --gidmap | --cgroup-parent | --cap-add | \
			--cap-drop | --security-opt | --sysctl | --memory | -m | --memory-swap | --cpus | \
			--cpu-shares | -c | --cpuset-cpus | --pids-limit | --ulimit | --oom-score-adj | \
			--profile-file | --profile-quiet | --profile-time | --profile-bytes | --prefetch-rate | \
			--tail | --since | --time | --signal | -s) i=$((i + 1)) ;;
		-*) ;;
		*) plain+=("${COMP_WORDS[i]}") ;;
		esac
	done
}

_sluice_value() {
	case $1 in
	--store | --upper | --hosts-dir | --cert-dir) compopt -o dirnames ;;
	--authfile | --profile | --profile-file | --output) compopt -o default ;;
	--arch) words="amd64 arm64 riscv64 s390x mips64 mipsel64" ;;
	--platform) words="linux/amd64 linux/arm64 linux/arm/v7 linux/386 linux/riscv64" ;;
	--format) words="json" ;;
	--log-level) words="error warn info debug" ;;
	--fs) words="auto fuse erofs" ;;
	--kind) words="config state features" ;;
	--runtime) words="crun runc" && compopt -o default ;;
	-o | --options) words="nosuid suid noexec exec noatime relatime allow_other" ;;
	--budget | --creds | --timeout | --read-timeout | --crashes | --min-age | --cap | --arg | \
		--name | --detach-keys | --stop-signal | --stop-timeout | --entrypoint | --user | \
		-u | --group-add | --env | -e | --label | --annotation | --preserve-fds | \
		--mount | --tmpfs | --shm-size | --device | --gpus | --cdi-spec-dir | --network | --publish | -p | \
		--add-host | --dns | --hostname | --pid | --ipc | --uts | --cgroupns | --userns | \
		--uidmap | --gidmap | --cgroup-parent | --cap-add | --cap-drop | --security-opt | \
		--sysctl | --memory | -m | --memory-swap | --cpus | --cpu-shares | -c | \
		--cpuset-cpus | --pids-limit | --ulimit | --oom-score-adj | --tail | --since | \
		--time | --signal | -s | --workdir | -w | --profile-quiet | --profile-time | \
		--profile-bytes | --prefetch-rate) ;;
	--image-volume) words="anonymous tmpfs ignore" ;;
	--pull) words="always missing newer never" ;;
	--env-file | --cidfile | --pidfile | --volume | -v) compopt -o default ;;
	*) return 1 ;;
	esac
}

_sluice() {
	local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
	local words="" plain
	COMPREPLY=()
	if [[ $word == = ]]; then
		word=
	elif [[ $previous == = ]] && ((COMP_CWORD > 2)); then
		previous=${COMP_WORDS[COMP_CWORD - 2]}
	fi
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
			umount:1) _sluice_paths "$word" < <(_sluice_mounted) ;;
			stat:1) _sluice_paths "$word" < <(_sluice_mounted) && compopt -o dirnames ;;
			help:1) words=$_sluice_verbs ;;
			index:1) words="build push show" ;;
			profile:1) words="record show push import export rm ready" ;;
			profile:2) [ "${plain[1]}" != ready ] || words=$(_sluice_mounted) ;;
			profile:3) [[ ${plain[1]} != @(import|export) ]] || compopt -o default ;;
			seccomp:1) words="check explain diff record default" ;;
			seccomp:*) [[ ${plain[1]} == @(explain|record) ]] || compopt -o default ;;
			volume:1) words="create ls rm" ;;
			spec:1) words="convert features new validate" ;;
			spec:2) [ "${plain[1]}" != validate ] || compopt -o default ;;
			esac
		fi
	fi
	mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -W "$words" -- "$word")
}

complete -F _sluice sluice
