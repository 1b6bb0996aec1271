/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "tools/containers.h"
#include "tools/text.h"
#include "tools/verb.h"

enum { COMMAND_SHOWN_MAX = 28 };

struct ps_state {
	bool all, quiet;
};

static void ps_options(void *state, struct opt *table)
{
	struct ps_state *s = state;
	table[0] = (struct opt){"all", 'a', OPT_FLAG, NULL, "also those that are over", &s->all};
	table[1] = (struct opt){"quiet", 'q', OPT_FLAG, NULL, "only the ids", &s->quiet};
}

struct ps {
	const struct ps_state *state;
	json_t *json; /* array; NULL: text */
	bool headed;
};

static int ps_json(json_t *array, const struct opened_container *o, const char *status)
{
	json_t *command = json_array();
	for (size_t i = 0; i < o->record.command.count; i++)
		(void)json_array_append_new(command, json_string(o->record.command.items[i]));
	json_t *row = json_pack(
		"{s:s,s:s,s:s,s:o,s:s,s:I,s:I,s:I,s:i,s:i,s:s*}", "id", container_id(o->container),
		"name", o->record.name, "image", o->record.image, "command", command, "status", status,
		"created_ns", (json_int_t)o->state.created_ns, "started_ns",
		(json_int_t)o->state.started_ns, "finished_ns", (json_int_t)o->state.finished_ns, "pid",
		strcmp(status, "running") == 0 ? (int)o->state.pid : 0, "exit_code",
		o->state.exit_code, "error", o->state.error);
	return json_array_append_new(array, row) < 0 ? -ENOMEM : 0;
}

static void print_age(int64_t ns)
{
	struct timespec now;
	(void)clock_gettime(CLOCK_REALTIME, &now);
	long long s = (long long)now.tv_sec - (long long)(ns / (int64_t)NS_PER_SEC);
	if (s < 120)
		(void)printf(" %4llds ago", s < 0 ? 0 : s);
	else if (s < 7200)
		(void)printf(" %4lldm ago", s / 60);
	else if (s < 172800)
		(void)printf(" %4lldh ago", s / 3600);
	else
		(void)printf(" %4lldd ago", s / 86400);
}

static void print_command(const struct words *command)
{
	char text[COMMAND_SHOWN_MAX + 1] = "";
	size_t n = 0;
	for (size_t i = 0; i < command->count && n < sizeof(text) - 1; i++) {
		int added = snprintf(text + n, sizeof(text) - n, "%s%s", i ? " " : "", command->items[i]);
		n = added < 0 ? sizeof(text) : n + (size_t)added;
	}
	text_print_name(text, strlen(text));
	(void)printf("%*s", COMMAND_SHOWN_MAX - (int)strlen(text), "");
}

static int ps_one(void *data, const struct opened_container *o)
{
	struct ps *ps = data;
	const char *status = containers_status(o);
	if (!ps->state->all && !containers_is_live(o))
		return 0;
	if (ps->json)
		return ps_json(ps->json, o, status);
	if (ps->state->quiet) {
		(void)printf("%.*s\n", CONTAINERS_SHORT_ID, container_id(o->container));
		return 0;
	}
	if (!ps->headed)
		(void)printf("%-12s  %-20s %-32s %-28s  %-9s  %s\n", "ID", "NAME", "IMAGE", "COMMAND",
			     "CREATED", "STATUS");
	ps->headed = true;
	(void)printf("%.*s  %-20s %-32s ", CONTAINERS_SHORT_ID, container_id(o->container),
		     o->record.name, o->record.image);
	print_command(&o->record.command);
	print_age(o->state.created_ns);
	(void)printf("  %s", status);
	if (strcmp(status, "exited") == 0 && o->state.exit_code >= 0)
		(void)printf(" (%d)", o->state.exit_code);
	else if (o->state.error)
		(void)printf(" (%s)", o->state.error);
	(void)printf("\n");
	return 0;
}

static int ps_run(struct ctx *ctx, void *state, int argc, char **argv, struct err *err)
{
	AUTO_JSON json_t *json = ctx->json ? json_array() : NULL;
	struct ps ps = {.state = state, .json = json};
	(void)argc;
	(void)argv;
	int r = containers_each(ctx, ps_one, &ps, err);
	if (r == -ENOMEM)
		return err_set(err, r, "list the containers");
	return r == 0 && json ? text_print_json(json, err) : r;
}

const struct verb verb_ps = {
	.name = "ps",
	.args = "",
	.summary = "list containers",
	.teach = "Lists the containers of this store that run. STATUS is created, running, exited, failed (it\n"
		 "could not be started), configured (being made), or dead: its monitor was killed, and\n"
		 "'sluice gc' clears it away.",
	.options = ps_options,
	.state_size = sizeof(struct ps_state),
	.failed = 125,
	.min_words = 0,
	.max_words = 0,
	.run = ps_run,
};
