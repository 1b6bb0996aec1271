/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What every verb has: the common options, the environment as far as it
 * matters, and the objects made from both, each when it is first asked for.
 * One thread.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "fetcher/cred.h"
#include "fetcher/hosts.h"
#include "fetcher/http.h"
#include "fetcher/net_stats.h"
#include "fetcher/origin.h"
#include "fetcher/platform.h"
#include "fetcher/pool.h"
#include "fetcher/ref.h"
#include "fetcher/store.h"
#include "fetcher/token.h"
#include "fs/image.h"
#include "tools/opt.h"

struct ctx {
	/* The common options. */
	const char *store_path, *platform_text, *format, *log_level, *auth_file, *user;
	struct opt_list hosts_dirs, certs_dirs;
	bool plain_http, no_index, offline;
	uint64_t budget, timeout_ms, read_timeout_ms;

	bool json;	/* --format json */
	bool current;	/* the registry has to say what a name means: --pull=always */
	bool late;	/* what is fetched is on the disk later: whoever serves it sees to that */
	bool quiet;	/* no progress: the output is somebody else's */
	bool misused;	/* what failed is the command line: see ctx_misuse() */
	int failed;	/* exit status of a failure; 0: the usual ones */
	uint64_t begun_ns;	/* when this command began, of clock_now_ns() */
	struct phases *phases;	/* borrowed; NULL: nobody asked when what was done */
	char *run_dir;	/* owned; the directory of the mount table */

	/* Made on demand; owned. */
	struct store *store;
	struct creds *creds;
	struct hosts *hosts;
	struct http_engine *http;
	struct fetch_pool *pool;
	struct tokens *tokens;
	struct platform platform;
	/* Where requests are counted; NULL: own_net. */
	struct net_stats *net;
	struct net_stats own_net;
	struct fetch_counters fetch; /* of layers that this process reads */
};

/* The table of the common options, for --help and opt_parse(); it points into ctx. */
void ctx_options(struct ctx *ctx, struct opt *table, size_t n);
enum { CTX_OPTIONS = 14 };

/* Marks an -EINVAL as one of the command line, which has its own exit status. Returns r. */
int ctx_misuse(struct ctx *ctx, int r);

/* Checks the parsed options. -EINVAL. */
int ctx_start(struct ctx *ctx, struct err *err);
void ctx_finish(struct ctx *ctx);

int ctx_store(struct ctx *ctx, struct store **ret, struct err *err);

/* As ctx_store() for whoever only looks: one that --store names and that is not there is not made: -ENOENT. */
int ctx_store_there(struct ctx *ctx, struct store **ret, struct err *err);

/* Passes r on; an error that comes of a full disk gets in front what to do about the store. */
int ctx_say_full(const struct ctx *ctx, int r, struct err *err);
int ctx_pool(struct ctx *ctx, struct fetch_pool **ret, struct err *err);

/* The directory of the mount table: /run/sluice, or $XDG_RUNTIME_DIR/sluice; borrowed. */
int ctx_run_dir(struct ctx *ctx, const char **ret, struct err *err);

/*
 * The origin of a reference, which the caller destroys (NULL with --offline), the store and the
 * pool. To the registry of an image that is not known here yet n_warm connections are opened ahead:
 * several things are asked for at once as soon as its manifest is there, which saves a round trip.
 */
int ctx_open(struct ctx *ctx, const struct ref *ref, unsigned int n_warm, struct origin **ret,
	     struct err *err);

/* Resolves and prepares the image that text names, with progress on a terminal. */
int ctx_prepare(struct ctx *ctx, const char *text, struct ref *ret_ref, struct origin **ret_origin,
		struct digest *ret_manifest, struct err *err);
