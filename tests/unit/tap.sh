#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs a test program that speaks TAP. cmocka 1.1 reports a test that was skipped as "not ok" with
# the directive SKIP, which readers of TAP count as a failure.
status=$(
	{ { "$@"; echo $? >&3; } | sed -E 's/^not ok ([0-9]+ # SKIP)/ok \1/' >&4; } 3>&1
) 4>&1
exit "$status"
